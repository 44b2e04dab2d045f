"""A folder that stands for the network, where `$VITZOO_MIRROR` names one.

    hf/org/repo/FILE            files of the hub; hf/org/repo@REVISION/FILE where a source names a revision
    url/host/path/of/FILE       files from web addresses; FILE@QUERY where there is a query
    SHA256SUMS                  digests as `sha256sum` writes and checks them

`vitzoo cache prefetch NAME... --mirror DIR` writes it; any copy of it will do.
"""

import os
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from vitzoo.errors import WeightsError
from vitzoo.small_files import read_small_text
from vitzoo.sources.failures import Mismatch
from vitzoo.sources.hub_cache import check_name
from vitzoo.sources.promise import Held, Promise
from vitzoo.spec import HubSource, Source, UrlSource

ENVIRONMENT = "VITZOO_MIRROR"
SUMS = "SHA256SUMS"


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
            query = f"@{quote(split.query, safe='=&')}" if split.query else ""
            place = f"url/{split.hostname}{port}{unquote(split.path)}{query}"
        case _:
            return None
    check_name(place, "its place in a mirror")
    return place


def mirrored(folder: Path, place: str, promise: Promise) -> Held | None:
    """A file of the mirror; None if it does not have it.

    Raises:
        Mismatch: it is not what was promised, or not what the mirror's own `SHA256SUMS` says.
    """
    path = folder / place
    if not path.is_file():
        return None
    stated = Promise(sha256=sums(folder).get(place))
    for wanted, where in ((promise, "the registry or lock"), (stated, str(folder / SUMS))):
        if (wrong := wanted.broken(path)) is not None:
            raise Mismatch(f"{path} is not the file that {where} promises: {wrong}; copy it to the mirror again")
    note = None if stated.sha256 or promise.sha256 else f"no digest is known: {folder / SUMS} does not name it"
    return Held(path, str(path), note=note)


def sums(folder: Path) -> dict[str, str]:
    """From a file's place in the mirror to its digest."""
    try:
        lines = read_small_text(folder / SUMS).splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.split(maxsplit=1) for line in lines if line.strip())
    return {pair[1].removeprefix("*").removeprefix("./"): pair[0].lower() for pair in pairs if len(pair) == 2}
