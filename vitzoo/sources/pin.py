"""`vitzoo.lock` written, compared with what the sources have now, and brought up to date."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vitzoo import registry
from vitzoo.errors import WeightsError
from vitzoo.registry.reference import Address, File, Name, Reference, Repository, address, parse, place_of
from vitzoo.sources.cache import file_of, locked
from vitzoo.sources.download import url_file
from vitzoo.sources.failures import explained
from vitzoo.sources.hub import Remote, ask, hub_folder, license_of, obtain
from vitzoo.sources.hub_cache import offline, shards_of
from vitzoo.sources.lock import Lock, Pin, PinnedFile, read_lock, write_lock
from vitzoo.sources.obtain import entry_of
from vitzoo.sources.promise import Held, Promise
from vitzoo.spec import BundledSource, HubSource, Source, UrlSource


@dataclass(frozen=True)
class Change:
    """How a name's pin and what its source has now differ."""

    name: str
    what: str
    """`new`, `commit`, or what may matter to the model: `bytes`, `source`, `license`."""
    before: str
    after: str

    @property
    def matters(self) -> bool:
        return self.what not in ("new", "commit")

    def __str__(self) -> str:
        if self.what == "new":
            return f"{self.name}: pinned at {self.after}"
        return f"{self.name}: {self.what} {self.before} -> {self.after}"


def pin(names: Iterable[str], path: Path, update: bool = False) -> list[Change]:
    """Add names to the lock at `path`, which is made if need be; returns what changed in it.

    A name is a model or weights of the registry, `hf-hub:org/repo`, or an address. Names that are pinned already stay
    as they are, unless `update` is set. Only files of which the hub states no digest are downloaded.

    Raises:
        RegistryError, WeightsError: a name that cannot be resolved; the file is not changed then.
    """
    with explained(str(path), "the cache"), locked(str(path.resolve())):  # what another process pins meanwhile stays
        lock = read_lock(path) if path.exists() else Lock()
        entries, changes = dict(lock.entries), []
        for key, reference in _keyed(names).items():
            if key in entries and not update:
                continue
            found = resolve(reference)
            changes += _compared(key, entries.get(key), found)
            entries[key] = found
        if changes:
            write_lock(path, Lock(entries=entries))
    return changes


def compare(path: Path, names: Sequence[str] = ()) -> list[Change]:
    """What the sources have now that the lock has otherwise; all of its names if none is given."""
    entries = read_lock(path).entries
    wanted = _keyed(names or entries)
    if not wanted:
        raise WeightsError(f"{path} pins nothing, so there is nothing to compare; add names with `vitzoo pin NAME`")
    if unknown := [key for key in wanted if key not in entries]:
        raise WeightsError(f"{unknown[0]} is not in {path}; add it with `vitzoo pin {unknown[0]}`")
    return [change for key, one in wanted.items() for change in _compared(key, entries[key], resolve(one))]


def resolve(reference: Name | Repository | Address) -> Pin:
    """What a name stands for at this moment: the first of its sources that answers.

    Raises:
        WeightsError: none answers; the reason of each is given.
    """
    match reference:
        case Address():
            return _source(reference.source, None)
        case Repository():
            return _repository(reference.repo)
    entry, failures = registry.weights_entry(reference.name), []
    for one in entry.sources:
        try:
            return _source(one, entry.license)
        except WeightsError as error:
            failures.append(str(error))
    raise WeightsError(f"{reference} cannot be pinned: {'; '.join(failures)}")


def _keyed(names: Iterable[str]) -> dict[str, Name | Repository | Address]:
    """What is named, by the key under which `create` looks in the lock."""
    found = [_pinnable(parse(name)) for name in names]
    return {str(one): one for one in found}


def _pinnable(reference: Reference) -> Name | Repository | Address:
    match reference:
        case File():
            raise WeightsError(f"{reference} is a local file, and only what is downloaded can be pinned; leave it out")
        case Name() | Repository() if reference.revision:
            raise WeightsError(
                f"'{reference}': a pin takes what the branch holds now; leave '@{reference.revision}' out, "
                "or use hf://org/repo/file"
            )
        case Name():
            return Name(entry_of(reference))
    return reference


def _source(source: Source, license: str | None) -> Pin:
    match source:
        case BundledSource():
            from vitzoo.sources.fetch import BUNDLED

            held = Held(BUNDLED / source.file, place_of(source))
            return _pin(place_of(source), None, license, [_held(source.file, held)])
        case UrlSource():
            held = url_file(source.url, Promise(source.sha256), offline())
            return _pin(place_of(source), None, license, [_held(file_of(source.url), held)])
        case HubSource():
            first = ask(source.repo, source.file, source.revision)
            if Promise(source.sha256).contradicts(first.promise):
                raise WeightsError(f"{first.address} has other bytes than the registry says ({source.sha256})")
            names = shards_of(obtain(first).path) if source.file.endswith(".json") else []
            folder = source.file.rpartition("/")[0]
            rest = [ask(source.repo, f"{folder}/{name}" if folder else name, first.commit) for name in names]
            license = license or license_of(source.repo, first.commit)
            return _pin(place_of(source), first.commit, license, [_remote(one) for one in (first, *rest)])


def _repository(repo: str) -> Pin:
    held = hub_folder(repo)
    commit = held[0].commit
    return _pin(address(repo, "", None), commit, license_of(repo, commit), [_held(one.path.name, one) for one in held])


def _remote(remote: Remote) -> PinnedFile:
    """From the hub's own word where it states both; else from the file."""
    if remote.promise.sha256 is None or remote.promise.size is None:
        return _held(remote.file, obtain(remote))
    return PinnedFile(file=remote.file, sha256=remote.promise.sha256, size=remote.promise.size)


def _held(file: str, held: Held) -> PinnedFile:
    return PinnedFile(file=file, sha256=held.sha256, size=held.size)


def _pin(source: str, commit: str | None, license: str | None, files: Sequence[PinnedFile]) -> Pin:
    return Pin(source=source, commit=commit, license=license, files=tuple(files))


def _compared(name: str, old: Pin | None, new: Pin) -> list[Change]:
    if old is None:
        return [Change(name, "new", "", f"{new.source}{f'@{new.commit}' if new.commit else ''}")]
    changes = [
        Change(name, field, str(getattr(old, field)), str(getattr(new, field)))
        for field in ("source", "license")
        if getattr(old, field) != getattr(new, field)
    ]
    before, after = ({one.file: one.sha256 for one in one_pin.files} for one_pin in (old, new))
    for file in sorted(before.keys() | after.keys()):
        if before.get(file) != after.get(file):
            changes.append(Change(name, "bytes", f"{file} {before.get(file)}", str(after.get(file))))
    if old.commit != new.commit:
        same = "" if any(change.what == "bytes" for change in changes) else " (the same bytes)"
        changes.append(Change(name, "commit", str(old.commit), f"{new.commit}{same}"))
    return changes
