"""Where the package's own registry is, and what it comes to, compiled, so that a start reads no YAML.

A wheel holds `COMPILED`, written when it was built. A checkout keeps the same in the cache, under a digest of all that
it is made from: the YAML and the modules that read it. It is JSON, so reading it can run nothing.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vitzoo.errors import RegistryError
from vitzoo.file_locks import at_work

COMPILED = "compiled.json"
FOLDERS = ("families", "domains", "models", "weights")
"""What a registry's folder may hold: files of one form. The last two are how registries were laid out once."""
PRESETS, DIGESTS, FIGURES = "presets.yaml", "digests.json", "figures"
KEPT = 8
"""Compiled registries that the cache holds at most: one for each state of a checkout that was used lately."""


def data_dir() -> Path:
    """The package's own registry: inside an installed wheel, beside the package in a checkout."""
    here = Path(__file__).parents[1]
    for folder in (here / "_registry", here.parent / "registry"):
        if folder.is_dir():
            return folder
    raise RegistryError(f"the registry's files are missing beside {here}; install vitzoo again")


def yaml_files(folder: Path) -> list[Path]:
    """The families of a registry's folder, in the order in which they are read."""
    return [file for name in FOLDERS for file in sorted((folder / name).glob("*.yaml"))]


def figure_files(folder: Path) -> list[Path]:
    """The published figures of a registry's folder."""
    return sorted((folder / FIGURES).glob("*.yaml"))


def compiled(build: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `build` gives for the package's own registry: from the wheel, from the cache, or built now and kept."""
    folder = data_dir()
    if (found := _read(folder / COMPILED)) is not None:
        return found
    place = cache_folder() / f"{_digest(folder)}.json"
    found = _read(place)
    if found is None:
        found = build()
        with contextlib.suppress(OSError):  # a disk that cannot be written: it is built each time
            _write(place, found)
    return found


def cache_folder() -> Path:
    """`registry` in `$VITZOO_CACHE` or in `vitzoo` of the hub's home, found without importing the hub's client."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("VITZOO_CACHE") or Path(home) / "vitzoo").expanduser() / "registry"


def _digest(folder: Path) -> str:
    import hashlib  # not needed where a wheel was installed

    digest = hashlib.sha256()
    for file in _parts(folder):
        data = file.read_bytes()
        digest.update(f"{file.name} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def _parts(folder: Path) -> Iterator[Path]:
    """All that the compiled registry depends on."""
    package = Path(__file__).parents[1]
    yield from (
        file
        for file in (folder / PRESETS, folder / DIGESTS, *figure_files(folder), *yaml_files(folder))
        if file.is_file()
    )
    yield from sorted((package / "spec").glob("*.py"))
    yield from sorted((package / "registry").glob("*.py"))


def _read(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):  # not there, or not what was written: it is built again
        return None
    return found if isinstance(found, dict) else None


def _write(place: Path, data: dict[str, Any]) -> None:
    """The file appears whole or not at all, whoever else writes it; the oldest of too many are removed."""
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(f".{place.stem}.{os.urandom(8).hex()}.partial")
    try:
        partial.touch(exist_ok=False)
        with at_work(partial):
            partial.write_text(json.dumps(data), encoding="utf-8")
            partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)
    known = sorted(place.parent.glob("*.json"), key=lambda file: file.stat().st_mtime)
    for old in known[:-KEPT]:
        old.unlink(missing_ok=True)
