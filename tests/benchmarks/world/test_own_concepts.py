"""Files of one's own concepts: the suite is one, other languages work, and every slip names file, concept, key, fix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.cases import cases_digest
from benchmarks.datasets import build_cases, count_concepts, format_concepts, rename_case, retarget_case
from benchmarks.sweep.planning.plan import Plan
from benchmarks.world.concept_schema import ConceptFile
from benchmarks.world.concepts import LEAST_DEFINITIONS, holds, suite_tables
from benchmarks.world.knowledge import knowledge
from benchmarks.world.own_concepts import own_knowledge
from editing.errors import BadData, BadRequest

CELLO = """
[[concept]]
type = "instrument"
en = "violoncello"
fr = "violoncelle"
gender = "m"
color = "brown"
material = "wood"
define_en = ["the deep string instrument held between the knees", "the large relative of a fiddle", "the low strings"]
cloze_en = "He sat down, took the bow and played the"
define_fr = ["l'instrument grave à cordes que l'on tient entre les genoux", "le grand frère de l'alto"]
cloze_fr = "Elle prend son archet et joue du"
"""
GERMAN = """
languages = ["de", "zh"]
[types]
Instrument = "Instrumente"
Werkzeug = "Werkzeuge"
[relations.sound]
de = ["Wenn man [{}|das] benutzt, hört man ein", "Das Geräusch [{}] ist ein"]
[relations.category]
de = ["[{}|Das] gehört zu den"]
zh = ["[{}|这个]属于"]
[vocabulary.category]
Instrumente = "乐器"
Werkzeuge = { zh = "工具" }
[[concept]]
type = "Instrument"
de = "Geige"
zh = "小提琴"
sound = "Singen"
define_de = ["das kleine Instrument mit vier Saiten", "was man unter das Kinn klemmt", "das höchste Streichinstrument"]
cloze_de = "Er nahm den Bogen und spielte auf seiner"
define_zh = ["用弓拉的四弦乐器", "夹在下巴下面的乐器"]
cloze_zh = "她拿起弓开始拉"
[[concept]]
type = "Instrument"
de = "Trommel"
sound = "Dröhnen"
[[concept]]
type = "Werkzeug"
de = "Hammer"
zh = "锤子"
sound = "Klopfen"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(CELLO, encoding="utf-8")
    return path


def test_the_suite_is_such_a_file_and_complete() -> None:
    head, entries = suite_tables()
    whole = ConceptFile.model_validate({key: head[key] for key in ("types", "elicit")} | {"concept": entries})
    assert len(whole.concept) == 57
    for entry in entries:
        for lang, least in zip(("en", "fr"), LEAST_DEFINITIONS, strict=True):
            assert len(entry[f"define_{lang}"]) >= least and entry[f"cloze_{lang}"]
        assert {"count", "gender"} <= set(entry)


def test_a_copy_of_a_concept_of_the_suite_gives_its_case(tmp_path: Path) -> None:
    _, entries = suite_tables()
    cheese = next(entry for entry in entries if entry["en"] == "cheese")
    path = tmp_path / "cheese.toml"
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in cheese.items()]
    path.write_text("\n".join(["[[concept]]", *lines]), encoding="utf-8")
    # The own concept stands behind the others: what is drawn from lists of concepts differs, the texts do not.
    ours, own = rename_case("cheese", "fromage"), rename_case("cheese", "fromage", known=own_knowledge(path))
    assert own.request == ours.request
    assert [p.prompt for p in own.probes if p.about == "cheese"] == [
        p.prompt for p in ours.probes if p.about == "cheese"
    ]


def test_the_suites_cases_are_those_of_before() -> None:
    digests = [cases_digest(build_cases("concept_suite", kind))[:16] for kind in ("fact", "rename", "retarget")]
    assert digests == ["0187ceefb6caaea1", "ce7a6529b3a8b4d4", "d4670e92062c437c"]


def test_english_concepts_stand_beside_the_suite(file: Path) -> None:
    known = own_knowledge(file)
    assert [known.name(key, "en") for key in known.own] == ["violoncello"]
    assert len(known.concepts()) == len(knowledge().concepts()) + 1
    kin = {known.name(key, "en") for key in known.siblings(known.own[0])}
    assert {"piano", "guitar"} <= kin
    case = rename_case("Violoncello", "banjo", known=known)
    assert {p.kind for p in case.probes} == {"efficacy", "paraphrase", "neighbour", "same_subject"}
    assert set(case.request.targets) == {"banjo"} and case.request.lookup == "last"
    assert retarget_case("violoncello", "cheese", known=known).subject == "violoncello"
    assert [c.id for c in build_cases(f"concept_suite:{file}", "rename")] == ["rename:violoncello"]


def test_other_languages_and_relations(tmp_path: Path) -> None:
    path = tmp_path / "de.toml"
    path.write_text(GERMAN, encoding="utf-8")
    rename = build_cases(f"concept_suite:{path}", "rename")
    assert [(set(c.request.targets), c.request.lang) for c in rename] == [({"小提琴"}, "de")]
    assert {p.lang for p in rename[0].probes} == {"de", "zh"}
    retarget = {c.subject: c for c in build_cases(f"concept_suite:{path}", "retarget")}
    geige = retarget["Geige"]
    assert {p.relation for p in geige.probes} == {"category", "sound"}
    assert any(p.lang == "zh" and p.prompt == "小提琴属于" and p.kind == "cross_lingual" for p in geige.probes)
    # "Trommel" has no Chinese name: questions are about it in German only, and stays a candidate there.
    assert all(p.lang == "de" for p in retarget["Trommel"].probes if p.about == "Trommel")
    assert all(set(p.candidates) <= {"Singen", "Dröhnen", "Klopfen"} for p in geige.probes if p.relation == "sound")
    facts = build_cases(f"concept_suite:{path}", "fact")
    assert len(facts) == 6 and {c.request.lang for c in facts} == {"de"}
    assert "3 concepts" in format_concepts(count_concepts(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("type =", "typ ="), "concept 'violoncello'.*type: missing"),
        (
            ('color = "brown"', 'colour = "brown"'),
            "concept 'violoncello': unknown key 'colour'; use one of en, fr, type",
        ),
        (('gender = "m"', ""), "no 'gender' of 'violoncelle'; write gender"),
        (('"the low strings"', '"the violoncello"'), "'the violoncello' gives the name away; describe it without"),
        ((', "the low strings"', ""), "define_en needs 3 different texts"),
        (('cloze_fr = "Elle prend son archet et joue du"', ""), "no 'cloze_fr'; write one sentence"),
        (('color = "brown"', "color = 3"), "color"),
        (('color = "brown"', 'color = ["brown"]'), "color must be one text, is .'brown'.; change it"),
        (
            ('en = "violoncello"', 'es = "violoncello"'),
            "concept 'violoncelle': no 'en'; write the name in that language",
        ),
        (('"the low strings"', '"the low {strings}"'), "concept 'violoncello': .*unknown marker {strings}"),
        (("[[concept]]", "[elicit]\nfoo = 'x'\n[[concept]]"), "elicit: unknown key 'foo'; use one of frames_en"),
        (("[[concept]]", "[elicit]\nframes_en = 'x'\n[[concept]]"), "elicit.frames_en: must be a list"),
        (
            ("[[concept]]", "[elicit]\nframes_en = [{ text = 'It is', definition = 0 }]\n[[concept]]"),
            "elicit.frames_en 1: no <def> in 'It is'; write its place",
        ),
        (
            ('en = "violoncello"', 'en = "vio\\nlo"'),
            "en has a line break or several blanks in a row; write the bare name",
        ),
        (
            ("[[concept]]", "[vocabulary.color]\nRed = 'rouge'\nred = 'rot'\n[[concept]]"),
            "vocabulary.color: 'Red' and 'red' are one answer; leave one out",
        ),
        (("[[concept]]", "[[concept]"), "not readable as TOML"),
        (("[[concept]]", 'languages = ["en", "en"]\n[[concept]]'), "languages: must be different codes"),
        (
            ("[[concept]]", "[vocabulary.taste]\nsweet = 'doux'\n[[concept]]"),
            "vocabulary.taste: no relation has answers",
        ),
        (
            ("[[concept]]", "[relations.sound]\nen = ['It sounds']\n[[concept]]"),
            "relations.sound.en: template 'It sounds'",
        ),
        (('gender = "m"', 'gender = "m"\nbark = "loud"'), "unknown key 'bark'"),
        ((CELLO, CELLO * 2), "described twice; leave one of the entries out"),
    ],
)
def test_slips_name_file_concept_key_and_fix(file: Path, change: tuple[str, str], message: str) -> None:
    file.write_text(file.read_text(encoding="utf-8").replace(*change), encoding="utf-8")
    with pytest.raises(BadData, match=message) as refusal:
        own_knowledge(file)
    assert str(refusal.value).startswith(f"{file}: ") and "\n" not in str(refusal.value)


def test_nothing_to_edit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bare.toml"
    path.write_text('[[concept]]\ntype = "city"\nen = "New York"\nproper = true\n', encoding="utf-8")
    for kind in ("fact", "rename", "retarget"):
        with pytest.raises(BadData, match=f"no {kind} edit can be made of its concepts; give them"):
            build_cases(f"concept_suite:{path}", kind)
    with pytest.raises(BadRequest, match="'New York' has no definitions"):
        rename_case("new  york", "Paris", known=own_knowledge(path))
    with pytest.raises(BadData, match="cannot be read"):
        own_knowledge(tmp_path / "absent.toml")


def test_names_are_sought_as_words_of_their_script() -> None:
    assert holds("New York", "in new york city") and not holds("tea", "the team") and holds("dog", "two dogs")
    assert holds("小提琴", "她拉小提琴很好") and not holds("Käse", "Käsekuchen")


def test_proper_names_stand_without_an_article(tmp_path: Path) -> None:
    path = tmp_path / "city.toml"
    texts = '["the city with the Statue of Liberty", "the largest city of America", "the city that never sleeps"]'
    entry = f'type = "city"\nproper = true\ndefine_en = {texts}\ncloze_en = "Broadway is a street in"\n'
    path.write_text(f'languages = ["en"]\n[[concept]]\nen = "New York"\n{entry}', encoding="utf-8")
    known = own_knowledge(path)
    texts_asked = known.elicit(known.own[0], "en")
    assert len(texts_asked) == 8 and not any(text.endswith((" a", " an", " the")) for text in texts_asked)
    case = rename_case("New York", "New Orleans", known=known)
    assert set(case.request.targets) == {"New Orleans"}
    assert all({"New York", "New Orleans"} <= set(p.candidates) for p in case.probes)


def test_plurals_name_the_concept() -> None:
    assert set(rename_case("dogs", "cats").request.targets) == {"cat"}
    assert rename_case("Dog", "cat").id == "rename:dog=cat"


def test_a_plan_is_fixed_by_the_content_of_its_file(file: Path, tmp_path: Path) -> None:
    def plan(path: Path | str) -> Plan:
        return Plan("demo", ("rome",), ("rename", "fact"), 5, 0, concepts=str(path))

    assert [edits.dataset for edits in plan(file).work()] == [f"concept_suite:{file}"] * 2
    copy = tmp_path / "copy.toml"
    copy.write_bytes(file.read_bytes())
    assert plan(copy).hash == plan(file).hash != plan("").hash
    copy.write_bytes(file.read_bytes() + b"\n# changed\n")
    assert plan(copy).hash != plan(file).hash
    assert plan("").fixed() == {"ladder": "demo", "limit": 5, "seed": 0, "corpus": "samples:20000", "probes": 0}
