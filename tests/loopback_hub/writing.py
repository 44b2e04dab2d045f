"""What the hub answers to one who publishes: a new repository, the plan of an upload, large files, the commit."""

import base64
import hashlib
import json
from fnmatch import fnmatch

import yaml

from .reading import REPO, REVISION
from .repository import LFS, HubError, Repository, Store, front_matter
from .wire import Request, Response, Route, json_response


def create_repository(store: Store, request: Request) -> Response:
    wanted = request.json()
    namespace = wanted.get("organization") or store.known_user(request).name
    store.check_namespace(request, namespace)
    name = f"{namespace}/{wanted['name']}"
    repository = Repository(name, private=wanted.get("private") is True or wanted.get("visibility") == "private")
    facts = {"name": name, "url": f"{request.origin}/{name}"}
    if store.repositories.setdefault(name, repository) is not repository:
        return json_response({**facts, "error": "You already created this model repo"}, 409)
    attributes = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LFS)
    repository.commit({".gitattributes": attributes.encode()}, "main")
    return json_response(facts)


def create_branch(store: Store, request: Request, repo: str, branch: str) -> Response:
    repository = store.writable(request, repo)
    if branch in repository.branches:
        raise HubError(409, None, f"Reference already exists: {branch}")
    repository.branches[branch] = repository.resolve(request.json().get("startingPoint") or "main")
    return json_response({})


def validate_card(store: Store, request: Request) -> Response:
    """The YAML at the top of a README: the hub refuses what is no mapping, and warns where there is none."""
    card = front_matter(request.json()["content"])
    if card is None:
        return json_response({"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]})
    try:
        problems = [] if isinstance(yaml.safe_load(card), dict) else ["the metadata is no mapping"]
    except yaml.YAMLError as error:
        problems = [str(error)]
    errors = [{"message": problem} for problem in problems]
    return json_response({"errors": errors, "warnings": []}, 400 if errors else 200)


def plan_upload(store: Store, request: Request, repo: str, revision: str) -> Response:
    """For each file: whether it goes into the commit itself or to large file storage, and what is there now."""
    here = store.writable(request, repo).files(revision)
    plan = [
        {
            "path": name,
            "uploadMode": "lfs" if any(fnmatch(name, pattern) for pattern in LFS) else "regular",
            "shouldIgnore": False,
            "oid": here[name].digest if name in here else None,
        }
        for name in (file["path"] for file in request.json()["files"])
    ]
    return json_response({"files": plan})


def plan_large_files(store: Store, request: Request, repo: str) -> Response:
    """Where to send each large file; one that is there already needs no action."""
    store.writable(request, repo)
    verify = {"href": f"{request.origin}/{repo}.git/info/lfs/objects/verify"}

    def planned(file: dict[str, object]) -> dict[str, object]:
        upload = {"href": f"{request.origin}/lfs/{file['oid']}"}
        return file if file["oid"] in store.uploads else {**file, "actions": {"upload": upload, "verify": verify}}

    return json_response({"transfer": "basic", "objects": [planned(file) for file in request.json()["objects"]]})


def upload_large_file(store: Store, request: Request, sha256: str) -> Response:
    """The bytes of one, at an address that asks for no token, as the signed ones of the real storage do."""
    if hashlib.sha256(request.body).hexdigest() != sha256:
        raise HubError(400, None, "The bytes that arrived do not have the announced sha256")
    store.uploads[sha256] = request.body
    return Response(200, {"ETag": f'"{sha256}"'})


def verify_large_file(store: Store, request: Request, repo: str) -> Response:
    store.writable(request, repo)
    if request.json()["oid"] not in store.uploads:
        raise HubError(404, None, f"{request.json()['oid']} has not been uploaded")
    return json_response({})


def commit(store: Store, request: Request, repo: str, revision: str) -> Response:
    """One commit of all the changes, or none of them."""
    repository = store.writable(request, repo)
    here = repository.files(revision)
    changes: dict[str, bytes | None] = {}
    parent = None
    for line in request.body.splitlines():
        match json.loads(line):
            case {"key": "header", "value": header}:
                parent = header.get("parentCommit")
            case {"key": "file", "value": {"path": name, "content": content}}:
                changes[name] = base64.b64decode(content)
            case {"key": "lfsFile", "value": {"path": name, "oid": sha256}}:
                if sha256 not in store.uploads:
                    raise HubError(400, None, f"LFS pointer pointed to a file that does not exist: {name}")
                changes[name] = store.uploads[sha256]
            case {"key": "deletedFile", "value": {"path": name}}:
                if name not in here:
                    raise HubError(404, "EntryNotFound", f"A file with this name doesn't exist: {name}")
                changes[name] = None
            case {"key": "deletedFolder", "value": {"path": folder}}:
                changes |= {name: None for name in here if name.startswith(folder.rstrip("/") + "/")}
            case operation:
                raise HubError(400, None, f"Unknown operation: {operation['key']}")
    oid = repository.commit(changes, revision, parent=parent)
    return json_response({"success": True, "commitOid": oid, "commitUrl": f"{request.origin}/{repo}/commit/{oid}"})


ROUTES: list[Route] = [
    ("POST", "/api/repos/create", create_repository),
    ("POST", f"/api/models/{REPO}/branch/(?P<branch>[^/]+)", create_branch),
    ("POST", "/api/validate-yaml", validate_card),
    ("POST", f"/api/models/{REPO}/preupload/{REVISION}", plan_upload),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", plan_large_files),
    ("PUT", "/lfs/(?P<sha256>[0-9a-f]{64})", upload_large_file),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/verify", verify_large_file),
    ("POST", f"/api/models/{REPO}/commit/{REVISION}", commit),
]
