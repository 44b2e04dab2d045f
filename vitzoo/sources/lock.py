"""`vitzoo.lock`: the exact bytes that names stand for."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError

from vitzoo.errors import WeightsError, public
from vitzoo.files.atomic import replacing
from vitzoo.small_files import read_small
from vitzoo.sources.promise import Promise
from vitzoo.spec import Frozen

NAME = "vitzoo.lock"
ENVIRONMENT = "VITZOO_LOCK"

Public = Annotated[str, AfterValidator(public)]
"""Of an address without passwords and queries."""
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def _without_query(file: str) -> str:
    return file.partition("?")[0]


class PinnedFile(Frozen):
    """One file, by its name in the repository or at the end of the address."""

    file: Annotated[str, AfterValidator(_without_query)]
    sha256: Digest
    size: Annotated[int, Field(ge=0)]


class Pin(Frozen):
    """What one name stands for."""

    source: Public = Field(description="hf://org/repo/file without the commit, a web address, or bundled:file")
    commit: Annotated[str, Field(pattern="^[0-9a-f]{40}$")] | None = None
    license: str | None = None
    files: tuple[PinnedFile, ...] = Field(min_length=1, description="the file to open first")

    def promise(self, file: str) -> Promise | None:
        """What a file must be; None if the pin does not name it."""
        one = next((one for one in self.files if one.file == file), None)
        return None if one is None else Promise(one.sha256, size=one.size)


class Lock(Frozen):
    """The whole file."""

    format: Literal[1] = 1
    entries: Mapping[str, Pin] = Field(default_factory=dict)


def lock_in_force() -> Path | None:
    """The file that `$VITZOO_LOCK` names, else the nearest `vitzoo.lock` in the working directory or above it.

    An empty variable means none. Whatever has that name is in force, and what is no lock is an error when it is read.
    """
    named = os.environ.get(ENVIRONMENT)
    if named is not None:
        return Path(named) if named else None
    here = Path.cwd()
    found = next((one for folder in (here, *here.parents) if os.path.lexists(one := folder / NAME)), None)
    return Path(NAME) if found == here / NAME else found


def read_lock(path: Path) -> Lock:
    """Raises: WeightsError: the file is not there, or is no lock file."""
    try:
        return Lock.model_validate_json(read_small(path))
    except OSError as error:
        raise WeightsError(
            f"the lock file {path} cannot be read: {error.strerror}; write it with `vitzoo pin`"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise WeightsError(f"{path} is not a lock file: {where}: {first['msg']}; write it with `vitzoo pin`") from None


def write_lock(path: Path, lock: Lock) -> None:
    """Write the whole file at once, its names in alphabetical order.

    Raises:
        WeightsError: it cannot be written.
    """
    ordered = lock.model_copy(update={"entries": dict(sorted(lock.entries.items()))})
    try:
        with replacing(path) as partial:
            partial.write_text(ordered.model_dump_json(indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise WeightsError(
            f"the lock file {path} cannot be written: {error.strerror}; give another (--lock)"
        ) from error


def pin_of(name: str, revision: str | None = None, bundled: bool = False) -> Pin | None:
    """The pin of a name; None if no lock is in force.

    `revision` is what the user asked for besides. What is `bundled` with the package need not be in the lock.

    Raises:
        WeightsError: a lock is in force and does not name it, or has another commit than `revision`.
    """
    path = lock_in_force()
    if path is None:
        return None
    pin = read_lock(path).entries.get(name)
    if pin is not None and revision not in (None, pin.commit):
        raise WeightsError(
            f"{name}: revision {revision} was asked for, and {path}, which is in force, has {pin.commit}; "
            "leave the revision out, or set VITZOO_LOCK to another lock or to none"
        )
    if pin is None and not bundled:
        raise WeightsError(f"{name} is not in {path}, which is in force; add it with `vitzoo pin {name}`")
    return pin
