"""A retargeting as text for a terminal: relations, siblings, a summary, and where two kinds of edit were made, their
agreement."""

from __future__ import annotations

from benchmarks.live.edit_text import where_edited
from benchmarks.live.retarget.agreement import Agreement, agreements
from benchmarks.live.retarget.panel import GOAL, SHARED
from benchmarks.live.retarget.run import Made, Retargeting, plain_records
from benchmarks.live.retarget.scores import by_relation, by_sibling, summary
from benchmarks.text import short
from editing.lazy import pandas as pd

WIDTH = 22


def format_retargeting(done: Retargeting, seed: int = 0) -> str:
    """Everything a reader needs to judge one retargeting."""
    lines = [f"{done.model['reference']}  ({done.model['source']}, weights {done.model['hash'][:12]})"]
    lines.append(f"{done.concept} should behave as {done.goal}; siblings: {', '.join(done.siblings)}")
    lines += [f"left out: {why}" for why in done.left_out]
    lines += [f"note: {note}" for note in done.notes]
    if done.known is False:
        lines.append(f"note: the unedited model did not know the trained facts of {done.concept}")
    relations, siblings = by_relation(done.questions), by_sibling(done.questions)
    for one, line in zip(done.made, summary(done, seed), strict=True):
        lines += ["", _head(done, one), "", *_relations(relations[relations["by"] == one.by])]
        lines += ["", *_siblings(siblings[siblings["by"] == one.by], done)]
        lines += ["", *_summary(done, line), *_written(done.texts[done.texts["by"] == one.by])]
    agreed = agreements(done.questions, seed)
    if agreed:
        lines += ["", *(format_agreement(one) for one in agreed)]
    return "\n".join(lines)


def whole_json(done: Retargeting, seed: int = 0) -> dict:
    """Everything of a retargeting, scores included, with null for what is not measurable."""
    relations, siblings = by_relation(done.questions), by_sibling(done.questions)
    return done.as_json() | {
        "relations": plain_records(relations),
        "sibling_scores": plain_records(siblings),
        "summary": plain_records(pd.DataFrame(summary(done, seed))),
        "agreement": [one.as_json() for one in agreements(done.questions, seed)],
    }


def format_agreement(one: Agreement) -> str:
    """One line: do two edits flip the same facts, and move them equally far?"""
    about = f"{one.a} and {one.b} on the {one.group} ({one.n} questions, {one.relations} relations)"
    kappa = f"n/a ({one.reason})" if one.reason else with_interval(one.kappa, one.kappa_interval)
    return (
        f"{about}: kappa of flipped answers {kappa}; correlation of nats moved {with_interval(one.r, one.r_interval)}"
    )


def _head(done: Retargeting, one: Made) -> str:
    where = where_edited(one.placement, done.model["layers"])
    size = f"relative norm of the change {one.edit_norm:.4f}" if one.edit_norm else "no weight is changed"
    return f"{one.by}: {where}; {size}; {one.seconds:.1f} s\n{one.dose['line']}"


def _relations(table: pd.DataFrame) -> list[str]:
    head = f"{'relation':<10} {'about':<9} {'':2} {'answer before -> after':<{2 * WIDTH}}"
    lines = [f"{head} {'as goal':>8} {'moved':>6} {'siblings':>8} {'net':>6}"]
    for row in table.to_dict("records"):
        said = f"{short(row['pick_before'], 16)} -> {short(row['pick_after'], 16)}"
        stays = f"  (stays {row['own']})" if row["role"] == SHARED else f"  (goal {row['goal']})"
        hits = f"{row['hits_before']}>{row['hits_after']}/{row['n']}"
        numbers = [cell(row[name]) for name in ("moved", "siblings", "net")]
        lines.append(
            f"{row['relation']:<10} {row['role']:<9} {row['lang']:2} {said + stays:<{2 * WIDTH}}"
            f" {hits:>8} {numbers[0]:>6} {numbers[1]:>8} {numbers[2]:>6}"
        )
    return lines


def _siblings(table: pd.DataFrame, done: Retargeting) -> list[str]:
    heads = "".join(f"{f'{what} {lang}':>10}" for what in ("moved", "kept") for lang in done.langs)
    lines = [f"{'sibling':<22}{heads}"]
    for row in table.to_dict("records"):
        name = f"{done.goal} (the goal)" if row["role"] == GOAL else row["about"]
        cells = [cell(row[f"moved_{lang}"]) for lang in done.langs]
        cells += [f"{cell(row[f'kept_{lang}'])}/{row[f'known_{lang}']}" for lang in done.langs]
        lines.append(f"{name:<22}" + "".join(f"{text:>10}" for text in cells))
    return lines


def _summary(done: Retargeting, line: dict) -> list[str]:
    def both(key: str, after: str = "") -> str:
        return ", ".join(f"{cell(line[f'{key}_{lang}{after}'])} {lang.upper()}" for lang in done.langs)

    parts = [f"trained {both('moved_trained')}", f"held out {both('moved_held_out')}"]
    near = f"; {line['too_near']} of {line['n']} questions have no way to go" if line["too_near"] else ""
    nets = [
        with_interval(line[f"net_{lang}"], (line[f"net_{lang}_low"], line[f"net_{lang}_high"])) for lang in done.langs
    ]
    net = ", ".join(f"{text} {lang.upper()}" for text, lang in zip(nets, done.langs, strict=True))
    bits = ", ".join(
        f"{cell(line[f'bits_{g}_before'])} -> {cell(line[f'bits_{g}_after'])} {g.upper()}" for g in done.langs
    )
    return [
        f"moved of the way to {done.goal}: {both('moved')} ({'; '.join(parts)}); answers as {done.goal}: "
        f"{both('hits', '_after')}{near}",
        f"siblings moved: {both('siblings')}; net transfer: {net}; siblings' own answers kept: {both('siblings_kept')}",
        f"unrelated text kept: {both('drift')}; bits per byte {bits}; {done.goal} itself kept: {both('goal_kept')}",
    ]


def _written(texts: pd.DataFrame) -> list[str]:
    written = texts[texts["kind"] == "fluency"]
    return [
        f"  [{r['lang']}] {_tail(r['text_before'])}  ->  {_tail(r['text_after'])}" for r in written.to_dict("records")
    ]


def with_interval(value: float, bounds: tuple[float, float]) -> str:
    spread = "" if pd.isna(bounds[0]) else f" [{cell(bounds[0])}, {cell(bounds[1])}]"
    return f"{cell(value)}{spread}"


def cell(value: float) -> str:
    return "n/a" if pd.isna(value) else f"{round(value, 2) + 0.0:.2f}"  # + 0.0: no "-0.00"


def _tail(text: str, width: int = 70) -> str:
    return repr(short(text, width))
