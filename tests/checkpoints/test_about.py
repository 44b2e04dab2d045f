"""The record of what is known of weights: it travels whole, is replaced, never changed, and read from old files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import vitzoo
from vitzoo import ViT, create
from vitzoo.errors import ResampleError, SpecError, WeightsError
from vitzoo.layouts.native import describe
from vitzoo.model.resample import resample_table
from vitzoo.spec import NEW, About, Origin, Past, Preprocessing, Resample, Result, ViTSpec
from vitzoo.version import __version__

SPEC = ViTSpec(img_size=32, patch_size=8, hidden_dim=24, depth=2, num_heads=3, mlp_dim=40, num_classes=3)
ABOUT = About(
    preprocessing=Preprocessing(mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0)),
    resample=Resample.MAE,
    labels=("a", "b", "c"),
    license="mit",
    origin=Origin(name="vit_b16.x", address="hf://org/x/model.safetensors", commit="0123", sha256="00ff"),
    training={"data": "letters"},
    published=(Result(dataset="letters", metrics={"accuracy": 0.5}),),
)
BEFORE = {
    "format": 1,
    "spec": SPEC.model_dump(mode="json"),
    "preprocessing": ABOUT.preprocessing.model_dump(mode="json"),
    "resample": "mae",
    "labels": ["a", "b", "c"],
    "license": "mit",
    "origin": "vit_b16.x from hf://org/x/model.safetensors@0123 sha256:00ff",
    "training": {"data": "letters"},
}
"""What vitzoo 0.1 wrote."""


def model(about: About = ABOUT, spec: ViTSpec = SPEC) -> ViT:
    return ViT(spec, about).init_weights(0).eval()


def rewritten(path: Path, said: dict[str, Any]) -> Path:
    save_file(load_file(path), path, {"vitzoo": json.dumps(said)})
    return path


def test_a_record_travels_whole(tmp_path: Path) -> None:
    first = vitzoo.save(model(), tmp_path / "first")
    second = vitzoo.save(create(first), tmp_path / "second")
    vitzoo.convert(second, tmp_path / "third.safetensors", "vitzoo")
    for path in (first, second, tmp_path / "third.safetensors"):
        assert create(path).about == ABOUT
        with safe_open(path, "pt") as file:
            said = json.loads(file.metadata()["vitzoo"])
        assert About.parse(said["about"], "") == ABOUT
        assert said["version"] == __version__


def test_a_record_is_replaced_and_never_changed() -> None:
    vit = model()
    before = vit.about
    with pytest.raises(ValidationError, match="frozen"):
        vit.about.license = "apache-2.0"  # type: ignore[misc]
    vit.license, vit.labels, vit.preprocessing = "apache-2.0", ["x", "y", "z"], Preprocessing()
    assert before == ABOUT
    assert (vit.about.license, vit.about.labels) == ("apache-2.0", ("x", "y", "z"))
    assert vit.about.replace(license="mit", labels=ABOUT.labels, preprocessing=ABOUT.preprocessing) == ABOUT
    with pytest.raises(SpecError, match=r"about: unknown field 'lisence'; did you mean license"):
        vit.about.replace(lisence="mit")
    with pytest.raises(SpecError, match=r"about: resample: .*'nearest'"):
        vit.resample = "nearest"


@pytest.mark.parametrize("spec", [SPEC, SPEC.replace(pos_embed="none", rel_pos="block")], ids=["table", "relative"])
def test_another_record_brings_its_policy_to_the_tables(spec: ViTSpec) -> None:
    vit = model(ABOUT.replace(resample="timm"), spec)
    with torch.no_grad():
        for name, parameter in vit.named_parameters():
            if name.endswith(".grid"):
                parameter.normal_(generator=torch.Generator().manual_seed(0))
        for block in vit.blocks:
            block.attn.qkv.weight.normal_(generator=torch.Generator().manual_seed(1))
    x = torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        timms = vit.forward_features(x)
        vit.about = vit.about.replace(resample="huggingface")
        theirs = vit.forward_features(x)
        vit.resample = Resample.TIMM
        assert torch.equal(vit.forward_features(x), timms)
    assert not torch.allclose(theirs, timms, atol=1e-4)


@pytest.mark.parametrize("change", ["reset_classifier", "num_classes"])
def test_another_head_leaves_what_is_still_true(change: str, tmp_path: Path) -> None:
    if change == "num_classes":
        vit = create(vitzoo.save(model(), tmp_path / "model"), num_classes=2)
    else:
        vit = model()
        vit.reset_classifier(2)
    assert vit.about == ABOUT.replace(labels=None, training=None, published=())


def test_a_known_set_is_a_name_until_it_is_asked_for(tmp_path: Path) -> None:
    vit = model(ABOUT.replace(labels="imagenet-1k"), SPEC.replace(num_classes=1000))
    assert vit.about.labels == "imagenet-1k"
    assert vit.labels is not None
    assert vit.labels[0].startswith("tench")
    assert create(vitzoo.save(vit, tmp_path / "model")).about.labels == vit.labels  # a file needs nothing else


# Files of other versions


def test_a_file_of_the_first_format_still_loads(tmp_path: Path) -> None:
    vit = model()
    path = rewritten(vitzoo.save(vit, tmp_path / "old"), BEFORE)
    again = create(path)
    assert again.about == ABOUT.replace(published=())
    assert again.origin == BEFORE["origin"]
    x = torch.randn(1, 3, 48, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(again(x), vit(x))


@pytest.mark.parametrize(
    ("left_out", "kind"),
    [("preprocessing", WeightsError), ("resample", WeightsError), ("spec", WeightsError)],
)
def test_a_damaged_file_of_the_first_format(left_out: str, kind: type[Exception], tmp_path: Path) -> None:
    said = {name: value for name, value in BEFORE.items() if name != left_out}
    path = rewritten(vitzoo.save(model(), tmp_path / "old"), said)
    with pytest.raises(kind, match=f"old.safetensors: .* has no '{left_out}'; .*write it again with vitzoo.save"):
        create(path)


@pytest.mark.parametrize(
    ("text", "origin", "derived"),
    [
        (None, None, None),
        ("vit_b16.x", Origin(name="vit_b16.x"), None),
        ("hf-hub:org/x@main", Origin(address="hf-hub:org/x", commit="main"), None),
        ("https://host/x.pth sha256:00ff", Origin(address="https://host/x.pth", sha256="00ff"), None),
        ("/home/ann b/x from y.pth", Origin(address="/home/ann b/x from y.pth"), None),
        ("vit_b16 trained from scratch", Origin(note="vit_b16 trained from scratch"), None),
        ("fine-tuned from a model at hand", None, Origin(note="a model at hand")),
        ("fine-tuned from fine-tuned from a.b from bundled:c", None, Origin(name="a.b", address="bundled:c")),
    ],
)
def test_origins_of_the_first_format(text: str | None, origin: Origin | None, derived: Origin | None) -> None:
    assert Past.of(text) == (origin, derived)
    if text is not None:
        past = About(origin=origin, derived_from=derived).past
        assert Past.of(past) == (origin, derived)
        assert past == text.replace("fine-tuned from fine-tuned", "fine-tuned")


def test_a_file_of_a_newer_version_says_so(tmp_path: Path) -> None:
    path = vitzoo.save(model(), tmp_path / "new")
    said = json.loads(describe(SPEC, ABOUT)) | {"version": "9.1"}
    for kind, changed, message in [
        (SpecError, {"about": {**said["about"], "watermark": "x"}}, "about: unknown field 'watermark'"),
        (SpecError, {"spec": {**said["spec"], "experts": 8}}, "spec: unknown field 'experts'"),
        (WeightsError, {"format": 7}, "in format 7, and vitzoo .* reads formats up to 2: use a newer one"),
    ]:
        with pytest.raises(kind, match=rf"new\.safetensors was written by vitzoo 9\.1.*{message}"):
            create(rewritten(path, said | changed))
    assert create(rewritten(path, said)).about == ABOUT  # the control: a newer file that says no more than this one


# Weights whose policy is not known


@pytest.fixture
def unknown(tmp_path: Path) -> Path:
    """A native file that says of its policy that it is not known."""
    return vitzoo.save(model(ABOUT.replace(resample=None)), tmp_path / "unknown")


def test_without_a_policy_the_weights_own_size_works(unknown: Path) -> None:
    vit = create(unknown)
    assert vit.resample is None
    with torch.no_grad():
        assert torch.equal(vit(torch.ones(1, 3, 32, 32)), model()(torch.ones(1, 3, 32, 32)))


NO_POLICY = r"for 4x4 patches and not for 6x6, .* choose a policy with resample='\.\.\.': timm, huggingface"


@pytest.mark.parametrize("relative", [False, True])
def test_without_a_policy_another_size_asks_for_one(relative: bool, tmp_path: Path) -> None:
    spec = SPEC.replace(pos_embed="none", rel_pos="shared") if relative else SPEC
    path = vitzoo.save(model(ABOUT.replace(resample=None), spec), tmp_path / "unknown")
    vit, x = create(path), torch.ones(1, 3, 48, 48)
    for wrong in (lambda: vit(x), lambda: create(path, img_size=48), lambda: vit.set_input_size(48)):
        with pytest.raises(ResampleError, match=NO_POLICY):
            wrong()
    assert vit.spec.img_size == (32, 32)
    assert create(path, resample="timm")(x).shape == (1, 3)
    assert create(path, img_size=48, resample="huggingface")(x).shape == (1, 3)
    vit.resample = Resample.TIMM
    assert vit(x).shape == (1, 3)


def test_the_policy_that_was_asked_for_is_taken(unknown: Path) -> None:
    vit = create(unknown, img_size=48, resample="dinov2")
    assert torch.equal(vit.pos_embed.grid, resample_table(create(unknown).pos_embed.grid, (6, 6), Resample.DINOV2))
    assert vit.about == ABOUT.replace(resample="dinov2")


def test_new_weights_have_timms_policy() -> None:
    assert create(SPEC).about == create("vit_ti16").about == NEW
    assert create("vit_ti16", resample="mae").resample is Resample.MAE
