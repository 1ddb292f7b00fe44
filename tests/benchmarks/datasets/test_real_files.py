"""The real files beside the project, where they are: their form is found out and every record is accounted for."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.datasets.check import check_file
from benchmarks.datasets.reading.sources import located
from benchmarks.datasets.registry import form_of, read_cases

# path, form, records, cases; what is left out was looked at by hand: zsRE's targets that are true already, a relation
# of known_1000 with one object, records of the aligned file that two relations fit.
FILES = (
    ("counterfact_easyedit/counterfact-edit.json", "counterfact", 10_000, 10_000),
    pytest.param("counterfact_easyedit/counterfact-train.json", "counterfact", 10_000, 10_000, marks=pytest.mark.slow),
    pytest.param("counterfact_en_fr/counterfact_en_fr_join.jsonl", "en_fr", 18_304, 17_855, marks=pytest.mark.slow),
    ("known_1000/known_1000.json", "lre", 1_209, 1_208),
    ("lre/data/factual/country_capital_city.json", "lre", 24, 24),
    ("mquake/MQuAKE-hard.json", "mquake", 429, 769),
    ("zsre/zsre_mend_train-1k.json", "zsre", 1_000, 979),
)


@pytest.mark.parametrize(("path", "form", "records", "cases"), FILES, ids=lambda value: str(value).rpartition("/")[2])
def test_counts(shared_data, path, form, records, cases):
    file = shared_data / path
    assert form_of(located("file", str(file))) == form
    result = read_cases(f"{form}:{file}", "fact", 200)
    assert len(result.cases) == min(200, cases) and result.records == records
    assert len(result.cases[0].probes[0].candidates) == 20 or form == "lre"
    if form != "mquake":  # whose records hold several cases each
        assert len(result.left_out) == records - cases


@pytest.mark.slow
def test_the_whole_folder_of_relations(shared_data):
    result = read_cases(f"lre:{shared_data / 'lre' / 'data'}#head", "fact", 94)
    assert (result.records, len(result.left_out)) == (11_089, 2)  # two mothers are ids of Wikidata
    assert Counter(case.relation for case in result.cases).most_common(1)[0][1] == 2  # 47 relations take turns


def test_check_counts_languages_and_kinds(shared_data):
    about = check_file(str(shared_data / "zsre" / "zsre_mend_train-1k.json"))
    assert (about["form"], about["records"], about["cases"], about["left_out"]) == ("zsre", 1000, 979, 21)
    assert about["probes"] == {"efficacy en": 979, "neighbour en": 979, "paraphrase en": 979}
    assert about["edited_in"] == {"en": 979} and len(about["bad"]) == 21 and len(about["account"]) == 9
    assert "name no language" in about["account"][-1]


@pytest.mark.slow
def test_french_is_written_right_on_real_names(shared_data):
    file, templates = (
        shared_data / "counterfact_en_fr" / "counterfact_en_fr_join.jsonl",
        shared_data / "mpararel_patterns",
    )
    result = read_cases(f"en_fr:{file}#fr#templates={templates}", "fact", 2000)
    french = [probe for case in result.cases for probe in case.probes if probe.lang == "fr"]
    assert len(french) > 8000 and all(probe.prompt.endswith(" :") and probe.prior for probe in french)
    particles = Counter()
    for probe in french:
        if probe.prompt.endswith(f" de {probe.about} :") or probe.prompt.endswith(f" d'{probe.about} :"):
            elided = probe.prompt.endswith(f"d'{probe.about} :")
            assert elided == (probe.about[0].lower() in "aàâeéèêiîoôuœæáóåäöøúíü"), probe.prompt
            assert probe.about[0].lower() not in "hy" and not probe.about.lower().startswith(("le ", "les ", "la "))
            particles[elided] += 1
    assert particles[True] > 100 and particles[False] > 500
    crossed = [probe for case in result.cases for probe in case.probes if probe.kind == "cross_lingual"]
    assert {probe.lang for probe in crossed} == {"en"} and len(crossed) > 2 * len(result.cases)
