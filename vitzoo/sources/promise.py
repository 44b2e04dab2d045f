"""A file on this disk whose bytes are known, and what it is compared with."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vitzoo.errors import MissingFile
from vitzoo.files.digest import hash_file
from vitzoo.sources.cache import git_blob_of, quarantine, sha256_of
from vitzoo.sources.failures import Mismatch, Unreachable, explain, explained, looks_like_a_page

TRIES = 4


class DamagedFile(UserWarning):
    """A file was not what it should have been, and was put aside."""


@dataclass(frozen=True)
class Promise:
    """What a file must be; what is None is not known."""

    sha256: str | None = None
    """The digest, or its first digits."""
    git: str | None = None
    """The id of a file that the hub keeps in git itself."""
    size: int | None = None
    afresh: bool = False
    """Whether the bytes are to be read now: with a lock a record of an earlier reading is not enough."""

    @property
    def digest(self) -> str | None:
        """The digest that is promised, of either kind."""
        return self.sha256 or self.git

    def __and__(self, other: "Promise") -> "Promise":
        """Both promises, of which the longer digest says more; `contradicts` tells whether there is such a file."""
        longer = max(self.sha256 or "", other.sha256 or "", key=len) or None
        size = self.size if self.size is not None else other.size
        return Promise(longer, self.git or other.git, size, self.afresh or other.afresh)

    def contradicts(self, other: "Promise") -> bool:
        """Whether no file can keep both."""
        mine, theirs = self.sha256 or "", other.sha256 or ""
        sizes = {size for size in (self.size, other.size) if size is not None}
        return not (mine.startswith(theirs) or theirs.startswith(mine)) or len(sizes) > 1

    def broken(self, path: Path) -> str | None:
        """What is wrong with a file, in words; None if it is what was promised."""
        try:
            return self._broken(path)
        except FileNotFoundError:
            return "it is not there"  # or no more: another process has put it aside
        except OSError as error:
            raise explain(error, str(path), "the disk") from error

    def _broken(self, path: Path) -> str | None:
        size = path.stat().st_size
        if self.size is not None and size != self.size:
            return f"{self.size:,} bytes were expected, {size:,} found{_page(path)}"
        digest = hash_file if self.afresh else sha256_of
        if self.sha256 is not None and not (found := digest(path)).startswith(self.sha256):
            return f"sha256 {self.sha256} was expected, {found} found{_page(path)}"
        if self.git is not None and (found := git_blob_of(path)) != self.git:
            return f"git blob {self.git} was expected, {found} found{_page(path)}"
        return None


NOTHING = Promise()


@dataclass(frozen=True)
class Held:
    """One file on this disk, and where it came from."""

    path: Path
    address: str
    """`hf://org/repo/file@commit`, a web address, `bundled:file` or a path in the mirror."""
    commit: str | None = None
    note: str | None = None
    """What the user should know of how it was found."""

    @property
    def sha256(self) -> str:
        """Raises: MissingFile: it was removed after it was verified. WeightsError: it cannot be read."""
        with explained(self.address, "the disk"):
            try:
                return sha256_of(self.path)
            except FileNotFoundError:
                raise MissingFile(f"{self.path} was removed while it was needed; try again") from None

    @property
    def size(self) -> int:
        return self.path.stat().st_size


def obtained(get: Callable[[bool], Path], promise: Promise, place: str) -> Path:
    """The file that `get` gives, if it is what was promised; else it is put aside and `get(True)` is asked once more.

    Where somebody tidies the cache meanwhile, what was removed is got again.

    Raises:
        Mismatch: it was wrong twice. Unreachable: it is removed again and again.
    """
    again = False
    for _ in range(TRIES):
        path = get(again)
        wrong = promise.broken(path)
        if wrong is None:
            return path
        if not path.exists():
            continue
        kept = quarantine(path)
        if again:
            raise Mismatch(f"{place} was fetched again and was wrong again: {wrong}; what came is kept as {kept}")
        warnings.warn(f"{place}: {wrong}; it was put aside as {kept}, and is fetched again", DamagedFile, 2)
        again = True
    raise Unreachable(f"{place}: {path} was removed each time that it came; see who tidies the cache, and try again")


def _page(path: Path) -> str:
    return " (it is a web page, perhaps a login page of this network)" if looks_like_a_page(path) else ""
