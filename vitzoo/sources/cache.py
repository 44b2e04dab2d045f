"""What vitzoo keeps beside the hub's cache: digests of files, downloads from web addresses, quarantine, locks.

$HF_HOME/vitzoo/            or $VITZOO_CACHE
    digests/                one small JSON file for each checked file
    urls/<digest>/<name>    downloads that do not come from the hub
    quarantine/             files that were not what they should have been
    locks/
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from vitzoo.files.atomic import replacing
from vitzoo.files.digest import hash_file
from vitzoo.small_files import read_small

CHUNK = 1 << 20
RECORD = 1 << 14  # bytes of the record of a digest


def cache_folder() -> Path:
    """`$VITZOO_CACHE`, or `vitzoo` in `$HF_HOME`."""
    from huggingface_hub import constants

    return Path(os.environ.get("VITZOO_CACHE") or Path(constants.HF_HOME) / "vitzoo").expanduser()


def sha256_of(path: Path) -> str:
    """The digest of a file, computed once: it is kept as long as size and time of change stay the same.

    Where the record cannot be written, as in a cache that is mounted read-only, the file is read each time.
    """
    if (known := recorded(path)) is not None:
        return known
    real = path.resolve()
    stamp, record = _stamp(real), _record(real)
    digest = hash_file(real)
    if _stamp(real) == stamp:
        with contextlib.suppress(OSError):
            record.parent.mkdir(parents=True, exist_ok=True)
            with replacing(record) as partial:
                text = json.dumps({"path": str(real), "stamp": stamp, "sha256": digest})
                partial.write_text(text, encoding="utf-8")
    return digest


def recorded(path: Path) -> str | None:
    """The digest that was computed earlier; None if there is none, or size or time of change are others since."""
    real = path.resolve()
    stamp = _stamp(real)
    try:
        known = json.loads(read_small(_record(real), RECORD))
        if known["stamp"] == stamp and re.fullmatch("[0-9a-f]{64}", known["sha256"]):
            return str(known["sha256"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None  # no record, or none that can be read: the file itself tells
    return None


def orphaned_records() -> list[Path]:
    """Records of files that are gone, and those that cannot be read."""

    def serves(record: Path) -> bool:
        try:
            return Path(json.loads(read_small(record, RECORD))["path"]).exists()
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return False

    return [record for record in (cache_folder() / "digests").glob("[!.]*.json") if not serves(record)]


def git_blob_of(path: Path) -> str:
    """The id that git, and so the hub, gives to a file that is not in LFS."""
    size = path.stat().st_size
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def quarantine(path: Path) -> Path:
    """Move a file out of the cache, so that nobody takes it for good and somebody can look at it.

    Where the cache merely points to a wrong file, which itself is whole or lies elsewhere, the pointer goes alone.
    Else all that points to the file goes with it: the hub's client lists no repository in which one leads nowhere.
    """
    real = path.resolve()
    digest = hash_file(real)
    if path.is_symlink() and (real.name == digest or not _is_ours(real)):
        path.unlink()
        return real
    kept = cache_folder() / "quarantine" / f"{digest[:16]}-{path.name}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(real, kept)
    for link in (real.parent.parent / "snapshots").rglob("*") if path.is_symlink() else ():
        if link.is_symlink() and link.resolve() == real:
            link.unlink(missing_ok=True)
    _record(real).unlink(missing_ok=True)
    return kept


def _is_ours(real: Path) -> bool:
    """Whether a file lies in a cache; a link in it may lead anywhere."""
    from huggingface_hub import constants

    return any(real.is_relative_to(Path(folder).resolve()) for folder in (cache_folder(), constants.HF_HUB_CACHE))


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """One process at a time, also of several hosts on a shared disk; others wait.

    The hub's own lock: it takes another kind of lock where the file system has no `flock`.
    """
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    path = lock_file(_short(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(path):
        yield


def lock_file(digest: str) -> Path:
    """What `locked` holds, by the digest of the name; that of a web address is the name of its folder, too."""
    return cache_folder() / "locks" / f"{digest}.lock"


def file_of(url: str) -> str:
    """The name of the file at a web address."""
    return url.partition("#")[0].partition("?")[0].rpartition("/")[2]


def url_path(url: str) -> Path:
    """Where the download of a web address is kept. Its name is the last part of the address, in plain letters."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", file_of(url)).lstrip(".") or "file"
    return cache_folder() / "urls" / _short(url) / name[-128:]


def _record(real: Path) -> Path:
    return cache_folder() / "digests" / f"{_short(str(real))}.json"


def _stamp(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
