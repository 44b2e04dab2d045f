"""What is on this disk: listed, checked, tidied up, and fetched in advance."""

import contextlib
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vitzoo import registry
from vitzoo.errors import WeightsError
from vitzoo.file_locks import abandoned
from vitzoo.files.atomic import replacing
from vitzoo.files.digest import hash_file
from vitzoo.registry.reference import (
    Address,
    File,
    Name,
    Repository,
    address,
    parse,
    place_of,
    repository_of,
)
from vitzoo.sources.cache import cache_folder, lock_file, locked, orphaned_records, quarantine, recorded, url_path
from vitzoo.sources.fetch import Fetched
from vitzoo.sources.hub_cache import commit_of, has_pointer, promise_by_name
from vitzoo.sources.lock import lock_in_force, read_lock
from vitzoo.sources.mirror import SUMS, place_in_mirror, sums
from vitzoo.sources.obtain import obtain
from vitzoo.sources.promise import Promise
from vitzoo.spec import HubSource, UrlSource

WEIGHTS = (".safetensors", ".bin", ".pth", ".pt", ".npz")


@dataclass(frozen=True)
class Cached:
    """One file of weights on this disk."""

    names: tuple[str, ...]
    """The entries of the registry that it serves."""
    address: str
    path: Path
    size: int
    last_used: float
    """Seconds since 1970, as the file system keeps it."""
    promise: Promise
    """What it must be, as far as that is known without asking anybody."""


class Commit(NamedTuple):
    """A commit of a repository in the hub's cache."""

    repo: str
    commit: str


def cached(names: Collection[str] = ()) -> list[Cached]:
    """The files of weights in the hub's cache and in vitzoo's own; those of the given names only, if any are given."""
    known: defaultdict[str, list[str]] = defaultdict(list)
    promises: dict[str, Promise] = {}
    urls: dict[str, str] = {}
    for name in registry.list_pretrained():
        for source in registry.weights_entry(name).sources:
            if isinstance(source, HubSource | UrlSource):
                place = place_of(source) if isinstance(source, HubSource) else str(url_path(source.url))
                known[place].append(name)
                if isinstance(source, UrlSource):
                    promises[place] = Promise(source.sha256)
                    urls[place] = place_of(source)
    rows = [*_hub_files(known), *_url_files(known, urls, promises)]
    if names:
        wanted = {_key(name): name for name in names}
        if absent := sorted(wanted.keys() - set[str]().union(*map(_keys, rows))):
            shown = ", ".join(wanted[key] for key in absent)
            raise WeightsError(f"{shown}: not in the cache; `vitzoo cache list` shows what is")
        rows = [row for row in rows if wanted.keys() & _keys(row)]
    return rows


def verify(row: Cached) -> str | None:
    """Read a file again; what is wrong with it, or None. A damaged one goes to quarantine, and is fetched when needed.

    A record of an earlier check counts only for a download of which nobody else states a digest.
    """
    from vitzoo.files.read import open_tensors

    if not row.path.is_file():
        return "it is not there (any more): another commit has the same file, and it was put aside"
    digest = hash_file(row.path)
    wanted = row.promise.sha256
    wrong = f"sha256 {wanted} was expected, {digest} found" if wanted and not digest.startswith(wanted) else None
    if wrong is None and row.promise.sha256 is None:
        wrong = row.promise.broken(row.path)
    if wrong is None:
        try:
            open_tensors(row.path)
        except WeightsError as error:
            wrong = str(error)
    return None if wrong is None else f"{wrong}; it was put aside as {quarantine(row.path)}"


def leftovers() -> list[Path]:
    """What nobody needs: quarantine, records of files that are gone, and what was left off and nobody is at work on."""
    from huggingface_hub import constants

    own, hub = cache_folder(), Path(constants.HF_HUB_CACHE)
    left_off = [*hub.glob("models--*/blobs/*"), *own.glob("urls/*/*.partial*"), *own.glob("*/.*.partial")]
    left_off += hub.glob("models--*/refs/**/.*.partial")
    return sorted([*(own / "quarantine").glob("[!.]*"), *filter(_is_left_off, left_off), *orphaned_records()])


def _is_left_off(path: Path) -> bool:
    with _unused(path) as unused:
        return unused


@contextlib.contextmanager
def _unused(path: Path) -> Iterator[bool]:
    """Whether nobody needs a file or is at work on it; the block may remove it then."""
    with abandoned(path, _lock_of(path)) as free:
        yield free and not (path.parent.name == "blobs" and has_pointer(path))


def _lock_of(path: Path) -> Path | None:
    """What a process holds while it downloads to a path; None for the path itself."""
    if path.parent.name == "blobs":
        repo = path.parents[1]
        return repo.parent / ".locks" / repo.name / f"{path.name.partition('.')[0]}.lock"
    return lock_file(path.parent.name) if path.parents[1].name == "urls" else None


def old_commits() -> list[Commit]:
    """Those of the registry's repositories that no branch or tag is at, and neither the registry nor the lock names."""
    sources = [source for name in registry.list_pretrained() for source in registry.weights_entry(name).sources]
    hub = [source for source in sources if isinstance(source, HubSource)]
    lock = lock_in_force()
    kept = {pin.commit for pin in read_lock(lock).entries.values()} if lock is not None else set()
    kept |= {source.revision for source in hub}
    repos = {source.repo for source in hub}
    return [
        Commit(repo.repo_id, revision.commit_hash)
        for repo in _hub_repos()
        if repo.repo_id in repos
        for revision in repo.revisions
        if not revision.refs and revision.commit_hash not in kept
    ]


def holders(rows: Sequence[Cached]) -> tuple[list[Commit], list[Path]]:
    """What goes with these files: the whole commits of the hub's cache that hold them, and vitzoo's own files."""
    commits = [_commit(row) for row in rows]
    return list(dict.fromkeys(filter(None, commits))), [
        row.path for row, commit in zip(rows, commits, strict=True) if commit is None
    ]


def remove(commits: Collection[Commit], paths: Sequence[Path]) -> int:
    """Delete commits and files; returns the bytes that were freed."""
    from huggingface_hub import constants, scan_cache_dir

    freed = 0
    if commits:
        strategy = scan_cache_dir(constants.HF_HUB_CACHE).delete_revisions(*(one.commit for one in commits))
        freed += strategy.expected_freed_size
        strategy.execute()
    for path in paths:
        with contextlib.suppress(FileNotFoundError), _unused(path) as unused:
            if unused:  # still: another process tidies up, too, or goes on with it
                freed += path.stat().st_size
                path.unlink()
    for record in orphaned_records():
        record.unlink(missing_ok=True)
    return freed


def prefetch(name: str, mirror: Path | None = None) -> Fetched:
    """Fetch weights into the cache, and copy them into a mirror; see `vitzoo.sources.mirror` for its form."""
    reference = parse(name)
    if isinstance(reference, File):
        raise WeightsError(f"{name} is a local file, so there is nothing to download; leave it out")
    _, fetched = obtain(reference)
    if mirror is None:
        return fetched
    source = fetched.source
    if isinstance(reference, Repository):
        source = HubSource(repo=reference.repo, revision=reference.revision, layout="", sha256=None)
    assert source is not None  # all but repositories say which one served
    place = place_in_mirror(source)
    if place is not None:
        start, first = place.rpartition("/")[0], fetched.files[0]
        try:
            with locked(str(mirror.resolve())):
                for held in (*fetched.files, *(() if fetched.card is None else (fetched.card,))):
                    where = place if held is first and fetched.source else f"{start}/{held.path.name}"
                    _copy(held.path, mirror, where, held.sha256)
        except OSError as error:
            raise WeightsError(f"the mirror {mirror} cannot be written: {error}; give another folder") from error
    return fetched


def _copy(path: Path, mirror: Path, place: str, digest: str) -> None:
    target = mirror / place
    target.parent.mkdir(parents=True, exist_ok=True)
    if not (target.is_file() and hash_file(target) == digest):
        with replacing(target) as partial:
            shutil.copyfile(path, partial)
    listed = {**sums(mirror), place: digest} if mirror.is_dir() else {place: digest}
    with replacing(mirror / SUMS) as partial:
        text = "".join(f"{value}  {key}\n" for key, value in sorted(listed.items()))
        partial.write_text(text, encoding="utf-8")


def _hub_repos() -> list[Any]:
    from huggingface_hub import CacheNotFound, constants, scan_cache_dir

    try:
        return [repo for repo in scan_cache_dir(constants.HF_HUB_CACHE).repos if repo.repo_type == "model"]
    except CacheNotFound:
        return []


def _hub_files(known: dict[str, list[str]]) -> Iterator[Cached]:
    for repo in sorted(_hub_repos(), key=lambda repo: str(repo.repo_id)):
        for revision in sorted(repo.revisions, key=lambda revision: str(revision.commit_hash)):
            for file in sorted(revision.files, key=lambda file: str(file.file_path)):
                name = file.file_path.relative_to(revision.snapshot_path).as_posix()
                if not name.endswith(WEIGHTS):
                    continue
                yield Cached(
                    tuple(known.get(address(repo.repo_id, name, None), ())),
                    address(repo.repo_id, name, revision.commit_hash),
                    file.file_path,
                    file.size_on_disk,
                    file.blob_last_accessed,
                    promise_by_name(file.file_path),
                )


def _url_files(known: dict[str, list[str]], urls: dict[str, str], promises: dict[str, Promise]) -> Iterator[Cached]:
    """By the path of each, which `known`, `urls` and `promises` have, too, where the registry names it."""
    for path in sorted((cache_folder() / "urls").glob("*/*")):
        if path.suffix not in WEIGHTS:
            continue
        found, promise = path.stat(), promises.get(str(path), Promise())
        promise = promise if promise.digest else Promise(recorded(path))
        names, place = tuple(known.get(str(path), ())), urls.get(str(path), str(path))
        yield Cached(names, place, path, found.st_size, found.st_atime, promise)


def _keys(row: Cached) -> set[str]:
    """All that a row is known by."""
    keys = {*row.names, row.address, str(row.path)}
    if (commit := _commit(row)) is not None:
        at, main = Repository(*commit), Repository(commit.repo)
        keys |= {row.address.removesuffix(f"@{commit.commit}"), str(at), str(main)}
    return keys


def _key(name: str) -> str:
    """What a row of that name is known by; of a branch, by the commit that it was at."""
    match parse(name):
        case File(path):
            return str(path)
        case Address(source):
            return _key_of(source)
        case Repository() | Name(repo=str()) as one if one.revision is not None:
            return str(Repository(str(one.repo), commit_of(str(one.repo), one.revision) or one.revision))
        case Repository() as repository:
            return str(repository)
        case Name(name=known):
            found = registry.resolve(known)
            return known if found.tag else registry.default_entry(found.model) or known


def _key_of(source: HubSource | UrlSource) -> str:
    if isinstance(source, UrlSource):
        return str(url_path(source.url))
    at = source.revision and (commit_of(source.repo, source.revision) or source.revision)
    return address(source.repo, source.file, at)


def _commit(row: Cached) -> Commit | None:
    """The commit of the hub's cache that a row belongs to."""
    found = repository_of(row.address)
    return None if found is None or found.revision is None else Commit(found.repo, found.revision)
