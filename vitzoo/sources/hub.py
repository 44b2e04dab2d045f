"""Files from the Hugging Face hub, through its own client, with what the client leaves open.

The client compares no digest, asks for a branch once for the name of the commit and once more for the bytes, and takes
an ETag for a file name. So the commit is settled first, what the hub says is looked at before it is used, the bytes are
fetched by commit and compared with the digest that the hub (or a pin) gives, and only then does `refs/main` move.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain, repeat
from pathlib import Path, PurePosixPath
from typing import TypeVar

from vitzoo.errors import WeightsError
from vitzoo.registry.licenses import LONGEST_CARD
from vitzoo.registry.reference import address
from vitzoo.sources.cache import locked
from vitzoo.sources.failures import (
    Absent,
    Mismatch,
    NotCached,
    Refused,
    Unreachable,
    check_room,
    explain,
    explained,
    pause,
)
from vitzoo.sources.flow import Flow, bar
from vitzoo.sources.hub_cache import (
    CARD,
    COMMIT,
    CONFIGURATION,
    REPOSITORY_FILES,
    SHA256,
    blobs,
    cached_file,
    cached_folder,
    check_name,
    check_repo,
    commit_of,
    license_in,
    offline,
    promise_by_name,
    set_ref,
    shards_of,
)
from vitzoo.sources.promise import NOTHING, Held, Promise, obtained

T = TypeVar("T")
TRIES = 4


@dataclass(frozen=True)
class Remote:
    """A file as the hub describes it."""

    repo: str
    file: str
    commit: str
    promise: Promise

    @property
    def address(self) -> str:
        return address(self.repo, self.file, self.commit)


def hub_file(repo: str, file: str, revision: str | None = None, promise: Promise = NOTHING) -> Held:
    """One file of a repository, downloaded if it is not cached.

    A commit that is cached is used without asking the hub. For a branch the hub is asked which commit it is at; where
    the hub gives no answer the last one that was fetched is used, and `note` says so.

    Raises:
        NotCached, Unreachable, Absent, Mismatch, WeightsError: see `failures`; each says what to do.
    """
    place = address(repo, file, revision)
    check_repo(repo, place)
    for name in (file, revision or "main"):
        check_name(name, place)
    known = cached_file(repo, file, revision)
    if known is not None and (offline() or known.commit == revision):
        wrong = (promise & promise_by_name(known.path)).broken(known.path)
        if wrong is None:
            return known
        if offline():
            raise Mismatch(f"{known.path}: {wrong}, and HF_HUB_OFFLINE is set; fetch it again where there is a network")
    if offline():
        raise NotCached(f"{place} is not in the cache, and HF_HUB_OFFLINE is set")
    try:
        remote = ask(repo, file, revision, tries=TRIES if known is None else 1)
    except Unreachable as error:
        if known is None or (promise & promise_by_name(known.path)).broken(known.path) is not None:
            raise
        return replace(known, note=f"the cached commit {known.commit} was used, since {error}")
    if promise.contradicts(remote.promise):
        raise Mismatch(
            f"{remote.address} is not the file that was promised: sha256 {promise.sha256} was expected, and the "
            f"hub has {remote.promise.sha256} ({remote.promise.size:,} bytes)"
        )
    held = obtain(replace(remote, promise=promise & remote.promise))
    set_ref(repo, revision or "main", remote.commit)
    return held


def hub_folder(
    repo: str, revision: str | None = None, look: Callable[[Held | None], None] = lambda card: None
) -> list[Held]:
    """The weights of a repository, with the configuration beside them in one folder; the file to open first.

    `look` is called with the card of the repository, if it has one, before anything else is fetched.

    Raises:
        WeightsError: as for `hub_file`; or the repository holds no weights under the names that are usual.
    """
    place = address(repo, "", revision)
    check_repo(repo, place)
    check_name(revision or "main", place)
    commit = commit_of(repo, revision)
    if offline():
        held = cached_folder(repo, commit, place)
        look(_cached_card(repo, revision))
        return held
    try:
        files = listing(repo, revision, tries=TRIES if commit is None else 1)
    except Unreachable as error:
        if commit is None:
            raise
        try:
            held = cached_folder(repo, commit, place)
        except NotCached:
            raise error from None
        look(_cached_card(repo, revision))
        return [replace(one, note=f"the cached commit {commit} was used, since {error}") for one in held]
    index = next((name for names in REPOSITORY_FILES for name in names if name in files), None)
    if index is None:
        usual = ", ".join(name for names in REPOSITORY_FILES for name in names)
        raise Absent(f"{repo} holds no weights under the usual names ({usual}); give the file: hf://{repo}/FILE")
    card = files.get(CARD)
    look(obtain(card) if card is not None and (card.promise.size or 0) <= LONGEST_CARD else None)
    held = [obtain(files[name]) for name in (index, *CONFIGURATION) if name in files]
    for name in shards_of(held[0].path):
        if name not in files:
            raise Absent(f"{place}: {index} names the shard {name}, and the repository does not have it")
        held.append(obtain(files[name]))
    set_ref(repo, revision or "main", files[index].commit)
    return held


def ask(repo: str, file: str, revision: str | None, tries: int = TRIES) -> Remote:
    """What the hub says of a file, in one HEAD request: its commit, digest and size."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

    def head() -> Remote:
        url = hf_hub_url(repo, file, revision=revision, endpoint=constants.ENDPOINT)
        found = get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT, endpoint=constants.ENDPOINT)
        return _remote(repo, file, revision, found.commit_hash, found.etag, found.size)

    return _answer(head, address(repo, file, revision), repo, tries)


def listing(repo: str, revision: str | None, tries: int = TRIES) -> dict[str, Remote]:
    """All files of a repository at one commit, in one request."""
    from huggingface_hub import HfApi, constants

    place = address(repo, "", revision)
    info = _answer(
        lambda: HfApi(endpoint=constants.ENDPOINT).model_info(
            repo, revision=revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
        ),
        place,
        repo,
        tries,
    )
    files = {}
    for one in info.siblings or ():
        etag = one.lfs.sha256 if one.lfs is not None else one.blob_id
        if one.rfilename in (CARD, *CONFIGURATION) or PurePosixPath(one.rfilename).suffix in (
            ".safetensors",
            ".bin",
            ".json",
        ):
            files[one.rfilename] = _remote(repo, one.rfilename, revision, info.sha, etag, one.size)
    return files


def license_of(repo: str, revision: str | None = None) -> str | None:
    """The licence that a repository's card states."""
    card = hub_card(repo, revision)
    return None if card is None else license_in(card.path)


def _cached_card(repo: str, revision: str | None) -> Held | None:
    known = cached_file(repo, CARD, revision)
    return None if known is None or promise_by_name(known.path).broken(known.path) is not None else known


def hub_card(repo: str, revision: str | None = None) -> Held | None:
    """The card of a repository; None if it has none, or none can be had.

    Nothing else is fetched. Who cannot reach the hub or the repository hears so from whoever asks for the weights.
    """
    place = address(repo, CARD, revision)
    check_repo(repo, place)
    check_name(revision or "main", place)
    known = _cached_card(repo, revision)
    if offline() or (known is not None and known.commit == revision):
        return known
    try:
        remote = ask(repo, CARD, revision, tries=1)
        return obtain(remote) if (remote.promise.size or 0) <= LONGEST_CARD else None
    except Absent:
        return None
    except Mismatch:
        raise
    except WeightsError:  # no answer, or no room for it: who is asked for the weights says so, if they are not here
        return known


def obtain(remote: Remote) -> Held:
    """The file in the cache, downloaded if need be, and compared with what the hub promised.

    One process downloads, the others wait for it. A file that is not what was promised is put aside and fetched once
    more.

    Raises:
        Mismatch: it was wrong twice.
    """

    def get(again: bool) -> Path:
        known = None if again else cached_file(remote.repo, remote.file, remote.commit)
        return _download(remote, again) if known is None else known.path

    known = cached_file(remote.repo, remote.file, remote.commit)
    if known is not None and remote.promise.broken(known.path) is None:
        return known  # without a lock: a complete cache may be mounted read-only
    with explained(remote.address, "the cache"), locked(remote.address):
        return Held(obtained(get, remote.promise, remote.address), remote.address, remote.commit)


def _download(remote: Remote, force: bool) -> Path:
    from huggingface_hub import constants, hf_hub_download

    cache = Path(constants.HF_HUB_CACHE)
    check_room(remote.address, cache, remote.promise.size or 0)
    forced = chain((force,), repeat(True))  # a part that an old client left behind would spoil a plain retry

    def fetch() -> str:
        counting = bar(Flow(remote.address, remote.promise.size))
        path = hf_hub_download(
            remote.repo,
            remote.file,
            revision=remote.commit,
            endpoint=constants.ENDPOINT,
            force_download=next(forced),
            tqdm_class=counting,
        )
        _check_name(Path(path), remote)
        return path

    try:
        path = Path(_answer(fetch, remote.address, remote.repo, TRIES))
    except Mismatch:
        for part in blobs(remote.repo).glob(f"{remote.promise.digest}*.incomplete"):
            part.unlink(missing_ok=True)
        raise
    real = path.resolve()
    if not real.is_relative_to(cache.resolve()):
        path.unlink()
        raise Mismatch(f"{remote.address}: the hub's answer led out of the cache, to {real}; delete that file")
    return path


def _check_name(path: Path, remote: Remote) -> None:
    """The client names a file by the ETag of its own second question: under another's name it would never be found."""
    real = path.resolve()
    named = real.name in (remote.promise.sha256, remote.promise.git)
    if not named and real.is_relative_to(blobs(remote.repo).resolve()) and remote.promise.broken(path) is None:
        path.unlink()
        real.unlink()
        raise Unreachable(f"{remote.address}: the hub called it {real.name} in between; try again")


def _answer(call: Callable[[], T], place: str, repo: str, tries: int) -> T:
    """What the client gives, asked again after a while where that may help; its errors in our words."""
    for attempt in range(1, tries + 1):
        try:
            return call()
        except Exception as error:  # see `explain`: what comes here differs with the client's version
            failure = _hub_failure(error, place, repo)
            if not isinstance(failure, Unreachable) or isinstance(failure, Refused) or attempt == tries:
                raise failure from error
            pause(failure, attempt)
    raise AssertionError("a loop that returns or raises")


def _hub_failure(error: Exception, place: str, repo: str) -> WeightsError:
    from huggingface_hub import constants, errors, get_token

    page = f"{constants.ENDPOINT}/{repo}"
    if isinstance(error, errors.GatedRepoError):
        how = "the account of your token has no access yet" if get_token() else "log in (`hf auth login` or HF_TOKEN)"
        return Absent(f"{place} is gated: accept its terms at {page}, then try again; {how}")
    if isinstance(error, errors.RepositoryNotFoundError):
        how = "your token does not see it" if get_token() else "if it is private log in (`hf auth login` or HF_TOKEN)"
        return Absent(f"{place}: there is no repository {repo} at {constants.ENDPOINT}; check the name; {how}")
    if isinstance(error, errors.RevisionNotFoundError):
        return Absent(f"{place}: {repo} has no such revision; its commits are at {page}/commits/main")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return NotCached(f"{place}: the hub has to be asked for this, and HF_HUB_OFFLINE is set")
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return Absent(f"{place}: {repo} has no such file; its files are at {page}/tree/main")
    return explain(error, place, constants.ENDPOINT)


def _remote(
    repo: str, file: str, revision: str | None, commit: str | None, etag: str | None, size: int | None
) -> Remote:
    """What the hub said, if it is what a hub would say."""
    from huggingface_hub import constants

    place = address(repo, file, revision)
    check_name(file, place)
    if commit is None or not COMMIT.fullmatch(commit):
        raise Unreachable(
            f"{place}: {constants.ENDPOINT} answered without a commit, so it is not a hub; "
            "a network's login page answers like this"
        )
    if revision is not None and COMMIT.fullmatch(revision) and commit != revision:
        raise Mismatch(f"{place}: {constants.ENDPOINT} answered with the commit {commit}")
    if etag is None or not (SHA256.fullmatch(etag) or COMMIT.fullmatch(etag)):
        raise Unreachable(f"{place}: {constants.ENDPOINT} answered with the ETag {etag!r}, which is not a digest")
    lfs = SHA256.fullmatch(etag) is not None
    return Remote(repo, file, commit, Promise(etag if lfs else None, None if lfs else etag, size))
