"""What crosses languages: net of siblings, spelling apart, by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from valley.compare.transfer import ALIKE, DIFFERENT, EVERY, GAIN, MIXED, format_transfer, transfer_table
from valley.rows import RowsError


def row(case: str, probe: str, lang: str, value: float, about: str, answer: str, subject: str) -> dict:
    return {
        "ladder": "l", "rung": "r", "rung_index": 0, "method": "rome", "settings": "{}", "edit_kind": "fact",
        "edit_lang": "en", "dataset": "d", "case": case, "subject": subject, "about": about, "answer": answer, "probe": probe,
        "probe_index": 0, "lang": lang, "value": value, "hit_before": 0.0, "error": "", "known": True, "split": "test",
    }  # fmt: skip


def case(
    name: str, subject: str, there: str, target: str, target_there: str, crossed: float, kept: float
) -> list[dict]:
    return [
        row(name, "efficacy", "en", 1.0, subject, target, subject),
        row(name, "cross_lingual", "fr", crossed, there, target_there, subject),
        row(name, "neighbour", "fr", kept, "Italie", "Rome", subject),
    ]


def test_by_hand() -> None:
    rows = pd.DataFrame(
        case("a", "France", "France", "Berlin", "berlin", 1.0, 1.0)
        + case("b", "Spain", "Espagne", "Berlin", "Berlin", 1.0, 0.5)
        + case("c", "Germany", "Allemagne", "London", "Londres", 0.0, 1.0)
    )
    table = transfer_table(rows).set_index("spelling")
    assert list(table["n"]) == [3, 1, 1, 1]
    assert table.loc[ALIKE, "net"] == 1.0 and table.loc[MIXED, "net"] == 0.5 and table.loc[DIFFERENT, "net"] == 0.0
    assert table.loc[EVERY, "net"] == pytest.approx(0.5) and table.loc[EVERY, "cross_lingual"] == pytest.approx(2 / 3)
    assert "different" in format_transfer(table.reset_index())
    with pytest.raises(RowsError, match="no cross-lingual answers"):
        transfer_table(rows.assign(known=False))


def test_the_placebo_and_what_spelling_adds() -> None:
    edits = [
        one
        for i, crossed in enumerate((1.0, 1.0, 1.0))
        for one in case(f"a{i}", "France", "France", "Berlin", "Berlin", crossed, 1.0)
    ]
    edits += [
        one
        for i, crossed in enumerate((1.0, 0.0, 0.0))
        for one in case(f"b{i}", "Germany", "Allemagne", "London", "Londres", crossed, 1.0)
    ]
    settings = {"rome": '{"site": "mlp"}', "placebo": '{"inner": "rome", "options": "{}", "site": "mlp"}'}
    rows = pd.DataFrame(edits).assign(settings=settings["rome"])
    controls = rows.assign(method="placebo", settings=settings["placebo"], value=0.25)
    other = rows.assign(method="placebo", settings='{"inner": "memit", "options": "{}"}', value=1.0)
    table = transfer_table(pd.concat([rows, controls, other])).set_index("spelling")
    assert table.loc[EVERY, "placebo"] == 0.25 and list(table["method"].unique()) == ["rome"]
    gain = table.loc[GAIN]
    assert gain["net"] == pytest.approx(2 / 3) and gain["n"] == 3 and gain["net_low"] < 2 / 3 < gain["net_high"]
    assert pd.isna(transfer_table(rows).set_index("spelling").loc[EVERY, "placebo"])


def test_equal_cases_have_the_interval_of_a_share() -> None:
    """Before: 1 to 1 from three cases."""
    rows = [one for i in range(3) for one in case(f"a{i}", "France", "France", "Berlin", "Berlin", 1.0, 1.0)]
    rows += [one for i in range(3) for one in case(f"b{i}", "Peru", "Pérou", "London", "Londres", 0.0, 1.0)]
    table = transfer_table(pd.DataFrame(rows)).set_index("spelling")
    share = 1 - 0.025 ** (1 / 3)
    assert table.loc[ALIKE, "net"] == 1
    assert table.loc[ALIKE, ["net_low", "net_high"]].tolist() == pytest.approx([1 - 2 * share, 1])
    assert table.loc[GAIN, ["net_low", "net_high"]].tolist() == pytest.approx([1 - 3 * share, 1 + share])


@pytest.mark.parametrize("column", ["dataset", "edit_kind"])
def test_a_case_id_in_two_data_sets_is_two_cases(column: str) -> None:
    """Before: n 1, net .5, and an interval of one case."""
    first, second = (pd.DataFrame(case("a", "France", "France", "Berlin", "Berlin", hit, 1.0)) for hit in (1.0, 0.0))
    table = transfer_table(pd.concat([first, second.assign(**{column: "other"})])).set_index("spelling")
    assert table.loc[ALIKE, "n"] == 2 and table.loc[ALIKE, "net"] == 0.5
    assert table.loc[ALIKE, "net_low"] < 0.5 < table.loc[ALIKE, "net_high"]


def test_a_fact_edited_in_two_languages_is_drawn_as_one() -> None:
    rows = pd.DataFrame(case("a", "France", "France", "Berlin", "Berlin", 1.0, 1.0))
    other = rows.assign(edit_lang="fr", lang=rows["lang"].map({"en": "fr", "fr": "en"}))
    both = pd.concat([rows.assign(dataset="world_facts:en-fr"), other.assign(dataset="world_facts:fr-en")])
    line = transfer_table(both).set_index(["edit_lang", "spelling"]).loc["all", ALIKE]
    assert line["n"] == 2 and line["net"] == 1 and pd.isna(line["net_low"])


def test_pairs_of_languages_are_taken_together_case_by_case() -> None:
    rows = pd.DataFrame(
        case("a", "France", "France", "Berlin", "Berlin", 1.0, 1.0)
        + case("b", "Spain", "Espagne", "London", "Londres", 0.0, 1.0)
        + case("c", "Peru", "Perou", "Rome", "Rom", 0.0, 0.5)
    )
    german = rows[rows["probe"] != "efficacy"].assign(lang="de")
    table = transfer_table(pd.concat([rows, german])).set_index(["edit_lang", "lang", "spelling"])
    alone, both = table.loc["en", "fr", EVERY], table.loc["all", "all", EVERY]
    assert both["n"] == 6 and both["net"] == pytest.approx(alone["net"])
    assert both["net_low"] == pytest.approx(alone["net_low"])  # no more certain: the same three cases
    assert ("all", "all", EVERY) not in transfer_table(rows).set_index(["edit_lang", "lang", "spelling"]).index
