"""What the hub answers to one who reads: files, listings, facts about a repository, who is logged in."""

from typing import Any

from .repository import Blob, HubError, Store
from .wire import Request, Response, Route, json_response, ranged


def file(store: Store, request: Request, repo: str, revision: str, name: str) -> Response:
    repository = store.readable(request, repo)
    commit = repository.resolve(revision)
    blob = repository.commits[commit].get(name)
    if blob is None:
        raise HubError(404, "EntryNotFound", "Entry not found", commit)
    linked = {"X-Linked-Etag": f'"{blob.digest}"', "X-Linked-Size": str(len(blob.content))} if blob.lfs else {}
    if blob.lfs and store.cdn:
        # Another host name of this same server: the client sees another origin, and keeps its token to itself.
        storage = request.origin.replace("127.0.0.1", "localhost")
        location = f"{storage}/cdn/{repo}/{commit}/{name}"
        return Response(302, {"Location": location, "X-Repo-Commit": commit, **linked})
    return _content(request, blob).with_headers({"X-Repo-Commit": commit, **linked})


def cdn_file(store: Store, request: Request, repo: str, commit: str, name: str) -> Response:
    """A large file where the redirect leads: no token is asked for, and none should be sent."""
    return _content(request, store.repositories[repo].commits[commit][name])


def info(store: Store, request: Request, repo: str, revision: str = "main") -> Response:
    repository = store.visible(request, repo)
    card = repository.card(revision)
    license = [f"license:{card['license']}"] if "license" in card else []
    facts = {
        "id": repo,
        "modelId": repo,
        "author": repository.namespace,
        "sha": repository.resolve(revision),
        "private": repository.private,
        "gated": False if repository.granted is None else "manual",
        "disabled": False,
        "tags": [*card.get("tags", []), *license],
        "cardData": card,
        "siblings": [_sibling(name, blob, request.flag("blobs")) for name, blob in repository.files(revision).items()],
    }
    return json_response(facts)


def tree(store: Store, request: Request, repo: str, revision: str, folder: str = "") -> Response:
    prefix = f"{folder}/" if folder else ""
    files = store.visible(request, repo).files(revision)
    inside = {name: blob for name, blob in files.items() if name.startswith(prefix)}
    if folder and not inside:
        raise HubError(404, "EntryNotFound", f"{folder} does not exist on {revision}")
    recursive = request.flag("recursive")
    folders = {
        prefix + "/".join(parents[: depth + 1])
        for parents in (name.removeprefix(prefix).split("/")[:-1] for name in inside)
        for depth in range(len(parents) if recursive else min(len(parents), 1))
    }
    shown = [_entry(name, blob) for name, blob in inside.items() if recursive or "/" not in name.removeprefix(prefix)]
    return json_response([*({"type": "directory", "path": path, "oid": "0" * 40} for path in sorted(folders)), *shown])


def paths_info(store: Store, request: Request, repo: str, revision: str) -> Response:
    files = store.visible(request, repo).files(revision)
    return json_response([_entry(name, files[name]) for name in request.fields.get("paths", []) if name in files])


def refs(store: Store, request: Request, repo: str) -> Response:
    repository = store.visible(request, repo)

    def listing(kind: str, commits: dict[str, str]) -> list[dict[str, str]]:
        return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": id} for name, id in commits.items()]

    branches, tags = listing("heads", repository.branches), listing("tags", repository.tags)
    return json_response({"branches": branches, "tags": tags, "converts": [], "pullRequests": []})


def auth_check(store: Store, request: Request, repo: str) -> Response:
    store.readable(request, repo)
    return json_response({})


def whoami(store: Store, request: Request) -> Response:
    user = store.known_user(request)
    facts = {
        "type": "user",
        "name": user.name,
        "orgs": [{"type": "org", "name": name} for name in user.organizations],
        "auth": {"type": "access_token", "accessToken": {"displayName": user.name, "role": user.role}},
    }
    return json_response(facts)


def address(store: Store, request: Request) -> Response:
    """A plain file that the test put there."""
    if request.path not in store.addresses:
        return json_response({"error": "Not Found"}, 404)
    file = store.addresses[request.path]
    return ranged(request, file.response) if file.ranges else file.response


def _content(request: Request, blob: Blob) -> Response:
    headers = {"Content-Type": "application/octet-stream", "ETag": f'"{blob.digest}"'}
    return ranged(request, Response(200, headers, blob.content))


def _sibling(name: str, blob: Blob, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": name}
    lfs = {"sha256": blob.sha256, "size": len(blob.content), "pointerSize": len(blob.in_git)}
    return {"rfilename": name, "size": len(blob.content), "blobId": blob.oid, **({"lfs": lfs} if blob.lfs else {})}


def _entry(name: str, blob: Blob) -> dict[str, Any]:
    lfs = {"oid": blob.sha256, "size": len(blob.content), "pointerSize": len(blob.in_git)}
    entry = {"type": "file", "path": name, "size": len(blob.content), "oid": blob.oid}
    return {**entry, **({"lfs": lfs} if blob.lfs else {})}


REPO = "(?P<repo>[^/]+/[^/]+|[^/]+)"
REVISION = "(?P<revision>[^/]+)"
ROUTES: list[Route] = [
    ("HEAD|GET", f"/{REPO}/resolve/{REVISION}/(?P<name>.+)", file),
    ("HEAD|GET", f"/cdn/{REPO}/(?P<commit>[0-9a-f]{{40}})/(?P<name>.+)", cdn_file),
    ("GET", "/api/whoami-v2", whoami),
    ("GET", f"/api/models/{REPO}/auth-check", auth_check),
    ("GET", f"/api/models/{REPO}/refs", refs),
    ("GET", f"/api/models/{REPO}/revision/{REVISION}", info),
    ("GET", f"/api/models/{REPO}/tree/{REVISION}(?:/(?P<folder>.+))?", tree),
    ("POST", f"/api/models/{REPO}/paths-info/{REVISION}", paths_info),
    ("GET", f"/api/models/{REPO}", info),
    ("HEAD|GET", "/.*", address),
]
