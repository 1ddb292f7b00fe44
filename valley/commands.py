"""The commands that judge a run: power, editability, shape, hypotheses. Heavy imports stay inside, so that --help is instant."""

from __future__ import annotations

import json

import click

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


@click.command()
@click.option("--rungs", type=click.IntRange(min=3), required=True, help="Sizes of model on the ladder.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Models trained per size.")
@click.option("--sd", type=float, required=True, help="Standard deviation of a score between models of one size.")
@click.option("--depth", type=float, required=True, help="Of the valley: score at its lower shoulder less its bottom.")
@click.option("--level", type=float, default=0.05, show_default=True, help="Of the test.")
@click.option("--simulations", type=click.IntRange(min=100), default=2000, show_default=True, help="Simulated runs.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the simulation.")
@as_json
def power(rungs, seeds, sd, depth, level, simulations, seed, as_json) -> None:
    """How often a ladder of that size would show a valley of that depth, and the smallest valley it could show.

    \b
    Example:
      python cli.py power --rungs 8 --seeds 3 --sd .03 --depth .2
    """
    from valley.power import format_power
    from valley.power import power as power_of

    found = power_of(rungs, seeds, sd, depth, level, simulations, seed)
    _print_json(found.as_json()) if as_json else click.echo(format_power(found))


COMMANDS = (power,)
