"""Weights inside an installed package: located through its file list, never by importing it.

A package carries either one `*.gguf`, or (spread over itself and the packages it requires) chunks named
`*.gguf.part00`, `*.gguf.part01`... together with a `SHA256SUMS`. The bytes are compared with its own checksums.
"""

from __future__ import annotations

import base64
import re
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from editing.errors import BadModel

CHUNK = re.compile(r"\.gguf\.part\d+$")


@dataclass(frozen=True)
class PackageWeights:
    """Where the GGUF of a package lies.

    Attributes:
        name: as in the reference, without `package:`.
        distribution, version: the installed package.
        file: name of the GGUF file.
        paths: the file, or its chunks in order.
        sha256: hex digest of the whole file, as the package states it.
        licence: what is known about the weights' licence.
    """

    name: str
    distribution: str
    version: str
    file: str
    paths: tuple[Path, ...]
    sha256: str
    licence: str

    @property
    def source(self) -> str:
        return f"package {self.distribution} {self.version} {self.file} sha256 {self.sha256[:16]}"


def known_packages() -> dict[str, dict[str, str]]:
    """The table `packages.toml`: short name -> distribution, install, licence, note."""
    return tomllib.loads((Path(__file__).parent / "packages.toml").read_text(encoding="utf-8"))


def locate(name: str) -> PackageWeights:
    """The weights of `package:NAME`. Reads file lists and sizes only.

    Raises:
        BadModel: unknown or not installed, without GGUF, with several, with missing or cut files.
    """
    known = known_packages()
    entry = known.get(name, {})
    distribution_name = entry.get("distribution", name)
    try:
        distribution = metadata.distribution(distribution_name)
    except (metadata.PackageNotFoundError, ValueError) as error:
        if entry:
            raise BadModel(f"package:{name}: {distribution_name} is not installed; run {entry['install']}") from error
        raise BadModel(
            f"package:{name}: no such package is installed; install it, or use one of "
            + ", ".join(f"package:{n}" for n in known)
        ) from error

    whole = _files(name, distribution, lambda file: file.endswith(".gguf"))
    if len(whole) > 1:
        raise BadModel(
            f"package:{name}: {distribution_name} carries several GGUF files ({', '.join(f.name for f in whole)}); "
            f"choose one with gguf:PATH, from {Path(str(whole[0].locate())).parent}"
        )
    if whole:
        if whole[0].hash is None or whole[0].hash.mode != "sha256":
            raise BadModel(
                f"package:{name}: {distribution_name} states no sha256 for {whole[0].name}; use gguf:PATH instead"
            )
        chosen, file, digest = whole, whole[0].name, _hex(whole[0].hash.value)
    else:
        chosen, file, digest = _chunks(name, distribution)
    return PackageWeights(
        name=name,
        distribution=distribution_name,
        version=distribution.version,
        file=file,
        paths=tuple(_present(name, path) for path in chosen),
        sha256=digest,
        licence=entry.get("licence", "see the package"),
    )


def _files(name: str, distribution: metadata.Distribution, is_ours) -> list[metadata.PackagePath]:
    listed = distribution.files
    if listed is None:
        raise BadModel(f"package:{name}: {distribution.name} has no list of its files; reinstall it with pip")
    return sorted((file for file in listed if is_ours(file.name)), key=lambda file: file.name)


def _chunks(name: str, distribution: metadata.Distribution) -> tuple[list[metadata.PackagePath], str, str]:
    """The chunk files of the package and of those it requires, the whole file's name and its stated sha256."""
    chunks: list[metadata.PackagePath] = []
    required = [re.split(r"[^A-Za-z0-9._-]", need, maxsplit=1)[0] for need in distribution.requires or ()]
    sums = _files(name, distribution, lambda file: file == "SHA256SUMS")
    if not sums:  # without chunks of our kind the required packages are none of our business
        required = []
    for part in [distribution, *required]:
        try:
            owner = metadata.distribution(part) if isinstance(part, str) else part
        except metadata.PackageNotFoundError as error:
            raise BadModel(f"package:{name}: its part {part} is not installed; run pip install {part}") from error
        chunks += _files(name, owner, CHUNK.search)
    if not chunks or not sums:
        raise BadModel(
            f"package:{name}: {distribution.name} {distribution.version} carries no GGUF weights; name another package"
        )
    chunks.sort(key=lambda chunk: chunk.name)
    file = CHUNK.sub(".gguf", chunks[0].name)
    lines = [line.split(maxsplit=1) for line in _present(name, sums[0]).read_text(encoding="utf-8").splitlines()]
    stated = {line[1]: line[0].lower() for line in lines if len(line) == 2}
    numbers = [int(chunk.name.rsplit("part", 1)[1]) for chunk in chunks]
    if file not in stated or numbers != list(range(len(chunks))):
        raise BadModel(f"package:{name}: the chunks of {file} are incomplete; {_reinstall(name, distribution.name)}")
    return chunks, file, stated[file]


def _present(name: str, file: metadata.PackagePath) -> Path:
    """The file on disk, of the size its package states."""
    path = Path(str(file.locate()))
    owner = file.dist.name  # pyright: ignore[reportAttributeAccessIssue]
    if not path.is_file():
        raise BadModel(f"package:{name}: {path} is missing; {_reinstall(name, owner)}")
    if file.size is not None and path.stat().st_size != file.size:
        raise BadModel(
            f"package:{name}: {path} has {path.stat().st_size} bytes instead of {file.size}; {_reinstall(name, owner)}"
        )
    return path


def _reinstall(name: str, distribution: str) -> str:
    return f"reinstall it: pip install --force-reinstall --no-deps {distribution}"


def _hex(value: str) -> str:
    """The digest of a RECORD line (urlsafe base64 without padding) as hex."""
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()
