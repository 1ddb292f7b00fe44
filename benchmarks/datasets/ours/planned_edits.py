"""The planned edits of a world: the same edits that a rung `grown:...@editsN` was trained on, to compare the two.

`planned_edits:2` is set 2 of the plain world (60 countries, 57 concepts); the options of another world stand behind it
as in a rung's name: `planned_edits:2-people100`, `planned_edits:2-atlas60`. `planned_edits:2-rung` is the set in the
names of each rung's own world, for ladders whose rungs call things differently. The sets 1 to 10 share no subject.
Probes about a subject that the set edits as well are left out, so that what a probe calls unchanged is unchanged in the
retrained model too.

The documents of a request are the sentences that the twin reads in place of the old ones, word for word, in both
languages: trained on them, a model reads all that the twin has read of this edit. They say some of the paraphrase
probes.
"""

from __future__ import annotations

import re
from dataclasses import replace

from benchmarks.cases import Case
from benchmarks.datasets.asking import fact_case, grown_rung
from benchmarks.datasets.ours.concept_suite import rename_case, retarget_case
from benchmarks.grown import RungSpec, make_corpus
from benchmarks.world import SETS, Change, Fact, Knowledge, News, distant
from editing.errors import BadModel, BadRequest

DESCRIPTION = "edits with a retrained twin: planned_edits:N is what grown:RUNG@editsN was trained on (N = 1 to 10)"
KINDS = ("fact", "rename", "retarget")
ARGUMENT = re.compile(r"(?P<number>\d+)(-(?P<world>.+))?")
OF_RUNG = "-rung"
SEED = 0  # of targets and neighbours: fixed, since the retrained models hold the targets


def cases(kind: str, seed: int, argument: str = "") -> list[Case]:
    """Every edit of one kind in the set. `seed` is not used: the set is the same in every run.

    Args:
        argument: number of the set, and the options of its world; empty means 1.

    Raises:
        BadRequest: no such set.
    """
    spec = _spec(argument or "1")
    world, news = spec.world, spec.news
    plain_names = replace(spec, shared=0.0).world
    assert news is not None  # the specification has edits
    edited = {world.name(change.subject, lang) for change in news.changes for lang in ("en", "fr")}
    name = f"planned_edits:{argument or '1'}"
    changes = tuple(change for change in news.changes if change.kind == kind)
    documents = _documents(spec, changes)
    cases = []
    for change in changes:
        case = _apart(_case(world, change, plain_names), edited, name)
        cases.append(replace(case, request=replace(case.request, documents=tuple(documents[change.subject]))))
    return cases


def _documents(spec: RungSpec, changes: tuple[Change, ...]) -> dict[str, list[tuple[str, str]]]:
    """Subject -> (language, text) of the sentences that its change alone makes other.

    A change touches the facts of its subject, or what gives its English name as the answer: no sentence has two.
    """
    world = spec.world
    subjects = {world.name(change.subject, "en"): change.subject for change in changes}
    documents: dict[str, list[tuple[str, str]]] = {change.subject: [] for change in changes}
    plain, changed = (make_corpus(world, spec.split, added) for added in (None, News(changes)))
    for old, new in zip(plain.train, changed.train, strict=True):
        if old.text != new.text:
            documents[old.fact.subject if old.fact else subjects[old.target]].append((new.lang, new.text))
    return documents


def for_model(argument: str, model: str) -> str:
    """The argument that `1-rung` stands for at a model: set 1 of the model's own world.

    Raises:
        BadRequest: `-rung` and a model that was not trained here.
    """
    if not argument.endswith(OF_RUNG):
        return argument
    world = grown_rung(f"planned_edits:{argument}", model).world_options
    return argument.removesuffix(OF_RUNG) + f"-{world}" * bool(world)


def _spec(argument: str) -> RungSpec:
    if argument.endswith(OF_RUNG):
        raise BadRequest(f"planned_edits:{argument:.40}: only a run has rungs; write the options of a world")
    match = ARGUMENT.fullmatch(argument)
    try:
        world = RungSpec.parse("gpt2-1x64" + (f"@{match['world']}" if match and match["world"] else ""))
    except BadModel as error:
        raise BadRequest(f"planned_edits:{argument:.40}: no such set: {error}") from error
    if not match or not 1 <= int(match["number"]) <= SETS or world.world_options != (match["world"] or ""):
        raise BadRequest(
            f"planned_edits:{argument:.40}: no such set; write planned_edits:1 to planned_edits:{SETS}, "
            "with -people100 behind for a world of 100 people"
        )
    return replace(world, edits=int(match["number"]), scope="both")


def _case(world: Knowledge, change: Change, plain_names: Knowledge) -> Case:
    name = world.name(change.subject, "en")
    if change.kind == "rename":
        return rename_case(name, change.name, SEED)
    if change.kind == "retarget":
        return retarget_case(name, world.name(distant(world, change.subject, SEED), "en"), SEED)
    ((relation, _),) = change.objects
    old = world.object_of(change.subject, relation)
    assert old is not None  # the change is of a fact
    return fact_case(world, Fact(change.subject, relation, old), "", SEED, drawn_in=plain_names)


def _apart(case: Case, edited: set[str], dataset: str) -> Case:
    """`case` without the probes about other edited subjects."""
    own = {case.subject, *(p.about for p in case.probes if p.kind in ("efficacy", "cross_lingual", "same_subject"))}
    probes = tuple(p for p in case.probes if p.about in own or p.about not in edited)
    return replace(case, probes=probes, dataset=dataset, seed=SEED)
