"""Where weights come from when all goes well: addresses, revisions, the mirror, the lock, and what the report says."""

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from probe import FIELDS, FILE, NAME, REPO, WEIGHTS, Bench, bench, checkpoint, flip, is_probe, state
from safetensors.torch import save

import vitzoo
from vitzoo.errors import RegistryError, WeightsError
from vitzoo.registry.reference import parse
from vitzoo.sources.failures import Absent, Mismatch, NotCached, Unreachable
from vitzoo.sources.fetch import SourceFailed
from vitzoo.sources.mirror import Unlisted
from vitzoo.sources.pin import pin
from vitzoo.sources.storage import prefetch

DIGEST = hashlib.sha256(checkpoint()).hexdigest()
URL_FILE = "/files/probe.safetensors"


@pytest.fixture
def b(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bench]:
    with bench(monkeypatch, tmp_path / "home") as found:
        yield found


class TestHub:
    def test_download_then_one_request_a_create(self, b: Bench) -> None:
        model = b.create()
        assert is_probe(model)
        assert b.asked() == ["HEAD", "HEAD", "GET"]
        assert model.origin == f"{NAME} from hf://{REPO}/{FILE}@{b.commit} sha256:{DIGEST}"
        assert f"served by hf://{REPO}/{FILE}@{b.commit} sha256:{DIGEST}" in str(model.load_report)
        assert is_probe(b.create())
        assert b.asked() == ["HEAD"]

    def test_the_digest_is_computed_once(self, b: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        from vitzoo.sources import cache

        b.create()
        monkeypatch.setattr(cache, "hash_file", lambda path: pytest.fail(f"{path} was read again"))
        assert is_probe(b.create())

    def test_other_programs_find_the_file(self, b: Bench) -> None:
        from huggingface_hub import hf_hub_download, scan_cache_dir

        b.create()
        assert Path(hf_hub_download(REPO, FILE, local_files_only=True)).read_bytes() == checkpoint()
        (repo,) = scan_cache_dir().repos
        assert {ref for revision in repo.revisions for ref in revision.refs} == {"main"}

    def test_a_file_that_another_program_fetched_is_used(self, b: Bench) -> None:
        from huggingface_hub import constants, hf_hub_download

        hf_hub_download(REPO, FILE, endpoint=constants.ENDPOINT)
        b.asked()
        assert is_probe(b.create())
        assert b.asked() == ["HEAD"]

    @pytest.mark.parametrize("kind", ["branch", "tag", "commit"])
    def test_revisions(self, b: Bench, kind: str) -> None:
        b.hub.tag(REPO, "v1", b.commit)
        b.hub.add(REPO, {FILE: checkpoint(2)}, branch="next")
        b.hub.add(REPO, {FILE: checkpoint(1)})
        revision, seed = {"branch": ("next", 2), "tag": ("v1", 0), "commit": (b.commit, 0)}[kind]
        for name in (f"hf://{REPO}/{FILE}@{revision}", f"hf-hub:{REPO}@{revision}"):
            assert is_probe(b.create(name), seed)
        assert is_probe(b.create(), 1)
        b.asked()
        assert is_probe(b.create(f"hf://{REPO}/{FILE}@{revision}"), seed)
        assert b.asked() == ([] if kind == "commit" else ["HEAD", "HEAD"])  # of the card, then of the weights
        b.offline()
        assert is_probe(b.create(f"hf://{REPO}/{FILE}@{revision}"), seed)

    @pytest.mark.proves(promise="One commit", against="branches with a slash, `refs/pr/1`")
    def test_names_of_branches(self, b: Bench) -> None:
        """A slash makes a folder in the cache, and then there is no place for a branch of that folder's name."""
        for number, branch in enumerate(("refs/pr/1", "next/one", "next"), 1):
            b.hub.add(REPO, {FILE: checkpoint(number)}, branch=branch)
            for _ in range(2):
                assert is_probe(b.create(f"hf-hub:{REPO}@{branch}"), number)
        b.offline()
        assert is_probe(b.create(f"hf-hub:{REPO}@next/one"), 2)
        with pytest.raises(NotCached, match=f"run `vitzoo cache prefetch hf-hub:{NAME}@next` where there is a network"):
            b.create(f"hf-hub:{REPO}@next")
        with pytest.raises(
            NotCached, match="run `vitzoo cache prefetch hf-hub:org/other@next` where there is a network"
        ):
            b.create("hf-hub:org/other@next")
        b.offline(False)
        assert is_probe(b.create(f"hf-hub:{NAME}@next"), 3)

    @pytest.mark.proves(promise="One commit", against="`main` moves between two calls")
    def test_main_moves_between_two_creates(self, b: Bench) -> None:
        assert is_probe(b.create())
        b.hub.add(REPO, {FILE: checkpoint(1)})
        b.asked()
        assert is_probe(b.create(), 1)
        assert b.asked() == ["HEAD", "HEAD", "GET"]
        b.offline()
        assert is_probe(b.create(), 1)

    def test_folder(self, b: Bench) -> None:
        """Weights with the configuration beside them: what git itself keeps is checked by git's own digest."""
        config = {"architectures": ["ViTForImageClassification"], "model_type": "vit"}
        b.hub.add("org/folder", {FILE: checkpoint(), "config.json": json.dumps(config).encode(), "notes.md": b"x"})
        model = b.create("hf-hub:org/folder")
        assert is_probe(model)
        assert [(r.method, r.path.rsplit("/", 1)[-1]) for r in b.hub.requests] == [
            ("GET", "folder"),
            *[(method, name) for name in (FILE, "config.json") for method in ("HEAD", "GET")],
        ]
        b.asked()
        assert is_probe(b.create("hf-hub:org/folder"))
        assert b.asked() == ["GET"]
        b.offline()
        assert is_probe(b.create("hf-hub:org/folder"))
        assert b.asked() == []

    def test_shards(self, b: Bench) -> None:
        names = sorted(state())
        parts = {"model-1.safetensors": names[: len(names) // 2], "model-2.safetensors": names[len(names) // 2 :]}
        about = {"vitzoo": json.dumps({**native_facts()})}
        files = {part: save({name: state()[name] for name in held}, about) for part, held in parts.items()}
        index = {"metadata": {}, "weight_map": {name: part for part, held in parts.items() for name in held}}
        b.hub.add("org/shards", {**files, "model.safetensors.index.json": json.dumps(index).encode()})
        b.sources({"repo": "org/shards", "file": "model.safetensors.index.json"})
        assert is_probe(b.create())
        assert [b.hub.count("GET", f"*{part}") for part in parts] == [1, 1]

    @pytest.mark.proves(promise="One line", against="a shard that is not there")
    def test_a_shard_that_is_not_there(self, b: Bench) -> None:
        index = {"weight_map": dict.fromkeys(state(), "gone.safetensors")}
        b.hub.add("org/shards", {"model.safetensors.index.json": json.dumps(index).encode()})
        with pytest.raises(Absent, match=r"index.json names the shard gone.safetensors, and the repository does not"):
            b.create("hf-hub:org/shards")

    @pytest.mark.proves(promise="One line", against="a repository without weights")
    def test_no_weights(self, b: Bench) -> None:
        b.hub.add("org/empty", {"README.md": b"x", "weights/my.safetensors": checkpoint()})
        with pytest.raises(
            Absent, match=r"holds no weights under the usual names .*; give the file: hf://org/empty/FI"
        ):
            b.create("hf-hub:org/empty")
        assert is_probe(b.create("hf://org/empty/weights/my.safetensors"))

    def test_revision_of_a_registered_repository(self, b: Bench) -> None:
        b.hub.add(REPO, {FILE: checkpoint(1)})
        assert is_probe(b.create(f"hf-hub:{REPO}@{b.commit}"))
        b.sources({"kind": "url", "url": b.hub.url(URL_FILE, checkpoint())})
        with pytest.raises(RegistryError, match="is in no repository of the hub, so it has no revision 'v1'"):
            b.create(f"hf-hub:{NAME}@v1")

    def test_info_of_a_repository(self, b: Bench, run: Callable[..., Any]) -> None:
        b.hub.add("org/folder", {FILE: checkpoint()})
        shown = run("info", "hf-hub:org/folder")
        assert shown.code == 0
        assert "served by hf://org/folder/model.safetensors@" in shown.out

    @pytest.mark.proves(promise="What you set is obeyed", against="the token that `hf auth login` writes")
    def test_token(self, b: Bench) -> None:
        """From the file that `hf auth login` writes."""
        b.hub.gate(REPO, "hf_granted")
        (b.home / "token").write_text("hf_granted", encoding="utf-8")
        assert is_probe(b.create())


class TestAddresses:
    def test_web(self, b: Bench) -> None:
        address = b.hub.url(URL_FILE, checkpoint())
        model = b.create(f"{address}#sha256={DIGEST}")
        assert is_probe(model)
        assert model.origin == f"{address} sha256:{DIGEST}"
        assert is_probe(b.create(address))
        assert b.asked() == ["GET"]
        (kept,) = (b.home / "vitzoo" / "urls").rglob("*.safetensors")
        assert kept.name == "probe.safetensors"

    @pytest.mark.proves(
        promise="No code from weights, no path from the network", against="passwords and signatures in an address"
    )
    def test_what_is_secret_in_it_is_not_kept(self, b: Bench) -> None:
        address = b.hub.url(URL_FILE, checkpoint())
        model = b.create(f"{address.replace('//', '//ann:hunter2@')}?signature=hunter2")
        assert is_probe(model)
        assert model.origin == f"{address} sha256:{DIGEST}"
        assert "hunter2" not in str(model.load_report)

    @pytest.mark.proves(
        promise="The bytes are the right ones", against="a web page in place of a file that nobody gave a digest of"
    )
    def test_a_page_that_is_not_said_to_be_one(self, b: Bench) -> None:
        """Without a digest nothing else would keep it from being cached as weights."""
        address = b.hub.url(URL_FILE, b"\n<!DOCTYPE html><html>log in</html>")
        with pytest.raises(Unreachable, match="answered with a web page, perhaps a login page of this network"):
            b.create(address)
        assert not [path for path in (b.home / "vitzoo" / "urls").rglob("*") if path.is_file()]

    @pytest.mark.filterwarnings("ignore::vitzoo.sources.promise.DamagedFile")
    def test_another_digest_is_another_file(self, b: Bench) -> None:
        address = b.hub.url(URL_FILE, checkpoint())
        with pytest.raises(Mismatch, match=r"was fetched again and was wrong again: sha256 0{64} was expected"):
            b.create(f"{address}#sha256={'0' * 64}")

    @pytest.mark.proves(promise="No code from weights, no path from the network", against="names from the network")
    def test_names_from_the_network_are_plain(self, b: Bench) -> None:
        from vitzoo.sources.cache import cache_folder, url_path

        for url in ("https://x/a/../../b", "https://x/..", "https://x/%2e%2e%2fetc", "https://x/", "https://x/a\\b:c"):
            path = url_path(url)
            assert path.parent.parent == cache_folder() / "urls"
            assert re.fullmatch(r"[\w-][\w.-]*", path.name)

    @pytest.mark.parametrize(
        "text",
        [
            *("hf://repo", "hf://org/repo/", "hf:///x/y", "s3://host/x.pth"),
            *("https://", "https:///x.pth", "https://host", "https://host/", "http://[::1/x.pth", "https://host:x/y"),
        ],
    )
    def test_no_address(self, text: str) -> None:
        with pytest.raises(WeightsError, match=r"is not .* address.*; expected (hf://org/repo/file|https://host/file)"):
            parse(text)


@pytest.mark.proves(
    promise="Offline means offline", against="a mirror without a network, its form, damaged, not mounted"
)
class TestMirror:
    @pytest.fixture
    def mirror(self, b: Bench, tmp_path: Path) -> Path:
        """A mirror, and then a machine that has nothing else."""
        b.sources({"repo": REPO}, {"kind": "url", "url": b.hub.url(URL_FILE, checkpoint())})
        prefetch(NAME, tmp_path / "written")
        prefetch(b.hub.endpoint + URL_FILE, tmp_path / "written")
        (tmp_path / "written").rename(tmp_path / "mirror")  # any copy will do
        for folder in ("hub", "vitzoo"):
            shutil.rmtree(b.home / folder)
        b.monkeypatch.setenv("VITZOO_MIRROR", str(tmp_path / "mirror"))
        b.offline()
        b.asked()
        return tmp_path / "mirror"

    def test_serves_without_a_network(self, b: Bench, mirror: Path) -> None:
        model = b.create()
        assert is_probe(model)
        assert f"served by {mirror}/hf/{REPO}/{FILE} sha256:{DIGEST}" in str(model.load_report)
        assert is_probe(b.create(b.hub.endpoint + URL_FILE))
        assert b.asked() == []

    def test_form(self, b: Bench, mirror: Path) -> None:
        host = b.hub.endpoint.removeprefix("http://").replace(":", "_")
        files = {path.relative_to(mirror).as_posix() for path in mirror.rglob("*") if path.is_file()}
        assert files == {"SHA256SUMS", f"hf/{REPO}/{FILE}", f"url/{host}{URL_FILE}"}
        check = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=mirror, capture_output=True, text=True)
        assert check.returncode == 0
        assert check.stdout.count(": OK") == 2

    def test_comes_before_the_hub(self, b: Bench, mirror: Path) -> None:
        b.offline(False)
        assert is_probe(b.create())
        assert b.asked() == []

    def test_damaged(self, b: Bench, mirror: Path) -> None:
        file = mirror / "hf" / REPO / FILE
        flip(file)
        with pytest.raises(WeightsError, match=r"SHA256SUMS promises: sha256 .* copy it to the mirror again"):
            b.create(f"hf://{REPO}/{FILE}")
        b.offline(False)
        with pytest.warns(SourceFailed, match=f"came from hf://{REPO}/{FILE}@{b.commit}; before it: {file} is not"):
            assert is_probe(b.create())
        assert file.exists()  # a mirror is not ours to tidy

    @pytest.mark.proves(
        promise="The bytes are the right ones",
        against="config.json and card of a mirror: edited, or not in its SHA256SUMS",
    )
    @pytest.mark.parametrize("file", ["config.json", "README.md"])
    def test_what_is_beside_the_weights(self, b: Bench, mirror: Path, tmp_path: Path, file: str) -> None:
        b.offline(False)
        b.monkeypatch.delenv("VITZOO_MIRROR")
        folder = vitzoo.save(vitzoo.create("vit_nano4.cifar10", pretrained=True), tmp_path / "folder", "timm")
        b.hub.add("org/folder", {path.name: path.read_bytes() for path in folder.iterdir()})
        prefetch("hf-hub:org/folder", mirror)
        shutil.rmtree(b.home / "hub")
        b.monkeypatch.setenv("VITZOO_MIRROR", str(mirror))
        b.offline()
        good = b.create("hf-hub:org/folder").about
        place, sums = mirror / "hf/org/folder" / file, mirror / "SHA256SUMS"
        whole = place.read_bytes()
        place.write_bytes(whole.replace(b"apache-2.0", b"mit").replace(b"0.49", b"0.41"))
        with pytest.raises(
            WeightsError, match=rf"{file} is not the file that .*SHA256SUMS promises: .* copy it to the mirror"
        ):
            b.create("hf-hub:org/folder", like="vit_nano4")
        listed = sums.read_text()
        sums.write_text("".join(line for line in listed.splitlines(keepends=True) if file not in line))
        with pytest.warns(Unlisted, match=rf"{file} was not read, since .*SHA256SUMS does not name it") as caught:
            found = b.create("hf-hub:org/folder", like="vit_nano4").about
        assert found.preprocessing == good.preprocessing or file == "config.json"
        place.write_bytes(whole)
        advised = re.search(r"`(sha256sum .*)` in", str(caught[0].message))
        assert advised is not None
        subprocess.run(advised[1], shell=True, cwd=mirror, check=True)
        assert sorted(sums.read_text().splitlines()) == sorted(listed.splitlines())
        assert b.create("hf-hub:org/folder").about == good

    @pytest.mark.proves(promise="One line", against="a SHA256SUMS that `sha256sum` would not write")
    @pytest.mark.parametrize("text", ["00 x\n", f"{'0' * 64}\n", f"{'0' * 64}  x\n{'1' * 64}  x\n", "\xff", None])
    def test_sums_that_are_none(self, b: Bench, mirror: Path, text: str | None) -> None:
        """A short digest would be the beginning of many."""
        (mirror / "SHA256SUMS").unlink()
        if text is None:
            (mirror / "SHA256SUMS").mkdir()
        else:
            (mirror / "SHA256SUMS").write_bytes(text.encode("latin1"))
        with pytest.raises(WeightsError, match=r"SHA256SUMS.*(write the mirror again|cannot be read)"):
            b.create()

    @pytest.mark.proves(
        promise="No code from weights, no path from the network", against="a signature in an address that is mirrored"
    )
    def test_names_in_a_mirror_keep_no_secret(self, b: Bench, mirror: Path) -> None:
        b.offline(False)
        address = f"{b.hub.endpoint}{URL_FILE}?signature=hunter2".replace("//", "//ann:hunter3@")
        prefetch(address, mirror)
        held = [str(path) for path in mirror.rglob("*")] + [(mirror / "SHA256SUMS").read_text()]
        assert not [text for text in held if "hunter" in text or "signature" in text]
        b.offline()
        shutil.rmtree(b.home / "vitzoo")
        assert is_probe(b.create(address))
        with pytest.raises(NotCached):
            b.create(address.replace("hunter2", "hunter4"))

    def test_no_digest_is_said(self, b: Bench, mirror: Path) -> None:
        (mirror / "SHA256SUMS").unlink()
        assert "no digest is known" in str(b.create().load_report)

    def test_folder(self, b: Bench, mirror: Path) -> None:
        b.offline(False)
        b.monkeypatch.delenv("VITZOO_MIRROR")
        b.hub.add("org/folder", {FILE: checkpoint(1), "config.json": b"{}"})
        prefetch("hf-hub:org/folder", mirror)
        shutil.rmtree(b.home / "hub")
        b.monkeypatch.setenv("VITZOO_MIRROR", str(mirror))
        b.offline()
        assert is_probe(b.create("hf-hub:org/folder"), 1)

    def test_has_not_got_it(self, b: Bench, mirror: Path) -> None:
        with pytest.raises(NotCached, match=r"run `vitzoo cache prefetch hf://org/other/x.npz` where there is a net"):
            b.create("hf://org/other/x.npz")

    @pytest.mark.proves(
        promise="No code from weights, no path from the network", against="addresses that lead out of a mirror"
    )
    @pytest.mark.parametrize("name", ["hf://org/repo/../../../x.npz", "https://x/a/../../../b", "https://x/%2e%2e%2fb"])
    def test_leads_nowhere_else(self, b: Bench, mirror: Path, name: str) -> None:
        with pytest.raises(WeightsError, match=r"its place in a mirror: .* is not a plain file name"):
            b.create(name)

    def test_files_that_differ_by_the_query(self, b: Bench, mirror: Path) -> None:
        address = b.hub.endpoint + URL_FILE
        assert is_probe(b.create(address))
        with pytest.raises(NotCached):
            b.create(f"{address}?version=2")

    def test_is_not_mounted(self, b: Bench, tmp_path: Path) -> None:
        b.monkeypatch.setenv("VITZOO_MIRROR", str(tmp_path / "gone"))
        with pytest.raises(
            WeightsError, match=r"VITZOO_MIRROR names .*gone, which is not a folder; mount it, correct the path"
        ):
            b.create()


@pytest.mark.proves(promise="The next source serves", against="several sources, online and offline")
class TestSeveralSources:
    def test_all_reasons_are_given(self, b: Bench) -> None:
        b.sources({"repo": "org/none"}, {"kind": "url", "url": b.hub.endpoint + "/none.safetensors"})
        with pytest.raises(WeightsError, match=r"no source serves .*: \(1\) hf://org/none.*; \(2\) http.*status 404"):
            b.create()

    def test_the_first_that_serves_is_named(self, b: Bench) -> None:
        b.sources({"repo": "org/none"}, {"repo": REPO})
        with pytest.warns(SourceFailed):
            model = b.create()
        assert is_probe(model)
        report = str(model.load_report)
        assert f"served by hf://{REPO}/{FILE}@{b.commit}" in report
        assert "before it: hf://org/none/model.safetensors: there is no repository org/none" in report

    def test_offline_the_one_that_is_cached(self, b: Bench) -> None:
        b.sources({"repo": REPO}, {"kind": "url", "url": b.hub.url(URL_FILE, checkpoint())})
        b.create(b.hub.endpoint + URL_FILE)
        b.asked()
        b.offline()
        with pytest.warns(SourceFailed):
            assert is_probe(b.create())
        assert b.asked() == []


@pytest.mark.proves(promise="The bytes are the right ones", against="lock: the pinned bytes or an error, offline too")
class TestLock:
    @pytest.fixture
    def locked(self, b: Bench) -> Bench:
        """`vitzoo.lock` in the working directory, and main that has moved since."""
        pin([NAME], b.home / "vitzoo.lock")
        b.hub.add(REPO, {FILE: checkpoint(1)})
        b.asked()
        return b

    def test_takes_the_pinned_bytes(self, locked: Bench) -> None:
        assert is_probe(locked.create())
        assert locked.asked() == ["HEAD", "HEAD", "GET"]
        assert is_probe(locked.create())
        assert locked.asked() == []
        locked.offline()
        assert is_probe(locked.create())

    def test_or_fails(self, locked: Bench) -> None:
        lock = json.loads((locked.home / "vitzoo.lock").read_text())
        lock["entries"][NAME]["files"][0]["sha256"] = hashlib.sha256(checkpoint(1)).hexdigest()
        (locked.home / "vitzoo.lock").write_text(json.dumps(lock))
        with pytest.raises(Mismatch, match="is not the file that was promised"):
            locked.create()
        assert locked.hub.count("GET", WEIGHTS) == 0

    @pytest.mark.parametrize("name", [f"hf-hub:{REPO}", f"hf-hub:{NAME}", "hf-hub:org/folder"])
    def test_another_revision_than_the_pinned_one(self, locked: Bench, name: str) -> None:
        locked.hub.add("org/folder", {FILE: checkpoint()})
        if name == "hf-hub:org/folder":
            pin([name], locked.home / "vitzoo.lock")
        locked.asked()
        with pytest.raises(WeightsError, match=r"revision refs/pr/1 was asked for, and vitzoo.lock, .* has \w{40}"):
            locked.create(f"{name}@refs/pr/1")
        assert locked.asked() == []

    def test_bundled_weights(self, locked: Bench) -> None:
        """They need no pin; where they have one it counts."""
        vitzoo.create("vit_nano4.cifar10", pretrained=True)
        path = locked.home / "vitzoo.lock"
        pin(["vit_nano4"], path)
        vitzoo.create("vit_nano4.cifar10", pretrained=True)
        lock = json.loads(path.read_text())
        lock["entries"]["vit_nano4.cifar10"]["files"][0]["sha256"] = "0" * 64
        path.write_text(json.dumps(lock))
        with pytest.raises(Mismatch, match="install the version of vitzoo that the lock is for"):
            vitzoo.create("vit_nano4.cifar10", pretrained=True)

    def test_every_pinned_file_is_needed(self, locked: Bench, tmp_path: Path) -> None:
        """A mirror without the configuration would give another model."""
        locked.hub.add("org/folder", {FILE: checkpoint(), "config.json": b"{}"})
        pin(["hf-hub:org/folder"], locked.home / "vitzoo.lock")
        prefetch("hf-hub:org/folder", tmp_path / "mirror")
        locked.monkeypatch.setenv("VITZOO_MIRROR", str(tmp_path / "mirror"))
        locked.offline()
        model = locked.create("hf-hub:org/folder")
        assert is_probe(model)
        assert str(tmp_path / "mirror") in model.origin
        shutil.rmtree(locked.home / "hub")
        (tmp_path / "mirror/hf/org/folder/config.json").unlink()
        with pytest.raises(WeightsError, match=r"config.json is in the lock, and is not beside .*mirror"):
            locked.create("hf-hub:org/folder")

    def test_names_it_does_not_have(self, locked: Bench) -> None:
        with pytest.raises(WeightsError, match=r"is not in vitzoo.lock, which is in force; add it with `vitzoo pin hf"):
            locked.create(f"hf://{REPO}/{FILE}")
        locked.monkeypatch.setenv("VITZOO_LOCK", "")
        assert is_probe(locked.create(f"hf://{REPO}/{FILE}"), 1)


class TestReading:
    @pytest.mark.proves(promise="What you set is obeyed", against="eager reading")
    @pytest.mark.parametrize("eager", [False, True])
    def test_eager_reads_and_does_not_map(self, b: Bench, eager: bool) -> None:
        model = b.create(eager=eager)
        assert is_probe(model)
        assert (str(b.blob()) in Path("/proc/self/maps").read_text()) is not eager

    def test_eager_tensors_are_their_own(self, b: Bench) -> None:
        model = b.create(eager=True)
        b.blob().write_bytes(bytes(len(checkpoint())))
        assert is_probe(model)
        assert torch.isfinite(model(torch.zeros(1, 3, 16, 16))).all()

    def test_local_paths_ask_nobody(self, b: Bench) -> None:
        folder = b.home / "folder"
        folder.mkdir()
        (folder / FILE).write_bytes(checkpoint())
        assert is_probe(vitzoo.create(folder))
        assert is_probe(vitzoo.create(str(folder / FILE)))
        assert b.asked() == []

    def test_bundled_weights_ask_nobody(self, b: Bench) -> None:
        model = vitzoo.create("vit_nano4.cifar10", pretrained=True)
        assert re.search(r"served by bundled:\S+ sha256:\w{64}", str(model.load_report))
        assert b.asked() == []


def native_facts() -> dict[str, object]:
    """What a native file says of itself."""
    return {"format": 1, "spec": FIELDS, "preprocessing": {}, "resample": "timm"}
