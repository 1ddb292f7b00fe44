"""A saved change in the forms that other programs load; each function writes and says what it wrote and how to load
it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.live.edit import saved_delta
from benchmarks.measure import open_model
from editing.delta import export_peft
from editing.errors import BadRequest
from editing.export import (
    export_control_vector,
    export_gguf,
    export_merged,
    export_plain,
    export_steered,
    write_card,
)
from editing.model import TIED, head_site, tied_head
from editing.references import gguf_file, parse


def write_export(form: str, delta: Path, reference: str, out: Path, device: str | None = None) -> str:
    """Write the change saved in `delta`, made from the model of `reference`, in one of FORMS.

    Raises:
        UserError: no change there, another model's, or one that has no such form.
    """
    if form == "gguf" and parse(reference).kind not in ("gguf", "package"):
        raise BadRequest(f"{reference}: was not read from a GGUF; use `export merged` for a transformers folder")
    lm = open_model(reference, device)
    return "\n".join(FORMS[form](saved_delta(delta, lm), lm, out, reference))


def _adapter(change, lm, out: Path, reference: str) -> list[str]:
    done = export_peft(change, lm, out)
    write_card(change, lm, out, "adapter")
    parts = [f"{path} rank {rank}" for path, rank in done.ranks.items()]
    parts += [f"{path} {len(rows)} rows" for path, rows in done.rows.items()]
    lines = [f"wrote {done.folder}: {', '.join(parts)}", *([done.dose] if done.dose else [])]
    if tied_head(lm.module) and head_site(lm.module, lm.n_layers).path in done.ranks:
        lines.append("head and embedding are one matrix here: do not merge this adapter (`export merged` writes two)")
    return [*lines, *_first_token(lm)]


def _merged(change, lm, out: Path, reference: str) -> list[str]:
    done = export_merged(change, lm, out)
    write_card(change, lm, out, "merged")
    lines = [
        f"wrote {out}: the edited model in {str(done.dtype).removeprefix('torch.')}, for transformers; as a reference "
        f"of this program: {out if out.is_absolute() else f'./{out}'}"
    ]
    if done.head_bytes:
        whole = sum(file.stat().st_size for file in out.glob("*.safetensors"))
        lines.append(
            f"its head was untied from the embedding ({TIED}=false), which makes the weights "
            f"{done.head_bytes / 1e6:,.1f} MB larger ({whole / 1e6:,.1f} in all); loaded again, its logits differ by "
            f"at most {done.difference:.1g} from the edit's"
        )
    return [*lines, *_first_token(lm)]


def _gguf(change, lm, out: Path, reference: str) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        tensors = export_gguf(change, lm, gguf_file(reference, Path(folder)), out)
    return [f"wrote {out}: {', '.join(tensors)} in float32, every other tensor as it was"]


def _steered(change, lm, out: Path, reference: str) -> list[str]:
    export_steered(change, lm, out)
    model = lm.source.partition(" ")[2].partition("@")[0] if lm.source.startswith("hub ") else "FOLDER"
    more = ",add_bos_token=True" if lm.prefix_ids else ""
    return [f"wrote {out}: lm_eval --model steered --model_args pretrained={model},steer_path={out}{more}"]


def _control_vector(change, lm, out: Path, reference: str) -> list[str]:
    difference = export_control_vector(change, lm, out)
    return [f"wrote {out}: llama-cli --control-vector {out}; logits differ by at most {difference:.1g} from the edit's"]


def _plain(change, lm, out: Path, reference: str) -> list[str]:
    return [f"wrote {export_plain(change, lm, out)}: change.safetensors, and change.json that says how to apply it"]


def _first_token(lm) -> list[str]:
    if not lm.prefix_ids:
        return []
    first = lm.tokenizer.decode(lm.prefix_ids)
    return [
        f"texts here begin with {first!r}; lm-evaluation-harness puts it there with --model_args add_bos_token=True"
    ]


FORMS = {
    "adapter": _adapter,
    "merged": _merged,
    "gguf": _gguf,
    "steered": _steered,
    "control-vector": _control_vector,
    "plain": _plain,
}
