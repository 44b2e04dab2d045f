"""The hub as a test holds it: what is in it, what goes wrong, and what it was asked."""

import hashlib
import os
import random
import re
import threading
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import unquote

from . import reading, writing
from .faults import PASSING, Answer, Fault
from .repository import LFS, Address, HubError, Repository, Store, User
from .schedule import Lottery, Rule, Schedule
from .wire import Request, Response, Server, json_response

ROUTES = [*writing.ROUTES, *reading.ROUTES]


class Exchange(NamedTuple):
    """One request as the hub saw it; the status is None where not even a status line was sent."""

    method: str
    path: str
    range: str | None
    status: int | None
    faults: tuple[Fault, ...]


class LoopbackHub:
    """A hub on 127.0.0.1 for the length of a `with` block; an error of its own code is raised at the end of it."""

    def __init__(self, *, cdn: bool = False) -> None:
        self.requests: list[Exchange] = []
        self._store = Store(cdn)
        self._schedule = Schedule()
        self._server = Server(self._answer)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        if self._server.errors and error is None:
            raise ExceptionGroup("the loopback hub itself failed", self._server.errors)

    def add(
        self, repo: str, files: Mapping[str, bytes | None], *, branch: str = "main", lfs: Iterable[str] = LFS
    ) -> str:
        """The id of a commit that adds these files (None: deletes); the repository is made where it is missing."""
        return self._store.repositories.setdefault(repo, Repository(repo)).commit(files, branch, lfs=lfs)

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        """What a repository holds."""
        return {name: blob.content for name, blob in self._store.repositories[repo].files(revision).items()}

    def tag(self, repo: str, name: str, commit: str) -> None:
        """Give a commit a name that stays with it."""
        self._store.repositories[repo].tags[name] = commit

    def user(self, name: str, token: str, *, organizations: tuple[str, ...] = (), role: str = "write") -> None:
        """Someone who is known by a token; with the role `read` it lets nobody write."""
        self._store.users[token] = User(name, organizations, role)

    def gate(self, repo: str, token: str) -> None:
        """Close a repository's files to all but the holders of this token, and of those named before."""
        self._store.users.setdefault(token, User(f"reader-{len(self._store.users)}", role="read"))
        repository = self._store.repositories[repo]
        repository.granted = (repository.granted or set()) | {token}

    def url(self, path: str, content: bytes, *, ranges: bool = True, etag: bool = True) -> str:
        """The address of a plain file, as another web server would serve it."""
        digest = f'"{hashlib.md5(content).hexdigest()}"' if etag else None
        response = Response(200, {"Content-Type": "application/octet-stream"}, content).with_headers({"ETag": digest})
        self._store.addresses[path] = Address(response, ranges)
        return self.endpoint + path

    def fault(
        self, fault: Fault, *, method: str = "GET", path: str = "*", times: int | None = 1, after: int = 0
    ) -> None:
        """Let a fault strike `times` of the requests of this pattern (None: all), after it let `after` pass."""
        self._schedule.add(Rule(fault, method, path, times, after))

    def random_faults(
        self, probability: float, *, seed: int, among: tuple[Fault, ...] = PASSING, method: str = "*", path: str = "*"
    ) -> None:
        """Let each request of this pattern meet one of the faults with a probability."""
        self._schedule.add(Lottery(random.Random(seed), probability, among, method, path))

    def clear(self) -> None:
        """Forget the faults and the requests; what the hub holds stays."""
        self._schedule.clear()
        self.requests.clear()

    def count(self, method: str = "*", path: str = "*") -> int:
        """How many requests of this pattern there were."""
        return sum(fnmatchcase(r.method, method) and fnmatchcase(r.path, path) for r in tuple(self.requests))

    def environment(self, home: Path, token: str | None = None) -> dict[str, str]:
        """The environment of a process that knows this hub alone, as `token`'s holder, and keeps all under `home`."""
        foreign = ("HF_", "HUGGINGFACE_", "HUGGING_FACE_", "TRANSFORMERS_")
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(foreign) and not name.lower().endswith("_proxy")
        }
        own = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",  # an upload would insist on it wherever hf_xet is installed
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        return {**kept, **own, **({"HF_TOKEN": token} if token else {})}

    def _answer(self, request: Request) -> Response:
        path = unquote(request.path)
        faults = self._schedule.draw(request.method, path)
        answer: Answer = partial(self._honest_answer, request)
        for fault in faults:
            answer = partial(fault, request, answer)
        response = answer()
        sent = None if response.cut and response.cut.at is None else response.status
        self.requests.append(Exchange(request.method, path, request.range, sent, faults))
        return response

    def _honest_answer(self, request: Request) -> Response:
        for methods, pattern, route in ROUTES:
            match = re.fullmatch(pattern, request.path)
            if match and re.fullmatch(methods, request.method):
                names = {name: unquote(value) for name, value in match.groupdict().items() if value is not None}
                try:
                    return route(self._store, request, **names)
                except HubError as error:
                    return error.response
        return json_response({"error": "Not Found"}, 404)
