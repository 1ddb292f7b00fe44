"""What a method needs of the unedited model: context prefixes and key covariances, kept on disk.

Nothing here is global: two models, or two corpora, never share a number. Files are named by the hashes of the weights,
of tokenizer and configuration, and of the corpus, and are written in one step, so that several processes may fill one
cache.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from safetensors import SafetensorError, safe_open

from editing.cache import cache_root
from editing.errors import BadData, BadRequest, OutOfMemory
from editing.files import atomic_file
from editing.lazy import tensor_files, torch
from editing.model import USABLE, LanguageModel, Site, covariance_groups, free_memory
from editing.seeds import check_seed
from editing.stats.corpus import check_corpus
from editing.stats.covariance import Covariance, covariances
from editing.stats.error_corpus import LIMIT, ROUND, covariances_to_error, parse_error
from editing.stats.guards import covariance_warnings, refuse_few_tokens, refuse_infinite
from editing.stats.hub_corpus import HubCorpus
from editing.stats.sampling import sample_prefixes, sample_tokens
from editing.stats.text_corpus import read_texts

VERSION = 2
# Of the text drawn from a model. A step reads all weights, so the 157 sequences of CORPUS are drawn at once. Raise
# DRAWS when the same seed gives other text, HALF when it does in bfloat16 alone.
SAMPLE_LENGTH, SAMPLES_AT_ONCE, DRAWS, HALF = 128, 160, 2, " bfloat16 2"


class ModelStatistics:
    """Prefixes, covariances and their Cholesky factors of one model.

    Args:
        lm: the unedited model.
        cache: folder to keep results in; None means the project's cache.
        corpus: "samples:N" (N tokens drawn from the model itself), "error:E" (as many tokens drawn from the model,
            20,000 at most, as a relative error E of each covariance needs; see editing/stats/error_corpus.py),
            "text:PATH" (a text file, or a folder of .txt files), "hub:OWNER/NAME[:COLUMN[:TOKENS]]" (200,000 tokens of
            a hub data set's column "text"), or "identity" (C = I, as EasyEdit's ROME files silently do; here it must be
            named).
        seed: of the samples and prefixes.
        ridge: added to C's diagonal, as a share of its mean, before a solve.
        progress: called as progress(label, done, total): "sampling" in tokens, "covariance" in sequences.
        memory: returns the free bytes where the model runs; None means measured on the machine.
        sampler: the model to draw "samples:N" or "error:E" from instead of `lm`; it has the same tokenizer.

    Raises:
        BadRequest: a corpus of another form, a seed that no generator takes.
        BadData: a hub data set that is not there.
    """

    def __init__(
        self,
        lm: LanguageModel,
        cache: Path | None = None,
        corpus: str = "samples:20000",
        seed: int = 0,
        ridge: float = 1e-4,
        progress: Callable[[str, int, int], None] | None = None,
        memory: Callable[[], int] | None = None,
        sampler: LanguageModel | None = None,
    ) -> None:
        check_corpus(corpus)
        check_seed(seed)
        kind, _, value = corpus.partition(":")
        self._hub = HubCorpus.parse(value) if kind == "hub" else None
        self._files = self._hub.files() if self._hub else []
        self.lm, self.corpus, self.seed, self.ridge = lm, corpus, seed, ridge
        root = (cache if cache is not None else cache_root()) / "statistics"
        self._sampler = sampler or lm
        self._cache, self._drawn = (root / _folder_of(one) for one in (lm, self._sampler))
        self._progress, self._memory = progress, memory
        self._covariances: dict[str, Covariance] = {}
        self._factors: dict[str, torch.Tensor] = {}
        self._spectra: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        self._prefixes: dict[str, tuple[str, ...]] = {}
        self._folder: Path | None = None  # of the covariances, once one was needed

    def __repr__(self) -> str:
        sites = f"{len(self._covariances)} covariances"
        return f"ModelStatistics({self.lm.name!r}, {self.corpus!r}, seed={self.seed}, {sites}, in {self._cache})"

    def refuse_other(self, lm: LanguageModel) -> None:
        """Check that these are statistics of `lm`: those of another model of its shape would fit without an error.

        Raises:
            BadRequest: they are of other weights, or of the same ones behind another tokenizer, configuration or first
                token.
        """
        if self.lm is lm:
            return
        if self.lm.weight_hash != lm.weight_hash:
            raise BadRequest(
                f"statistics of {self.lm.name} (weights {self.lm.weight_hash[:12]}), but the model is {lm.name} "
                f"({lm.weight_hash[:12]}); make them with Statistics(lm) of that model"
            )
        if (self.lm.reading_hash, self.lm.prefix_ids) != (lm.reading_hash, lm.prefix_ids):
            raise BadRequest(
                f"statistics of {self.lm.name}, but {lm.name}, of the same weights, has another tokenizer, "
                "configuration or first token; make them with Statistics(lm) of that model"
            )

    def prefixes(self, counts: dict[int, int]) -> tuple[str, ...]:
        """Texts of the unedited model to put before a prompt; `counts` maps a length in tokens to how many."""
        key = json.dumps(counts)  # in their order, which is that of the texts
        if key not in self._prefixes:
            path = self._cache / f"prefixes-{_short(f'{VERSION} {self.seed} {key} {self.lm.prefix_ids}')}.json"
            if path.is_file():
                self._prefixes[key] = tuple(_read_list(path, str))
            else:
                with self.lm.unedited():
                    self._prefixes[key] = sample_prefixes(self.lm, counts, seed=self.seed)
                with atomic_file(path) as temporary:
                    temporary.write_text(json.dumps(self._prefixes[key], ensure_ascii=False), encoding="utf-8")
        return self._prefixes[key]

    def keep(self, name: str, key: str, make: Callable[[], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """The tensors that `make` computes of the unedited model, made once for `key`, kept on disk as `name`."""
        path = self._cache / f"{name}-{_short(f'{VERSION} {key}')}.safetensors"
        if not path.is_file():
            with atomic_file(path) as temporary:
                tensor_files.save_file(make(), temporary)
        try:
            return tensor_files.load_file(path)
        except (SafetensorError, OSError) as error:
            raise BadData(f"{path}: damaged ({error}); delete the file, it will be made again") from error

    def prepare(self, sites: Iterable[Site]) -> None:
        """Make the covariances of all `sites` that are missing, in as few passes over the corpus as memory allows.

        Edits that are in the weights at the moment are taken out for that time.
        """
        missing = [s for s in dict.fromkeys(sites) if s.path not in self._covariances]
        if not missing:
            return
        if self.corpus == "identity":
            for site in missing:
                self._covariances[site.path] = Covariance(torch.eye(site.d_in), 0, 0.0)
            return
        with self.lm.unedited():
            self._make(missing)

    def _make(self, missing: list[Site]) -> None:
        """Read the covariances of `missing` sites from disk, or make them."""
        texts = self._texts()
        limit = f" {self._hub.tokens}" if self._hub else ""
        # Keys come from bfloat16 passes where those are faster; their products are summed in float32 and float64.
        half = HALF if self.lm.half_wins and self.lm.dtype != torch.bfloat16 else ""
        kind, drawn = self.corpus.partition(":")[0], "" if texts else f" drawn {DRAWS}"
        key = _short(
            f"{VERSION} {kind} {self.seed} {self.lm.prefix_ids} {texts or self.corpus}{limit}{half}{drawn} texts"
        )
        if self._sampler is not self.lm and not texts:
            key = _short(f"{key} {self._drawn.name}")
        folder = self._folder = self._cache / f"covariance-{key}"
        for site in list(missing):
            stored = _read_covariance(folder / f"{site.path}.safetensors")
            if stored is not None:
                self._covariances[site.path] = stored
                missing.remove(site)
        if missing:
            with self.lm.fastest() as source:
                self._measure(source, missing, folder)

    def _measure(self, source: LanguageModel, sites: list[Site], folder: Path) -> None:
        """Make the covariances of `sites` by passes of `source`, and keep them in `folder`."""
        progress = partial(self._progress, "covariance") if self._progress else None
        error = parse_error(self.corpus.partition(":")[2]) if self.corpus.startswith("error:") else None
        sequences = self.sequences() if error is None else []
        groups, sums_on = self._groups(sites)
        for group in groups:
            if error is None:
                results = covariances(source, sequences, group, progress=progress, sums_on=sums_on)
            else:
                rounds = LIMIT // (ROUND * self._length)
                results = covariances_to_error(source, group, error, rounds, self._round)
            for path, value in results.items():
                refuse_infinite(self.lm.name, path, value)
                metadata = {"tokens": str(value.tokens), "error": repr(value.error), "corpus": self.corpus}
                with atomic_file(folder / f"{path}.safetensors") as temporary:
                    tensor_files.save_file({"covariance": value.matrix}, temporary, metadata=metadata)
                self._covariances[path] = value

    def _groups(self, sites: list[Site]) -> tuple[list[list[Site]], torch.device]:
        """The sites of each pass over the corpus, as many as fit into memory, and where their sums are kept.

        That is where the model runs, or main memory where a GPU has no room for the sums of one site.
        """
        free, device = int(USABLE * (self._memory or (lambda: free_memory(self.lm.device)))()), self.lm.device
        if device.type == "cpu":
            return covariance_groups(sites, free), device
        try:
            return covariance_groups(sites, free), device
        except OutOfMemory:
            host = torch.device("cpu")
            return covariance_groups(sites, free, int(USABLE * free_memory(host))), host

    def covariance(self, site: Site) -> Covariance:
        """C of one site."""
        self.prepare([site])
        return self._covariances[site.path]

    def solve(self, site: Site, keys: torch.Tensor) -> torch.Tensor:
        """C^-1 keys for keys (d_in, n), float64 in main memory, through one Cholesky factorisation per site.

        C gets `ridge` times its mean diagonal added, which bounds its condition where the corpus is short. The factor
        is made and kept where the model runs.

        Raises:
            BadData: the corpus has fewer tokens than C has dimensions, or every key is 0.
            BadModel: keys are no finite numbers.
        """
        if site.path not in self._factors:
            refuse_few_tokens(site, self.covariance(site), self.corpus)
            matrix = self.covariance(site).matrix.to(self._device, torch.float64)
            matrix.diagonal().add_(self.ridge * matrix.diagonal().mean())
            self._factors[site.path] = torch.linalg.cholesky(matrix)
        return torch.cholesky_solve(keys.to(self._device, torch.float64), self._factors[site.path]).cpu()

    def spectrum(self, site: Site) -> tuple[torch.Tensor, torch.Tensor]:
        """Eigenvalues (d_in,), ascending, and eigenvectors (d_in, d_in) of C as it is, without the ridge; float64.

        The vectors are on the device where the model runs, the values on the CPU, both on disk beside C, whose
        decomposition takes minutes where d_in is ten thousand.
        """
        if site.path not in self._spectra:
            refuse_few_tokens(site, self.covariance(site), self.corpus)
            matrix = self.covariance(site).matrix
            path = None if self._folder is None else self._folder / f"{site.path}.spectrum.safetensors"
            stored = None if path is None else _read_spectrum(path)
            if stored is None:
                values, vectors = torch.linalg.eigh(matrix.to(self._device, torch.float64))
                stored = values.clamp(min=0), vectors
                if path is not None:
                    with atomic_file(path) as temporary:
                        tensor_files.save_file(
                            {"values": stored[0].cpu(), "vectors": stored[1].cpu().contiguous()}, temporary
                        )
            self._spectra[site.path] = stored[0].cpu(), stored[1].to(self._device)
        return self._spectra[site.path]

    @property
    def _device(self) -> torch.device:
        """Where matrices of C's size are decomposed: on the model's GPU if it has one."""
        return self.lm.device if self.lm.device.type == "cuda" else torch.device("cpu")

    def warnings(self) -> list[str]:
        """What is doubtful about the covariances used so far, a line each; see `guards.py`."""
        return covariance_warnings(self._covariances, self.corpus)

    def describe(self) -> dict[str, object]:
        """The data behind the covariances used so far, for provenance."""
        used = {p: {"tokens": c.tokens, "error": round(c.error, 4)} for p, c in self._covariances.items()}
        return {"corpus": self.corpus, "seed": self.seed, "ridge": self.ridge, "sites": used}

    def format(self) -> str:
        """Corpus, tokens and largest error of the covariances used so far, as one line; empty where none was used."""
        used = self._covariances.values()
        if not used:
            return ""
        tokens = " to ".join(f"{n:,}" for n in sorted({min(c.tokens for c in used), max(c.tokens for c in used)}))
        errors = [c.error for c in used]
        known = all(error == error for error in errors)  # NaN: of one text only
        error = f"relative error at most {max(errors):.3f}" if known else "relative error unknown"
        return f"covariances of {len(used)} sites from {self.corpus}: {tokens} tokens, {error}"

    def _texts(self) -> list[str]:
        kind, _, value = self.corpus.partition(":")
        if self._hub:
            return self._hub.read(self._files, lambda text: len(self._tokens(text)))
        return read_texts(value) if kind == "text" else []

    def sequences(self) -> list[list[int]]:
        """The corpus as token sequences of at most SAMPLE_LENGTH that fit the model, each behind the model's prefix."""
        if self.corpus.startswith("error:"):
            raise BadRequest(f"corpus {self.corpus}: its text differs from site to site; use samples:NUMBER here")
        texts, length = self._texts(), self._length
        if texts:
            ids = [i for t in texts for i in self._tokens(t)]
            ids = ids[: self._hub.tokens] if self._hub else ids
            pieces = [ids[i : i + length] for i in range(0, len(ids), length)]
        else:
            pieces = self._samples(int(self.corpus.partition(":")[2]), length)
        return [[*self.lm.prefix_ids, *piece] for piece in pieces]

    def _tokens(self, text: str) -> list[int]:
        return self.lm.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]

    @property
    def _length(self) -> int:
        """Tokens of a sequence, without the model's prefix."""
        return min(SAMPLE_LENGTH, self.lm.max_length - max(len(self.lm.prefix_ids), 1))

    def _samples(self, number: int, length: int) -> list[list[int]]:
        """At least `number` tokens drawn from the model, in pieces of `length`; drawn once and kept."""
        rows = -(-number // length)
        batches = -(-rows // SAMPLES_AT_ONCE)
        counts = [(rows + i) // batches for i in range(batches)]
        return self._drawn_once(str(number), number, length, list(enumerate(counts)))

    def _round(self, i: int) -> list[list[int]]:
        """The sequences of round i of "error:E", each behind the model's prefix; drawn once and kept."""
        pieces = self._drawn_once(f"round {i} {ROUND}", ROUND * self._length, self._length, [(i, ROUND)])
        return [[*self.lm.prefix_ids, *piece] for piece in pieces]

    def _drawn_once(self, name: str, number: int, length: int, batches: list[tuple[int, int]]) -> list[list[int]]:
        """Pieces of `length` tokens drawn from the model, kept under `name`; `batches` are (number of the seed,
        pieces)."""
        # other draws in bfloat16: C must not depend on which machine came first
        half = HALF if self._sampler.half_wins else ""
        key = _short(f"{VERSION} {self.seed} {name} {length} {self.lm.prefix_ids}{half} drawn {DRAWS}")
        path = self._drawn / f"samples-{key}.json"
        if path.is_file():
            return _read_list(path, list)
        pieces: list[list[int]] = []
        drawn = 0

        def note(tokens: int) -> None:
            nonlocal drawn
            drawn += tokens
            if self._progress and drawn - tokens < number:
                self._progress("sampling", min(drawn, number), number)

        with self._sampler.unedited(), self._sampler.fastest() as source:
            for batch, count in batches:
                seed = self.seed * 1_000_003 + batch
                pieces += sample_tokens(source, count, length, seed=seed, inverse=True, on_step=note).tolist()
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(pieces), encoding="utf-8")
        return pieces


def _folder_of(lm: LanguageModel) -> str:
    """Folder of a model's statistics: by its weights, by its tokenizer and configuration, and by the kind of device,
    since each draws texts of its own."""
    device = "" if lm.device.type == "cpu" else f"-{lm.device.type}"
    return f"{lm.weight_hash[:24]}-{lm.reading_hash[:16]}{device}"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read_list(path: Path, of: type) -> list:
    """A JSON list of items of one type."""
    try:
        items = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(items, list) or not all(isinstance(item, of) for item in items):
            raise ValueError(f"not a list of {of.__name__}")
    except (OSError, ValueError) as error:
        raise BadData(f"{path}: damaged ({error}); delete the file, it will be made again") from error
    return items


def _read_spectrum(path: Path) -> tuple[torch.Tensor, torch.Tensor] | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            return file.get_tensor("values"), file.get_tensor("vectors")
    except (SafetensorError, OSError) as error:
        raise BadData(f"{path}: damaged spectrum ({error}); delete the file, it will be made again") from error


def _read_covariance(path: Path) -> Covariance | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata()
            return Covariance(file.get_tensor("covariance"), int(meta["tokens"]), float(meta["error"]))
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise BadData(f"{path}: damaged covariance ({error}); delete the file, it will be made again") from error
