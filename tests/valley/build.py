"""Synthetic rows with known answers, made through the table's own constructor."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from valley.rows.schema import to_frame

NAN = float("nan")


def probes(**kinds: list[float]) -> list[dict]:
    """Probe records from `kind=[values]`; `kind_fr=[values]` asks in French."""
    out = []
    for name, values in kinds.items():
        kind, lang = (name.removesuffix("_fr"), "fr") if name.endswith("_fr") else (name, "en")
        out += [
            {"probe": kind, "lang": lang, "value": v, "reason": "wrong before the edit" if v != v else ""}
            for v in values
        ]
    return [p | {"probe_index": i} for i, p in enumerate(out)]


def edit(case: str, values: list[dict], **more: object) -> list[dict]:
    """The rows of one edited case; `more` overrides columns."""
    rung = str(more.get("rung", "r0"))
    base: dict[str, object] = {
        "ladder": "toy", "rung": rung, "rung_index": 0, "run_seed": 0, "model": f"grown:{rung}", "model_hash": f"h-{rung}",
        "bits_per_byte_en": 2.0, "parameters": 1e6, "n_layers": 2, "method": "rome", "settings": json.dumps({"depth": 0.5}),
        "site": "mlp", "lookup": "last", "depth": 0.5, "edit_kind": "fact", "dataset": "world", "case": case,
        "subject": case, "relation": "capital", "split": "test", "known": True,
        "prompt": f"The capital of {case} is", "answer": "Rome", "old": "Paris", "text_before": " Paris", "text_after": " Rome",
    }  # fmt: skip
    base |= more
    base.setdefault("cell", "-".join(str(base[k]) for k in ("rung", "method", "settings", "edit_kind", "run_seed")))
    return [base | p for p in values]


def failed(**more: object) -> dict:
    return {"cell": "bad", "ladder": "toy", "rung": "r0", "rung_index": 0, "method": "rome", "settings": "{}",
            "edit_kind": "fact", "error": "covariance is singular"} | more  # fmt: skip


def frame(*parts: list[dict] | dict) -> pd.DataFrame:
    return to_frame([row for part in parts for row in (part if isinstance(part, list) else [part])])


def ladder(n_rungs: int = 3, n_cases: int = 12, kinds: tuple[str, ...] = ("fact",)) -> pd.DataFrame:
    """Rungs of rising strength, two settings each, a third of the cases dev; all scores vary by case."""
    parts = []
    for r in range(n_rungs):
        for kind in kinds:
            for depth in (0.3, 0.7):
                for c in range(n_cases):
                    hit = [float((c + i + r) % 3 > (depth > 0.5)) for i in range(3)]
                    keep = [float((c * 7 + i + r) % 4 > 0) for i in range(2)]
                    parts.append(edit(
                        f"{kind}-{c:02d}", probes(efficacy=[1.0], paraphrase=hit, neighbour=keep, drift=[0.9]),
                        rung=f"r{r}", rung_index=r, bits_per_byte_en=3.0 - r, parameters=10.0 ** (5 + r), depth=depth,
                        settings=json.dumps({"depth": depth}), edit_kind=kind, relation=f"rel{c % 3}",
                        split="dev" if c % 3 == 0 else "test",
                    ))  # fmt: skip
    return frame(*parts)


def seeded(
    curve: list[float],
    seeds: int = 2,
    methods: tuple[str, ...] = ("rome", "memit"),
    kinds: tuple[str, ...] = ("fact",),
    luck: float = 0.01,
    n_cases: int = 24,
    **kept: float,
) -> pd.DataFrame:
    """Sizes of rising strength whose generalisation follows `curve` at full specificity, with luck of training per
    seed.

    Probes: paraphrase, cross_lingual, relation (all the case's score) and neighbour (1 unless `kept` says otherwise).
    """
    rng, parts = np.random.default_rng(0), []
    facts = rng.normal(0, 0.05, n_cases)
    for i, level in enumerate(curve):
        for s in range(seeds):
            trained = rng.normal(0, luck)
            for method in methods:
                shift = trained + rng.normal(0, luck / 2) + rng.normal(0, 0.02, n_cases)
                for kind in kinds:
                    for c, value in enumerate(np.clip(level + kept.get(kind, 0.0) + shift + facts, 0, 1)):
                        held = kept.get("neighbour", 1.0)
                        values = probes(
                            paraphrase=[value], cross_lingual_fr=[value], relation=[value], neighbour=[held]
                        )
                        values.append(values[-1] | {"lang": "fr", "probe_index": len(values)})
                        parts.append(edit(
                            f"{kind}-{c:02d}", values, rung=f"m{i}" + (f"-s{s}" if s else ""), rung_index=i * seeds + s,
                            bits_per_byte_en=3 - 0.2 * i, bits_per_byte_world_en=1 - 0.1 * i, parameters=10.0 ** (5 + i / 2), known_rate_en=0.1 * i, known_facts=400.0, method=method, model="toy",
                            settings="{}", edit_kind=kind, relation=f"rel{c % 4}", subject=f"{kind}-{c:02d}",
                        ))  # fmt: skip
    return frame(*parts)
