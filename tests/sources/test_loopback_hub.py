"""The loopback hub serves the real client, and its faults do to that client what a loader has to guard against."""

import hashlib
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import huggingface_hub
import pytest
from huggingface_hub import HfApi, constants, get_hf_file_metadata
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from loopback_hub import (
    Closed,
    Fault,
    Flipped,
    Hanging,
    HtmlPage,
    LoopbackHub,
    Meanwhile,
    RedirectLoop,
    Reset,
    Slow,
    Status,
    Unmeasured,
    WrongETag,
    WrongLength,
)
from packaging.version import Version

REPO, WEIGHTS = "org/repo", "model.safetensors"
DATA = bytes(range(256)) * 40
FILES = {WEIGHTS: DATA, "config.json": b"{}", "sub/notes.txt": b"notes", "README.md": b"---\nlicense: mit\n---\nA card"}
Download = Callable[..., bytes]

# Older clients resume and retry less, or otherwise; what is asserted of errors was measured with this one.
measured = pytest.mark.skipif(
    Version(huggingface_hub.__version__) < Version("2.4"), reason="huggingface_hub before 2.4 retries otherwise"
)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A hub with one repository, and this process's client set up for it: online, no token, no waits."""
    for name, value in {
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": True,
        "DOWNLOAD_CHUNK_SIZE": 1024,
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with LoopbackHub() as hub:
        hub.add(REPO, FILES)
        yield hub


@pytest.fixture
def download(hub: LoopbackHub, tmp_path: Path) -> Download:
    """The bytes of the file to which the client's path leads."""

    def fetch(name: str = WEIGHTS, *, repo: str = REPO, **settings: Any) -> bytes:
        settings = {"endpoint": hub.endpoint, "cache_dir": tmp_path / "home" / "hub", **settings}
        return Path(huggingface_hub.hf_hub_download(repo, name, **settings)).read_bytes()

    return fetch


class TestReading:
    def test_file_by_branch_tag_and_commit(self, hub: LoopbackHub, download: Download) -> None:
        first = hub.files(REPO)
        old = HfApi(hub.endpoint).model_info(REPO).sha
        hub.tag(REPO, "v1", str(old))
        new = hub.add(REPO, {WEIGHTS: b"new"})
        assert len(new) == 40
        assert download() == b"new"
        assert download(revision="v1") == download(revision=old) == first[WEIGHTS]

    def test_cached_file_costs_one_head_by_branch_and_none_by_commit(
        self, hub: LoopbackHub, download: Download
    ) -> None:
        commit = HfApi(hub.endpoint).model_info(REPO).sha
        assert download() == DATA
        hub.clear()
        assert download() == download(revision=commit) == DATA
        assert [(r.method, r.path) for r in hub.requests] == [("HEAD", f"/{REPO}/resolve/main/{WEIGHTS}")]

    def test_metadata_of_large_and_small_files(self, hub: LoopbackHub) -> None:
        large, small = (
            get_hf_file_metadata(f"{hub.endpoint}/{REPO}/resolve/main/{n}") for n in (WEIGHTS, "config.json")
        )
        assert (large.etag, large.size) == (hashlib.sha256(DATA).hexdigest(), len(DATA))
        assert (small.etag, small.size) == ("9e26dfeeb6e641a33dae4961196235bdb965b21b", 2)  # git hash-object of {}
        assert large.commit_hash == small.commit_hash == HfApi(hub.endpoint).model_info(REPO).sha

    def test_redirect_to_another_host(self, hub: LoopbackHub, tmp_path: Path) -> None:
        with LoopbackHub(cdn=True) as hub:
            hub.add(REPO, FILES)
            path = huggingface_hub.hf_hub_download(REPO, WEIGHTS, endpoint=hub.endpoint, cache_dir=tmp_path)
            assert Path(path).read_bytes() == DATA
            assert [(r.method, r.path.split("/")[1], r.status) for r in hub.requests] == [
                ("HEAD", "org", 302),
                ("GET", "cdn", 200),
            ]

    def test_snapshot_holds_all_files_or_those_asked_for(self, hub: LoopbackHub, tmp_path: Path) -> None:
        for patterns, names in ((None, set(FILES)), (["*.json"], {"config.json"})):
            cache = tmp_path / str(patterns)
            folder = Path(
                huggingface_hub.snapshot_download(REPO, endpoint=hub.endpoint, cache_dir=cache, allow_patterns=patterns)
            )
            found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}
            assert found == {name: FILES[name] for name in names}

    def test_facts_about_a_repository(self, hub: LoopbackHub) -> None:
        info = HfApi(hub.endpoint).model_info(REPO, files_metadata=True)
        assert info.card_data is not None
        assert (info.id, info.card_data["license"], info.tags, info.gated) == (REPO, "mit", ["license:mit"], False)
        assert info.siblings is not None
        files = {file.rfilename: file for file in info.siblings}
        assert {name: file.size for name, file in files.items()} == {name: len(data) for name, data in FILES.items()}
        pointer = files[WEIGHTS].lfs
        assert pointer is not None
        assert pointer.sha256 == hashlib.sha256(DATA).hexdigest()
        assert files["config.json"].blob_id == "9e26dfeeb6e641a33dae4961196235bdb965b21b"
        assert files["config.json"].lfs is None

    def test_listings(self, hub: LoopbackHub) -> None:
        api = HfApi(hub.endpoint)
        assert {entry.path for entry in api.list_repo_tree(REPO)} == {"sub", WEIGHTS, "config.json", "README.md"}
        assert {entry.path for entry in api.list_repo_tree(REPO, recursive=True)} == {"sub", *FILES}
        assert [entry.path for entry in api.list_repo_tree(REPO, "sub")] == ["sub/notes.txt"]
        assert [entry.path for entry in api.get_paths_info(REPO, [WEIGHTS, "nothing"])] == [WEIGHTS]
        assert [(ref.name, ref.target_commit) for ref in api.list_repo_refs(REPO).branches] == [
            ("main", api.model_info(REPO).sha)
        ]

    def test_what_is_not_there(self, hub: LoopbackHub, download: Download) -> None:
        for settings, error in (
            ({"repo": "org/none"}, RepositoryNotFoundError),
            ({"revision": "v9"}, RevisionNotFoundError),
            ({"name": "none.bin"}, EntryNotFoundError),
        ):
            with pytest.raises(error):
                download(**settings)

    def test_gate_opens_for_the_granted_token_alone(self, hub: LoopbackHub, download: Download) -> None:
        hub.gate(REPO, "hf_granted")
        hub.user("bob", "hf_other")
        for token, status in ((None, 401), ("hf_other", 403)):
            with pytest.raises(GatedRepoError) as refusal:
                download(token=token)
            assert refusal.value.response.status_code == status
        with pytest.raises(HfHubHTTPError, match="Invalid credentials"):
            download(token="hf_unknown")
        assert download(token="hf_granted") == DATA
        assert HfApi(hub.endpoint).model_info(REPO).gated == "manual"

    def test_who_is_logged_in(self, hub: LoopbackHub) -> None:
        hub.user("ann", "hf_ann", organizations=("org",))
        who = HfApi(hub.endpoint, token="hf_ann").whoami()
        assert (who["name"], [organization["name"] for organization in who["orgs"]]) == ("ann", ["org"])
        with pytest.raises(Exception, match="Invalid user token"):
            HfApi(hub.endpoint, token="hf_unknown").whoami()

    def test_another_process_with_the_hubs_environment(self, hub: LoopbackHub, tmp_path: Path) -> None:
        script = (
            "from huggingface_hub import hf_hub_download, upload_file\n"
            f"path = hf_hub_download({REPO!r}, {WEIGHTS!r})\n"
            "upload_file(path_or_fileobj=path, path_in_repo='copy.safetensors', repo_id='ann/copies')\n"
            "print(path)"
        )
        hub.user("ann", "hf_ann")
        hub.gate(REPO, "hf_ann")
        hub.add("ann/copies", {})
        environment = hub.environment(tmp_path, token="hf_ann")
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        path = Path(done.stdout.strip())
        assert path.is_relative_to(tmp_path)
        assert path.read_bytes() == hub.files("ann/copies")["copy.safetensors"] == DATA
        assert (hub.count("HEAD"), hub.count("GET"), hub.count("PUT")) == (1, 1, 1)


class TestPlainAddresses:
    @pytest.mark.parametrize(
        ("asked", "status", "part"),
        [
            (None, 200, DATA),
            ("bytes=100-", 206, DATA[100:]),
            ("bytes=100-199", 206, DATA[100:200]),
            ("bytes=-10", 206, DATA[-10:]),
            (f"bytes={len(DATA)}-", 416, b""),
        ],
    )
    def test_ranges(self, hub: LoopbackHub, asked: str | None, status: int, part: bytes) -> None:
        address = hub.url("/files/x.pth", DATA)
        assert _ask(address, {"Range": asked} if asked else {}) == (status, part)
        assert hub.requests[-1][:4] == ("GET", "/files/x.pth", asked, status)

    def test_a_server_may_know_no_ranges(self, hub: LoopbackHub) -> None:
        assert _ask(hub.url("/x", DATA, ranges=False), {"Range": "bytes=100-"}) == (200, DATA)

    def test_a_file_that_changed_is_not_continued(self, hub: LoopbackHub) -> None:
        address = hub.url("/x", DATA)
        with urllib.request.urlopen(address) as response:
            etag = response.headers["ETag"]
        for known, status in ((etag, 206), ('"old"', 200)):
            assert _ask(address, {"Range": "bytes=100-", "If-Range": known})[0] == status

    def test_no_length_is_said_of_a_cut_body(self, hub: LoopbackHub) -> None:
        address = hub.url("/x", DATA)
        hub.fault(Unmeasured(100), path="/x")
        with urllib.request.urlopen(address) as response:
            assert "Content-Length" not in response.headers
            assert response.read() == DATA[:100]

    def test_nothing_there(self, hub: LoopbackHub) -> None:
        assert _ask(f"{hub.endpoint}/files/none", {})[0] == 404


def _ask(address: str, headers: dict[str, str], **settings: Any) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers, **settings)) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read() if error.code == 416 else b""


class TestWrongBytesReportedAsSuccess:
    """Why a digest is checked, whatever the client says."""

    def test_flipped_byte_is_returned_and_kept(self, hub: LoopbackHub, download: Download) -> None:
        hub.fault(Flipped(at=7), path=f"*{WEIGHTS}")
        wrong = download()
        assert wrong != DATA
        assert (wrong[:7], wrong[7], wrong[8:]) == (DATA[:7], DATA[7] ^ 0xFF, DATA[8:])
        assert download() == wrong
        assert hub.count("GET") == 1
        assert download(force_download=True) == DATA

    def test_login_page_of_the_same_length(self, hub: LoopbackHub, download: Download) -> None:
        hub.fault(HtmlPage(same_length=True))
        page = download()
        assert page.startswith(b"<!DOCTYPE html>")
        assert len(page) == len(DATA)

    @measured
    def test_cut_body_without_any_length(self, hub: LoopbackHub, download: Download) -> None:
        hub.fault(Unmeasured(0.5), method="*", path=f"*{WEIGHTS}", times=2)
        assert download() == DATA[: len(DATA) // 2]

    def test_etag_of_another_file_returns_that_file(self, hub: LoopbackHub, download: Download) -> None:
        hub.add(REPO, {"other.safetensors": b"other"})
        assert download("other.safetensors") == b"other"
        hub.fault(WrongETag(hashlib.sha256(b"other").hexdigest()), method="HEAD", path=f"*{WEIGHTS}")
        assert download() == b"other"

    def test_main_moves_between_head_and_ask(self, hub: LoopbackHub, download: Download) -> None:
        old = HfApi(hub.endpoint).model_info(REPO).sha
        changed = bytes(reversed(DATA))
        hub.fault(Meanwhile(lambda: hub.add(REPO, {WEIGHTS: changed})), method="HEAD")
        assert download() == changed
        assert download(revision=old) == changed, "the new bytes under the old commit"
        assert hub.files(REPO, str(old))[WEIGHTS] == DATA

    @measured
    def test_main_moves_before_a_resume(self, hub: LoopbackHub, download: Download) -> None:
        changed = bytes(reversed(DATA))
        hub.fault(Closed(5 * 1024))
        hub.fault(Meanwhile(lambda: hub.add(REPO, {WEIGHTS: changed})))
        assert download() == DATA[: 5 * 1024] + changed[5 * 1024 :]

    def test_snapshot_without_a_listing_is_what_happens_to_be_there(
        self, hub: LoopbackHub, download: Download, tmp_path: Path
    ) -> None:
        download("config.json")
        hub.fault(Status(500), path="/api/models/*", times=None)
        folder = huggingface_hub.snapshot_download(REPO, endpoint=hub.endpoint, cache_dir=tmp_path / "home" / "hub")
        assert [path.name for path in Path(folder).iterdir()] == ["config.json"]

    def test_etag_that_is_a_path_leaves_the_cache(self, hub: LoopbackHub, download: Download, tmp_path: Path) -> None:
        hub.fault(WrongETag("../../../escaped"), method="HEAD")
        assert download() == DATA
        assert (tmp_path / "home" / "escaped").read_bytes() == DATA


@measured
class TestErrors:
    @pytest.mark.parametrize(
        ("fault", "requests"),
        [
            (Closed(5 * 1024), [None, "bytes=5120-"]),
            (Hanging(5 * 1024), [None, "bytes=5120-"]),
            (Closed(), [None, None]),
            (Status(429, retry_after=0), [None, None]),
            (Slow(1e6), [None]),
        ],
        ids=repr,
    )
    def test_the_client_recovers(
        self,
        hub: LoopbackHub,
        download: Download,
        fault: Fault,
        requests: list[str | None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
        hub.fault(fault, path=f"*{WEIGHTS}")
        assert download() == DATA
        assert [r.range for r in hub.requests if r.method == "GET"] == requests
        unanswered = [r for r in hub.requests if r.status is None]
        assert len(unanswered) == (fault == Closed())

    @pytest.mark.parametrize(
        ("fault", "method", "error", "gets"),
        [
            (Status(500), "GET", "HfHubHTTPError", 1),
            (Status(503), "GET", "HfHubHTTPError", 1),
            (Reset(5 * 1024), "GET", "ReadError", 1),
            (Reset(), "GET", "ReadError", 1),
            (HtmlPage(), "GET", "OSError", 1),
            (WrongLength(-1), "GET", "OSError", 1),
            (HtmlPage(), "HEAD", "LocalEntryNotFoundError", 0),
            (RedirectLoop(), "HEAD", "TooManyRedirects", 0),
            (RedirectLoop(absolute=True), "HEAD", "TooManyRedirects", 0),
            (Status(404, error_code="EntryNotFound"), "HEAD", "RemoteEntryNotFoundError", 0),
            (Status(404, error_code="RevisionNotFound"), "HEAD", "RevisionNotFoundError", 0),
            (Hanging(), "GET", "ReadTimeout", 6),
            (Hanging(0), "GET", "ReadTimeout", 6),
            (Slow(1), "GET", "ReadTimeout", 6),
        ],
        ids=repr,
    )
    def test_the_client_gives_up(
        self,
        hub: LoopbackHub,
        download: Download,
        fault: Fault,
        method: str,
        error: str,
        gets: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        if isinstance(fault, Hanging | Slow):
            monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
        hub.fault(fault, method=method, path=f"*{WEIGHTS}", times=None)
        with pytest.raises(Exception) as raised:  # noqa: PT011  (of the HTTP library, which differs between versions)
            download()
        assert type(raised.value).__name__ == error
        assert hub.count("GET") == gets

    def test_unreachable_head_falls_back_to_the_cached_file(self, hub: LoopbackHub, download: Download) -> None:
        download()
        hub.fault(Hanging(), method="HEAD")
        hub.fault(Status(503), method="HEAD", after=1)
        assert download(etag_timeout=0.1) == download() == DATA

    def test_closed_head_does_not(self, hub: LoopbackHub, download: Download) -> None:
        download()
        hub.fault(Closed(), method="HEAD")
        with pytest.raises(Exception, match="disconnected"):
            download()

    def test_captive_portal_on_listings(self, hub: LoopbackHub) -> None:
        hub.fault(HtmlPage(), path="/api/*")
        with pytest.raises(json.JSONDecodeError):
            HfApi(hub.endpoint).model_info(REPO)


class TestWriting:
    @pytest.fixture
    def api(self, hub: LoopbackHub) -> HfApi:
        hub.user("ann", "hf_ann", organizations=("org",))
        return HfApi(hub.endpoint, token="hf_ann")

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for name, content in FILES.items():
            (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "folder" / name).write_bytes(content)
        return tmp_path / "folder"

    def test_a_folder_becomes_one_commit_that_can_be_read(
        self, hub: LoopbackHub, api: HfApi, folder: Path, download: Download
    ) -> None:
        assert api.create_repo("ann/new", private=True).repo_id == "ann/new"
        commit = api.upload_folder(repo_id="ann/new", folder_path=folder)
        assert hub.files("ann/new") == {**FILES, ".gitattributes": ANY}
        assert api.model_info("ann/new").sha == commit.oid
        assert download(repo="ann/new", revision=commit.oid, token="hf_ann") == DATA
        with pytest.raises(RepositoryNotFoundError):
            download(repo="ann/new")  # private
        assert (hub.count("PUT"), hub.count("POST", "*/commit/main")) == (1, 1)

    def test_what_is_there_is_not_sent_again(self, hub: LoopbackHub, api: HfApi, folder: Path) -> None:
        first = api.upload_folder(repo_id=REPO, folder_path=folder)
        assert first.oid == api.model_info(REPO).sha
        (folder / "config.json").write_text("[]")
        second = api.upload_folder(repo_id=REPO, folder_path=folder)
        assert second.oid != first.oid
        assert hub.files(REPO) == {**FILES, "config.json": b"[]"}
        assert (hub.count("PUT"), hub.count("POST", "*/commit/main")) == (1, 1)

    def test_deletions_and_branches(self, hub: LoopbackHub, api: HfApi) -> None:
        api.create_branch(REPO, branch="trial")
        api.delete_file("config.json", REPO, revision="trial")
        api.delete_folder("sub", REPO, revision="trial")
        assert set(hub.files(REPO, "trial")) == {WEIGHTS, "README.md"}
        assert hub.files(REPO) == FILES
        with pytest.raises(HfHubHTTPError, match="already exists"):
            api.create_branch(REPO, branch="trial")
        with pytest.raises(EntryNotFoundError):
            api.delete_file("config.json", REPO, revision="trial")
        with pytest.raises(RevisionNotFoundError):
            api.delete_file("config.json", REPO, revision="none")

    def test_a_repository_is_created_once(self, hub: LoopbackHub, api: HfApi) -> None:
        with pytest.raises(HfHubHTTPError, match="already created"):
            api.create_repo(REPO)
        assert api.create_repo(REPO, exist_ok=True).repo_id == REPO
        assert hub.files(REPO) == FILES

    @pytest.mark.parametrize(
        ("token", "status"), [(False, 401), ("hf_unknown", 401), ("hf_reader", 403), ("hf_bob", 403)]
    )
    def test_who_may_not_write(self, hub: LoopbackHub, folder: Path, token: str | bool, status: int) -> None:
        hub.user("carol", "hf_reader", organizations=("org",), role="read")
        hub.user("bob", "hf_bob")
        api = HfApi(hub.endpoint, token=token)
        for write in (
            lambda: api.create_repo("org/new"),
            lambda: api.upload_folder(repo_id=REPO, folder_path=folder, delete_patterns="*"),
        ):
            with pytest.raises(HfHubHTTPError) as refusal:
                write()
            assert refusal.value.response.status_code == status
        assert hub.files(REPO) == FILES
        assert hub.count("PUT") == 0

    def test_a_card_that_is_no_yaml_is_refused_before_the_upload(
        self, hub: LoopbackHub, api: HfApi, folder: Path
    ) -> None:
        (folder / "README.md").write_text("---\nlicense: [\n---\n")
        with pytest.raises(ValueError, match=r"Invalid metadata in README\.md"):
            api.upload_folder(repo_id=REPO, folder_path=folder)
        (folder / "README.md").write_text("no metadata")
        with pytest.warns(UserWarning, match="missing yaml metadata"):
            api.upload_folder(repo_id=REPO, folder_path=folder)

    def test_a_large_file_counts_once_its_bytes_have_arrived(self, hub: LoopbackHub, api: HfApi) -> None:
        digest, headers = hashlib.sha256(b"new").hexdigest(), {"Authorization": "Bearer hf_ann"}
        pointer = json.dumps({"key": "lfsFile", "value": {"path": WEIGHTS, "oid": digest}}).encode()
        send, commit = f"{hub.endpoint}/lfs/{digest}", f"{hub.endpoint}/api/models/{REPO}/commit/main"
        assert _ask(send, headers, method="PUT", data=b"other")[0] == 400
        assert _ask(commit, headers, method="POST", data=pointer)[0] == 400
        assert hub.files(REPO) == FILES
        assert _ask(send, headers, method="PUT", data=b"new")[0] == 200
        assert _ask(commit, headers, method="POST", data=pointer)[0] == 200
        assert hub.files(REPO) == {**FILES, WEIGHTS: b"new"}

    def test_a_commit_on_an_outdated_parent_is_refused(self, hub: LoopbackHub, api: HfApi, folder: Path) -> None:
        old = api.model_info(REPO).sha
        new = hub.add(REPO, {"config.json": b"newer"})
        with pytest.raises(HfHubHTTPError, match="A commit has happened since"):
            api.upload_folder(repo_id=REPO, folder_path=folder, parent_commit=old)
        assert api.model_info(REPO).sha == new

    @pytest.mark.parametrize(
        ("fault", "method", "path"),
        [
            (Status(500), "POST", "*/commit/main"),
            (Reset(), "POST", "*/commit/main"),
            (Closed(), "POST", "*/commit/main"),
            (Status(403), "PUT", "/lfs/*"),
            (Status(507), "POST", "*/batch"),
        ],
        ids=repr,
    )
    def test_an_interrupted_upload_leaves_nothing(
        self, hub: LoopbackHub, api: HfApi, folder: Path, fault: Fault, method: str, path: str
    ) -> None:
        (folder / WEIGHTS).write_bytes(b"other weights")
        hub.fault(fault, method=method, path=path, times=None)
        with pytest.raises(Exception):  # noqa: B017, PT011  (of the HTTP library, or RuntimeError around it)
            api.upload_folder(repo_id=REPO, folder_path=folder)
        assert hub.files(REPO) == FILES
        hub.clear()
        api.upload_folder(repo_id=REPO, folder_path=folder)
        assert hub.files(REPO) == {**FILES, WEIGHTS: b"other weights"}


class TestTheHubItself:
    def test_faults_wait_strike_and_add_up(self, hub: LoopbackHub) -> None:
        address = hub.url("/x", DATA)
        hub.fault(Status(500), path="/x", after=1, times=2)
        hub.fault(Flipped(0), path="/x", after=4)
        hub.fault(Flipped(1), path="/x", after=4)
        answers = [_ask(address, {}) for _ in range(6)]
        assert [status for status, _ in answers] == [200, 500, 500, 200, 200, 200]
        assert answers[4][1] == bytes([DATA[0] ^ 0xFF, DATA[1] ^ 0xFF]) + DATA[2:]
        assert answers[3][1] == answers[5][1] == DATA
        assert hub.requests[4].faults == (Flipped(0), Flipped(1))

    def test_random_faults_follow_their_seed(self) -> None:
        def drawn(probability: float, seed: int) -> list[tuple[Fault, ...]]:
            with LoopbackHub() as hub:
                address = hub.url("/x", DATA)
                hub.random_faults(probability, seed=seed, among=(Status(500), Flipped()), path="/x")
                for _ in range(40):
                    _ask(address, {})
                return [request.faults for request in hub.requests]

        assert drawn(0.5, 1) == drawn(0.5, 1) != drawn(0.5, 2)
        assert set(drawn(0.5, 1)) == {(), (Status(500),), (Flipped(),)}
        assert set(drawn(0, 1)) == {()}
        assert () not in drawn(1, 1)

    def test_a_raw_client_under_random_faults_returns_wrong_files(self, hub: LoopbackHub, download: Download) -> None:
        hub.random_faults(0.3, seed=0, path=f"*{WEIGHTS}")
        outcomes = []
        for _ in range(60):
            try:
                outcomes.append("right" if download(force_download=True) == DATA else "wrong")
            except Exception:
                outcomes.append("error")
        assert set(outcomes) == {"right", "wrong", "error"}

    def test_an_error_of_its_own_fails_the_test(self) -> None:
        def use() -> None:
            with LoopbackHub() as hub:
                hub.fault(Meanwhile(lambda: 1 / 0))
                with pytest.raises((ConnectionError, urllib.error.URLError)):
                    _ask(hub.url("/x", DATA), {})

        with pytest.raises(ExceptionGroup, match="the loopback hub itself failed"):
            use()
