"""A head that is a projection gives an embedding, and nothing calls it a class: in specs, models, files and layouts."""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import vitzoo
from vitzoo import ViT, create, registry
from vitzoo.errors import LayoutError, SpecError
from vitzoo.layouts.native import described
from vitzoo.registry.describe import count_macs, count_parameters, stages
from vitzoo.spec import About, Head, Origin, ViTSpec
from vitzoo.spec.tensors import native_shapes

SIZES = {"img_size": 32, "patch_size": 8, "hidden_dim": 24, "depth": 2, "num_heads": 3, "mlp_dim": 40}
CLIP = ViTSpec(**SIZES, norm_pre=True, patch_bias=False, head="projection", out_dim=7)
X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model() -> ViT:
    vit = ViT(CLIP, About(license="mit", labels=None)).init_weights(0).eval()
    torch.nn.init.normal_(vit.head.proj.bias, generator=torch.Generator().manual_seed(0))
    return vit


def test_the_spec_has_an_embedding_and_no_classes() -> None:
    assert (CLIP.num_classes, CLIP.out_dim, CLIP.output_dim, CLIP.output) == (0, 7, 7, "7-d embedding")
    assert native_shapes(CLIP)["head.proj.weight"] == (7, 24)
    assert not any(name.startswith("head.fc") for name in native_shapes(CLIP))
    assert stages(CLIP)[-1] == ("projection", "7-d embedding")
    bare = CLIP.replace(num_classes=0)
    assert (bare.head, bare.out_dim, bare.output) == (Head.LINEAR, None, "24-d features")
    assert count_parameters(CLIP) - count_parameters(bare) == 7 * 24 + 7
    assert count_macs(CLIP) - count_macs(bare) == 7 * 24


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"head": "projection", "out_dim": 7, "num_classes": 3},
            "an embedding and no classes, found num_classes 3",
        ),
        ({"head": "projection"}, "head 'projection' and out_dim belong together, found .* out_dim None"),
        ({"out_dim": 7}, "head 'projection' and out_dim belong together, found head 'linear' and out_dim 7"),
    ],
)
def test_what_does_not_go_together(fields: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        ViTSpec.parse({**SIZES, **fields}, "spec")


def test_the_registrys_towers_give_embeddings() -> None:
    assert registry.entry_spec("clip_b16.openai").output == "512-d embedding"
    assert registry.entry_spec("pe_core_l14.fb").output == "1024-d embedding"
    assert registry.entry_spec("eva02_clip_l14.merged2b").output == "768-d embedding"
    assert registry.entry_spec("clip_b16.openai_ft_in1k").output == "1000 classes"
    for name in registry.list_pretrained():
        if registry.entry_spec(name).head is Head.PROJECTION:
            assert registry.weights_entry(name).labels is None, name


@torch.no_grad()
def test_the_model_gives_the_embedding(model: ViT) -> None:
    features = model.forward_head(model.forward_features(X), pre_logits=True)
    assert torch.equal(model(X), torch.nn.functional.linear(features, model.head.proj.weight, model.head.proj.bias))
    assert model(X).shape == (2, 7)
    assert features.shape == (2, 24)
    # timm's dialect: what timm calls classes is none here, and the last layer is the projection.
    assert model.num_classes == model.pretrained_cfg["num_classes"] == 0
    assert model.get_classifier() is model.head.proj
    assert model.pretrained_cfg["classifier"] == "head.proj"


@pytest.mark.parametrize("classes", [0, 3, 7])
def test_a_classifier_takes_its_place(classes: int, model: ViT) -> None:
    model.reset_classifier(classes)
    assert (model.spec.head, model.spec.num_classes, model.spec.out_dim) == (Head.LINEAR, classes, None)
    assert model(X).shape == (2, classes or 24)


@torch.no_grad()
def test_create_puts_a_classifier_in_its_place(model: ViT, tmp_path: Path) -> None:
    path = vitzoo.save(model, tmp_path / "clip")
    again = create(path)
    assert again.spec == CLIP
    assert torch.equal(again(X), model(X))
    three = create(path, num_classes=3)
    assert (three.spec.head, three(X).shape) == (Head.LINEAR, (2, 3))
    actions = {row.tensor: row.action for row in three.load_report.rows if row.tensor.startswith("head.")}
    assert actions == {
        "head.proj.weight": "dropped",
        "head.proj.bias": "dropped",
        "head.fc.weight": "re-initialised",
        "head.fc.bias": "re-initialised",
    }
    assert torch.equal(create(path, num_classes=0)(X), model.forward_head(model.forward_features(X), pre_logits=True))
    assert create(path, out_dim=5)(X).shape == (2, 5)
    with pytest.raises(SpecError, match=r"to 7 dimensions, which are no classes: .* give as well head='linear'"):
        create(path, num_classes=7)
    assert create(path, num_classes=7, head="linear").spec.num_classes == 7  # the remedy


# Files and layouts


@torch.no_grad()
@pytest.mark.parametrize("bias", [True, False])
def test_a_native_file_of_the_first_format(bias: bool, tmp_path: Path) -> None:
    """Such a file called a projection a linear head, and its width a number of classes."""
    spec = CLIP.replace(head_bias=bias)
    vit = ViT(spec).init_weights(0).eval()
    before = spec.replace(num_classes=7, head="linear")
    said = {"format": 1, "spec": before.model_dump(mode="json", exclude={"out_dim"}), "labels": None}
    said |= {"preprocessing": vit.preprocessing.model_dump(mode="json"), "resample": "timm", "origin": None}
    tensors = load_file(vitzoo.save(vit, tmp_path / "clip"))
    renamed = {name.replace("head.proj.", "head.fc."): tensor for name, tensor in tensors.items()}
    path = tmp_path / "before.safetensors"
    save_file(renamed, path, {"vitzoo": json.dumps(said)})
    again = create(path)
    assert torch.equal(again(X), vit(X))
    assert again.spec == (before if bias else spec)  # with a bias it may be a classifier, as before
    save_file(renamed, path, {"vitzoo": json.dumps(said | {"labels": [f"class {i}" for i in range(7)]})})
    assert create(path).spec == before  # outputs with names are classes


def test_a_native_file_of_weights_that_the_registry_knows() -> None:
    spec = registry.entry_spec("clip_b16.openai")
    said = {"spec": spec.replace(num_classes=512, head="linear").model_dump(mode="json", exclude={"out_dim"})}
    said |= {"format": 1, "preprocessing": {}, "resample": "timm", "origin": "clip_b16.openai from hf://org/x/y"}
    found = described({"vitzoo": json.dumps(said)}, "here")
    assert found is not None
    assert found.spec == spec
    assert found.about.origin == Origin(name="clip_b16.openai", address="hf://org/x/y")


@torch.no_grad()
def test_timm_runs_it_and_the_way_back_knows_it_again(model: ViT, tmp_path: Path) -> None:
    folder = vitzoo.save(model, tmp_path / "timm", layout="timm")
    peer = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    torch.testing.assert_close(peer(X), model(X), rtol=1e-5, atol=1e-5)
    assert peer.num_classes == 7  # timm has no other word for it
    again = create(folder)
    assert again.spec == CLIP
    assert torch.equal(again(X), model(X))


@pytest.mark.parametrize("layout", ["open_clip", "hf_clip", "pe", "open_clip_timm"])
def test_layouts_of_towers_hold_no_classifier(layout: str, tmp_path: Path) -> None:
    spec = CLIP.replace(num_classes=5)
    with pytest.raises(LayoutError, match=rf"layout '{layout}'.* (0|num_classes is 5, and would be read as 0)"):
        vitzoo.save(ViT(spec).init_weights(0), tmp_path / "out", layout=layout)


@pytest.mark.parametrize("layout", ["hf_siglip", "torchvision", "google", "dinov2"])
def test_other_layouts_hold_no_projection(layout: str, tmp_path: Path, model: ViT) -> None:
    with pytest.raises(LayoutError, match=r"head is projection|out_dim is 7, and would be read as None"):
        vitzoo.save(model, tmp_path / "out", layout=layout)


@torch.no_grad()
def test_a_folder_as_timm_saves_it_gives_an_embedding(tmp_path: Path) -> None:
    """timm calls the embedding's width num_classes; the architecture that its config.json names tells."""
    name, small = "vit_base_patch16_clip_quickgelu_224", {"depth": 1, "img_size": 32}
    peer = timm.create_model(name, num_classes=512, **small).eval()
    timm.models.save_for_hf(peer, tmp_path / "clip", model_args=small, safe_serialization=True)
    model = create(tmp_path / "clip")
    assert (model.spec.head, model.spec.out_dim, model.num_classes) == (Head.PROJECTION, 512, 0)
    torch.testing.assert_close(model(X), peer(X), rtol=1e-5, atol=1e-5)
    tuned = timm.create_model(name, num_classes=9, **small).eval()
    timm.models.save_for_hf(tuned, tmp_path / "tuned", model_args=small, safe_serialization=True)
    assert create(tmp_path / "tuned").spec.output == "9 classes"
