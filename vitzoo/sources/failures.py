"""What goes wrong between here and a server, as one line that says what to do."""

import email.utils
import errno
import json
import shutil
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from vitzoo.errors import WeightsError

FULL = {errno.ENOSPC, errno.EDQUOT}
DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
PASSING = {408, 425, 429, 500, 502, 503, 504}  # statuses that another try may not meet
PAUSE = 0.5  # seconds before the second try; doubled for each one after
LONGEST_PAUSE = 30.0  # seconds, also where the server asks for more
MORE_ROOM = "free space (`vitzoo cache prune`) or set HF_HOME to another disk"


class NotCached(WeightsError):
    """Not on this machine, and the network may not be asked."""


class Unreachable(WeightsError):
    """No answer, or none that says anything about the file: another try or another source may do better."""

    after: float | None = None
    """Seconds, where the server says when to come again."""


class Refused(Unreachable):
    """An answer that says nothing about the file and stays the same: only another source may do better."""


class Absent(WeightsError):
    """The server's own answer: there is no such repository, revision or file, or not for this user."""


class Mismatch(WeightsError):
    """Other bytes than were promised."""


def explain(error: Exception, place: str, server: str) -> WeightsError:
    """An error of the hub's client, of the web client or of the disk, in our words.

    `place` is what was asked for, `server` who was asked. The clients raise whatever their libraries do (errors of
    three HTTP libraries over the years, RecursionError in a circle of redirects, JSONDecodeError at a login page), so
    this takes any exception; the caller chains it.
    """
    if isinstance(error, WeightsError):
        return error
    if isinstance(error, ImportError):
        raise error  # an installation that is broken, not a server
    numbers = {one.errno for one in _chain(error) if isinstance(one, OSError) and not isinstance(one, ssl.SSLError)}
    names = {base.__name__ for one in _chain(error) for base in type(one).__mro__}
    if numbers & FULL:
        return WeightsError(f"{place}: the disk is full; {MORE_ROOM}")
    if numbers & DENIED:
        where = next((one.filename for one in _chain(error) if isinstance(one, OSError) and one.filename), "the cache")
        return WeightsError(f"{place}: no permission for {where}; set HF_HOME to a folder of your own")
    if isinstance(error, OSError) and error.filename is not None:
        return Unreachable(f"{place}: {error.strerror}: {error.filename}; check HF_HOME and VITZOO_CACHE")
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in _chain(error)) or _says(error, "CERTIFICATE_VER"):
        return WeightsError(
            f"{place}: the certificate of {server} is not trusted; behind a proxy of your company set SSL_CERT_FILE to "
            "its certificate authority"
        )
    if names & {"TooManyRedirects", "RecursionError"}:
        return Unreachable(f"{place}: {server} redirects in a circle; check the address (HF_ENDPOINT) and proxies")
    if names & {"TimeoutException", "Timeout", "TimeoutError"}:
        return Unreachable(
            f"{place}: {server} did not answer in time; try again, or raise HF_HUB_ETAG_TIMEOUT and "
            "HF_HUB_DOWNLOAD_TIMEOUT (seconds)"
        )
    if isinstance(error, json.JSONDecodeError):
        return Unreachable(f"{place}: {server} answered with something else, perhaps a login page of this network")
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if response is not None and status is not None:
        kind = Unreachable if status in PASSING else Refused
        failure = kind(f"{place}: {server} answered with status {status}; {_advice(status)}")
        failure.after = retry_after(response.headers.get("Retry-After"))
        return failure
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    what = "cannot be reached" if names & {"ConnectError", "ConnectionError"} else "did not deliver it"
    return Unreachable(f"{place}: {server} {what} ({said}); check the network, HF_ENDPOINT and proxies, and try again")


@contextmanager
def explained(place: str, server: str) -> Iterator[None]:
    """Errors of the disk inside the block, in our words."""
    try:
        yield
    except OSError as error:
        raise explain(error, place, server) from error


def pause(failure: Unreachable, tries: int) -> None:
    """Wait before another try, after so many in vain."""
    time.sleep(min(PAUSE * 2 ** (tries - 1) if failure.after is None else failure.after, LONGEST_PAUSE))


def check_room(place: str, folder: Path, size: int) -> None:
    """Refuse a download that does not fit on the disk of `folder`, which need not be there yet, before it begins."""
    free = shutil.disk_usage(next(one for one in (folder, *folder.parents) if one.exists())).free
    if size > free:
        raise WeightsError(
            f"{place}: the disk is full: {size:,} bytes are needed in {folder}, {free:,} are free; {MORE_ROOM}"
        )


def retry_after(header: str | None) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date (RFC 9110, section 10.2.3); None if it says none."""
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def looks_like_a_page(path: Path) -> bool:
    """Whether a file begins as HTML does."""
    with path.open("rb") as file:
        head = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return head.startswith((b"<!doctype", b"<html", b"<?xml", b"<head"))


def _advice(status: int) -> str:
    if status == 429:
        return "too many requests: wait a while, or log in (`hf auth login`)"
    if status in (401, 403):
        return "log in (`hf auth login`) or ask for access"
    return "try again later" if status in PASSING else "check the address (HF_ENDPOINT) and proxies"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _says(error: Exception, text: str) -> bool:
    return any(text in str(one) for one in _chain(error))
