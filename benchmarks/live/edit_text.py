"""One edit as text for a terminal: the answers before and after, question by question, then a line per kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.live.edit import LiveEdit
from benchmarks.text import short


def where_edited(place: Mapping[str, Any], n_layers: int) -> str:
    """Site, position and layers of an edit in words; an embedding has no layer."""
    layers = ", ".join(map(str, place["layers"]))
    return f"{place['site']} at {place['lookup']}" + (f", layer {layers} of {n_layers}" if layers else "")


def format_edit(edit: LiveEdit) -> str:
    """The edit as text for a terminal."""
    lines = [f"{edit.model['reference']}  ({edit.model['source']}, weights {edit.model['hash'][:12]})"]
    where = where_edited(edit.placement, edit.model["layers"])
    size = f"relative norm of the change {edit.edit_norm:.4f}" if edit.edit_norm else "no weight is changed"
    lines.append(f"{edit.method}: {where}; {size}")
    lines.append(edit.dose["line"])
    lines += [f"note: {note}" for note in edit.notes]
    unknown = sum(known is False for known in edit.known)
    if unknown:
        lines.append(f"note: the unedited model did not know {unknown} of {len(edit.known)} edited facts")
    for line in edit.summary:
        kind = line["probe"]
        lines.append(f"\n{kind}")
        for row in (row for row in edit.probes if row["probe"] == kind):
            lines += _format_probe(row)
    lines.append(f"\n{'probe':<16}{'n':>4}{'score':>8}{'free text before':>18}{'after':>8}")
    for line in edit.summary:
        values = "".join(
            f"{'-' if line[key] is None else format(line[key], '.2f'):>{width}}"
            for key, width in (("value", 8), ("exact_before", 18), ("exact_after", 8))
        )
        missing = line["n"] - line["measurable"]
        lines.append(f"{line['probe']:<16}{line['n']:>4}{values}" + (f"   {missing} not measurable" if missing else ""))
    if edit.renames:
        lines += _renamed_in_text(edit.summary)
    lines.append("\n" + ", ".join(f"{name.replace('_', ' ')} {value:.1f} s" for name, value in edit.seconds.items()))
    if edit.saved:
        lines.append(f"saved the change to {edit.saved}")
    if edit.form == "hooks":
        lines.append("the edit ran as hooks and changed no weight (requested, or the weights are offloaded)")
    lines.append(
        f"the model's weights were restored bit for bit (sha256 {edit.model['hash'][:12]} before and after)"
        if edit.restored
        else "WARNING: the model's weights were NOT restored"
    )
    return "\n".join(lines)


def _renamed_in_text(summary: Sequence[dict]) -> list[str]:
    """Renames by free text beside the candidates, which are names only: a new name can lead them and not the text."""
    both = [
        f"{line['probe']} picked {line['picked']:.2f}, written {line['written']:.2f}"
        for line in summary
        if line["probe"] in ("paraphrase", "neighbour") and None not in (line["picked"], line["written"])
    ]
    return [f"among the names and in free text, on the same questions: {'; '.join(both)}"] if both else []


def _format_probe(row: dict) -> list[str]:
    if row["probe"] == "drift":
        kept = "not measurable" if row["value"] is None else f"kept {row['value']:.3f}"
        return [f"  [{row['lang']}] {kept}: {row['prompt'][:70]!r}..."]
    if row["probe"] == "fluency":
        score = row["reason"] if row["value"] is None else f"kept {row['value']:.3f}"
        said = [repr(row[f"text_{when}"][:70]) for when in ("before", "after")]
        return [f"  [{row['lang']}] {score}", f"      {said[0]}  ->  {said[1]}"]
    if "pick_before" not in row:
        return [f"  [{row['lang']}] {row['prompt']!r}: {row['reason']}"]
    mark = {None: "?", 1.0: "+", 0.0: "-"}[row["value"]]
    said = [f"{row[f'pick_{when}']} ({row[f'text_{when}'].strip()[:40]!r})" for when in ("before", "after")]
    why = f"   ({row['reason']})" if row["value"] is None else ""
    return [f"  {mark} [{row['lang']}] {short(row['prompt'], 100, end=True)}", f"      {said[0]}  ->  {said[1]}{why}"]
