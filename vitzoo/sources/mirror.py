"""A folder that stands for the network, where `$VITZOO_MIRROR` names one.

    hf/org/repo/FILE            files of the hub; hf/org/repo@REVISION/FILE where a source names a revision
    url/host/path/of/FILE       files from web addresses; FILE@DIGEST of the query where there is one
    SHA256SUMS                  digests as `sha256sum` writes and checks them

`vitzoo cache prefetch NAME... --mirror DIR` writes it; any copy of it will do.
"""

import hashlib
import os
import re
import shlex
import warnings
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vitzoo.errors import WeightsError, shown
from vitzoo.small_files import read_small_text, there
from vitzoo.sources.failures import Mismatch
from vitzoo.sources.hub_cache import check_name
from vitzoo.sources.promise import NOTHING, Held, Promise
from vitzoo.spec import HubSource, Source, UrlSource

ENVIRONMENT = "VITZOO_MIRROR"
SUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](?:\./)?(.+)")


class Unlisted(UserWarning):
    """A file of a mirror that was not read, since nothing says what it must be."""


def mirror() -> Path | None:
    """The folder, if there is to be one.

    Raises:
        WeightsError: the variable names no folder.
    """
    named = os.environ.get(ENVIRONMENT)
    if not named:
        return None
    if not Path(named).is_dir():
        raise WeightsError(
            f"{ENVIRONMENT} names {named}, which is not a folder; mount it, correct the path or unset the variable"
        )
    return Path(named)


def place_in_mirror(source: Source) -> str | None:
    """Where a source's file lies in a mirror; None for what ships with the package.

    Raises:
        WeightsError: a name that would lead elsewhere.
    """
    match source:
        case HubSource():
            revision = f"@{source.revision}" if source.revision else ""
            place = f"hf/{source.repo}{revision}/{source.file}"
        case UrlSource():
            split = urlsplit(source.url)
            port = f"_{split.port}" if split.port is not None else ""
            query = f"@{_short(split.query)}" if split.query else ""  # which may be secret, and tells files apart
            place = f"url/{split.hostname}{port}{unquote(split.path)}{query}"
        case _:
            return None
    check_name(place, "its place in a mirror")
    return place


def mirrored(folder: Path, place: str, promise: Promise) -> Held | None:
    """A file of the mirror; None if it does not have it.

    Raises:
        Mismatch: it is not what was promised, or not what the mirror's own `SHA256SUMS` says.
        WeightsError: `SHA256SUMS` cannot be read.
    """
    path = folder / place
    if not (there(path) and path.is_file()):
        return None
    stated = Promise(sha256=sums(folder).get(place))
    for wanted, where in ((promise, "the registry or lock"), (stated, str(folder / SUMS))):
        if (wrong := wanted.broken(path)) is not None:
            raise Mismatch(f"{path} is not the file that {where} promises: {wrong}; copy it to the mirror again")
    note = None if stated.sha256 or promise.sha256 else f"no digest is known: {folder / SUMS} does not name it"
    return Held(path, str(path), note=note)


def listed(folder: Path, place: str) -> Held | None:
    """What lies beside weights in a mirror: a configuration, a card. What `SHA256SUMS` does not name is not read.

    Raises:
        Mismatch, WeightsError: see `mirrored`.
    """
    path = folder / place
    if there(path) and place not in sums(folder):
        warnings.warn(
            f"{path} was not read, since {folder / SUMS} does not name it; if it belongs there, run "
            f"`sha256sum {shlex.quote(place)} >> {SUMS}` in {folder}",
            Unlisted,
            stacklevel=2,
        )
        return None
    return mirrored(folder, place, NOTHING)


def sums(folder: Path) -> dict[str, str]:
    """From a file's place in the mirror to its digest.

    Raises:
        WeightsError: a file that `sha256sum` would not write, or would not know how to check.
    """
    path = folder / SUMS
    try:
        lines = read_small_text(path).splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path} cannot be read: {error}; write the mirror again") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if match is None or found.setdefault(match[2], match[1].lower()) != match[1].lower():
            why = "expected a digest of 64 digits, two spaces and a name" if match is None else "it has another digest"
            raise WeightsError(f"{path}, line {number}: {shown(line)}: {why}; mend it, or write the mirror again")
    return found


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
