"""`vitzoo pin --registry`: the digests of a registry's sources, asked of those who have the files."""

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from vitzoo.errors import RegistryError, WeightsError
from vitzoo.files.atomic import replacing
from vitzoo.registry.digests import WHOLE, Digests, Stated, key, read_digests
from vitzoo.registry.index import draft
from vitzoo.registry.shipped import DIGESTS
from vitzoo.sources.cache import url_path
from vitzoo.sources.download import url_file
from vitzoo.sources.failures import Mismatch, explained
from vitzoo.sources.hub import ask, obtain
from vitzoo.sources.hub_cache import offline
from vitzoo.sources.promise import Promise
from vitzoo.spec import BundledSource, HubSource, UrlSource, WeightsEntry


class Asked(NamedTuple):
    """What became of one source."""

    address: str
    sha256: str | None
    said: str
    """Where the digest is stated, or why there is none."""


def pin_registry(folder: Path, names: Sequence[str] = (), told: Callable[[Asked], object] = lambda one: None) -> int:
    """Add the digests that `folder/digests.json` lacks; returns how many sources gave none.

    The hub states digests of large files; what it does not, and files at web addresses, are fetched and read, and
    downloads are not kept. The file is written after each, so that a run that was stopped goes on. `names` are weights
    of the registry, or patterns of them; all if none is given.

    Raises:
        RegistryError: the folder is no registry, or has no such weights.
        WeightsError: the file cannot be written.
    """
    failures = 0
    for source in _open(folder, names):
        place = str(key(source.model_dump()))
        try:
            found = _asked(source)
        except WeightsError as error:
            failures += 1
            told(Asked(place, None, str(error)))
            continue
        known = read_digests(folder)
        whole = Digests(files=dict(sorted({**known.files, place: found}.items())))
        with explained(str(folder / DIGESTS), "the disk"), replacing(folder / DIGESTS) as partial:
            partial.write_text(whole.model_dump_json(indent=2) + "\n", encoding="utf-8")
        told(Asked(place, found.sha256, found.stated))
    return failures


def _open(folder: Path, names: Sequence[str]) -> Iterator[HubSource | UrlSource]:
    """The sources without a whole digest, each once."""
    if not folder.is_dir():
        raise RegistryError(f"{folder} is no folder of a registry; give the one that has families/*.yaml")
    entries, problems = draft(folder)
    if problems:
        raise RegistryError(problems[0])
    weights = [entry for entry in entries if entry.weights is not None]
    wanted = [one for one in weights if not names or any(fnmatchcase(one.name, name) for name in names)]
    if not wanted:
        raise RegistryError(f"{folder} has no weights {' or '.join(names)}; `vitzoo list` shows the names")
    seen = set()
    for entry in wanted:
        for source in WeightsEntry.parse(entry.weights or {}, entry.name).sources:
            place = key(source.model_dump())
            if not isinstance(source, BundledSource) and len(source.sha256 or "") < WHOLE and place not in seen:
                seen.add(place)
                yield source


def _asked(source: HubSource | UrlSource) -> Stated:
    """The digest of a source's file.

    Raises:
        WeightsError: it cannot be had, or is another than the registry says.
    """
    if isinstance(source, HubSource):
        remote = ask(source.repo, source.file, source.revision)
        if Promise(source.sha256).contradicts(remote.promise):
            raise Mismatch(f"{remote.address} has other bytes than the registry says ({source.sha256})")
        where = f"by the hub of {remote.address}"
        return Stated(sha256=remote.promise.sha256 or obtain(remote).sha256, stated=where)
    kept = url_path(source.url).is_file()
    held = url_file(source.url, Promise(source.sha256), offline())
    sha256 = held.sha256
    if not kept:
        held.path.unlink()
    return Stated(sha256=sha256, stated="by nobody: computed from the file at its address")
