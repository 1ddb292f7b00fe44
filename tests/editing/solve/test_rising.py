"""Reading on from the block that was changed last gives what whole readings give, in every family."""

from __future__ import annotations

import pytest
import torch

from editing.delta import Delta, LowRank
from editing.solve import rising
from editing.solve.keys import states
from editing.solve.rising import Rising
from editing.text.contexts import build_contexts
from tests.editing.families import SOME, SOME_HYBRIDS, tiny_lm
from tests.editing.worked import REQUESTS
from tests.tiers import fast_are

PREFIXES = ("The river runs through the old town", "Zoe likes tea", "I")


@pytest.mark.parametrize("kept", (rising.KEPT, 0))
@pytest.mark.parametrize("family", fast_are(("gpt2", "falcon", "gemma3_text", "lfm2"), [*SOME, *SOME_HYBRIDS]))
def test_equals_whole_readings(family: str, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two edits side by side, changed at blocks 1, 2 and 3; small batches, so that texts are regrouped; without room
    for states nothing is kept."""
    monkeypatch.setattr(rising, "KEPT", kept)
    lm = tiny_lm(family)
    prompts = [p for r in REQUESTS for p in build_contexts(lm, r, PREFIXES).prompts]
    rows = [int(i >= len(prompts) // 2) for i in range(len(prompts))]
    draw = torch.Generator().manual_seed(0)
    sites = [site for site in lm.sites("mlp") if site.layer]
    assert len(sites) >= 2
    deltas, reader, last = [Delta({}), Delta({})], Rising(lm, prompts, 64), (lm.layout.blocks[3], "output")
    for site in sites:
        places = [(site.path, "input"), (site.path, "output"), last]
        live = deltas if deltas[0].factors else []
        result = reader.read(places, live, rows, next_change=site.layer)
        whole = states(lm, prompts, places, deltas=live, rows=rows)
        for place in places:
            difference = float((result[place] - whole[place]).norm())
            assert difference < 1e-5 * float(whole[place].norm()), (site.path, place)
        changes = [
            LowRank(0.3 * torch.randn(site.d_out, 1, generator=draw), torch.randn(site.d_in, 1, generator=draw))
            for _ in deltas
        ]
        deltas = [Delta({**d.factors, site.weight: c}) for d, c in zip(deltas, changes, strict=True)]
    unedited = states(lm, prompts, [last])[last]
    assert float((unedited - result[last]).norm()) > 1e-2 * float(unedited.norm())


def test_blocks_below_the_last_change_do_not_run_again() -> None:
    lm = tiny_lm("gpt2")
    prompts = list(build_contexts(lm, REQUESTS[0], PREFIXES).prompts)
    runs = [0] * lm.n_layers
    reader = Rising(lm, prompts)
    for i, path in enumerate(lm.layout.blocks):

        def count(module: torch.nn.Module, args: tuple, output: object, i: int = i) -> None:
            runs[i] += 1

        lm.module.get_submodule(path + ".mlp").register_forward_hook(count)
    sites, deltas = lm.sites("mlp")[1:], [Delta({})]
    for site in sites:
        live = deltas if deltas[0].factors else []
        reader.read([(sites[-1].path, "output")], live, next_change=site.layer)
        change = LowRank(torch.zeros(site.d_out, 1), torch.zeros(site.d_in, 1))
        deltas = [Delta({**deltas[0].factors, site.weight: change})]
    assert runs == [1, 2, 3, 3]
