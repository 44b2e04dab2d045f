"""What an enemy puts beside the weights, into names, digests, links and addresses."""

import hashlib
import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_hub import Status, WrongETag
from probe import NAME, REPO, WEIGHTS, Bench, bench, checkpoint, is_probe

import vitzoo
from vitzoo.errors import LicenseError, RegistryError, SpecError, VitzooError, WeightsError, public
from vitzoo.publish.push import prepare
from vitzoo.sources import pin as pinning
from vitzoo.sources.cache import quarantine
from vitzoo.sources.failures import Mismatch
from vitzoo.sources.lock import Lock, Pin, PinnedFile
from vitzoo.sources.storage import prefetch
from vitzoo.spec import Origin
from vitzoo.train.network import origin

LOCK = Path("vitzoo.lock")
FOLDER = "org/tiny"


@pytest.fixture
def b(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bench]:
    with bench(monkeypatch, tmp_path / "home") as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A repository whose config.json says how pictures are prepared."""
    path = tmp_path_factory.mktemp("folder") / "out"
    vitzoo.save(vitzoo.create("vit_nano4.cifar10", pretrained=True), path, "timm")
    return {file.name: file.read_bytes() for file in path.iterdir()}


def other_mean(config: bytes) -> bytes:
    changed = json.loads(config)
    changed["pretrained_cfg"]["mean"] = [0.1, 0.1, 0.1]
    return json.dumps(changed).encode()


# --- what is beside the weights ---


@pytest.mark.proves(guarantee="What is not listed is not read", against="config.json planted beside one fetched file")
def test_a_configuration_planted_beside_a_file(b: Bench, folder: dict[str, bytes]) -> None:
    b.hub.add(FOLDER, {"model.safetensors": folder["model.safetensors"]})
    address = f"hf://{FOLDER}/model.safetensors"
    before = b.create(address, like="vit_nano4").about.preprocessing
    (snapshot,) = (b.home / "hub").glob("models--org--tiny/snapshots/*")
    (snapshot / "config.json").write_bytes(other_mean(folder["config.json"]))
    assert b.create(address, like="vit_nano4").about.preprocessing == before


@pytest.mark.proves(
    guarantee="What is not listed is not read", against="config.json planted in, edited in a cached folder"
)
@pytest.mark.filterwarnings("ignore::vitzoo.sources.promise.DamagedFile")
@pytest.mark.parametrize("how", ["planted", "edited", "edited in place"])
@pytest.mark.parametrize("locked", [False, True])
def test_a_cached_folder(b: Bench, folder: dict[str, bytes], how: str, locked: bool) -> None:
    name = f"hf-hub:{FOLDER}"
    files = folder if how != "planted" else {**folder, "preprocessor_config.json": b"{}"}
    b.hub.add(FOLDER, files)
    good = b.create(name).about.preprocessing
    if locked:
        pinning.pin([name], LOCK)
    (config,) = (b.home / "hub").glob("models--org--tiny/snapshots/*/config.json")
    if how == "edited in place":  # size and time stay, as an enemy would see to
        data, stat = config.read_bytes(), config.stat()
        config.resolve().write_bytes(data.replace(b"0", b"1"))
        os.utime(config.resolve(), ns=(stat.st_atime_ns, stat.st_mtime_ns))
    else:
        content = other_mean(config.read_bytes())
        if how == "planted":
            config.unlink()
        (config if how == "planted" else config.resolve()).write_bytes(content)
    b.offline()
    with pytest.raises(WeightsError):
        b.create(name)
    b.offline(False)
    assert b.create(name).about.preprocessing == good  # fetched again


def test_weights_planted_before_those_of_the_repository(b: Bench, folder: dict[str, bytes], tmp_path: Path) -> None:
    path = vitzoo.save(vitzoo.create("vit_nano4.cifar10", pretrained=True), tmp_path / "x.bin", "timm")
    files = {"pytorch_model.bin": path.read_bytes(), "config.json": folder["config.json"]}
    b.hub.add(FOLDER, files)
    b.create(f"hf-hub:{FOLDER}")
    (snapshot,) = (b.home / "hub").glob("models--org--tiny/snapshots/*")
    (snapshot / "model.safetensors").write_bytes(b"planted")
    assert b.create(f"hf-hub:{FOLDER}").load_report.source.endswith("pytorch_model.bin")


# --- names ---


@pytest.mark.proves(
    guarantee="Names cannot be taken over", against="bundled sources with paths; a missing bundled file"
)
@pytest.mark.parametrize("file", ["../../x.safetensors", "/etc/passwd", "a/b", "..", ".hidden", ""])
def test_bundled_files_are_plain_names(b: Bench, file: str) -> None:
    with pytest.raises((RegistryError, SpecError), match=r"file: String should match pattern"):
        b.sources({"kind": "bundled", "file": file, "sha256": "0" * 64})


def test_a_bundled_file_that_is_missing_is_not_looked_for_elsewhere(b: Bench) -> None:
    b.sources({"kind": "bundled", "file": "gone.safetensors", "sha256": "0" * 64}, {"repo": REPO})
    with pytest.raises(Mismatch, match=r"gone\.safetensors: it is not there; install vitzoo again"):
        b.create()
    assert b.asked() == []


@pytest.mark.proves(guarantee="Names cannot be taken over", against="folders in the working directory named as models")
def test_a_folder_named_as_a_model(b: Bench) -> None:
    for name in (NAME, "vit_b16", f"hf-hub:{REPO}"):
        (Path(name) / "x").mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert is_probe(b.create())
        assert vitzoo.create("vit_b16", depth=1).spec.hidden_dim == 768
    assert b.create(f"hf-hub:{REPO}").load_report.source.startswith(str(b.home))


def test_an_alias_that_redirects_a_shipped_name(b: Bench, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("models:\n  mine: {base: vit_b16, aliases: [timm/vit_base_patch16_224.augreg_in21k]}\n")
    with pytest.raises(RegistryError, match=r"belongs to vit_b16\.augreg_in21k already"):
        vitzoo.add_registry(path)


@pytest.mark.proves(guarantee="A lock is in force wherever it is", against="a dangling link, a folder, a parent folder")
@pytest.mark.parametrize("kind", ["dangling", "folder", "parent"])
def test_a_lock_that_is_none_is_not_ignored(b: Bench, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "dangling":
        LOCK.symlink_to("gone")
    elif kind == "folder":
        LOCK.mkdir()
    else:
        LOCK.write_text(Lock().model_dump_json())
        Path("below", "it").mkdir(parents=True)
        monkeypatch.chdir("below/it")
    with pytest.raises(WeightsError, match=r"the lock file|is not in .*vitzoo\.lock, which is in force"):
        b.create()


# --- digests ---


@pytest.mark.proves(
    guarantee="Under a lock the bytes are read", against="a record of an earlier check, made true by time"
)
def test_a_record_does_not_outrank_the_bytes(b: Bench) -> None:
    pinning.pin([NAME], LOCK)
    assert is_probe(b.create())
    blob, stat = b.blob(), b.blob().stat()
    data = blob.read_bytes()
    blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(blob, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    b.offline()
    with pytest.raises(Mismatch, match=r"sha256 .* was expected"):
        b.create()


@pytest.mark.filterwarnings("ignore::vitzoo.sources.promise.DamagedFile")
def test_a_wrong_name_for_a_blob_does_not_stay(b: Bench) -> None:
    b.hub.fault(WrongETag("f" * 64), method="HEAD", path=WEIGHTS, after=1)
    assert is_probe(b.create())
    b.offline()
    assert is_probe(b.create())
    assert b.blob().name == hashlib.sha256(checkpoint()).hexdigest()


def test_quarantine_moves_nothing_from_outside(b: Bench, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    link = b.home / "hub" / "models--org--x" / "snapshots" / "c" / "model.safetensors"
    link.parent.mkdir(parents=True)
    link.symlink_to(mine)
    assert quarantine(link) == mine
    assert mine.read_text() == "mine"
    assert not link.is_symlink()
    assert b.quarantined() == []


# --- secrets ---

SECRET = "https://user:p@ss@weights.invalid:8443/a/f@2x.safetensors?signature=S3CRET&x=1"


@pytest.mark.proves(guarantee="Secrets are not written down", against="a password and a signature in an address")
def test_one_place_takes_them_off() -> None:
    clean = "https://weights.invalid:8443/a/f@2x.safetensors"
    assert public(SECRET) == clean
    assert public(f"'{SECRET}#sha256=01': {SECRET}; HTTPS://u:p@h") == f"'{clean}#sha256=01': {clean}; HTTPS://h"
    assert public("hf://org/repo/x@main?") == "hf://org/repo/x@main?"
    for record in (
        Origin(address=SECRET),
        PinnedFile(file="f.safetensors?signature=S3CRET", sha256="0" * 64, size=1),
        Pin(source=SECRET, files=(PinnedFile(file="f", sha256="0" * 64, size=1),)),
        VitzooError(f"{SECRET}: no"),
    ):
        assert "S3CRET" not in f"{record!r} {record}"
        assert "p@ss" not in f"{record!r} {record}"


@pytest.mark.proves(guarantee="Secrets are not written down", against="models, locks, errors and warnings, end to end")
def test_nothing_that_is_written_or_said_has_a_secret(b: Bench, tmp_path: Path) -> None:
    host = b.hub.url("/f.safetensors", checkpoint()).removeprefix("http://")
    address = f"http://user:pa55@{host}?signature=S3CRET"
    model = b.create(address)
    path = vitzoo.save(model, tmp_path / "out.safetensors")
    pinning.pin([address], LOCK)
    said = [str(model.load_report), path.read_bytes().decode("latin1"), LOCK.read_text(), repr(origin(address, model))]
    assert is_probe(b.create(address))  # the lock knows it all the same
    b.hub.fault(Status(404), path="/f.safetensors", times=None)
    LOCK.unlink()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(WeightsError) as error:
            b.create(address.replace("S3CRET", "S3CRET2"))
    said += [str(error.value), *(str(one.message) for one in caught)]
    assert not [text for text in said if "S3CRET" in text or "pa55" in text]


def test_a_message_does_not_order_a_terminal_about() -> None:
    assert str(VitzooError("'\x1b]0;x\x07\x1b[2Ja\u202e': no")) == "'\ufffd]0;x\ufffd\ufffd[2Ja\ufffd': no"


# --- licences ---

CARD = {"README.md": b"---\nlicense: cc-by-nc-4.0\n---\n# A card\n"}


def fetched(b: Bench) -> list[str]:
    """The files of which bytes were fetched since the last time."""
    names = [r.path.rsplit("/", 1)[-1] for r in b.hub.requests if r.method == "GET" and "/resolve/" in r.path]
    b.hub.requests.clear()
    return names


@pytest.mark.proves(
    guarantee="A licence stays with weights", against="allow_licenses and repositories that no entry names"
)
@pytest.mark.filterwarnings("ignore::vitzoo.registry.licenses.RestrictedLicense")
@pytest.mark.parametrize("name", [f"hf-hub:{FOLDER}", f"hf://{FOLDER}/model.safetensors"])
def test_the_card_is_read_before_anything_else_is_fetched(b: Bench, folder: dict[str, bytes], name: str) -> None:
    files = {**folder, **CARD}
    like = {} if name.startswith("hf-hub") else {"like": "vit_nano4"}
    b.hub.add(FOLDER, files)
    with pytest.raises(LicenseError, match=r"org/tiny.* under the licence 'cc-by-nc-4\.0', and only mit may be used"):
        b.create(name, allow_licenses=["mit"], **like)
    assert fetched(b) == ["README.md"]
    assert b.create(name, allow_licenses=["cc-by-nc-4.0"], **like).license == "cc-by-nc-4.0"
    assert "model.safetensors" in fetched(b)
    assert b.create(name, **like).license == "cc-by-nc-4.0"
    b.offline()
    assert b.create(name, **like).license == "cc-by-nc-4.0"
    with pytest.raises(LicenseError):
        b.create(name, allow_licenses=["mit"], **like)
    b.offline(False)
    b.hub.add(FOLDER, {"README.md": None})
    fetched(b)
    with pytest.raises(LicenseError, match=r"a licence that is not stated, and only mit .* leave out allow_l"):
        b.create(name, allow_licenses=["mit"], **like)
    assert fetched(b) == []


@pytest.mark.filterwarnings("ignore::vitzoo.registry.licenses.RestrictedLicense")
@pytest.mark.parametrize("how", ["lock", "mirror"])
def test_the_licence_of_a_repository_in_a_lock_or_a_mirror(
    b: Bench, folder: dict[str, bytes], tmp_path: Path, how: str
) -> None:
    b.hub.add(FOLDER, {**folder, **CARD})
    name = f"hf-hub:{FOLDER}"
    if how == "lock":
        pinning.pin([name], LOCK)
        b.hub.add(FOLDER, {"README.md": b"---\nlicense: mit\n---\n"})
    else:
        prefetch(name, tmp_path / "mirror")
        b.monkeypatch.setenv("VITZOO_MIRROR", str(tmp_path / "mirror"))
    b.asked()
    with pytest.raises(LicenseError):
        b.create(name, allow_licenses=["mit"])
    assert b.asked() == []
    model = b.create(name)
    assert model.license == "cc-by-nc-4.0"
    whose = r"hf://org/tiny/model\.safetensors.*" if how == "lock" else "this model"
    with pytest.raises(LicenseError, match=rf"{whose} is under 'cc-by-nc-4\.0'"):
        prepare(model, tmp_path / "out", "org/mine", license="mit")
