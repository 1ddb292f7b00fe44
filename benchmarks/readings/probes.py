"""Probes: whether an entity's category or attribute can be read linearly off its state, in one language and the other.

Dense probes read the output of a block at the last token of the name; k-sparse ones the k inputs of the block's edited
map (neurons of the MLP) that distinguish the classes best (Gurnee et al. 2023). Entities are held out in folds: a probe
is trained on some entities in the first language and tested on others, in both languages. The mean state of each
language is taken off, as a constant difference between languages would hide what they share.

A probe with enough weights also learns labels that mean nothing. `dense_recall` asks about the entities of the training
in other sentences; its control `random_labels` gives every entity a label at random, and the difference is the
selectivity of Hewitt and Liang 2019, "Designing and interpreting probes with control tasks".
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmarks.readings.base import Reading, Row, row
from benchmarks.readings.prompts import ReadingInput, block_states
from benchmarks.readings.prompts.linear_maps import fit_classes, most_telling, predict
from editing.errors import NoSite
from editing.seeds import seed_for
from editing.solve import setting, states

LEAST = 3  # entities of a class, and classes of a relation


@dataclass(frozen=True)
class Probes(Reading):
    """Classes are the answers of a relation that at least LEAST entities share."""

    name: ClassVar[str] = "probes"
    summary: ClassVar[str] = "linear probes for category and attributes, evaluated in the other language too"
    measures: ClassVar[dict[str, str]] = {
        "dense": "accuracy of a linear probe of the block's output on entities that it was not trained on",
        "sparse": "the same for the best k neurons that enter the edited map of the block",
        "dense_recall": "accuracy of the dense probe on its own entities in other sentences",
    }

    k: int = setting(8, "neurons of a sparse probe", unit="neurons", least=1)
    folds: int = setting(5, "folds of entities", least=2)
    draws: int = setting(3, "draws of the control with random labels", least=1)

    def rows(self, source: ReadingInput) -> list[Row]:
        layers = self.chosen_layers(0, source.lm.n_layers - 1)
        out = []
        for relation in source.material.relations:
            out += self._relation(source, relation, layers)
        return out

    def _relation(self, source: ReadingInput, relation: str, layers: list[int]) -> list[Row]:
        first = source.material.langs[0]
        answers = {q.entity: q.answer for q in source.material.questions if q.relation == relation and q.lang == first}
        count = Counter(answers.values())
        classes = [answer for answer, n in count.items() if n >= LEAST]
        entities = [name for name, answer in answers.items() if answer in classes]
        if len(classes) < LEAST:
            return [row("dense", np.nan, relation=relation, lang=first, n=len(entities))]
        labels = np.array([classes.index(answers[name]) for name in entities])
        out = []
        read = {lang: self._features(source, relation, lang, entities, layers) for lang in source.material.langs}
        for at, layer in enumerate(layers):
            for control, draws in (("none", 1), ("random_labels", self.draws)):
                scores: dict[tuple[str, str], list[float]] = {}
                for draw in range(draws):
                    rng = np.random.default_rng(seed_for(self.seed, f"probes/{relation}/{layer}/{control}/{draw}"))
                    drawn = labels if control == "none" else rng.permutation(labels)
                    for key, value in self._scores(read, first, at, drawn, len(classes), rng).items():
                        scores.setdefault(key, []).append(value)
                for (measure, lang), values in scores.items():
                    about = {"layer": layer, "position": "subject_last", "lang": lang, "relation": relation}
                    out.append(row(measure, float(np.mean(values)), control=control, n=len(entities), **about))
            chance = float((np.bincount(labels).max()) / len(labels))
            about = {"layer": layer, "position": "subject_last", "relation": relation, "n": len(entities)}
            out += [row(m, chance, lang=first, control="majority", **about) for m in ("dense", "sparse")]
        return out

    def _features(
        self, source: ReadingInput, relation: str, lang: str, entities: list[str], layers: list[int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Outputs (n, sentences, layers, d), neurons (n, sentences, layers, d_in) and which entities are named, (n,)
        bool; None where the language does not ask for the relation."""
        places: dict[str, list[int]] = {}
        for i in source.choose(relation, lang):
            places.setdefault(source.question(i).entity, []).append(i)
        sentences = max((len(p) for p in places.values()), default=0)
        named = np.array([len(places.get(name, [])) == sentences for name in entities])
        if not sentences or not named.any():
            return None
        prompts = [source.prompts[i] for name, ok in zip(entities, named, strict=True) if ok for i in places[name]]
        out = block_states(source.lm, prompts, layers).double().numpy()
        try:
            sites = [source.lm.sites("mlp")[layer].path for layer in layers]
            seen = states(source.lm, prompts, [(path, "input") for path in sites])
            neurons = np.stack([seen[path, "input"].double().numpy() for path in sites], 1)
        except NoSite:  # an attention-only model has no neurons: its sparse probe reads the block's output
            neurons = out

        def spread(values: np.ndarray) -> np.ndarray:
            full = np.zeros((len(entities), sentences, *values.shape[1:]))
            full[named] = values.reshape(int(named.sum()), sentences, *values.shape[1:]) - values.mean(0)
            return full

        return spread(out), spread(neurons), named

    def _scores(
        self, read: dict, first: str, at: int, labels: np.ndarray, classes: int, rng: np.random.Generator
    ) -> dict[tuple[str, str], float]:
        """(measure, language) -> accuracy; languages other than the first read "first-other"."""
        outputs, _, named = read[first]
        fold = rng.permutation(np.arange(len(labels)) % self.folds)
        hits: dict[tuple[str, str], list[np.ndarray]] = {}
        for held in range(self.folds):
            train = (fold != held) & named
            for measure, which in (("dense", 0), ("sparse", 1)):
                features = read[first][which].mean(1)[:, at]
                columns = np.arange(features.shape[1])
                if measure == "sparse":
                    columns = most_telling(features[train], labels[train], self.k)
                weights = fit_classes(features[train][:, columns], labels[train], classes)
                for lang, there in read.items():
                    if there is None:
                        continue
                    test = (fold == held) & there[2]
                    said = predict(weights, there[which].mean(1)[test][:, at][:, columns])
                    name = lang if lang == first else f"{first}-{lang}"
                    hits.setdefault((measure, name), []).append(said == labels[test])
        if outputs.shape[1] > 1:
            weights = fit_classes(outputs[named][:, 0, at], labels[named], classes)
            said = predict(weights, outputs[named][:, 1:, at].reshape(-1, outputs.shape[-1]))
            hits["dense_recall", first] = [said == np.repeat(labels[named], outputs.shape[1] - 1)]
        return {key: float(np.concatenate(values).mean()) for key, values in hits.items()}
