"""The field's tables against numbers worked out by hand, and their intervals against a bootstrap written out."""

from __future__ import annotations

import json
from math import exp, log
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from tests.valley.build import edit, failed, frame
from valley.rows.schema import ADDED, RowsError, preferred, probability_margin
from valley.scores.cases import case_scores
from valley.scores.curve import analyse
from valley.scores.published import TABLES, counterfact_scores, easyedit_scores, our_scores
from valley.text.published import format_scores, varied


def said(kind: str, answer: float, rival: float, lang: str = "en", **more: object) -> dict:
    """A probe with P(answer), P(rival); two tokens and one."""
    return {
        "probe": kind, "lang": lang, "value": 1.0, "logp_after": 2 * log(answer), "logp_rival_after": log(rival),
        "answer_tokens": 2.0, "rival_tokens": 1.0, "token_accuracy_after": 0.5, "token_agreement": 0.25,
    } | more  # fmt: skip


def numbered(*records: dict) -> list[dict]:
    return [r | {"probe_index": i} for i, r in enumerate(records)]


def three_cases() -> pd.DataFrame:
    """Two cases of one subject, one of another that the model did not know."""
    a = numbered(
        said("efficacy", 0.6, 0.2), said("paraphrase", 0.5, 0.1), said("paraphrase", 0.2, 0.4),
        said("neighbour", 0.7, 0.1), said("cross_lingual", 0.1, 0.9, "fr"), said("neighbour", 0.1, 0.9, "fr"),
        said("neighbour_plus", 0.1, 0.2),
        {"probe": "fluency", "lang": "en", "value": 0.9, "entropy_after": 4.0, "reference_score_after": 0.5},
    )  # fmt: skip
    b = numbered(said("efficacy", 0.3, 0.4), said("paraphrase", 0.5, 0.1), said("neighbour", 0.2, 0.3))
    c = numbered(said("efficacy", 0.9, 0.1), said("paraphrase", 0.9, 0.1), said("neighbour", 0.3, 0.3))
    return frame(
        edit("a", a, subject="s"), edit("b", b, subject="s"), edit("c", c, subject="t", known=False), failed(rung="r1")
    )


def test_intervals_hold_their_score_and_stay_within_its_range() -> None:
    """Bits were cut at 1 (an entropy of 4.1 had 1.00 to 1.00), and shares of few cases reached below 0 and above 1."""
    rows = three_cases()
    more = [
        edit(case, numbered(said("efficacy", p, 0.2), said("neighbour", 1 - p, 0.9), {"probe": "fluency", "lang": "en",
             "value": 0.9, "entropy_after": 4 + p}, {"probe": "drift", "lang": "en", "value": 0.9,
             "text_bits_before": 2.0, "text_bits_after": 3 + 2 * p}), subject=case)
        for case, p in (("a", 0.1), ("b", 0.3), ("c", 0.9))
    ]  # fmt: skip
    for table, wide in ((counterfact_scores, {"GE": (0, 99), "EM": (-1, 1), "PM": (-1, 1), "NM": (-1, 1)}),
                        (our_scores, {"bits_en": (-99, 99)}), (easyedit_scores, {"fluency": (0, 99)})):  # fmt: skip
        for some in (rows, frame(*more)):
            line = table(some, "all")
            for name in line.attrs["scores"]:
                value, low, high = (line[f"{name}{end}"].iloc[0] for end in ("", "_low", "_high"))
                least, most = wide.get(name, (0, 1))
                assert np.isnan(low) or least <= low <= value <= high <= most, (name, low, value, high)
        stated = [name for name in wide if f"{name}_low" in line and not np.isnan(line[f"{name}_low"].iloc[0])]
        assert stated, line.attrs["scores"]


def test_counterfact_by_hand() -> None:
    line = counterfact_scores(three_cases(), "all").iloc[0]
    es, ps, ns = (
        np.mean([1, 0, 1]),
        np.mean([0.5, 1, 1]),
        np.mean([1, 0, 0]),
    )  # a draw is no success; French is left out
    assert (line["ES"], line["PS"], line["NS"]) == pytest.approx((es, ps, ns))
    assert line["S"] == pytest.approx(3 / (1 / es + 1 / ps + 1 / ns))
    assert line["EM"] == pytest.approx(np.mean([0.4, -0.1, 0.8]))
    assert line["PM"] == pytest.approx(np.mean([0.1, 0.4, 0.8]))
    assert line["NM"] == pytest.approx(np.mean([0.6, -0.1, 0.0]))
    assert (line["GE"], line["RS"], line["NS+"]) == (4.0, 0.5, 0.0)
    assert (line["n_cases"], line["n_subjects"], line["dataset"]) == (3, 2, "world")


def test_the_composite_counterfact_s_is_made_of_the_published_scores() -> None:
    """It compared sums over tokens, in all languages: an answer of three tokens lost to a rival of one."""
    longer = {"logp_after": -6.0, "answer_tokens": 3.0, "logp_rival_after": -4.0, "logp_old_after": -4.0}
    long = edit("d", numbered(*(said(kind, 0.1, 0.1) | longer for kind in ("efficacy", "paraphrase", "neighbour"))))
    for rows, s in ((three_cases(), None), (frame(long), 1.0)):
        line, cases = counterfact_scores(rows, "all").iloc[0], case_scores(rows)
        for one, name in (("es", "ES"), ("ps", "PS"), ("ns", "NS")):
            assert cases[one].mean() == pytest.approx(line[name]), one
        assert s is None or (line["S"] == s and (cases[["es", "ps", "ns"]] == s).all(axis=None))


def test_only_known_cases_count_by_default() -> None:
    rows = three_cases()
    line = counterfact_scores(rows).iloc[0]
    assert (line["n_cases"], line["ES"], line["NS"]) == (2, 0.5, 0.5)
    assert np.isnan(line["ES_low"])  # one subject cannot tell its own spread
    everywhere = counterfact_scores(rows, "known_everywhere").iloc[0]
    assert everywhere["n_cases"] == 2
    nobody = counterfact_scores(rows.assign(known=False)).iloc[0]
    assert nobody["n_cases"] == 0 and np.isnan(nobody["S"])
    assert json.loads(nobody["gaps"])["ES"] == "no case of this stratum"


def test_zero_specificity_is_no_score() -> None:
    spilt = frame(
        edit("a", numbered(said("efficacy", 0.9, 0.1), said("paraphrase", 0.9, 0.1), said("neighbour", 0.1, 0.9)))
    )
    assert counterfact_scores(spilt).iloc[0]["S"] == 0.0


def test_easyedit_by_hand() -> None:
    probes = numbered(
        said("efficacy", 0.5, 0.1, token_accuracy_after=1.0), said("efficacy", 0.5, 0.1, token_accuracy_after=0.5),
        said("paraphrase", 0.5, 0.1, token_accuracy_after=0.25), said("neighbour", 0.5, 0.1, token_agreement=1.0),
        said("same_subject", 0.5, 0.1, token_agreement=0.0), said("multi_hop", 0.5, 0.1, token_accuracy_after=0.5),
        said("alias", 0.5, 0.1, token_accuracy_after=1.0), {"probe": "fluency", "lang": "en", "entropy_after": 3.0},
    )  # fmt: skip
    line = easyedit_scores(frame(edit("a", probes))).iloc[0]
    names = ["rewrite_acc", "rephrase_acc", "locality_acc", "portability_acc", "fluency"]
    assert line[names].tolist() == [0.75, 0.25, 0.5, 0.75, 3.0]


def test_ours_are_those_of_the_curve() -> None:
    line = our_scores(three_cases(), "all", draws=0).iloc[0]
    assert (line["efficacy"], line["fluency"], line["generalisation"]) == (1.0, 0.9, 1.0)
    assert line["specificity"] == line["score"] == 1.0
    curve = analyse(three_cases(), 1, 0, which="all").curve
    curve = curve[(curve["edit_kind"] == "fact") & (curve["rung"] == "r0")].iloc[0]
    assert line[["score", "generalisation", "specificity"]].equals(curve[["score", "generalisation", "specificity"]])


def test_ours_are_above_the_setting_s_own_placebo_and_name_failed_gates() -> None:
    good = numbered(said("efficacy", 0.5, 0.1), said("paraphrase", 0.5, 0.1), said("neighbour", 0.5, 0.1))
    fake = numbered(*({**probe, "value": 0.2} for probe in good))
    bad = numbered(said("efficacy", 0.5, 0.1, value=0.3), *good[1:])
    parts = [edit(f"c{i}", good) for i in range(3)] + [edit(f"c{i}", fake, method="placebo") for i in range(3)]
    parts += [edit(f"c{i}", bad, method="memit") for i in range(3)]
    table = our_scores(frame(*parts), "all", draws=50)
    by = table.set_index("method")
    assert by.loc["rome", "generalisation"] == 1.0 and by.loc["rome", "score"] == 1.0
    assert np.isnan(by.loc["memit", "score"]) and "placebo" in json.loads(by.loc["memit", "gaps"])["score"]
    assert json.loads(by.loc["memit", "gates"]) == {"efficacy": 0.3} and json.loads(by.loc["rome", "gates"]) == {}
    text = format_scores(table)
    assert "score: harmonic_net_all (above placebo" in text and "Fails a gate: r0, fact by memit (efficacy .30)" in text


def test_beside_ours_exact_match_and_bits() -> None:
    probes = numbered(
        said("efficacy", 0.5, 0.1, exact_after=1.0), said("paraphrase", 0.5, 0.1, exact_after=0.0),
        {"probe": "drift", "lang": "en", "value": 0.9, "text_bits_before": 1.0, "text_bits_after": 1.5},
        {"probe": "drift", "lang": "fr", "value": 0.9, "text_bits_before": 2.0, "text_bits_after": 1.75},
    )  # fmt: skip
    line = our_scores(frame(edit("a", probes)), draws=0).iloc[0]
    assert (line["exact"], line["bits_en"], line["bits_fr"]) == (0.5, 0.5, -0.25)


def test_intervals_are_of_a_bootstrap_of_subjects() -> None:
    """Cases of a subject agree with each other, so their number must not narrow the interval."""
    rng = np.random.default_rng(0)
    hits = rng.integers(0, 2, 30)
    parts = [
        edit(f"{s}-{i}", numbered(said("efficacy", 0.9 if hit else 0.1, 0.5)), subject=f"s{s}")
        for s, hit in enumerate(hits)
        for i in range(6)
    ]
    line = counterfact_scores(frame(*parts), draws=4000).iloc[0]
    means = hits[rng.integers(30, size=(4000, 30))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    assert line["ES"] == hits.mean()
    assert (line["ES_low"], line["ES_high"]) == pytest.approx((low, high), abs=0.04)
    again = counterfact_scores(frame(*parts[::-1]), draws=4000).iloc[0]
    assert (again["ES_low"], again["ES_high"]) == (line["ES_low"], line["ES_high"])


def test_rows_of_an_older_version_say_so() -> None:
    rows = three_cases()
    old = rows.assign(**{name: np.nan for name in ADDED if name not in ("rival", "dose")})
    line = counterfact_scores(old).iloc[0]
    gaps = json.loads(line["gaps"])
    assert np.isnan(line["ES"]) and "older version" in gaps["ES"] and "no fluency probe has a reference" in gaps["RS"]
    text = format_scores(counterfact_scores(old))
    assert "ES, PS, NS, NS+, EM, PM, NM: n/a (an older version wrote this run; run bench again)" in text
    assert our_scores(old).iloc[0]["efficacy"] == 1.0


def test_what_was_not_measured_is_named_per_edit_kind() -> None:
    fact = edit("a", numbered(said("efficacy", 0.5, 0.2), said("neighbour", 0.5, 0.2)))
    rename = edit("b", numbered(said("efficacy", 0.5, 0.2)), edit_kind="rename")
    table = counterfact_scores(frame(fact, rename)).set_index("edit_kind")
    assert "NS" not in json.loads(table.loc["fact", "gaps"])
    assert json.loads(table.loc["rename", "gaps"])["NS"] == "no neighbour probes"


def test_scores_without_probes_share_a_line() -> None:
    text = " ".join(format_scores(our_scores(frame(edit("a", numbered(said("efficacy", 0.5, 0.2)))))).split())
    names, _, _ = text.partition(": n/a (no such probes)")
    assert text.count("no such probes") == 1 and "no alias probes" not in text
    assert {"paraphrase", "neighbour", "alias"} <= set(names.replace(",", "").split())


def test_the_end_of_a_long_path_is_shown() -> None:
    rungs = ("./results/rungs/gpt2-1x64", "./results/rungs/gpt2-2x128")
    rows = [edit("a", numbered(said("efficacy", 0.5, 0.2)), rung=rung) for rung in rungs]
    text = format_scores(our_scores(frame(*rows)))
    assert "\n…ungs/gpt2-1x64 " in text and "\n…ngs/gpt2-2x128 " in text


def test_no_rival_is_no_score() -> None:
    rows = frame(
        edit("a", numbered(said("efficacy", 0.5, 0.2), {"probe": "efficacy", "lang": "en", "logp_after": -1.0}))
    )
    assert preferred(rows).tolist()[0] == 1.0 and np.isnan(preferred(rows)[1])
    assert probability_margin(rows)[0] == pytest.approx(exp(log(0.5)) - 0.2) and np.isnan(probability_margin(rows)[1])


def test_the_text_has_every_setting_and_fits() -> None:
    for table in TABLES.values():
        text = format_scores(table(three_cases(), "all"), "all")
        assert max(map(len, text.splitlines())) <= 120 and "fact edits, world, ladder toy" in text
        assert "rome mlp last .50" in text and "all, known or not" in text
    text = format_scores(counterfact_scores(three_cases(), "all"), "all")
    assert ".67" in text and "-.00" not in text
    assert "fluency kept" not in format_scores(easyedit_scores(three_cases(), "all"), "all")
    with pytest.raises(RowsError, match="no stratum 'some'"):
        counterfact_scores(three_cases(), "some")
    with pytest.raises(RowsError, match="no measured case"):
        counterfact_scores(frame(failed()))


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cli import cli

    (tmp_path / "cells").mkdir()
    three_cases().to_parquet(tmp_path / "cells" / "a.parquet")
    run = CliRunner().invoke
    shown = run(cli, ["scores", str(tmp_path), "--metrics", "counterfact", "--stratum", "all"])
    assert shown.exit_code == 0 and " ES " in shown.output and "1 failed cells are not in these numbers" in shown.output
    about = run(cli, ["scores", str(tmp_path), "--metrics", "easyedit", "--json"])
    assert json.loads(about.stdout)[0]["rewrite_acc"] == 0.5
    assert "score" in run(cli, ["scores", str(tmp_path)]).output
    assert run(cli, ["scores", str(tmp_path), "--csv", str(tmp_path / "made" / "ours.csv")]).exit_code == 0
    written = pd.read_csv(tmp_path / "made" / "ours.csv")
    assert len(written) and {"score", "score_low", "n_cases"} <= set(written)
    wrong = run(cli, ["scores", str(tmp_path), "--metrics", "zsre"])
    assert wrong.exit_code == 2 and "no metrics 'zsre'; use one of ours, counterfact" in wrong.output
    monkeypatch.setitem(TABLES, "mine", counterfact_scores)  # as a file with TABLES adds it
    assert " ES " in run(cli, ["scores", str(tmp_path), "--metrics", "mine", "--stratum", "all"]).output
    wrong = run(cli, ["scores", str(tmp_path / "none")])
    assert wrong.exit_code == 2 and "no such run folder" in wrong.output


def test_settings_that_differ_are_told_apart() -> None:
    settings = [
        {"site": "mlp", "weight": 10.0, "x": None},
        {"site": "mlp", "weight": 100, "x": None},
        {"site": "attn", "weight": 5},
    ]
    block = pd.DataFrame({"method": ["memit", "memit", "rome"], "settings": [json.dumps(one) for one in settings]})
    assert varied(block) == ["weight=10", "weight=100", ""]


def test_free_text_stands_beside_the_candidates() -> None:
    """The same questions twice: what is not read freely counts in neither, nor a sibling that was not written before."""

    def freely(kind: str, value: float, before: float, after: float) -> dict:
        return said(kind, 0.5, 0.1) | {"value": value, "exact_before": before, "exact_after": after}

    rows = numbered(
        freely("efficacy", 1.0, 0.0, 1.0), freely("paraphrase", 1.0, 0.0, 0.0), freely("paraphrase", 1.0, 0.0, 1.0),
        freely("paraphrase", 0.0, np.nan, np.nan), freely("neighbour", 0.0, 1.0, 1.0), freely("neighbour", 0.0, 1.0, 0.0),
        freely("neighbour", 1.0, 0.0, 0.0),
    )  # fmt: skip
    line = TABLES["free_text"](frame(edit("a", rows))).iloc[0]
    assert (line["picked_efficacy"], line["written_efficacy"]) == (1.0, 1.0)
    assert (line["picked_paraphrase"], line["written_paraphrase"]) == (1.0, 0.5)
    assert (line["picked_neighbour"], line["written_neighbour"]) == (0.0, 0.5)
    assert (line["picked"], line["written"]) == pytest.approx((0.0, 0.5))
    assert "picked: among the names" in format_scores(TABLES["free_text"](frame(edit("a", rows))))
