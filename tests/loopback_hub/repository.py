"""What the hub holds: repositories with commits and refs, the users and what they may do, plain files by address."""

import hashlib
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from typing import Any

import yaml

from .wire import Request, Response, json_response

# What goes to large file storage, of the patterns that the hub writes into a new repository's .gitattributes.
LFS = ("*.safetensors", "*.bin", "*.npz", "*.npy", "*.pth", "*.pt", "*.h5", "*.msgpack", "*.onnx", "*.tar")


class HubError(Exception):
    """A refusal, with the headers from which the client makes its own exceptions."""

    def __init__(self, status: int, code: str | None, message: str, commit: str | None = None) -> None:
        super().__init__(message)
        self.response = json_response({"error": message}, status).with_headers(
            {"X-Error-Code": code, "X-Error-Message": message, "X-Repo-Commit": commit}
        )


@dataclass(frozen=True)
class Blob:
    """A file's bytes, and whether the repository keeps them in git or in large file storage."""

    content: bytes
    lfs: bool

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def in_git(self) -> bytes:
        """The file itself, or the pointer that git holds in its place."""
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.content)}\n"
        return pointer.encode() if self.lfs else self.content

    @cached_property
    def oid(self) -> str:
        """The digest that git itself gives the blob."""
        return hashlib.sha1(b"blob %d\0" % len(self.in_git) + self.in_git).hexdigest()

    @property
    def digest(self) -> str:
        """By what the hub tells versions of the file apart: its sha256, or git's own for a small file."""
        return self.sha256 if self.lfs else self.oid


def front_matter(readme: str) -> str | None:
    """The YAML between two lines of dashes at the top, where there is one."""
    found = re.match(r"---\n(.*?)^---$", readme, re.DOTALL | re.MULTILINE)
    return found and found[1]


Files = dict[str, Blob]


@dataclass
class Repository:
    name: str
    private: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    granted: set[str] | None = None  # the tokens for which a gated repository is open; None: it is not gated
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def namespace(self) -> str:
        return self.name.rpartition("/")[0]

    def commit(
        self, changes: Mapping[str, bytes | None], branch: str, *, lfs: Iterable[str] = LFS, parent: str | None = None
    ) -> str:
        """The id of a new commit on a branch; None in place of bytes deletes a file.

        Raises:
            HubError: the branch is not at `parent`.
        """
        with self.lock:
            head = self.branches.get(branch, "")
            if parent is not None and not head.startswith(parent):
                raise HubError(412, None, "A commit has happened since. Please refresh and try again.")
            files = dict(self.commits.get(head, {}))
            for name, content in changes.items():
                files.pop(name, None)
                if content is not None:
                    files[name] = Blob(content, any(fnmatch(name, pattern) for pattern in lfs))
            tree = "".join(f"{name} {blob.oid}\n" for name, blob in sorted(files.items()))
            commit = hashlib.sha1(f"{self.name} {len(self.commits)}\n{tree}".encode()).hexdigest()
            self.commits[commit] = files
            self.branches[branch] = commit
            return commit

    def resolve(self, revision: str) -> str:
        commit = self.branches.get(revision) or self.tags.get(revision) or revision
        if commit not in self.commits:
            raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    def files(self, revision: str) -> Files:
        return self.commits[self.resolve(revision)]

    def card(self, revision: str) -> dict[str, Any]:
        """What the README's front matter says."""
        readme = self.files(revision).get("README.md", Blob(b"", lfs=False))
        return yaml.safe_load(front_matter(readme.content.decode()) or "") or {}


@dataclass(frozen=True)
class User:
    name: str
    organizations: tuple[str, ...] = ()
    role: str = "write"

    def may_write(self, namespace: str) -> bool:
        return self.role == "write" and namespace in (self.name, *self.organizations)


@dataclass(frozen=True)
class Address:
    """A plain file, as any web server has it."""

    response: Response
    ranges: bool


@dataclass
class Store:
    cdn: bool = False  # whether large files are served from another host name
    repositories: dict[str, Repository] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)  # by token
    addresses: dict[str, Address] = field(default_factory=dict)  # by path
    uploads: dict[str, bytes] = field(default_factory=dict)  # large files by sha256

    def user(self, request: Request) -> User | None:
        """Who asks; None without a token."""
        if request.token is None:
            return None
        if request.token not in self.users:
            raise HubError(401, None, "Invalid credentials in Authorization header")
        return self.users[request.token]

    def known_user(self, request: Request) -> User:
        user = self.user(request)
        if user is None:
            raise HubError(401, None, "Invalid username or password.")
        return user

    def visible(self, request: Request, name: str) -> Repository:
        """A repository that the user may know of: the hub answers alike for a private one and for none."""
        user, repository = self.user(request), self.repositories.get(name)
        if repository and (not repository.private or (user and user.may_write(repository.namespace))):
            return repository
        if user:
            raise HubError(404, "RepoNotFound", "Repository not found")
        raise HubError(401, "RepoNotFound", "Invalid username or password.")

    def readable(self, request: Request, name: str) -> Repository:
        """A repository whose files the user may read."""
        repository = self.visible(request, name)
        if repository.granted is None or request.token in repository.granted:
            return repository
        closed = f"Access to model {name} is restricted"
        if request.token is None:
            raise HubError(401, "GatedRepo", f"{closed}. You must be authenticated to access it. Please log in.")
        raise HubError(403, "GatedRepo", f"{closed} and you are not in the authorized list. Ask for access.")

    def writable(self, request: Request, name: str) -> Repository:
        """A repository to which the user may write."""
        repository = self.visible(request, name)
        self.check_namespace(request, repository.namespace)
        return repository

    def check_namespace(self, request: Request, namespace: str) -> None:
        if not self.known_user(request).may_write(namespace):
            raise HubError(403, None, f'You don\'t have the rights to write under the namespace "{namespace}"')
