"""Files of other people, form by form: what a record becomes, and that its form is found out from its keys."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from itertools import pairwise

import pytest

from benchmarks.cases import SPECIFICITY, Case, Probe
from benchmarks.datasets.check import check_file
from benchmarks.datasets.reading.fields import fold
from benchmarks.datasets.reading.sources import located
from benchmarks.datasets.registry import build_cases, form_of, forms, read_cases
from editing.errors import BadData, BadRequest
from tests.benchmarks import wild


def cases_of(tmp_path, form: str, content: object | None = None, name: str = "facts.json") -> list[Case]:
    path = wild.write(tmp_path, wild.RECORDS[form]() if content is None else content, name)
    return build_cases(f"{form}:{path}", "fact")


def probes_of(case: Case, kind: str, lang: str = "en") -> list[Probe]:
    return [probe for probe in case.probes if (probe.kind, probe.lang) == (kind, lang)]


def answer(probe: Probe) -> str:
    return probe.candidates[probe.answer]


def before(probe: Probe) -> str | None:
    return None if probe.old is None else probe.candidates[probe.old]


@pytest.mark.parametrize("form", wild.RECORDS)
def test_every_form_is_recognised_and_no_other_claims_it(tmp_path, form):
    path = wild.write(tmp_path, wild.RECORDS[form]())
    assert form_of(located("file", str(path))) == form
    assert set(wild.RECORDS) | {"fact_file"} == set(forms())
    by_path, by_file = read_cases(str(path), "fact"), read_cases(f"file:{path}", "fact")
    assert by_path == by_file == read_cases(f"{form}:{path}", "fact")
    assert by_path.cases and not by_path.left_out


@pytest.mark.parametrize("form", wild.RECORDS)
def test_every_case_is_sound(tmp_path, form):
    cases = cases_of(tmp_path, form)
    assert len({case.id for case in cases}) == len(cases)
    for case in cases:
        (efficacy,) = (probe for probe in case.probes if probe.kind == "efficacy")
        assert (efficacy.prompt, answer(efficacy)) == (case.request.filled()[0], case.request.targets[0])
        assert case.dataset == form and case.id.startswith(f"{form}:")
        for probe in (probe for probe in case.probes if probe.candidates):
            folded = [fold(said) for said in probe.candidates]
            assert len(set(folded)) == len(folded) and 2 <= len(folded) <= 20
            assert not {fold(said) for said in probe.aliases} & set(folded)
            assert probe.kind not in SPECIFICITY or probe.answer == probe.old
            assert "{" not in probe.prompt + probe.prior


@pytest.mark.parametrize("form", wild.RECORDS)
def test_a_seed_decides_everything_and_a_limit_takes_a_sample(tmp_path, form):
    path = wild.write(tmp_path, wild.RECORDS[form]())
    whole = build_cases(f"{form}:{path}", "fact", seed=3)
    assert whole == build_cases(f"{form}:{path}", "fact", seed=3)
    assert build_cases(f"{form}:{path}#head", "fact", 1, 3) == whole[:1]
    samples = [build_cases(f"{form}:{path}", "fact", count, 3) for count in range(1, len(whole) + 1)]
    for smaller, larger in pairwise(samples):
        assert all(case in larger for case in smaller) and len(larger) == len(smaller) + 1
    assert samples[-1] == whole


def test_counterfact_as_published(tmp_path):
    path = wild.write(tmp_path, wild.counterfact())
    result = read_cases(f"counterfact:{path}", "fact")
    case = result.cases[0]
    assert case.request.prompts == ("The mother tongue of {} is",) and case.relation == "P103"
    assert Counter(probe.kind for probe in case.probes) == {
        "efficacy": 1,
        "paraphrase": 2,
        "neighbour": 2,
        "fluency": 1,
    }
    for probe in probes_of(case, "paraphrase"):
        assert (answer(probe), before(probe)) == ("English", "French")
    near, unknown = probes_of(case, "neighbour")
    assert answer(near) == before(near) == "French" and "English" in near.candidates
    assert (near.about, near.prior) == ("Neighbour 0", "The mother tongue of it is")
    assert (unknown.about, unknown.prior) == ("", "")
    assert "4 attribute prompts are left out" in result.notes[0]


@pytest.mark.parametrize("shape", ["list", "text targets", "subject in prompt", "list targets"])
def test_counterfact_in_other_spellings(tmp_path, shape):
    records = wild.counterfact()
    for record in records:
        rewrite = record["requested_rewrite"]
        if shape == "text targets":
            rewrite |= {key: rewrite[key]["str"] for key in ("target_new", "target_true")}
        elif shape == "list targets":
            rewrite |= {key: [rewrite[key]["str"]] for key in ("target_new", "target_true")}
        elif shape == "subject in prompt":
            rewrite["prompt"] = rewrite["prompt"].replace("{}", rewrite["subject"])
        else:
            record["requested_rewrite"] = [rewrite]
    assert cases_of(tmp_path, "counterfact", records) == cases_of(tmp_path, "counterfact")


def test_counterfact_in_the_flat_form(tmp_path):
    path = wild.write(tmp_path, wild.flat())
    assert form_of(located("file", str(path))) == "counterfact"
    case = build_cases(f"counterfact:{path}", "fact")[0]
    assert [probe.kind for probe in case.probes] == ["efficacy", "paraphrase", "neighbour"]
    near = case.probes[2]
    assert answer(near) == "French" and "English" in near.candidates and near.about == "Michel Rocard"


def test_knowedit(tmp_path):
    case = cases_of(tmp_path, "easyedit")[0]
    kinds = Counter(probe.kind for probe in case.probes)
    assert kinds == {"efficacy": 1, "paraphrase": 1, "multi_hop": 1, "alias": 1, "relation": 1, "same_subject": 2,
                     "neighbour": 2, "neighbour_plus": 1}  # fmt: skip
    (hop,) = probes_of(case, "multi_hop")
    assert answer(hop) == "English proper" and hop.aliases == ("English",) and hop.old is None
    (alias,) = probes_of(case, "alias")
    assert (answer(alias), before(alias), alias.aliases) == ("English", "French", ("x-English",))
    specific, forgotten = probes_of(case, "same_subject")
    assert answer(specific) == "Town 0" and specific.aliases == ("City 0",) and "English" in specific.candidates
    assert answer(forgotten) == "Welsh" and "English" not in forgotten.candidates
    assert [answer(probe) for probe in probes_of(case, "neighbour")] == ["Dutch", "Greek"]


UNASKED = "1 questions without their text or an answer are not evaluated"


def test_questions_without_an_answer_are_counted_not_asked(tmp_path):
    records = wild.knowedit()
    records[0]["portability"]["Reasoning"][0]["ground_truth"] = [[]]
    result = read_cases(f"easyedit:{wild.write(tmp_path, records)}", "fact")
    assert not probes_of(result.cases[0], "multi_hop") and result.notes[0] == UNASKED
    effects = wild.ripple()
    effects[0]["Subject_Aliasing"][0]["test_queries"][0]["answers"] = [{"value": "", "aliases": []}]
    result = read_cases(f"ripple_edits:{wild.write(tmp_path, effects)}", "fact")
    assert not probes_of(result.cases[0], "alias") and UNASKED in result.notes


def test_an_id_of_wikidata_in_a_prompt_is_named_and_counted(tmp_path):
    """Its other answers are there; the fault is the id, which no model reads as a name."""
    records = wild.knowedit()
    records[0] |= {"prompt": f"The maker of the Q8000 {records[0]['subject']} is"}
    records[1] |= {"rephrase_prompt": "What of Q8000?"}
    result = read_cases(f"easyedit:{wild.write(tmp_path, records)}", "fact")
    (left,) = result.left_out
    assert left.record == 1 and "holds what reads as an id of Wikidata; write its label" in left.reason
    assert "1 questions that hold an id of Wikidata in place of a name are not evaluated" in result.notes
    assert not any("no other answer" in note for note in result.notes)


@pytest.mark.parametrize("target", ["target_new", "target_false", "target", "edit_target"])
def test_other_names_of_the_target(tmp_path, target):
    records = [
        {"row": i, "prompt": f"The mother tongue of {name} is", "subject": name, "target_true": old, target: new}
        for i, (name, old, new) in enumerate(wild.PEOPLE)
    ]
    path = wild.write(tmp_path, records)
    assert form_of(located("file", str(path))) == "easyedit"
    assert build_cases(str(path), "fact")[0].request.targets == ("English",)


def test_wikibio_names_of_keys(tmp_path):
    records = [
        {"text": f"{name} was a writer who", "concept": name, "labels": f"wrote book {i}."}
        for i, name in enumerate(("Ada Moreau", "Boris Keller"))
    ]
    assert form_of(located("file", str(wild.write(tmp_path, records)))) == "easyedit"
    assert [case.request.targets for case in cases_of(tmp_path, "easyedit", records)] == [
        ("wrote book 0.",),
        ("wrote book 1.",),
    ]


def test_zsre(tmp_path):
    case = cases_of(tmp_path, "zsre")[0]
    efficacy, paraphrase, local = case.probes
    assert (answer(efficacy), before(efficacy)) == ("English", "French") and paraphrase.kind == "paraphrase"
    assert local.prompt == "who wrote play 0?" and answer(local) == "Author 0" and "English" in local.candidates
    for record in (records := wild.zsre()):
        del record["alt"]
    taught = cases_of(tmp_path, "zsre", records)[0]
    assert taught.request.targets == ("French",) and taught.probes[0].old is None
    assert taught.probes[0].aliases == ("French language",)


def test_questions_of_zsre_in_a_list_have_the_answers_in_their_places(tmp_path):
    records = wild.zsre()
    records[0] |= {"loc": ["nq question: who voiced Gaston", "which is Peru's capital"], "loc_ans": ["White", "Lima"]}
    records[1] |= {"loc": ["who voiced Gaston", "which is Peru's capital"], "loc_ans": ["White"]}
    result = read_cases(f"zsre:{wild.write(tmp_path, records)}", "fact")
    near = [(p.prompt, answer(p), p.aliases) for p in probes_of(result.cases[0], "neighbour")]
    assert near == [("who voiced Gaston?", "White", ()), ("which is Peru's capital?", "Lima", ())]
    assert not probes_of(result.cases[1], "neighbour")
    assert result.notes[0] == "2 questions without their text or an answer are not evaluated"


def test_mquake_with_one_rewrite(tmp_path):
    (case,) = cases_of(tmp_path, "mquake")
    hops = probes_of(case, "multi_hop")
    assert [(answer(hop), before(hop), hop.aliases) for hop in hops] == [("Rome", "Paris", ("Roma",))] * 2
    assert [answer(probe) for probe in probes_of(case, "neighbour")] == ["Ada Moreau", "Paris"]
    assert "City of Light" not in {said for probe in case.probes for said in probe.candidates}


def test_mquake_with_several_rewrites_keeps_each_edit_without_the_chain(tmp_path):
    path = wild.write(tmp_path, wild.mquake(2) + wild.mquake(2))
    result = read_cases(f"mquake:{path}", "fact")
    assert [case.id for case in result.cases] == ["mquake:7.1", "mquake:7.2"]
    assert not any(probes_of(case, "multi_hop") for case in result.cases)
    assert "2 records make several edits" in result.notes[0] and "their 4 multi-hop questions" in result.notes[0]


@pytest.mark.parametrize("order", [1, -1])
def test_mquake_makes_a_rewrite_of_several_records_once(tmp_path, order):
    """The record that makes it alone has questions of several hops, so that one is kept, wherever it stands."""
    (one,), (two,) = wild.mquake(1), wild.mquake(2)
    records = [one, two | {"case_id": 8}, two | {"case_id": 9}][::order]
    result = read_cases(f"mquake:{wild.write(tmp_path, records)}", "fact")
    assert {case.id for case in result.cases} == {"mquake:7", "mquake:8.2" if order == 1 else "mquake:9.2"}
    assert len(probes_of(result.cases[0 if order == 1 else 1], "multi_hop")) == 2
    assert result.notes[0].startswith("2 records make several edits at once") and "(3 that other" in result.notes[0]


def test_ripple_edits(tmp_path):
    (case,) = cases_of(tmp_path, "ripple_edits")
    assert case.subject == "Ada of York" and case.request.targets == ("Syria",)
    assert before(case.probes[0]) == "Peru"
    assert Counter(probe.kind for probe in case.probes) == {
        "efficacy": 1, "relation": 1, "multi_hop": 1, "alias": 1, "same_subject": 2,
    }  # fmt: skip
    father, kept = probes_of(case, "same_subject")
    assert answer(father) == "Olaf" and answer(kept) == "Peru" and "Syria" not in kept.candidates


@pytest.mark.parametrize("relation", ["COUNTRY_OF_CITIZENSHIP", "NATIONALITY"])
def test_the_subject_of_a_ripple_edit_is_read_from_the_relation_or_the_questions(tmp_path, relation):
    records = wild.ripple()
    records[0]["edit"]["relation"] = relation
    assert cases_of(tmp_path, "ripple_edits", records)[0].subject == "Ada of York"


def test_lre_draws_the_target_from_its_relation(tmp_path):
    for case in cases_of(tmp_path, "lre"):
        old, new = before(case.probes[0]), case.request.targets[0]
        assert old != new and {old, new} <= {"Italy", "Japan", "Mexico"}
        assert len(probes_of(case, "paraphrase")) == 2
        assert all(answer(probe) != new for probe in probes_of(case, "neighbour"))
    first = cases_of(tmp_path, "lre")[0]
    assert probes_of(first, "neighbour")[0].about == "Pasta"  # the same country comes first


def test_samples_of_a_relation_are_counted_as_records(tmp_path):
    """As the same facts in the form of known_1000 are; a relation without a template leaves out all of its samples."""
    bad = [{"subject": f"Dish {i}"} for i in range(6)]
    whole, most = wild.lre(), wild.lre()
    most["samples"] += bad
    for records, reason in (
        ([most], r"record 1 \(food from country\): samples: record 6: 'object' is missing"),
        (
            [whole, {**most, "prompt_templates": [], "prompt_templates_zs": []}],
            "record 2: 'prompt_templates' is missing",
        ),
    ):
        path = wild.write(tmp_path, records)
        with pytest.raises(BadData, match=f"{len(bad) + 5 * (len(records) - 1)} of {5 * len(records) + 6} .*{reason}"):
            read_cases(f"lre:{path}", "fact")
    whole["samples"] += bad[:4]
    about = check_file(f"lre:{wild.write(tmp_path, [whole])}")
    assert (about["records"], about["cases"], about["left_out"]) == (9, 5, 4)
    assert [one["record"] for one in about["bad"]] == [6, 7, 8, 9]


def test_another_true_object_is_no_wrong_answer_to_a_question_that_should_stay(tmp_path):
    relation = wild.lre()
    relation["samples"] += [{"subject": "Ramen", "object": "China"}, {"subject": "ramen", "object": "Mexico"}]
    about_ramen = [
        probe
        for case in cases_of(tmp_path, "lre", relation)
        for probe in case.probes
        if probe.kind == "neighbour" and fold(probe.about) == "ramen"
    ]
    assert about_ramen
    for probe in about_ramen:
        assert {*probe.aliases, answer(probe)} == {"Japan", "China", "Mexico"}
        assert not set(probe.aliases) & set(probe.candidates)


def test_a_folder_of_relations_takes_turns(tmp_path):
    for name in ("a", "b"):
        wild.write(tmp_path, wild.lre() | {"name": name}, f"{name}.json")
    assert [case.relation for case in build_cases(f"lre:{tmp_path}", "fact")][:4] == ["a", "b", "a", "b"]


def test_known_facts_are_asked_by_their_prompt(tmp_path):
    path = wild.write(tmp_path, wild.known())
    assert form_of(located("file", str(path))) == "lre"
    assert build_cases(str(path), "fact")[0].request.prompts == ("{} originates from",)


def test_mpararel_as_tsv_with_a_folder_of_patterns(tmp_path):
    folder = tmp_path / "patterns" / "en"
    folder.mkdir(parents=True)
    patterns = ["[X] comes from [Y]", "[Y] is where [X] is from", "the home of [X] is [Y] ."]
    (folder / "P495.jsonl").write_text("\n".join(json.dumps({"pattern": one}) for one in patterns))
    rows = [{k: v for k, v in row.items() if k != "pattern"} for row in wild.mpararel() if row["lang"] == "en"]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter="\t")
    writer.writeheader()
    writer.writerows(rows)
    path = wild.write(tmp_path, out.getvalue(), "facts.tsv")
    cases = build_cases(f"{path}#templates={tmp_path / 'patterns'}", "fact")
    assert [case.request.prompts[0] for case in cases] == ["{} comes from"] * 2
    assert probes_of(cases[0], "paraphrase")[0].prompt == "The home of Pizza is"
    with pytest.raises(BadData, match="add `pattern`"):
        build_cases(f"mpararel:{path}", "fact")


def test_mpararel_asks_the_same_fact_in_the_other_language(tmp_path):
    case = cases_of(tmp_path, "mpararel")[0]
    (french,) = probes_of(case, "cross_lingual", "fr")
    assert (french.prompt, answer(french), before(french)) == ("Pizza, pays d'origine :", "Japon", "Italie")


def test_en_fr_in_both_directions(tmp_path):
    path = wild.write(tmp_path, wild.en_fr())
    english, french = (build_cases(f"en_fr:{path}{option}", "fact")[0] for option in ("", "#fr"))
    prompts = [probe.prompt for probe in probes_of(english, "cross_lingual", "fr")]
    assert prompts[0] == "Ada Moreau, langue maternelle :" and prompts[2] == "Langue maternelle d'Ada Moreau :"
    assert [probe.about for probe in english.probes if probe.kind == "neighbour"] == ["Emil Roy", "Emil Roy"]
    assert french.request.lang == "fr" and french.request.targets == ("anglais",)
    (back,) = probes_of(french, "cross_lingual", "en")
    assert (back.prompt, answer(back)) == ("The mother tongue of Ada Moreau is", "English")
    assert all(probe.prior for case in (english, french) for probe in case.probes)


def test_en_fr_leaves_ambiguous_records_out(tmp_path):
    records = wild.en_fr()
    records[1]["ambiguous"] = True
    result = read_cases(f"en_fr:{wild.write(tmp_path, records)}", "fact")
    assert len(result.cases) == 4 and [one.record for one in result.left_out] == [2]
    assert "two relations fit" in result.left_out[0].reason


def test_multilingual(tmp_path):
    path = wild.write(tmp_path, wild.multilingual())
    english, french = (build_cases(f"multilingual:{path}{option}", "fact")[0] for option in ("", "#fr"))
    (crossed,) = probes_of(english, "cross_lingual", "fr")
    assert (answer(crossed), before(crossed)) == ("le English", "le French")
    assert [probe.lang for probe in english.probes if probe.kind == "neighbour"] == ["fr"]
    assert french.request.lang == "fr" and len(probes_of(french, "cross_lingual", "en")) == 2


def test_zsre_in_several_languages(tmp_path):
    records = [{"en": one, "fr": {**one, "src": f"Que parle {one['subject']} ?"}} for one in wild.zsre()]
    path = wild.write(tmp_path, records)
    assert form_of(located("file", str(path))) == "multilingual"
    case = build_cases(str(path), "fact")[0]
    kinds = Counter((probe.kind, probe.lang) for probe in case.probes)
    assert kinds["neighbour", "fr"] == kinds["neighbour", "en"] == 1 and kinds["cross_lingual", "fr"] == 2


def test_multilingual_with_one_language_outside(tmp_path):
    records = [{**one.pop("en"), **one} for one in wild.multilingual()]
    path = wild.write(tmp_path, records)
    assert form_of(located("file", str(path))) == "multilingual"
    assert probes_of(build_cases(str(path), "fact")[0], "cross_lingual", "fr")


def test_options_that_do_not_exist(tmp_path):
    for form in ("en_fr", "mpararel", "multilingual"):
        path = wild.write(tmp_path, wild.RECORDS[form]())
        with pytest.raises(BadRequest, match=r"unknown (option|language)"):
            build_cases(f"{form}:{path}#klingonese", "fact")


@pytest.mark.parametrize("form", [form for form in wild.RECORDS if form != "lre"])
def test_containers_are_alike(tmp_path, form):
    records = wild.RECORDS[form]() * (2 if form in ("mquake", "ripple_edits") else 1)
    whole = cases_of(tmp_path, form, records)
    lines = "\n".join(json.dumps(record) for record in records)
    assert cases_of(tmp_path, form, "\ufeff" + lines + "\n\n", "facts.jsonl") == whole
    assert cases_of(tmp_path, form, {"data": records}) == whole
    assert cases_of(tmp_path, form, {str(i): record for i, record in enumerate(records)}) == whole
