"""What the other tests take for granted of the loopback hub: digests, ranges, and faults that strike when they say.

How the real client reads, writes and fails with it is seen by the tests of fetching, pinning and pushing.
"""

import hashlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import HfApi, constants, get_hf_file_metadata
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RevisionNotFoundError,
)
from loopback_hub import (
    Fault,
    Flipped,
    LoopbackHub,
    Meanwhile,
    Status,
    WrongETag,
)

REPO, WEIGHTS = "org/repo", "model.safetensors"
DATA = bytes(range(256)) * 40
FILES = {WEIGHTS: DATA, "config.json": b"{}", "sub/notes.txt": b"notes", "README.md": b"---\nlicense: mit\n---\nA card"}
Download = Callable[..., bytes]


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

    def test_who_is_logged_in(self, hub: LoopbackHub) -> None:
        hub.user("ann", "hf_ann", organizations=("org",))
        who = HfApi(hub.endpoint, token="hf_ann").whoami()
        assert (who["name"], [organization["name"] for organization in who["orgs"]]) == ("ann", ["org"])
        with pytest.raises(Exception, match="Invalid user token"):
            HfApi(hub.endpoint, token="hf_unknown").whoami()


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

    def test_a_file_that_changed_is_not_continued(self, hub: LoopbackHub) -> None:
        address = hub.url("/x", DATA)
        with urllib.request.urlopen(address) as response:
            etag = response.headers["ETag"]
        for known, status in ((etag, 206), ('"old"', 200)):
            assert _ask(address, {"Range": "bytes=100-", "If-Range": known})[0] == status


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

    def test_etag_that_is_a_path_leaves_the_cache(self, hub: LoopbackHub, download: Download, tmp_path: Path) -> None:
        hub.fault(WrongETag("../../../escaped"), method="HEAD")
        assert download() == DATA
        assert (tmp_path / "home" / "escaped").read_bytes() == DATA


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

    def test_an_error_of_its_own_fails_the_test(self) -> None:
        def use() -> None:
            with LoopbackHub() as hub:
                hub.fault(Meanwhile(lambda: 1 / 0))
                with pytest.raises((ConnectionError, urllib.error.URLError)):
                    _ask(hub.url("/x", DATA), {})

        with pytest.raises(ExceptionGroup, match="the loopback hub itself failed"):
            use()
