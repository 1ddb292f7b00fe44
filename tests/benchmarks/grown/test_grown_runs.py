"""Options of a grown rung: Zipf's frequencies, models along the training, and trainings that were killed and go on."""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from benchmarks.grown import RungSpec, grow, read_card
from benchmarks.grown.corpus import Corpus, make_corpus
from benchmarks.grown.frequency import extremes, frequencies, ranked_subjects
from benchmarks.grown.resume import StateFile
from benchmarks.grown.train import Recipe, batches, documents
from benchmarks.models import load_model
from benchmarks.world.knowledge import knowledge
from editing.errors import BadData
from tests.benchmarks.forks import fork

TINY = RungSpec("gpt2", 1, 32, countries=8, recipe=Recipe(tokens=10_000, batch=512))
DIES_AT = 11


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return make_corpus(knowledge(people=60))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TINY, grown without a disturbance."""
    return grow(TINY, cache=tmp_path_factory.mktemp("plain"), progress=False)


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_frequencies_follow_zipf_with_a_mean_of_one(corpus: Corpus, exponent: float) -> None:
    weight = frequencies(corpus, exponent, seed=0)
    ranked = ranked_subjects(corpus, 0)
    facts = np.array([s.fact is not None for s in corpus.train])
    assert weight[facts].mean() == pytest.approx(1) and (weight[~facts] == 1).all()
    of = {s.fact.subject: w for s, w in zip(corpus.train, weight, strict=True) if s.fact}
    assert of[ranked[0]] / of[ranked[9]] == pytest.approx(10**exponent)
    assert of[ranked[4]] / of[ranked[-1]] == pytest.approx((len(ranked) / 5) ** exponent)
    assert set(map(type, ranked)) == {str} and ranked != ranked_subjects(corpus, 1)
    assert {subject.partition(":")[0] for subject in ranked[:30]} >= {"human", "concept", "country"}


def test_sentences_are_read_as_often_as_asked() -> None:
    frequency = np.array([0.25, 3.0, 1.5, 0.0])
    sentences = [[10], [20], [30], [40]]
    rng = np.random.default_rng(0)
    read = Counter(i for _ in range(400) for ids in documents(sentences, 16, 0.5, rng, frequency) for i in ids)
    assert read[20] == 1200 and read[40] == 0
    assert 60 < read[10] < 140 and 560 < read[30] < 640
    stream = batches(sentences, 0, Recipe(batch=64, length=16), 0, frequency)
    values = Counter(int(i) for batch in itertools.islice(stream, 60) for i in batch.flat if i > 0)
    assert values[20] > 5 * values[10] > 0 and not values[40]


def test_the_extremes_are_fifths_of_the_subjects(corpus: Corpus) -> None:
    ends = extremes(corpus, seed=0)
    ranked = ranked_subjects(corpus, 0)
    subjects = {end: {s.fact.subject for s in part.train if s.fact} for end, part in ends.items()}
    assert subjects == {"most_frequent": set(ranked[: len(ranked) // 5]), "rarest": set(ranked[-(len(ranked) // 5) :])}
    for part in ends.values():
        assert all(part.sentences(kind, "fr") for kind in ("seen", "template", "language"))


def test_a_zipf_rung_says_what_is_known_of_the_rare_and_the_frequent(plain: Path, tmp_path: Path) -> None:
    card = read_card(grow(replace(TINY, zipf=1.0), cache=tmp_path, progress=False))
    assert set(card["recall_by_frequency"]) == {"most_frequent", "rarest"} and card["spec"]["zipf"] == 1.0
    often, rarely = (card["recall_by_frequency"][end]["seen"]["en"] for end in ("most_frequent", "rarest"))
    assert often["n"] > 50 < rarely["n"]
    assert "recall_by_frequency" not in read_card(plain)


@pytest.mark.slow
def test_models_along_the_training_are_rungs_of_their_own(plain: Path, tmp_path: Path) -> None:
    assert [p for p in plain.parent.iterdir() if p.is_dir()] == [plain], "only where requested"
    done = grow(TINY, cache=tmp_path, progress=False, checkpoints=True)
    assert weights(done) == weights(plain)
    assert TINY.checkpoints == (1, 2, 4, 8, 16) and TINY.recipe.steps == 20
    folders = [grow(replace(TINY, step=step), cache=tmp_path, progress=False) for step in TINY.checkpoints]
    cards = [read_card(folder) for folder in folders]
    assert len({weights(folder) for folder in (*folders, done)}) == 6
    assert [card["step"] for card in cards] == [1, 2, 4, 8, 16] and read_card(done)["step"] == 20
    tokens = [card["tokens"] for card in cards]
    assert tokens == sorted(set(tokens)) and tokens[-1] < read_card(done)["tokens"]
    assert cards[0]["loss"] > cards[-1]["loss"] > read_card(done)["loss"]
    for folder, card in zip(folders, cards, strict=True):
        assert card["weights"] == weights(folder) and card["name"] == f"gpt2-1x32@batch512-step{card['step']}"
        assert load_model(str(folder)).name
    short = replace(TINY, recipe=replace(TINY.recipe, tokens=1))
    assert short.recipe.steps == 1 and short.checkpoints == ()


@pytest.mark.slow
def test_one_model_along_the_way_can_be_asked_for_after_the_training(tmp_path: Path) -> None:
    done = grow(TINY, cache=tmp_path, progress=False)
    stamp = (done / "model.safetensors").stat().st_mtime_ns
    folder = grow(replace(TINY, step=8), cache=tmp_path, progress=False)
    assert folder.name.startswith("gpt2-1x32@batch512-step8-") and read_card(folder)["step"] == 8
    assert (done / "model.safetensors").stat().st_mtime_ns == stamp


def killed(cache: Path, every: float = 0.0, checkpoints: bool = False) -> Path | None:
    """Grows TINY in a process that is killed after step DIES_AT; the state file it left, if any."""

    def die(done: int, total: int, loss: float) -> None:
        if done == DIES_AT:
            os.kill(os.getpid(), signal.SIGKILL)

    cache.mkdir(parents=True, exist_ok=True)
    child = fork(lambda: grow(TINY, cache=cache, progress=die, every=every, checkpoints=checkpoints), cache / "stderr")
    assert child.wait() == -signal.SIGKILL, child.log.read_text()
    return next((cache / "grown").glob(".*.state"), None)


def test_a_killed_training_goes_on_and_ends_with_the_same_weights(plain: Path, tmp_path: Path) -> None:
    state = killed(tmp_path)
    assert state is not None and StateFile(state, {}).steps() == DIES_AT
    litter = state.parent / f".{plain.name}.state.x.tmp"
    litter.write_text("half a state")
    calls: list[int] = []
    regrown = grow(TINY, cache=tmp_path, progress=lambda done, *_: calls.append(done))
    assert calls == list(range(DIES_AT + 1, TINY.recipe.steps + 1))
    assert weights(regrown) == weights(plain) and not state.exists() and not litter.exists()
    own, other = read_card(regrown), read_card(plain)
    assert all(own[key] == other[key] for key in ("loss", "losses", "tokens", "recall"))


@pytest.mark.slow
def test_without_a_state_a_killed_training_begins_anew(tmp_path: Path) -> None:
    assert killed(tmp_path, every=1000.0) is None
    calls: list[int] = []
    grow(TINY, cache=tmp_path, progress=lambda done, *_: calls.append(done))
    assert calls[0] == 1


@pytest.mark.slow
def test_models_along_the_way_survive_a_kill_and_are_made_up_for(tmp_path: Path) -> None:
    spec = replace(TINY, step=8)
    assert killed(tmp_path / "a", checkpoints=True) and killed(tmp_path / "b", checkpoints=False)
    kept = next((tmp_path / "a" / "grown").glob("*-step8-*"))
    stamp = (kept / "model.safetensors").stat().st_mtime_ns
    made = [grow(spec, cache=tmp_path / cache, progress=False) for cache in "ab"]
    assert made[0] == kept and (kept / "model.safetensors").stat().st_mtime_ns == stamp
    assert weights(made[0]) == weights(made[1])
    assert not list((tmp_path / "b" / "grown").glob(".*.state"))


def test_a_state_that_does_not_fit_is_refused_in_one_line(tmp_path: Path) -> None:
    state = killed(tmp_path)
    assert state is not None
    whole = state.read_bytes()
    state.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadData, match=r"\A[^\n]*\.state: not the state of this training[^\n]*delete it[^\n]*\Z"):
        grow(TINY, cache=tmp_path, progress=False)
    state.write_bytes(whole)
    assert load_file(state).keys() > {"weight.transformer.wte.weight", "moment.0.0"}
    other = StateFile(state, {"key": "another"})
    with pytest.raises(BadData, match=r"\A[^\n]*begun as [^\n]* delete the file\Z"):
        other.load(None)  # pyright: ignore[reportArgumentType]
