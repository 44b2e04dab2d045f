"""Files from web addresses: resumed, retried, compared with what was promised.

A partial download lies under `<name>.partial` with the server's validator beside it, so that it is only gone on with
while the server still has the same file (RFC 9110, section 13.1.5, If-Range). The client is httpx2, as in
huggingface_hub: proxies and certificates are taken from the environment as there.
"""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vitzoo.errors import WeightsError, public
from vitzoo.small_files import read_small_text
from vitzoo.sources.cache import locked, url_path
from vitzoo.sources.failures import (
    PASSING,
    Absent,
    Mismatch,
    NotCached,
    Unreachable,
    check_room,
    explain,
    explained,
    looks_like_a_page,
    pause,
    retry_after,
)
from vitzoo.sources.flow import Flow
from vitzoo.sources.promise import NOTHING, Held, Promise, obtained

TRIES = 5  # in a row that brought less than `ENOUGH`
ENOUGH = 1 << 16  # bytes more than any try before
DIGITS = 64  # of a sha256; a file with the same first eight is found in a minute
LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def url_file(url: str, promise: Promise = NOTHING, offline: bool = False) -> Held:
    """The file at a web address, downloaded if it is not cached.

    Without a promised digest the server's word on the length is all there is to compare with.

    Raises:
        NotCached, Unreachable, Absent, Mismatch, WeightsError: see `failures`; each says what to do.
    """
    whole = len(promise.sha256 or "") == DIGITS
    if urlsplit(url).scheme == "http" and not whole and urlsplit(url).hostname not in LOOPBACK:
        raise WeightsError(
            f"{url}: a file sent over http can be changed on the way; use https, or add #sha256=DIGEST with all "
            f"{DIGITS} digits"
        )
    path = url_path(url)
    wrong = promise.broken(path) if path.is_file() else "it is not in the cache"
    if wrong is None:
        return Held(path, public(url))
    if offline:
        raise (Mismatch if path.is_file() else NotCached)(f"{url}: {wrong}, and HF_HUB_OFFLINE is set")
    with explained(url, str(path.parent)), locked(url):
        return Held(obtained(lambda again: _get(url, path, promise), promise, public(url)), public(url))


def _get(url: str, path: Path, promise: Promise) -> Path:
    """The cached file, or else a download of it."""
    partial = path.with_name(f"{path.name}.partial")
    idle, most = 0, partial.stat().st_size if partial.is_file() else 0
    while not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _stream(url, partial, promise)
            partial.replace(path)
            _validator(partial).unlink(missing_ok=True)
        except Exception as error:  # see `explain`: what comes here differs with the client's version
            failure = explain(error, url, _server(url))
            have = partial.stat().st_size if partial.is_file() else 0
            idle, most = (0, have) if have >= most + ENOUGH else (idle + 1, most)
            if isinstance(failure, Mismatch):
                _forget(partial)
            if not isinstance(failure, Unreachable) or idle >= TRIES:
                raise failure from error
            pause(failure, max(idle, 1))
    return path


def _stream(url: str, partial: Path, promise: Promise) -> None:
    """Write the rest of a file to `partial`, or all of it if the server has another file by now."""
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    headers = {"Accept-Encoding": "identity"}  # the length is that of the file, and a range is a part of it
    have = partial.stat().st_size if partial.is_file() and _validator(partial).is_file() else 0
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": read_small_text(_validator(partial), 1 << 12)}
    timeout = httpx2.Timeout(constants.HF_HUB_DOWNLOAD_TIMEOUT)
    with (
        httpx2.Client(follow_redirects=True, max_redirects=10, timeout=timeout) as client,
        client.stream("GET", url, headers=headers) as response,
    ):
        _check_answer(url, response)
        start = _start(url, response, partial, have)
        length = response.headers.get("Content-Length")
        total = None if length is None or "Content-Encoding" in response.headers else start + int(length)
        if total is not None and promise.size is not None and total != promise.size:
            raise Mismatch(f"{url}: {promise.size:,} bytes were expected, and the server has {total:,}")
        if total is not None:
            check_room(url, partial.parent, total - start)
        flow = Flow(url, _most(promise, total, start))
        with (
            partial.open("ab" if start else "wb") as file,
            tqdm(  # type: ignore[no-untyped-call]
                desc=partial.stem, total=total, initial=start, unit="B", unit_scale=True
            ) as bar,
        ):
            if not start:
                _keep_validator(partial, response)
            for chunk in response.iter_bytes():
                flow.add(len(chunk))
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and partial.stat().st_size != total:
        raise Unreachable(f"{url}: the server announced {total:,} bytes and sent {partial.stat().st_size:,}; try again")
    if looks_like_a_page(partial):
        _forget(partial)
        raise Unreachable(_page(url))


def _most(promise: Promise, total: int | None, start: int) -> int | None:
    """The most bytes that may still come."""
    known = promise.size if promise.size is not None else total
    return None if known is None else known - start


def _check_answer(url: str, response: Any) -> None:
    """Raise what a status, a redirection or a web page in a file's place means."""
    status, server = response.status_code, _server(url)
    if urlsplit(url).scheme == "https" and any(r.url.scheme != "https" for r in (*response.history, response)):
        raise Absent(f"{url}: {server} redirects to plain http, where the file can be changed on the way")
    if status in PASSING:
        later = Unreachable(f"{url}: {server} answered with status {status}; try again later")
        later.after = retry_after(response.headers.get("Retry-After"))
        raise later
    if status == 416:
        return
    if status in (401, 403):
        raise Absent(f"{url}: {server} refuses it (status {status}); download it in a browser and pass its path")
    if status not in (200, 206):
        raise Absent(f"{url}: {server} does not have it (status {status}); check the address, or pass a local file")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise Unreachable(_page(url))


def _start(url: str, response: Any, partial: Path, have: int) -> int:
    """How many bytes of `partial` stay; what it holds of another file is dropped."""
    if response.status_code == 200:
        return 0
    place = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if response.status_code != 206 or place is None or int(place[1]) != have:
        partial.unlink(missing_ok=True)
        raise Unreachable(f"{url}: the server cannot resume after {have:,} bytes; try again")
    return have


def _keep_validator(partial: Path, response: Any) -> None:
    """Remember what identifies the server's file: a strong ETag, else the time of its last change."""
    etag = response.headers.get("ETag", "")
    validator = etag if etag.startswith('"') else response.headers.get("Last-Modified")
    if validator is None:
        _validator(partial).unlink(missing_ok=True)
    else:
        _validator(partial).write_text(validator, encoding="utf-8")


def _server(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _page(url: str) -> str:
    return f"{url}: {_server(url)} answered with a web page, perhaps a login page of this network"


def _forget(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    _validator(partial).unlink(missing_ok=True)


def _validator(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.validator")
