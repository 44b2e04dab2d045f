"""Where weights come from: the package itself, a mirror, the Hugging Face hub, a web address; in the order given."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from vitzoo.errors import WeightsError
from vitzoo.registry.reference import Name, Repository, place_of
from vitzoo.small_files import there
from vitzoo.sources.cache import file_of
from vitzoo.sources.failures import Mismatch, NotCached
from vitzoo.sources.hub_cache import CARD, COMMIT, CONFIGURATION, REPOSITORY_FILES, license_in, offline, shards_of
from vitzoo.sources.lock import Pin, pin_of
from vitzoo.sources.mirror import listed, mirror, mirrored, place_in_mirror
from vitzoo.sources.promise import Held, Promise
from vitzoo.spec import BundledSource, HubSource, Origin, Source, UrlSource

BUNDLED = Path(__file__).parents[1] / "bundled"

Allow = Callable[[str | None], None]
"""Raises an error for a licence that may not be used."""
Way = Callable[[], "list[Held] | None"]
"""Somewhere to look for files; None if they are not there."""


class SourceFailed(UserWarning):
    """A source did not serve, and another one did."""


@dataclass(frozen=True)
class Fetched:
    """Verified files on this disk, and how they were had."""

    path: Path
    """What to open: a file, or the index of several."""
    files: tuple[Held, ...]
    """The file to open (the first) and those that belong to it."""
    source: Source | None = None
    """The one that served; None for a folder of the hub."""
    notes: tuple[str, ...] = ()
    card: Held | None = None
    """The card of a repository that no entry of the registry names."""
    license: str | None = None
    """What the card states, or the lock."""

    @property
    def origin(self) -> Origin:
        """The address of the first file, with its commit and digest."""
        first = self.files[0]
        address = first.address.removesuffix(f"@{first.commit}")
        return Origin(address=address, commit=first.commit, sha256=first.sha256)

    @property
    def because(self) -> tuple[str, ...]:
        """Lines for a report."""
        found = tuple(one.note for one in self.files if one.note is not None)
        return (f"served by {self.origin}", *self.notes, *dict.fromkeys(found))


def fetch(name: str, sources: Sequence[Source], revision: str | None = None) -> Fetched:
    """Verified files of the first source that serves, the mirror's copy before each source itself.

    With a lock in force only the pinned source is asked, and only the pinned bytes are taken. `name` is what the user
    knows the weights by, `revision` what was asked for with it.

    Raises:
        WeightsError: no source serves them; each one's reason is given.
    """
    bundled = isinstance(sources[0], BundledSource)
    if bundled:
        sources = sources[:1]  # a file of the package that is missing or another is no reason to look elsewhere
    pin, folder = pin_of(name, revision, bundled), None if bundled else mirror()
    if pin is not None:
        sources = [_pinned(name, pin, sources)]
    ways = (_origin,) if folder is None else (partial(_mirror, folder), _origin)
    asked = name if revision is None else str(Name(name, name, revision))
    return _first(asked, [(source, partial(way, source, pin)) for source in sources for way in ways])


def fetch_address(name: str, source: HubSource | UrlSource, allow: Allow) -> Fetched:
    """The verified file of an address; of one in a repository the licence is asked for before it is fetched.

    Raises:
        LicenseError: what `allow` raises; only the card was fetched.
        WeightsError: the address does not serve it.
    """
    if isinstance(source, UrlSource):
        return fetch(name, [source])
    from vitzoo.sources.hub import hub_card

    said, folder = Said(allow, pin_of(name)), mirror()
    if said.pin is None:
        kept = folder is not None and _card_in(folder, source.repo, source.revision)
        said.look(hub_card(source.repo, source.revision) if kept is False else kept)
    return replace(fetch(name, [source]), license=said.license, card=said.card)


def fetch_repo(repo: str, revision: str | None, allow: Allow) -> Fetched:
    """The weights of a hub repository that no entry names, with the configuration beside them, as a local folder.

    Raises:
        LicenseError: what `allow` raises; only the card was fetched.
        WeightsError: the repository cannot be had, or holds no weights under the names that are usual.
    """
    from vitzoo.sources.hub import hub_folder

    folder, pin = mirror(), pin_of(str(Repository(repo)), revision)
    said = Said(allow, pin)
    ways: list[Way] = [partial(hub_folder, repo, revision if pin is None else pin.commit, said.look)]
    if folder is not None:
        ways.insert(0, partial(_mirrored_folder, folder, repo, revision, said.look))
    found = _first(str(Repository(repo, revision)), [(None, partial(_as_pinned, pin, way)) for way in ways])
    return replace(found, license=said.license, card=said.card)


class Said:
    """The licence of a repository that no entry of the registry names: what the lock says, else its card."""

    def __init__(self, allow: Allow, pin: Pin | None) -> None:
        self.license, self.card, self.pin, self._allow = None, None, pin, allow
        if pin is not None:
            allow(pin.license)
            self.license = pin.license

    license: str | None
    card: Held | None

    def look(self, card: Held | None) -> None:
        """Look at the card, before anything else is fetched. Raises: LicenseError: it does not do."""
        if self.pin is None:
            self.card, self.license = card, None if card is None else license_in(card.path)
            self._allow(self.license)


def _first(name: str, ways: Sequence[tuple[Source | None, Way]]) -> Fetched:
    """What the first way gives that gives anything; the reasons of those before it are in its notes."""
    failures: list[WeightsError] = []
    for source, way in ways:
        try:
            files = way()
        except WeightsError as error:
            failures.append(error)
            continue
        if files is not None:
            notes = tuple(f"before it: {error}" for error in failures)
            if failures:
                warnings.warn(f"{name} came from {files[0].address}; {'; '.join(notes)}", SourceFailed, 3)
            return Fetched(files[0].path, tuple(files), source, notes)
    if all(isinstance(error, NotCached) for error in failures):
        raise NotCached(f"{failures[0]}; {_where_to_get(name)}") from failures[0]
    if len(failures) == 1:
        raise failures[0]
    raise WeightsError(f"no source serves {name}: " + "; ".join(f"({n}) {e}" for n, e in enumerate(failures, 1)))


def _origin(source: Source, pin: Pin | None) -> list[Held]:
    """From where a source says."""
    match source:
        case BundledSource():
            held = Held(BUNDLED / source.file, place_of(source))
            if (wrong := _promise(source, pin, source.file).broken(held.path)) is not None:
                again = "install vitzoo again" if pin is None else "install the version of vitzoo that the lock is for"
                raise Mismatch(f"{held.path}: {wrong}; {again}, or see `vitzoo pin --check`")
            return [held]
        case HubSource():
            from vitzoo.sources.hub import hub_file

            revision = source.revision if pin is None else pin.commit
            first = hub_file(source.repo, source.file, revision, _promise(source, pin, source.file))
            folder = source.file.rpartition("/")[0]
            shards = [f"{folder}/{name}" if folder else name for name in shards_of(first.path)]
            return [first, *(hub_file(source.repo, name, first.commit, _promise(None, pin, name)) for name in shards)]
        case UrlSource():
            from vitzoo.sources.download import url_file

            return [url_file(source.url, _promise(source, pin, file_of(source.url)), offline())]


def _mirror(folder: Path, source: Source, pin: Pin | None) -> list[Held] | None:
    """From the mirror; None if it does not have the file."""
    place = place_in_mirror(source)
    if place is None:
        return None
    file = source.file if isinstance(source, HubSource) else place.rpartition("/")[2]
    first = mirrored(folder, place, _promise(source, pin, file))
    if first is None:
        return None
    files = [first]
    for name in shards_of(first.path):
        held = mirrored(folder, place.removesuffix(first.path.name) + name, _promise(None, pin, name))
        if held is None:
            raise NotCached(f"the mirror has {place} and not its shard {name}")
        files.append(held)
    return files


def _as_pinned(pin: Pin | None, way: Way) -> list[Held] | None:
    """The files of a repository, all of them and as the lock has them."""
    files = way()
    if pin is None or files is None:
        return files
    for one in files:
        if (wrong := _promise(None, pin, one.path.name).broken(one.path)) is not None:
            raise Mismatch(f"{one.path} is not the file of the lock: {wrong}")
    if missing := {one.file for one in pin.files} - {one.path.name for one in files}:
        raise Mismatch(f"{min(missing)} is in the lock, and is not beside {files[0].path}")
    return files


def _card_in(folder: Path, repo: str, revision: str | None) -> Held | Literal[False] | None:
    """The card of a repository in a mirror, which may have none; False if the mirror has nothing of the repository."""
    place = place_in_mirror(HubSource(repo=repo, file=CARD, revision=revision, layout="", sha256=None))
    if place is None or not there((folder / place).parent):
        return False
    return listed(folder, place)


def _mirrored_folder(
    folder: Path, repo: str, revision: str | None, look: Callable[[Held | None], None]
) -> list[Held] | None:
    """A repository's weights and configuration from the mirror; None if it has no weights."""
    if (card := _card_in(folder, repo, revision)) is False:
        return None
    look(card)
    for names in REPOSITORY_FILES:
        for name in names:
            source = HubSource(repo=repo, file=name, revision=revision, layout="", sha256=None)
            files = _mirror(folder, source, None)
            if files is not None:
                beside = [place_in_mirror(source.model_copy(update={"file": one})) for one in CONFIGURATION]
                return files + [held for one in beside if one and (held := listed(folder, one)) is not None]
    return None


def _promise(source: Source | None, pin: Pin | None, file: str) -> Promise:
    """What the registry and the lock say of a file."""
    stated = Promise(source.sha256 if source is not None else None)
    pinned = pin.promise(file) if pin is not None else Promise()
    if pinned is None:
        raise Mismatch(f"{file} is not among the files of the lock; see `vitzoo pin --check`")
    return replace(pinned & stated, afresh=pin is not None)


def _pinned(name: str, pin: Pin, sources: Sequence[Source]) -> Source:
    """The source that a pin is for."""
    for source in sources:
        if place_of(source) == pin.source:
            revision = source.revision if isinstance(source, HubSource) else None
            if revision is not None and COMMIT.fullmatch(revision) and revision != pin.commit:
                raise WeightsError(
                    f"{name} has the commit {revision} in the registry, and {pin.commit} in the lock; "
                    f"see `vitzoo pin --check {name}`"
                )
            return source
    raise WeightsError(
        f"the lock has {name} from {pin.source}, which the registry does not name (any more); "
        f"see `vitzoo pin --check {name}`"
    )


def _where_to_get(name: str) -> str:
    return f"run `vitzoo cache prefetch {name}` where there is a network, or pass the path of a local file"
