"""HTTP on a socket: a response says what it holds and, where a test wants it, how its delivery goes wrong."""

import json
import os
import select
import socket
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.message import Message
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

TICK = 0.05  # seconds between two looks at whether the client, or the test, has gone
TRUE_LENGTH = -1
Ending = Literal["close", "reset", "hang"]


@dataclass(frozen=True)
class Request:
    """What the client sent; `path` is still percent-encoded and has no query."""

    method: str
    path: str
    query: str
    headers: Message
    body: bytes

    @property
    def range(self) -> str | None:
        return self.headers.get("Range")

    @property
    def token(self) -> str | None:
        return self.headers.get("Authorization", "").removeprefix("Bearer ") or None

    @property
    def origin(self) -> str:
        return f"http://{self.headers['Host']}"

    @cached_property
    def fields(self) -> dict[str, list[str]]:
        """Those of the query and of a form in the body."""
        is_form = "form-urlencoded" in self.headers.get("Content-Type", "")
        return parse_qs(f"{self.query}&{self.body.decode() if is_form else ''}")

    def flag(self, name: str) -> bool:
        return self.fields.get(name, ["false"])[0].lower() in ("true", "1")

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Cut:
    """The delivery stops after `at` bytes of the body (None: before the status line), and then this happens."""

    at: int | None
    ending: Ending


@dataclass(frozen=True)
class Response:
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int | None = TRUE_LENGTH  # the Content-Length that is declared; None: no such header
    rate: float | None = None  # bytes of the body a second
    cut: Cut | None = None

    def with_headers(self, changes: Mapping[str, str | None]) -> "Response":
        """The same with other headers; None takes one away."""
        headers = {**self.headers, **changes}
        return replace(self, headers={name: value for name, value in headers.items() if value is not None})


# Methods, a pattern of the path whose groups become arguments, and the function that answers.
Route = tuple[str, str, Callable[..., Response]]


def json_response(content: Any, status: int = 200) -> Response:
    return Response(status, {"Content-Type": "application/json"}, json.dumps(content).encode())


def ranged(request: Request, whole: Response) -> Response:
    """The part of a body that one `Range` asks for: 206, or 416 where it lies outside."""
    asked, size = request.range, len(whole.body)
    outdated = request.headers.get("If-Range") not in (None, whole.headers.get("ETag"))
    whole = whole.with_headers({"Accept-Ranges": "bytes"})
    if asked is None or not asked.startswith("bytes=") or "," in asked or outdated:
        return whole
    first, _, last = asked.removeprefix("bytes=").partition("-")
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last) + 1, size) if first and last else size
    if start >= stop:
        return replace(whole, status=416, body=b"").with_headers({"Content-Range": f"bytes */{size}"})
    part = replace(whole, status=206, body=whole.body[start:stop])
    return part.with_headers({"Content-Range": f"bytes {start}-{stop - 1}/{size}"})


class Server(ThreadingHTTPServer):
    """One thread a connection on 127.0.0.1; `answer` makes a response of a request."""

    daemon_threads = True
    block_on_close = False  # a hanging connection must not hold up the test's end
    request_queue_size = 128

    def __init__(self, answer: Callable[[Request], Response]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.closing = threading.Event()
        self.errors: list[Exception] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is normal here; all else is a bug of this server, kept for the test to see."""
        error = sys.exc_info()[1]
        if isinstance(error, Exception) and not isinstance(error, ConnectionError):
            self.errors.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def exchange(self) -> None:
        address = urlsplit(self.path)
        request = Request(self.command, address.path, address.query, self.headers, self.received())
        self.deliver(self.server.answer(request))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = exchange

    def received(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            if len(body) < length:
                raise ConnectionAbortedError("the client ended in the middle of its request")
            return body
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def deliver(self, response: Response) -> None:
        cut = response.cut
        if cut is None or cut.at is not None:
            length = len(response.body) if response.length == TRUE_LENGTH else response.length
            self.send_response(response.status)
            for name, value in response.headers.items():
                self.send_header(name, value)
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            body = b"" if self.command == "HEAD" else response.body[: cut.at if cut else None]
            self.send(body, response.rate)
            if self.command != "HEAD" and length != len(body):
                self.close_connection = True  # nothing else tells the client that the body is over
        if cut is not None:
            self.end(cut.ending)

    def send(self, body: bytes, rate: float | None) -> None:
        step = max(len(body) if rate is None else int(rate * TICK), 1)
        for start in range(0, len(body), step):
            self.wfile.write(body[start : start + step])
            if rate is not None and self.server.closing.wait(step / rate):
                return

    def end(self, ending: Ending) -> None:
        self.close_connection = True
        if ending == "reset":  # closing with a linger of 0 seconds sends RST, where the server's own close sends FIN
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())
        while ending == "hang" and not self.server.closing.wait(TICK):
            if select.select([self.connection], [], [], 0)[0]:  # readable, and no request is due: the client hung up
                return

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the hub keeps its own log."""
