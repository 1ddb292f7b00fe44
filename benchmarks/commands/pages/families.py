"""The pages of model families: what the site finder makes of tiny random models of each."""

from __future__ import annotations

from typing import Any

from benchmarks.commands.pages.markdown import cell, note
from editing.errors import BadModel, NoSite
from editing.methods import make_method, method_names
from editing.model import KINDS, Layout, Site, find_experts, find_layout, routed
from valley.rows import CONTROLS

SOURCE = "the site finder on tiny random models"
ABOUT = """A family is a `model_type` of transformers. The program finds the sites by probing the model, not from this
list. A family that is not listed may work too; if it does not, it is refused with a reason. The table shows that the
site finder and the tests pass on a random model of 4 blocks. It says nothing about the quality of edits on trained
models.

In a mixture of experts, the attention is edited as in any other model. A shared expert, which runs for every token, is
the MLP site. A routed expert is edited only on request: with `--set site=expert`, by {takers}, also inside a control or
a wrapper. This needs a block whose experts are one module of transformers, and whose output is the sum of its experts,
computed one by one. Each request goes to one expert of a block. If several requests are solved together,
the least squares of an expert use the keys of all requests that go to it, and its covariance is that of the tokens that
are routed to it. Other methods refuse this site, with the reason.

In a hybrid model some blocks have no attention, but a state space, a linear attention or a short convolution. The
output projection of such a block is its attention site. It has no value site: an edit there is refused and names the
block. The text to the left of an edit is read again in every pass, because texts cannot share such a state. So an
edit reads about as many more tokens as its prompts have before the subject.

[All families](all-families.md) shows what the site finder finds in every other family of `AutoModelForCausalLM`.
"""
ABOUT_ALL = """Every `model_type` for which `AutoModelForCausalLM` of transformers {version} makes a model, except
those of [model families](families.md), which the tests edit. Here only the site finder was run, on a small random
model: its sizes were set by the names that they have in its configuration. Where this is not possible,
nothing is known.
"""


def families_page() -> str:
    """Markdown: what the site finder makes of a tiny random model of each family of the tests.

    Raises:
        BadModel: not in a checkout, where the tests with those models are.
    """
    families = _families()
    lines = ["# Model families", "", note("seeing whether a model can be edited, and where", SOURCE)]
    names = [name for name in method_names() if name not in CONTROLS]
    takers = [f"`{name}`" for name in names if "expert" in make_method(name).settings()]
    lines.append(ABOUT.format(takers=", ".join(takers)))
    lines += [
        "| family | MLP site | value site | attention site | routed experts | output embedding | blocks return |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in families.FAMILIES | families.ALIKE | families.EXPERTS | families.HYBRIDS:
        module = families.random_module(name)
        layout = find_layout(module)
        sites = _sites(module, layout)
        tied = module.get_output_embeddings().weight is module.get_input_embeddings().weight
        returned = f"tuple of {layout.tuple_output}" if layout.tuple_output else "tensor"
        lines.append(f"| `{name}` | {sites} | {'tied' if tied else 'separate'} | {returned} |")
    lines += ["", "## Refused", "", "| family | reason |", "|---|---|"]
    for name in families.REFUSED:
        try:
            find_layout(families.refused_module(name))
        except NoSite as error:
            lines.append(f"| `{name}` | {cell(str(error))} |")
    return "\n".join(lines) + "\n"


def all_families_page() -> str:
    """Markdown: what the site finder makes of every other family of AutoModelForCausalLM; a minute or two of CPU.

    Raises:
        BadModel: not in a checkout, where the tests with those models are.
    """
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    families = _families()
    tested = families.FAMILIES | families.ALIKE | families.EXPERTS | families.HYBRIDS | families.REFUSED
    about = ABOUT_ALL.format(version=transformers.__version__)
    lines = ["# All families", "", note("seeing whether the sites of a model are found", SOURCE), about]
    found, refused, unknown = [], [], []
    for name in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        if name in tested:
            continue
        try:
            module = families.any_module(name)
        except ValueError as error:
            unknown.append(f"| `{name}` | {cell(str(error))[:160]} |")
            continue
        try:
            layout = find_layout(module)
            found.append(f"| `{name}` | {_sites(module, layout)} |")
        except NoSite as error:
            refused.append(f"| `{name}` | {cell(str(error))} |")
        except RuntimeError as error:  # the model's own forward, with these sizes
            unknown.append(f"| `{name}` | {cell(str(error).splitlines()[0])[:160]} |")
    lines += ["## Sites found", "", "| family | MLP site | value site | attention site | routed experts |"]
    lines += ["|---|---|---|---|---|", *found]
    for title, rows in (("Refused", refused), ("No small model could be made", unknown)):
        lines += ["", f"## {title}", "", "| family | reason |", "|---|---|", *rows]
    return "\n".join(lines) + "\n"


def _families():
    try:
        from tests.editing import families
    except ImportError as error:
        raise BadModel("families: tests/ is missing; run this in a checkout of the repository") from error
    return families


def _sites(module: Any, layout: Layout) -> str:
    """The cells of all kinds of sites."""
    return " | ".join([*(_site(layout, kind) for kind in KINDS), _experts(module, layout)])


def _experts(module: Any, layout: Layout) -> str:
    """The modules with routed experts that can be edited, within their blocks."""
    paths = find_experts(module, layout.blocks)
    cells = {
        f"`{path.removeprefix(f'{block}.')}`{' in some blocks' if '' in paths else ''}"
        for block, path in zip(layout.blocks, paths, strict=True)
        if path
    }
    if not cells and any(routed(name) for name, _ in module.named_parameters()):
        return "refused: built in another way"
    return " or ".join(sorted(cells)) or "none"


def _site(layout: Layout, kind: str) -> str:
    """The modules of a site within its blocks, and which of their outputs belong to the site."""
    some = " in some blocks" if len(layout.sites[kind]) < len(layout.blocks) else ""
    cells = [
        f"`{site.path.removeprefix(f'{layout.blocks[site.layer]}.')}`{some}"
        f"{', stored transposed' if site.transposed else ''}{_rows(site)}"
        for site in layout.sites[kind]
    ]
    return " or ".join(dict.fromkeys(cells)) or "none"


def _rows(site: Site) -> str:
    if site.rows is None:
        return ""
    rows = list(site.rows)
    if rows == list(range(rows[0], rows[-1] + 1)):
        return f", fused: outputs {rows[0]}-{rows[-1]} of {site.d_out}"
    return f", fused and interleaved: {len(rows)} of {site.d_out} outputs"
