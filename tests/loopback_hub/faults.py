"""What can go wrong between a hub and its client, as data: each fault wraps the honest answer to one request.

A `keep` is the part of the body that still arrives: a fraction, a number of bytes, or None for not even the status
line (and then the request is not carried out either).
"""

import gzip
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

from .wire import Cut, Ending, Request, Response, json_response

Answer = Callable[[], Response]
Keep = float | int | None


class Fault(Protocol):
    def __call__(self, request: Request, answer: Answer) -> Response:
        """The response in place of `answer()`; a fault that does not call it keeps the request from being done."""


@dataclass(frozen=True)
class Status:
    """An error in place of the answer: 500, 503, 429 (with Retry-After), 404 (with the hub's X-Error-Code) ..."""

    status: int
    retry_after: int | None = None
    error_code: str | None = None

    def __call__(self, request: Request, answer: Answer) -> Response:
        retry_after = None if self.retry_after is None else str(self.retry_after)
        response = json_response({"error": f"injected {self.status}"}, self.status)
        return response.with_headers({"Retry-After": retry_after, "X-Error-Code": self.error_code})


@dataclass(frozen=True)
class RedirectLoop:
    """A redirect to the same address, relative or `absolute`."""

    absolute: bool = False

    def __call__(self, request: Request, answer: Answer) -> Response:
        return Response(302, {"Location": (request.origin if self.absolute else "") + request.path})


@dataclass(frozen=True)
class HtmlPage:
    """A captive portal's login page with status 200; `same_length` pads or cuts it to the true body's length."""

    same_length: bool = False
    page: ClassVar[bytes] = b"<!DOCTYPE html><html><body>Sign in to use this network</body></html>\n"

    def __call__(self, request: Request, answer: Answer) -> Response:
        size = len(answer().body) if self.same_length else len(self.page)
        return Response(200, {"Content-Type": "text/html"}, self.page[:size].ljust(size, b"\n"))


@dataclass(frozen=True)
class Flipped:
    """One byte of the body inverted (`at`: its offset, by default the middle); the length stays."""

    at: int | None = None

    def __call__(self, request: Request, answer: Answer) -> Response:
        response = answer()
        body = bytearray(response.body)
        if body:
            body[len(body) // 2 if self.at is None else self.at] ^= 0xFF
        return replace(response, body=bytes(body))


@dataclass(frozen=True)
class WrongETag:
    """Another ETag, such as another file's, or a path: `WrongETag("../../../x")`."""

    etag: str

    def __call__(self, request: Request, answer: Answer) -> Response:
        response = answer()
        names = ("ETag", "X-Linked-Etag")
        return response.with_headers({name: f'"{self.etag}"' for name in names if name in response.headers})


@dataclass(frozen=True)
class WrongLength:
    """Sizes that are `by` bytes off in the headers; the body is whole."""

    by: int

    def __call__(self, request: Request, answer: Answer) -> Response:
        response = answer()
        linked = response.headers.get("X-Linked-Size")
        wrong = None if linked is None else str(int(linked) + self.by)
        return replace(response, length=len(response.body) + self.by).with_headers({"X-Linked-Size": wrong})


@dataclass(frozen=True)
class Unmeasured:
    """No size in any header, and only a part of the body: it looks whole. Strike HEAD and GET alike."""

    keep: float | int = 0.5

    def __call__(self, request: Request, answer: Answer) -> Response:
        response = answer()
        part = response.body[: _bytes(self.keep, response)]
        return replace(response, body=part, length=None).with_headers({"X-Linked-Size": None})


@dataclass(frozen=True)
class TooMuch:
    """So many bytes more than the file has, and no size in the header."""

    by: int

    def __call__(self, request: Request, answer: Answer) -> Response:
        response = answer()
        if request.method == "HEAD":
            return response
        return replace(response, body=response.body + bytes(self.by), length=None)


@dataclass(frozen=True)
class Packed:
    """A body that was packed with gzip, though nobody asked for it: so many bytes of nothing."""

    size: int

    def __call__(self, request: Request, answer: Answer) -> Response:
        response = answer()
        if request.method == "HEAD":
            return response
        packed = gzip.compress(bytes(self.size))
        return replace(response, body=packed).with_headers({"Content-Encoding": "gzip"})


@dataclass(frozen=True)
class Slow:
    """The body at so many bytes a second."""

    rate: float

    def __call__(self, request: Request, answer: Answer) -> Response:
        return replace(answer(), rate=self.rate)


@dataclass(frozen=True)
class _Interrupted:
    keep: Keep = None
    ending: ClassVar[Ending]

    def __call__(self, request: Request, answer: Answer) -> Response:
        if self.keep is None:
            return Response(cut=Cut(None, self.ending))
        response = answer()
        if request.method == "HEAD":
            return response  # no body to be in the middle of
        return replace(response, cut=Cut(_bytes(self.keep, response), self.ending))


class Closed(_Interrupted):
    """The connection is closed before the answer, or in the middle of a body whose full length was declared."""

    ending = "close"


class Reset(_Interrupted):
    """A TCP reset before the answer or in the middle of the body."""

    ending = "reset"


class Hanging(_Interrupted):
    """Silence before the answer or in the middle of the body, until the client or the test gives up."""

    ending = "hang"


@dataclass(frozen=True)
class Meanwhile:
    """The honest answer, and then something happens at the hub: `Meanwhile(lambda: hub.add(...))` moves main."""

    action: Callable[[], object]

    def __call__(self, request: Request, answer: Answer) -> Response:
        response = answer()
        self.action()
        return response


def _bytes(keep: float | int, response: Response) -> int:
    return int(keep * len(response.body)) if isinstance(keep, float) else keep


# What a soak may draw from: each is over at once, and none outlasts the client's own retries.
PASSING: tuple[Fault, ...] = (
    Status(500),
    Status(503),
    Status(429, retry_after=0),
    HtmlPage(),
    HtmlPage(same_length=True),
    Flipped(),
    WrongETag("0" * 64),
    WrongLength(1),
    WrongLength(-1),
    Unmeasured(),
    Closed(),
    Closed(0.5),
    Reset(),
    Reset(0.5),
)
