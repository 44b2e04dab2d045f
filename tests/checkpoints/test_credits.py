"""A licence that restricts use stays with weights: whatever they are converted, trained or renamed into."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from training import run, write_pictures

import vitzoo
from vitzoo import ViT
from vitzoo.errors import LicenseError, WeightsError
from vitzoo.files.read import open_tensors
from vitzoo.publish import push as publishing
from vitzoo.registry.licenses import license_on_card
from vitzoo.spec import About, Origin

NC, REPO = "cc-by-nc-4.0", "org/mine"
BUNDLED = "vit_nano4.cifar10"
PLACES = [
    ("vitzoo", "out.safetensors"),
    ("timm", "out"),
    ("huggingface", "out"),
    ("timm", "out.safetensors"),
    ("timm", "out.pth"),
    ("timm", "out.npz"),
    ("timm", "out.bin"),
]

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::vitzoo.registry.licenses.RestrictedLicense"),
]


@pytest.fixture
def restricted() -> ViT:
    model = vitzoo.create(BUNDLED, pretrained=True)
    model.about = model.about.replace(
        license=NC, base_license=None, origin=Origin(address="hf://org/nc/model.safetensors", commit="1" * 40)
    )
    return model


def refused(source: object, folder: Path, where: str = "") -> None:
    """It cannot be published as MIT, and the error says why; it can be as what it is."""
    with pytest.raises(LicenseError, match=rf"{where}.* is under '{NC}', which restricts .*'mit' was given") as caught:
        publishing.prepare(source, folder / "no", REPO, license="mit")
    assert len(str(caught.value)) < 600
    assert not (folder / "no").exists()
    published = publishing.prepare(source, folder / "published", REPO)
    assert ModelCard.load(published / "README.md").data.license == NC


@pytest.mark.proves(guarantee="A licence stays with weights", against="conversions, into each kind of file and on")
@pytest.mark.parametrize(("layout", "name"), PLACES)
def test_converted(restricted: ViT, tmp_path: Path, layout: str, name: str) -> None:
    first = vitzoo.save(restricted, tmp_path / "first" / name, layout)
    like = "vit_nano4" if "." in name and layout != "vitzoo" else None
    report = vitzoo.convert(first, tmp_path / "second" / name, layout, like=like)
    model = vitzoo.create(report.target, like=like)
    assert (model.license, model.about.origin) == (NC, restricted.about.origin)
    refused(model, tmp_path, "hf://org/nc/model.safetensors@1")


def test_the_card_of_a_folder_says_it(restricted: ViT, tmp_path: Path) -> None:
    restricted.about = restricted.about.replace(derived_from=restricted.about.origin, origin=None)
    for layout in ("timm", "huggingface"):
        card = ModelCard.load(vitzoo.save(restricted, tmp_path / layout, layout) / "README.md")
        assert (card.data.license, card.data.base_model) == (NC, "org/nc")
        assert "fine-tuned from hf://org/nc/model.safetensors" in card.text


def test_a_clone_of_a_repository(restricted: ViT, tmp_path: Path) -> None:
    """Its card is all that says it."""
    restricted.about = About()
    folder = vitzoo.save(restricted, tmp_path / "clone", "huggingface")
    assert vitzoo.create(folder).license is None
    (folder / "README.md").write_text(f"---\nlicense: {NC}\n---\n# A card\n")
    refused(folder, tmp_path)
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    assert vitzoo.create(folder / "other.safetensors").license is None  # a README may be about anything


@pytest.mark.proves(guarantee="A licence stays with weights", against="fine-tuning")
def test_fine_tuned(restricted: ViT, tmp_path: Path) -> None:
    start = vitzoo.save(restricted, tmp_path / "start", "timm")
    path = run(start, write_pictures(tmp_path / "data", 4), tmp_path / "out", epochs=1)
    assert vitzoo.create(path).license == NC
    refused(path, tmp_path)


@pytest.mark.proves(guarantee="A licence stays with weights", against="another licence set on the model, or none")
@pytest.mark.parametrize("license", ["mit", None])
def test_another_one_is_set(restricted: ViT, tmp_path: Path, license: str | None) -> None:
    restricted.license = license
    restricted.labels = None  # a change in between changes nothing of it
    with pytest.raises(LicenseError, match=rf"is under '{NC}', which restricts .*'mit' was given"):
        publishing.prepare(restricted, tmp_path / "no", REPO, license="mit")
    if license is None:
        path = vitzoo.save(restricted, tmp_path / "out", "vitzoo")
        assert vitzoo.create(path).about.base_license == NC
        refused(path, tmp_path)
        return
    for layout in ("vitzoo", "timm"):
        with pytest.raises(LicenseError, match=r"model\.license = 'cc-by-nc-4\.0'"):
            vitzoo.save(restricted, tmp_path / layout, layout)
        assert not list(tmp_path.iterdir())
    restricted.license = NC  # as the error says
    assert restricted.about.base_license is None
    refused(vitzoo.save(restricted, tmp_path / "out"), tmp_path)


def test_a_registered_base_binds_whatever_a_file_says(tmp_path: Path) -> None:
    """An older version let it be called MIT."""
    model = vitzoo.create(BUNDLED, pretrained=True)
    model.about = About(license="mit", resample="timm", derived_from=Origin(name="dinov3_s16.lvd1689m"))
    with pytest.raises(LicenseError, match=r"dinov3_s16\.lvd1689m is under 'dinov3-license', which restricts"):
        vitzoo.save(model, tmp_path / "out")


def test_weights_of_ones_own(restricted: ViT, tmp_path: Path) -> None:
    """What the error advises."""
    restricted.about = restricted.about.replace(license="mit", origin=None, derived_from=None)
    path = vitzoo.save(restricted, tmp_path / "out")
    assert vitzoo.create(publishing.prepare(path, tmp_path / "published", REPO)).license == "mit"


@pytest.mark.parametrize("name", ["x.pth", "x.bin", "x.npz"])
def test_the_file_alone_has_its_licence(restricted: ViT, name: str, tmp_path: Path) -> None:
    """One file, which torch and numpy read as before; what an earlier model was under goes with it."""
    path = vitzoo.save(restricted, tmp_path / "a" / name, "timm")
    copied = tmp_path / name
    copied.write_bytes(path.read_bytes())
    assert vitzoo.create(copied, like="vit_nano4").about.license == NC
    assert [one.name for one in path.parent.iterdir()] == [name]
    plain = dict(np.load(copied)) if name.endswith("npz") else torch.load(copied, mmap=True)
    assert plain.keys() == open_tensors(path).shapes.keys()
    copied.write_bytes(path.read_bytes().replace(b'"license": "', b'"license": [['))
    with pytest.raises(WeightsError, match="cannot be read"):
        vitzoo.create(copied, like="vit_nano4")
    copied.write_bytes(path.read_bytes().replace(b'{"', b'?"'))  # a comment of another program
    assert vitzoo.create(copied, like="vit_nano4").license is None
    with zipfile.ZipFile(copied, "w") as other, zipfile.ZipFile(path) as archive:
        for one in archive.infolist():
            other.writestr(one, archive.read(one))
        other.comment = b'{"license": 1}'  # nor is this one ours
    assert vitzoo.create(copied, like="vit_nano4").license is None
    restricted.about = About()
    vitzoo.save(restricted, path, "timm")
    assert open_tensors(path).metadata == {}


@pytest.mark.parametrize(
    ("front", "license"),
    [
        ("license: mit", "mit"),
        ("license: MIT", "mit"),
        ("license: other\nlicense_name: dinov3-license", "dinov3-license"),
        ("license: other", "other"),
        ("license: [mit, cc-by-nc-4.0]", NC),
        ("date: 2020-13-45\nlicense: mit", "mit"),
        ("license: mit\nlicense: mit", "mit"),
        ("license:", None),
        ("license: unknown", None),
        ("license: {a: b}", None),
        ("license: " + "x" * 201, None),
        ("title: x", None),
        ("[" * 5000, None),
        ("a: &a [*a]\nlicense: *b", None),
        ("- license", None),
        ("", None),
    ],
)
def test_cards(front: str, license: str | None) -> None:
    assert license_on_card(f"---\n{front}\n---\ntext") == license
    assert license_on_card(f"text\n---\n{front}\n---\n") is None
