"""Grown rungs: a name such as `gpt2-2x128` becomes a folder with a trained transformer, made once and kept.

    valley ladder grow NAME        # every rung of a ladder; `grown:gpt2-2x128` grows that one when it is first used

A folder holds what transformers writes (config.json, model.safetensors, tokenizer files) and `card.json`. Its name ends
in a hash
of everything that decides the weights: the specification, the world's text, the tokenizer and the trainer's version.
Models along the training are folders of their own, see `benchmarks/grown/spec.py` for their names. A training that was
killed goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.grown.corpus import Corpus, make_corpus
from benchmarks.grown.frequency import extremes, frequencies
from benchmarks.grown.recall import measure_recall
from benchmarks.grown.recipe import Recipe
from benchmarks.grown.resume import EVERY, StateFile
from benchmarks.grown.spec import ARCHITECTURES, KNOWN, RungSpec, build
from editing.cache import cache_root
from editing.errors import BadModel
from editing.files import atomic_folder, locked
from editing.lazy import torch, transformers
from editing.model import find_device
from editing.progress import progress as progress_bar
from editing.references import CARD, quiet_transformers

if TYPE_CHECKING:
    from benchmarks.grown.train import Stopwatch, Trainer

TRAINER_VERSION = 1


Progress = Callable[[int, int, float], None]

__all__ = ["ARCHITECTURES", "KNOWN", "RungSpec", "build", "ground", "grow", "is_grown", "read_card"]


@dataclass(frozen=True)
class Ground:
    """What a rung grows on: the text, the tokenizer trained on it, and a hash of both and of the specification."""

    corpus: Corpus
    tokenizer: Any
    key: str


@lru_cache(maxsize=2)  # the rungs of a ladder mostly grow on one text, and each is looked for before it is loaded
def _plain_text(spec: RungSpec) -> tuple[Corpus, Any]:
    """The text without news, and the tokenizer trained on it."""
    from benchmarks.grown.tokenizer import train_tokenizer

    corpus = make_corpus(spec.world, spec.split, switch=spec.switch)
    return corpus, train_tokenizer(corpus.texts, spec.vocabulary, spec.recipe.length)


def ground(spec: RungSpec) -> Ground:
    """The text and the tokenizer of a rung."""
    same = {"architecture": "gpt2", "layers": 1, "width": 32, "seed": 0, "zipf": 0.0, "long": 0.0}
    recipe = Recipe(length=spec.recipe.length)
    plain, tokenizer = _plain_text(replace(spec, **same, edits=0, scope="", step=0, recipe=recipe))
    # News is written in the tokens of the world without it, so that both models answer in the same tokens.
    corpus = make_corpus(spec.world, spec.split, spec.news, spec.switch) if spec.edits else plain
    parts = [spec.identity(), corpus.hash, tokenizer.backend_tokenizer.to_str(), TRAINER_VERSION]
    return Ground(corpus, tokenizer, hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest())


def grow(
    name: str | RungSpec,
    *,
    cache: Path | None = None,
    progress: Progress | bool | None = None,
    device: str = "cpu",
    checkpoints: bool = False,
    every: float = EVERY,
) -> Path:
    """The folder of a grown rung, trained now if it is not there yet. Two processes growing the same rung make it once.

    A training that was stopped or killed goes on from its last state and ends with the same weights.

    Args:
        name: such as `gpt2-2x128`, `llama-4x192-s1@people250`, `gpt2-2x128@step64`, or a full specification.
        cache: folder to keep rungs in (in its sub-folder `grown`); default `editing.cache.cache_root()`.
        progress: called after every step with steps done, steps in all, and the loss in nats; default a bar on stderr;
            False shows nothing.
        device: where to train. The weights of one device are not bit for bit those of another.
        checkpoints: also keep the models along the way (`RungSpec.checkpoints`), each as a rung. Asking for one of
            them by its name makes them all.
        every: seconds of training between two states to go on from.

    Raises:
        BadModel: not the name of a grown rung, no such device. BadData: the cache cannot be written, or holds a damaged
            state.
    """
    spec = RungSpec.parse(name) if isinstance(name, str) else name
    run = spec.finished
    on = ground(run)
    place = _Place((cache or cache_root()) / "grown", run, on)
    specs = [spec, *([replace(run, step=step) for step in run.checkpoints] if checkpoints else ())]
    if all(place.has(one) for one in specs):
        return place.folder(spec)
    with locked(place.folder(run)):
        if not all(place.has(one) for one in specs):
            place.sweep()
            where = find_device(None if device == "auto" else device)
            _train(place, checkpoints or bool(spec.step), progress, where, every)
    return place.folder(spec)


def is_grown(name: str, cache: Path | None = None) -> bool:
    """Whether the rung called `name` is there, so that `grow` would train nothing.

    Raises:
        BadModel: not the name of a grown rung.
    """
    spec = RungSpec.parse(name)
    return _Place((cache or cache_root()) / "grown", spec.finished, ground(spec.finished)).has(spec)


@dataclass(frozen=True)
class _Place:
    """Where the folders of one training are: the finished model's and those along the way."""

    root: Path
    run: RungSpec
    on: Ground

    def folder(self, spec: RungSpec) -> Path:
        return self.root / f"{spec.name}-{self.on.key[:12]}"

    def has(self, spec: RungSpec) -> bool:
        return (self.folder(spec) / CARD).is_file()

    def along(self) -> tuple[RungSpec, ...]:
        return tuple(replace(self.run, step=step) for step in self.run.checkpoints)

    def sweep(self) -> None:
        """Removes what a killed training left half written. To be called by the holder of the lock."""
        for spec in (self.run, *self.along()):
            for left in self.root.glob(f".{self.folder(spec).name}.*.tmp"):
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)

    def put(self, spec: RungSpec, model: Any, card: dict[str, Any]) -> None:
        """Writes the folder of `spec` with its card, which gets the hash of the weights."""
        with quiet_transformers(), atomic_folder(self.folder(spec)) as temporary:
            model.save_pretrained(temporary)
            self.on.tokenizer.save_pretrained(temporary)
            card["weights"] = hashlib.sha256((temporary / "model.safetensors").read_bytes()).hexdigest()
            (temporary / CARD).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _train(
    place: _Place, checkpoints: bool, progress: Progress | bool | None, device: torch.device, every: float
) -> None:
    """Trains, or goes on training, the run of `place` and writes the folders that are not there yet."""
    from benchmarks.grown.train import Stopwatch, Trainer

    spec, on = place.run, place.on
    sentences = on.tokenizer(on.corpus.texts)["input_ids"]
    end = on.tokenizer.eos_token_id
    model = build(spec, len(on.tokenizer), end).to(device)
    frequency = frequencies(on.corpus, spec.zipf, spec.split.seed) if spec.zipf else None
    trainer = Trainer(model, sentences, end, spec.recipe, spec.seed, frequency)
    along = {one.step: one for one in place.along()} if checkpoints else {}
    identity = {"key": on.key, "device": device.type, "products": str(trainer.dtype)}
    state = StateFile(place.root / f".{place.folder(spec).name}.state", identity, every)
    if any(step <= state.steps() and not place.has(one) for step, one in along.items()):
        state.drop()  # the models along the way were not requested when this training began
    clock = Stopwatch(state.load(trainer))
    shown = not (callable(progress) or progress is False)
    bar = progress_bar(spec.recipe.steps, f"growing {spec.name}: ", "steps", done=trainer.done, show=shown)

    def show(done: int, total: int, loss: float) -> None:
        bar.update(done - bar.n)
        bar.set_postfix(loss=f"{loss:.2f}", refresh=False)

    def after() -> None:
        one = along.get(trainer.done)
        if one and not place.has(one):
            with clock.paused():
                place.put(one, model, _card(one, on, trainer, clock, device))
        if state.due() and trainer.done < spec.recipe.steps:
            with clock.paused():
                state.save(trainer, clock.read())

    try:
        trainer.run(progress if callable(progress) else show, after)
        with clock.paused():
            card = _card(spec, on, trainer, clock, device)
    finally:
        bar.close()
    if not place.has(spec):
        model.cpu()
        place.put(spec, model, card)
    state.drop()


def _card(spec: RungSpec, on: Ground, trainer: Trainer, clock: Stopwatch, device: torch.device) -> dict[str, Any]:
    """What there is to say about the model as it is now."""
    from benchmarks.grown.train import one_torch_thread, product_dtype

    spent, model = clock.read(), trainer.model
    with one_torch_thread():
        recall = measure_recall(model, on.tokenizer, on.corpus)
        ends = extremes(on.corpus, spec.split.seed) if spec.zipf else {}
        by_frequency = {end: measure_recall(model, on.tokenizer, part) for end, part in ends.items()}
    tokens = sum(len(ids) for ids in on.tokenizer(on.corpus.texts)["input_ids"])
    log = list(trainer.log)
    if trainer.since:
        log.append((trainer.done, sum(trainer.since) / len(trainer.since)))
    return {
        "name": spec.name,
        "spec": spec.identity() | ({"step": spec.step} if spec.step else {}),
        "key": on.key,
        "trainer_version": TRAINER_VERSION,
        "world": {
            "seed": spec.split.seed,
            "facts": len(spec.world.facts),
            "sentences": len(on.corpus.train),
            "tokens": tokens,
            "text": on.corpus.hash,
        },
        "parameters": sum(p.numel() for p in model.parameters()),
        "vocabulary": len(on.tokenizer),
        "step": trainer.done,
        "steps": spec.recipe.steps,
        "tokens": trainer.seen,
        "loss": log[-1][1],
        "losses": [[step, round(loss, 4)] for step, loss in log],
        "recall": recall,
        **({"recall_by_frequency": by_frequency} if by_frequency else {}),
        **spent,
        "tokens_per_second": round(trainer.seen / max(spent["seconds"], 1e-9)),
        "device": str(device),
        "products": str(product_dtype(device)).removeprefix("torch."),
        "cores": os.cpu_count(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }


def read_card(folder: Path | str) -> dict[str, Any]:
    """The card of a grown rung's folder.

    Raises:
        BadModel: no card there, or not JSON.
    """
    path = Path(folder) / CARD
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadModel(
            f"{path}: not the card of a grown rung ({error.__class__.__name__}); grow the rung again"
        ) from error
