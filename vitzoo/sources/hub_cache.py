"""The hub's cache as it lies on this disk, read without asking anybody.

$HF_HUB_CACHE/models--org--repo/{blobs/<digest>, snapshots/<commit>/<file> -> blob, refs/<branch> holds a commit}
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from vitzoo.errors import WeightsError
from vitzoo.files.atomic import replacing
from vitzoo.files.sharded import INDEX, read_index
from vitzoo.registry.licenses import LONGEST_CARD, license_on_card
from vitzoo.registry.reference import address
from vitzoo.small_files import read_small_text
from vitzoo.sources.failures import Mismatch, NotCached, explained
from vitzoo.sources.promise import Held, Promise

COMMIT = re.compile("[0-9a-f]{40}")
SHA256 = re.compile("[0-9a-f]{64}")
NO_PLACE = (NotADirectoryError, IsADirectoryError)  # for a name below, or at, one that is already there

CONFIGURATION = ("config.json", "preprocessor_config.json", "processor_config.json", "open_clip_config.json")
CARD = "README.md"
# What a repository may hold: the first kind of file that is there is taken.
REPOSITORY_FILES = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
    ("open_clip_model.safetensors",),
    ("open_clip_pytorch_model.bin",),
)


def offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def check_repo(repo: str, place: str) -> None:
    """Refuse what cannot be the name of a repository, before it becomes a part of a path here.

    Raises:
        WeightsError: such a name.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
    except HFValidationError:
        raise WeightsError(f"{place}: '{repo}' is not the name of a repository; expected org/name") from None


def check_name(name: str, place: str) -> None:
    """Refuse names that are no plain relative paths before one becomes a part of a path here.

    Raises:
        WeightsError: such a name.
    """
    parts = name.split("/")
    if not name or any(part in ("", ".", "..") for part in parts) or re.search(r"[\\:\0-\x1f]", name):
        raise WeightsError(f"{place}: '{name}' is not a plain file name or revision")


def shards_of(path: Path) -> list[str]:
    """The plain names of the files that an index joins; none if the file is no index."""
    return sorted(set(read_index(path).where.values())) if path.name.endswith(INDEX) else []


def license_in(card: Path) -> str | None:
    """The licence that a card states; None if it states none, or is no text of a sensible length."""
    try:
        return license_on_card(read_small_text(card, LONGEST_CARD))
    except (OSError, UnicodeDecodeError):
        return None


def cached_file(repo: str, file: str, revision: str | None) -> Held | None:
    """The file in the hub's cache, as it is there."""
    commit = commit_of(repo, revision)
    if commit is None:
        return None
    path = _repo_folder(repo) / "snapshots" / commit / file
    return Held(path, address(repo, file, commit), commit) if path.is_file() else None


def promise_by_name(path: Path) -> Promise:
    """What the cache says of a file: a blob's name is the digest that the hub gave."""
    name = path.resolve().name
    if SHA256.fullmatch(name):
        return Promise(sha256=name)
    return Promise(git=name) if COMMIT.fullmatch(name) else Promise()


def commit_of(repo: str, revision: str | None) -> str | None:
    """The commit that a revision is in the cache, without asking anybody."""
    if revision is not None and COMMIT.fullmatch(revision):
        return revision
    try:
        text = read_small_text(_repo_folder(repo) / "refs" / (revision or "main"), 100).strip()
    except (OSError, ValueError):  # none, or none that a hub would write: the hub is asked
        return None
    return text if COMMIT.fullmatch(text) else None


def set_ref(repo: str, revision: str, commit: str) -> None:
    """Remember which commit a branch was at, where all programs that share the cache look for it.

    Of `next` and `next/one`, which git does not have at the same time, the one that was first in the cache stays. What
    another process removes meanwhile, with the commit, is not written again.
    """
    path = _repo_folder(repo) / "refs" / revision
    if revision == commit or commit_of(repo, revision) == commit:
        return
    with explained(address(repo, "", revision), "the cache"), suppress(FileExistsError, FileNotFoundError, *NO_PLACE):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text(commit, encoding="utf-8")


def cached_folder(repo: str, commit: str | None, place: str) -> list[Held]:
    """The folder as it is in the cache, if all of it is there."""
    for names in REPOSITORY_FILES if commit is not None else ():
        for name in names:
            first = cached_file(repo, name, commit)
            if first is None:
                continue
            rest: Sequence[Held | None] = [cached_file(repo, shard, commit) for shard in shards_of(first.path)]
            beside = [one for name in CONFIGURATION if (one := cached_file(repo, name, commit)) is not None]
            held = [first, *beside, *(one for one in rest if one is not None)]
            if None in rest:
                continue
            for one in held:
                planted = first.path.is_symlink() and not one.path.is_symlink()
                wrong = "it was put there by another program" if planted else promise_by_name(one.path).broken(one.path)
                if wrong is not None:
                    raise Mismatch(f"{one.path}: {wrong}; fetch it again where there is a network")
            return held
    raise NotCached(f"{place} is not in the cache" + (", and HF_HUB_OFFLINE is set" if offline() else ""))


def blobs(repo: str) -> Path:
    """Where the bytes of a repository's files lie."""
    return _repo_folder(repo) / "blobs"


def has_pointer(blob: Path) -> bool:
    """Whether a commit has a file of these bytes; one that was killed before it said so has none."""
    links = (blob.parents[1] / "snapshots").rglob("*")
    return any(link.is_symlink() and link.readlink().name == blob.name for link in links)


def _repo_folder(repo: str) -> Path:
    """Where the client keeps a repository. Its own functions for this import its HTTP library: a tenth of the start."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / "--".join(("models", *repo.split("/")))
