"""What goes wrong on the way of a file: the right model or one clear line, nothing half done, so many requests."""

import errno
import hashlib
import os
import re
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme
from huggingface_hub import close_session, constants
from loopback_hub import (
    Closed,
    Fault,
    Flipped,
    Hanging,
    HtmlPage,
    LoopbackHub,
    Meanwhile,
    Packed,
    RedirectLoop,
    Reset,
    Slow,
    Status,
    TooMuch,
    Unmeasured,
    WrongETag,
    WrongLength,
)
from probe import FILE, NAME, REPO, WEIGHTS, Bench, bench, checkpoint, flip, is_probe

from vitzoo.errors import VitzooError, WeightsError
from vitzoo.sources import flow
from vitzoo.sources.cache import url_path
from vitzoo.sources.failures import Absent, Mismatch, NotCached, Unreachable, explain
from vitzoo.sources.fetch import SourceFailed
from vitzoo.sources.promise import DamagedFile, Promise

ALWAYS = None
ELSEWHERE = "../../../elsewhere"


@pytest.fixture
def b(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bench]:
    with bench(monkeypatch, tmp_path / "home") as found:
        yield found


class Case(NamedTuple):
    """A fault, when it strikes, and what then has to come."""

    fault: Fault
    times: int | None
    asked: str
    """The requests that it takes: H for HEAD, G for GET."""
    error: type[VitzooError] | None = None
    message: str = ""
    damaged: int = 0
    """Files that are put aside."""
    method: str = "GET"
    resumes: bool = False
    """Whether an error leaves a part that the next call goes on with."""
    again: int = 1
    """The requests of the next call, which finds no fault."""


HUB = {
    "cut once": Case(Closed(0.5), 1, "HHGG"),
    "cut always": Case(Closed(0.5), ALWAYS, "H" + 4 * "HGGGGGGGGG", Unreachable, "did not deliver it"),
    "no answer once": Case(Closed(), 1, "HHHG", method="HEAD"),
    "reset once": Case(Reset(0.5), 1, "HHGHG"),
    "reset always": Case(Reset(), ALWAYS, "HHHH", Unreachable, "try again", method="*"),
    "one byte flipped once": Case(Flipped(), 1, "HHGHG", damaged=1),
    "one byte flipped always": Case(Flipped(), ALWAYS, "HHGHG", Mismatch, "sha256 .* was expected, .* found", 1),
    "first byte flipped always": Case(Flipped(0), ALWAYS, "HHGHG", Mismatch, "wrong again", 1),
    "etag of nothing": Case(WrongETag("0" * 64), ALWAYS, "HHGHG", Mismatch, "sha256 0000", 1, method="HEAD"),
    "etag is a path once": Case(WrongETag(ELSEWHERE), 1, "HHHG", method="HEAD"),
    "etag is a path": Case(WrongETag(ELSEWHERE), ALWAYS, "HHHH", Unreachable, "which is not a digest", method="HEAD"),
    "etag is no digest": Case(WrongETag("W-17"), ALWAYS, "HHHH", Unreachable, "which is not a digest", method="HEAD"),
    "500 for the file once": Case(Status(500), 1, "HHGHG"),
    "500 for the file always": Case(Status(500), ALWAYS, "HHGHGHGHG", Unreachable, "status 500; try again later"),
    "503 for its head once": Case(Status(503), 1, "HHHG", method="HEAD"),
    "503 for all": Case(Status(503), ALWAYS, "HHHH", Unreachable, "status 503; try again later", method="*"),
    "403 for all": Case(Status(403), ALWAYS, "H", Unreachable, "status 403; log in", method="*"),
    "429 always": Case(Status(429), ALWAYS, "HHHH", Unreachable, "too many requests", method="*"),
    "hangs before its head": Case(Hanging(), 1, "HHHG", method="HEAD"),
    "hangs always": Case(Hanging(), ALWAYS, "HHHH", Unreachable, "did not answer in time.*HF_HUB_ETAG", method="*"),
    "hangs before the file": Case(Hanging(), 1, "HHGG"),
    "hangs in the middle": Case(Hanging(0.5), 1, "HHGG"),
    "slow": Case(Slow(2e5), ALWAYS, "HHG"),
    "circle of redirects": Case(RedirectLoop(), ALWAYS, "H" * 80, Unreachable, "in a circle", method="*"),
    "circle of absolute redirects": Case(RedirectLoop(True), ALWAYS, "H" * 80, Unreachable, "in a circle", method="*"),
    "page once": Case(HtmlPage(), 1, "HHGHG"),
    "page always": Case(HtmlPage(), ALWAYS, "HHGHGHGHG", Unreachable, "did not deliver it"),
    "page of the same length once": Case(HtmlPage(True), 1, "HHGHG", damaged=1),
    "page of the same length": Case(HtmlPage(True), ALWAYS, "HHGHG", Mismatch, "it is a web page, perhaps a login", 1),
    "page for the head once": Case(HtmlPage(), 1, "HHHG", method="HEAD"),
    "page for all": Case(HtmlPage(), ALWAYS, "HHHH", Unreachable, "not a hub; a network's login page", method="*"),
    "cut, and no length anywhere": Case(Unmeasured(), ALWAYS, "HHGHG", Mismatch, "sha256", 1, method="*"),
    "length too large once": Case(WrongLength(1), 1, "HHGG"),
    "length too small": Case(WrongLength(-1), ALWAYS, "HHGHG", Mismatch, "sha256", 1, method="*"),
    "much more than was said": Case(TooMuch(5 << 20), ALWAYS, "HHG", Mismatch, "bytes were expected, and the server"),
    "packed, and a thousand times as much": Case(Packed(5 << 20), ALWAYS, "HHG", Mismatch, "and the server sends more"),
    "not there": Case(Status(404, error_code="EntryNotFound"), ALWAYS, "H", Absent, "no such file", method="*"),
}


@pytest.mark.proves(
    promise="The bytes are the right ones",
    against="faults of a hub: body cut, reset, one byte flipped, wrong or missing length, 500, 503, 429, slow, "
    "hanging, circle of redirects, web page (also of the same length, also once), wrong ETag, a path as ETag",
)
@pytest.mark.proves(
    claim="downloads under faults: cut, flipped, moved, gated, full disk, killed; many processes",
    against="huggingface_hub against a server that misbehaves",
    tolerance="the right model or one line",
)
@pytest.mark.filterwarnings("ignore::vitzoo.sources.promise.DamagedFile")
@pytest.mark.parametrize("case", HUB.values(), ids=HUB)
def test_hub(b: Bench, case: Case) -> None:
    b.hub.fault(case.fault, method=case.method, path=WEIGHTS, times=case.times)
    ends_as_it_should(b, case)
    assert {r.path for r in b.hub.requests} <= {f"/{REPO}/resolve/{rev}/{FILE}" for rev in ("main", b.commit)}
    b.hub.clear()
    assert is_probe(b.create())  # the fault leaves nothing behind that a later call would trip over
    assert "".join(b.asked()) == ("HEAD" if case.error is None else "HEADHEADGET")
    assert b.leftovers() == []


URL_FILE = "/files/probe.safetensors"
URL = {
    "whole": Case(Slow(1e9), ALWAYS, "G"),
    "cut once": Case(Closed(0.5), 1, "GG"),
    "cut always": Case(Closed(0.5), ALWAYS, "GGGGG", Unreachable, "did not deliver it", resumes=True),
    "reset once": Case(Reset(0.5), 1, "GG"),
    "one byte flipped once": Case(Flipped(), 1, "GG", damaged=1),
    "one byte flipped always": Case(Flipped(), ALWAYS, "GG", Mismatch, "sha256 .* was expected, .* found", 1),
    "500 once": Case(Status(500), 1, "GG"),
    "500 always": Case(Status(500), ALWAYS, "GGGGG", Unreachable, "status 500; try again later"),
    "404": Case(Status(404), ALWAYS, "G", Absent, "does not have it .* check the address, or pass a local file"),
    "403": Case(Status(403), ALWAYS, "G", Absent, "download it in a browser and pass its path"),
    "hangs once": Case(Hanging(), 1, "GG"),
    "hangs in the middle": Case(Hanging(0.5), 1, "GG"),
    "hangs always": Case(Hanging(), ALWAYS, "GGGGG", Unreachable, "did not answer in time"),
    "circle of redirects": Case(RedirectLoop(), ALWAYS, "G" * 55, Unreachable, "redirects in a circle"),
    "page once": Case(HtmlPage(), 1, "GG"),
    "page always": Case(HtmlPage(), ALWAYS, "GGGGG", Unreachable, "perhaps a login page of this network"),
    "cut, and no length": Case(Unmeasured(), ALWAYS, "GG", Mismatch, "sha256", 1),
    "length too large": Case(
        WrongLength(1), ALWAYS, "GGGGG", Unreachable, "did not deliver it", resumes=True, again=2
    ),  # nothing comes after the whole of it
    "length too small": Case(WrongLength(-1), ALWAYS, "GG", Mismatch, "sha256", 1),
    "without an end": Case(
        TooMuch(5 << 20), ALWAYS, "G", Mismatch, "1,000,000 bytes were expected, and the server sends"
    ),
    "packed, and without an end": Case(Packed(5 << 20), ALWAYS, "G", Mismatch, "1,000,000 bytes were expected"),
}


@pytest.mark.proves(promise="The bytes are the right ones", against="faults of a web address: the same, and 403, 404")
@pytest.mark.filterwarnings("ignore::vitzoo.sources.promise.DamagedFile")
@pytest.mark.parametrize("case", URL.values(), ids=URL)
def test_url(b: Bench, case: Case) -> None:
    b.monkeypatch.setattr(flow, "LARGEST", 1_000_000)
    digest = hashlib.sha256(checkpoint()).hexdigest()[:16]
    b.sources({"kind": "url", "url": b.hub.url(URL_FILE, checkpoint()), "sha256": digest})
    b.hub.fault(case.fault, path=URL_FILE, times=case.times)
    ends_as_it_should(b, case)
    b.hub.clear()
    assert is_probe(b.create())
    assert b.asked() == ([] if case.error is None else ["GET"] * case.again)
    assert b.leftovers() == []


def ends_as_it_should(b: Bench, case: Case) -> None:
    """The right model or the right error, in one line, after so many requests, and nothing half done on the disk."""
    if case.error is None:
        assert is_probe(b.create())
    else:
        with pytest.raises(case.error, match=case.message) as caught:
            b.create()
        assert "\n" not in str(caught.value)
    assert "".join(r.method[0] for r in b.hub.requests) == case.asked
    assert len(b.quarantined()) == case.damaged
    assert bool(b.leftovers()) == case.resumes
    assert not any(path.name == "elsewhere" for path in b.home.parent.rglob("*"))


@pytest.mark.proves(
    promise="The bytes are the right ones", against="control: without the comparison the flipped byte arrives"
)
def test_without_the_check_the_flipped_byte_arrives(b: Bench) -> None:
    """The control: it is the comparison of digests that the rows above depend on."""
    b.hub.fault(Flipped(-1), path=WEIGHTS)
    b.monkeypatch.setattr(Promise, "broken", lambda promise, path: None)
    assert not is_probe(b.create())


@pytest.mark.proves(promise="Waiting ends", against="a byte now and then, for ever")
def test_a_server_that_sends_hardly_anything(b: Bench) -> None:
    for name, value in {"WINDOW": 0.2, "SLOWEST": 1e6}.items():
        b.monkeypatch.setattr(flow, name, value)
    b.sources({"kind": "url", "url": b.hub.url(URL_FILE, checkpoint())})
    b.hub.fault(Slow(5e3), path=URL_FILE, times=ALWAYS)
    with pytest.raises(Unreachable, match="bytes came in 0 seconds; try again later, or take another source"):
        b.create()


class TestHubAnswers:
    @pytest.mark.proves(
        promise="No code from weights, no path from the network",
        against="the client's second answer has a path as ETag",
    )
    def test_a_path_as_etag_after_a_good_one(self, b: Bench) -> None:
        """The client itself believes it and writes there; the file is not used, and nothing points to it."""
        b.hub.fault(WrongETag(ELSEWHERE), method="HEAD", path=WEIGHTS, after=1)
        with pytest.raises(Mismatch, match=r"led out of the cache, to .*elsewhere; delete that file"):
            b.create()
        assert is_probe(b.create())
        assert b.blob().parent.name == "blobs"

    @pytest.mark.proves(promise="The bytes are the right ones", against="ETag of another cached file")
    @pytest.mark.filterwarnings("ignore::vitzoo.sources.promise.DamagedFile")
    @pytest.mark.parametrize("after", [0, 1])
    def test_etag_of_another_cached_file(self, b: Bench, after: int) -> None:
        assert is_probe(b.create())
        old = b.blob()
        b.hub.add(REPO, {FILE: checkpoint(1)})
        b.hub.clear()
        b.hub.fault(WrongETag(old.name), method="HEAD", path=WEIGHTS, after=after)
        if after:  # the client is misled, noticed, and asked again
            assert is_probe(b.create(), 1)
        else:  # what is promised never comes
            with pytest.raises(Mismatch, match=f"sha256 {old.name} was expected"):
                b.create()
        assert b.quarantined() == []  # both files are what their names say
        assert old.read_bytes() == checkpoint()
        assert is_probe(b.create(), 1)

    @pytest.mark.proves(promise="The bytes are the right ones", against="a hub that lies, and a digest in the registry")
    def test_a_hub_that_lies_is_found_out_by_the_digest_of_the_registry(self, b: Bench) -> None:
        assert is_probe(b.create())
        digest = b.blob().name
        b.hub.add(REPO, {FILE: checkpoint(1)})
        b.sources({"repo": REPO, "sha256": digest})
        b.asked()
        with pytest.raises(Mismatch, match=f"sha256 {digest} was expected, and the hub has"):
            b.create()
        assert b.asked() == ["HEAD"]  # no byte of it was fetched
        assert b.quarantined() == []

    @pytest.mark.proves(promise="One commit", against="another commit than asked for")
    def test_another_commit_than_the_one_asked_for(self, b: Bench) -> None:
        b.sources({"repo": REPO, "revision": b.commit})
        wrong = "f" * 40
        b.hub.fault(OtherCommit(wrong), method="HEAD", times=ALWAYS)
        with pytest.raises(Mismatch, match=f"answered with the commit {wrong}"):
            b.create()

    @pytest.mark.proves(promise="One commit", against="`main` moves between HEAD and GET")
    @pytest.mark.parametrize("method", ["HEAD", "GET"])
    def test_main_moves_meanwhile(self, b: Bench, method: str) -> None:
        b.hub.fault(Meanwhile(lambda: b.hub.add(REPO, {FILE: checkpoint(1)})), method=method)
        first = b.create()
        assert b.asked() == ["HEAD", "HEAD", "GET"]
        assert is_probe(first)
        assert b.commit in str(first.load_report)
        assert is_probe(b.create(), 1)

    @pytest.mark.proves(promise="One commit", against="`main` moves in a resumed download")
    def test_main_moves_before_the_rest_of_a_broken_download(self, b: Bench) -> None:
        b.hub.fault(Closed(0.5), path=WEIGHTS)
        b.hub.fault(Meanwhile(lambda: b.hub.add(REPO, {FILE: checkpoint(1)})), path=WEIGHTS)
        assert is_probe(b.create())

    @pytest.mark.proves(promise="Waiting ends", against="`Retry-After` of the hub")
    def test_too_many_requests_are_repeated_when_the_hub_says(self, b: Bench) -> None:
        b.hub.fault(Status(429, retry_after=7), method="HEAD", path=WEIGHTS)
        assert is_probe(b.create())
        assert b.slept == [7.0]

    @pytest.mark.proves(promise="One line", against="endpoint unreachable")
    def test_no_server(self, b: Bench) -> None:
        with LoopbackHub() as gone:
            pass
        b.monkeypatch.setattr(constants, "ENDPOINT", gone.endpoint)
        template = f"{gone.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        b.monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        with pytest.raises(Unreachable, match=f"{gone.endpoint} cannot be reached .* check the network, HF_ENDPOINT"):
            b.create()
        assert b.asked() == []


class OtherCommit(NamedTuple):
    """An answer that names another commit."""

    commit: str

    def __call__(self, request: object, answer: Callable[[], object]) -> object:
        return answer().with_headers({"X-Repo-Commit": self.commit})  # type: ignore[attr-defined]


class TestRefusals:
    @pytest.mark.proves(promise="One line", against="gated: no token, another's, the right one")
    def test_gated(self, b: Bench) -> None:
        b.hub.gate(REPO, "hf_granted")
        page = f"accept its terms at {b.hub.endpoint}/{REPO}"
        with pytest.raises(Absent, match=rf"is gated: {page}, then try again; log in \(`hf auth login` or HF_TOKEN\)"):
            b.create()
        assert b.asked() == ["HEAD"]
        b.hub.user("bob", "hf_bob")
        b.monkeypatch.setenv("HF_TOKEN", "hf_bob")
        with pytest.raises(Absent, match=f"is gated: {page}.*the account of your token has no access yet"):
            b.create()
        assert b.asked() == ["HEAD"]
        b.monkeypatch.setenv("HF_TOKEN", "hf_granted")
        assert is_probe(b.create())
        assert b.asked() == ["HEAD", "HEAD", "GET"]

    @pytest.mark.proves(promise="One line", against="unknown repository, revision, file; names that are none")
    @pytest.mark.parametrize(
        ("source", "message"),
        [
            (
                {"repo": "org/none"},
                r"there is no repository org/none at http.*; check the name; if it is private",
            ),
            ({"repo": REPO, "revision": "v9"}, rf"{REPO} has no such revision; its commits are at .*/commits/main"),
            ({"repo": REPO, "file": "x.npz"}, rf"{REPO} has no such file; its files are at http.*/{REPO}/tree/main"),
            ({"repo": "a/b/c"}, "'a/b/c' is not the name of a repository; expected org/name"),
            ({"repo": REPO, "file": "../x.npz"}, "'../x.npz' is not a plain file name"),
            ({"repo": REPO, "revision": "../main"}, r"'\.\./main' is not a plain file name"),
        ],
    )
    def test_nothing_there(self, b: Bench, source: dict[str, str], message: str) -> None:
        b.sources(source)
        with pytest.raises(WeightsError, match=message) as caught:
            b.create()
        assert "\n" not in str(caught.value)
        assert len(b.asked()) <= 1
        assert b.leftovers() == []

    @pytest.mark.proves(promise="One line", against="exit code 2 of the command line")
    def test_command_line(self, b: Bench, capsys: pytest.CaptureFixture[str]) -> None:
        from vitzoo.cli import main

        b.sources({"repo": "org/none"})
        b.monkeypatch.setattr("sys.argv", ["vitzoo", "cache", "prefetch", NAME])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert re.fullmatch(r"vitzoo: hf://org/none/.*: there is no repository org/none.*\n", said)


@pytest.mark.proves(promise="Offline means offline", against="cached or not; damaged; a web address")
class TestOffline:
    def test_not_cached(self, b: Bench) -> None:
        b.offline()
        with pytest.raises(NotCached, match=f"HF_HUB_OFFLINE is set; run `vitzoo cache prefetch {NAME}` where"):
            b.create()
        assert b.asked() == []

    def test_cached(self, b: Bench) -> None:
        b.create()
        b.asked()
        b.offline()
        assert is_probe(b.create())
        assert b.asked() == []

    def test_cached_and_damaged(self, b: Bench) -> None:
        b.create()
        flip(b.blob())
        b.offline()
        with pytest.raises(Mismatch, match=r"HF_HUB_OFFLINE is set; fetch it again where there is a network"):
            b.create()
        assert b.quarantined() == []

    @pytest.mark.parametrize("cached", [True, False])
    def test_address(self, b: Bench, cached: bool) -> None:
        address = b.hub.url(URL_FILE, checkpoint())
        if cached:
            b.create(address)
        b.asked()
        b.offline()
        if cached:
            assert is_probe(b.create(address))
        else:
            with pytest.raises(NotCached, match=r"not in the cache, and HF_HUB_OFFLINE is set; run `vitzoo cache pref"):
                b.create(address)
        assert b.asked() == []

    @pytest.mark.proves(promise="Offline means offline", against="a hub that fails while a verified copy is there")
    @pytest.mark.parametrize("fault", [Status(503), Status(403), Hanging(), Closed(), HtmlPage(), WrongETag("x")])
    def test_a_verified_copy_stands_in_for_a_hub_that_fails(self, b: Bench, fault: Fault) -> None:
        b.create()
        b.asked()
        b.hub.fault(fault, method="*", times=ALWAYS)
        model = b.create()
        assert is_probe(model)
        assert re.search(f"the cached commit {b.commit} was used, since hf://{REPO}", str(model.load_report))
        assert b.asked() == ["HEAD"]  # and it is not waited for


class TestDisk:
    @pytest.mark.proves(
        promise="A wrong file is put aside, not deleted", against="a byte of a cached file flipped on the disk"
    )
    def test_damage_is_noticed_and_mended(self, b: Bench) -> None:
        b.create()
        flip(b.blob())
        b.asked()
        with pytest.warns(DamagedFile, match=r"sha256 .* was expected, .* found; it was put aside as .*quarantine"):
            assert is_probe(b.create())
        assert b.asked() == ["HEAD", "HEAD", "GET"]
        assert len(b.quarantined()) == 1
        assert is_probe(b.create())
        assert b.asked() == ["HEAD"]

    @pytest.mark.proves(promise="A wrong file is put aside, not deleted", against="the same of a pinned commit")
    def test_damage_of_a_pinned_commit_is_noticed_and_mended(self, b: Bench) -> None:
        b.sources({"repo": REPO, "revision": b.commit})
        b.create()
        b.asked()
        assert is_probe(b.create())
        assert b.asked() == []  # a commit that is cached asks nobody
        flip(b.blob())
        with pytest.warns(DamagedFile):
            assert is_probe(b.create())
        assert b.asked() == ["HEAD", "HEAD", "GET"]

    @pytest.mark.proves(promise="A wrong file is put aside, not deleted", against="the same of a download")
    def test_damage_of_a_download_is_noticed_and_mended(self, b: Bench) -> None:
        address = b.hub.url(URL_FILE, checkpoint()) + f"#sha256={hashlib.sha256(checkpoint()).hexdigest()}"
        b.create(address)
        (path,) = (b.home / "vitzoo" / "urls").glob("*/*")
        flip(path)
        b.asked()
        with pytest.warns(DamagedFile):
            assert is_probe(b.create(address))
        assert b.asked() == ["GET"]
        assert len(b.quarantined()) == 1

    @pytest.mark.proves(promise="One line", against="a disk too small, known beforehand")
    @pytest.mark.parametrize("kind", ["hub", "url"])
    def test_too_small(self, b: Bench, kind: str) -> None:
        """The size is known before the first byte, so nothing is begun."""
        address = f"hf://{REPO}/{FILE}" if kind == "hub" else b.hub.url(URL_FILE, checkpoint())
        b.hub.add(REPO, {"README.md": None})  # else it is fetched first
        usage = shutil.disk_usage(b.home)
        b.monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
        with pytest.raises(WeightsError, match=r"the disk is full: \d+,\d+ bytes are needed in .*, 1,000 are free"):
            b.create(address)
        assert b.leftovers() == []
        assert b.asked() == (["HEAD", "HEAD"] if kind == "hub" else ["GET"])

    @pytest.mark.proves(promise="One line", against="a cache that is no folder")
    @pytest.mark.parametrize("kind", ["hub", "url"])
    def test_a_cache_that_is_no_folder(self, b: Bench, kind: str) -> None:
        (b.home / "vitzoo").write_bytes(b"")
        b.hub.add(REPO, {"README.md": None})
        address = f"hf://{REPO}/{FILE}" if kind == "hub" else b.hub.url(URL_FILE, checkpoint())
        with pytest.raises(
            WeightsError, match=r"(File exists|Not a directory): .*/vitzoo.*; check HF_HOME and VITZOO_C"
        ):
            b.create(address)
        assert b.asked() == (["HEAD", "HEAD"] if kind == "hub" else [])

    @pytest.mark.proves(promise="One line", against="a disk that fills on the way, and other errors of the system")
    @pytest.mark.parametrize(
        ("number", "message"),
        [
            (errno.ENOSPC, "the disk is full"),
            (errno.EDQUOT, "the disk is full"),
            (errno.EROFS, "no permission for"),
        ],
    )
    @pytest.mark.parametrize("kind", ["hub", "url"])
    def test_errors_of_the_system(self, b: Bench, kind: str, number: int, message: str) -> None:
        address = f"hf://{REPO}/{FILE}" if kind == "hub" else b.hub.url(URL_FILE, checkpoint())

        b.hub.add(REPO, {"README.md": None})

        def full(*arguments: object, **settings: object) -> None:
            raise OSError(number, os.strerror(number), "/x")

        b.monkeypatch.setattr("os.replace" if kind == "hub" else "pathlib.Path.replace", full)
        b.monkeypatch.setattr("shutil.move", full)
        with pytest.raises(WeightsError, match=f"{re.escape(address)}.*{message}.* set HF_HOME"):
            b.create(address)
        assert b.asked().count("GET") == 1


class TestAddresses:
    @pytest.mark.proves(promise="Nothing half done is visible", against="a broken download, which is resumed")
    def test_a_broken_download_goes_on_where_it_stopped(self, b: Bench) -> None:
        address = b.hub.url(URL_FILE, checkpoint())
        partial, start = left_off(address, checkpoint())
        assert is_probe(b.create(address))
        assert [r.range for r in b.hub.requests] == [f"bytes={start}-"]
        assert not partial.exists()
        assert b.leftovers() == []

    @pytest.mark.proves(promise="Nothing half done is visible", against="the same, the file changed meanwhile")
    def test_the_file_changed_meanwhile(self, b: Bench) -> None:
        address = b.hub.url(URL_FILE, checkpoint())
        _, start = left_off(address, checkpoint())
        b.hub.url(URL_FILE, checkpoint(1))
        assert is_probe(b.create(address), 1)
        assert [(r.range, r.status) for r in b.hub.requests] == [(f"bytes={start}-", 200)]  # If-Range did not match

    @pytest.mark.proves(promise="Nothing half done is visible", against="the same, the server knows no ranges")
    def test_no_ranges(self, b: Bench) -> None:
        address = b.hub.url(URL_FILE, checkpoint(), ranges=False)
        left_off(address, checkpoint())
        assert is_probe(b.create(address))
        assert [r.status for r in b.hub.requests] == [200]

    @pytest.mark.proves(promise="Nothing half done is visible", against="the same, no ETag")
    def test_nothing_to_recognise_the_file_by(self, b: Bench) -> None:
        address = b.hub.url(URL_FILE, checkpoint(), etag=False)
        left_off(address, checkpoint(), validator=False)
        assert is_probe(b.create(address))
        assert [r.range for r in b.hub.requests] == [None]

    def test_more_is_there_than_the_server_has(self, b: Bench) -> None:
        address = b.hub.url(URL_FILE, checkpoint())
        left_off(address, checkpoint() + b"more", keep=len(checkpoint()) + 4)
        assert is_probe(b.create(address))
        assert [r.status for r in b.hub.requests] == [416, 200]

    @pytest.mark.proves(promise="Waiting ends", against="`Retry-After` of a web address")
    def test_come_again_when_the_server_says(self, b: Bench) -> None:
        address = b.hub.url(URL_FILE, checkpoint())
        b.hub.fault(Status(503, retry_after=3), path=URL_FILE, times=2)
        b.hub.fault(Status(429, retry_after=3600), path=URL_FILE, after=2)
        assert is_probe(b.create(address))
        assert b.slept == [3.0, 3.0, 30.0]  # but never more than half a minute

    @pytest.mark.proves(promise="What you set is obeyed", against="proxy")
    def test_proxy(self, b: Bench) -> None:
        """The hub's own server takes whole addresses, as a proxy does."""
        b.hub.url(URL_FILE, checkpoint())
        b.monkeypatch.setenv("HTTP_PROXY", b.hub.endpoint)
        b.monkeypatch.delenv("NO_PROXY", raising=False)
        digest = hashlib.sha256(checkpoint()).hexdigest()
        assert is_probe(b.create(f"http://weights.invalid{URL_FILE}#sha256={digest}"))
        assert b.asked() == ["GET"]

    def test_plain_http_needs_a_digest(self, b: Bench) -> None:
        with pytest.raises(WeightsError, match="can be changed on the way; use https, or add #sha256=DIGEST"):
            b.create("http://weights.invalid/x.safetensors")

    @pytest.mark.proves(promise="The bytes are the right ones", against="a short digest in an address")
    @pytest.mark.parametrize("scheme", ["http", "https"])
    @pytest.mark.parametrize("digest", ["01234567", "0" * 63, "0" * 65, "xyz", ""])
    def test_a_short_digest(self, b: Bench, scheme: str, digest: str) -> None:
        with pytest.raises(WeightsError, match=rf"all 64 digits of .*, found '#sha256={digest}'; write the"):
            b.create(f"{scheme}://weights.invalid/x.safetensors#sha256={digest}")
        assert b.asked() == []


@pytest.mark.proves(
    promise="What you set is obeyed", against="certificate not trusted; `SSL_CERT_FILE`; https that leads to http"
)
class TestCertificates:
    @pytest.mark.parametrize("trusted", [False, True])
    def test_address(self, b: Bench, tmp_path: Path, trusted: bool) -> None:
        with HttpsServer(b, tmp_path, trusted) as address:
            if trusted:
                assert is_probe(b.create(address + URL_FILE))
            else:
                with pytest.raises(WeightsError, match=r"certificate of .* is not trusted.*set SSL_CERT_FILE"):
                    b.create(address + URL_FILE)

    def test_hub(self, b: Bench, tmp_path: Path) -> None:
        with HttpsServer(b, tmp_path, False) as address:
            b.monkeypatch.setattr(constants, "ENDPOINT", address)
            template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
            b.monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
            close_session()
            with pytest.raises(WeightsError, match=r"certificate of .* is not trusted.*set SSL_CERT_FILE"):
                b.create()
            assert b.slept == []  # waiting does not make it trusted

    def test_https_that_leads_to_http(self, b: Bench, tmp_path: Path) -> None:
        with HttpsServer(b, tmp_path, True, redirect=True) as address:
            b.hub.url(URL_FILE, checkpoint())
            with pytest.raises(Absent, match="redirects to plain http, where the file can be changed on the way"):
                b.create(address + URL_FILE)
            assert b.leftovers() == []


@pytest.mark.proves(promise="The next source serves", against="a source that is absent, damaged or down")
@pytest.mark.filterwarnings("ignore::vitzoo.sources.promise.DamagedFile")
@pytest.mark.parametrize("reason", ["absent", "damaged", "down"])
def test_the_next_source_serves(b: Bench, reason: str) -> None:
    b.sources({"repo": REPO}, {"kind": "url", "url": b.hub.url(URL_FILE, checkpoint())})
    if reason == "absent":
        b.hub.gate(REPO, "hf_granted")
    else:
        b.hub.fault(Flipped() if reason == "damaged" else Status(500), path=WEIGHTS, times=ALWAYS)
    with pytest.warns(SourceFailed, match=f"{NAME} came from {b.hub.endpoint}{URL_FILE}; before it: hf://{REPO}"):
        model = b.create()
    assert is_probe(model)
    assert re.search(
        rf"served by {b.hub.endpoint}{URL_FILE} sha256:{hashlib.sha256(checkpoint()).hexdigest()}",
        str(model.load_report),
    )


def left_off(address: str, data: bytes, keep: int = 4096, validator: bool = True) -> tuple[Path, int]:
    """What a download leaves that was ended by force."""
    partial = url_path(address).with_name(f"{url_path(address).name}.partial")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(data[:keep])
    if validator:
        etag = f'"{hashlib.md5(checkpoint()).hexdigest()}"'
        partial.with_name(f"{partial.name}.validator").write_text(etag, encoding="utf-8")
    return partial, keep


class _Https(BaseHTTPRequestHandler):
    location: str | None = None

    def do_GET(self) -> None:
        body = b"" if self.location else checkpoint()
        self.send_response(302 if self.location else 200)
        if self.location:
            self.send_header("Location", self.location + self.path)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class HttpsServer:
    """A server whose certificate is of an authority of its own, which this process trusts or not."""

    def __init__(self, b: Bench, folder: Path, trusted: bool, redirect: bool = False) -> None:
        authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        if trusted:
            authority.cert_pem.write_to_path(str(folder / "authority.pem"))
            b.monkeypatch.setenv("SSL_CERT_FILE", str(folder / "authority.pem"))
        location = b.hub.endpoint if redirect else None
        handler = type("Handler", (_Https,), {"location": location})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)

    def __enter__(self) -> str:
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return f"https://127.0.0.1:{self.server.server_address[1]}"

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_a_broken_installation_is_no_fault_of_the_server() -> None:
    with pytest.raises(ModuleNotFoundError, match="certifi"):
        explain(ModuleNotFoundError("No module named 'certifi'"), "hf://org/repo", "https://huggingface.co")
