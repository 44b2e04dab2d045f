"""Whole folders: what vitzoo.save writes is what transformers' Auto classes load, and save_pretrained's is created."""

import json
from math import floor
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from peers.huggingface import LABELS, PEERS, SIZES, WRITTEN, compare, model_of, saved
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

import vitzoo
from vitzoo import ViT, registry
from vitzoo.errors import LayoutError, SpecError, WeightsError
from vitzoo.layouts.huggingface import config as hf_config
from vitzoo.layouts.huggingface import processor as hf_processor
from vitzoo.spec import CropMode, Interpolation, Preprocessing, ViTSpec

CAT = Path(__file__).parents[2] / "examples" / "cat.png"
PIPED = ("vit", "deit", "ijepa", "dinov2", "dinov2_reg", "siglip", "beit")


def pictures(size: tuple[int, int]) -> Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(3))


def answer(out: Any) -> Tensor:
    return next(out[key] for key in ("logits", "image_embeds", "pooler_output") if out.get(key) is not None)


def changed(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.proves(
    layout=(
        "hf_vit",
        "hf_deit",
        "hf_ijepa",
        "hf_dinov2",
        "hf_dinov2_with_registers",
        "hf_dinov3_vit",
        "hf_siglip",
        "hf_clip",
        "hf_beit",
        "hf_aimv2",
    ),
    against="folders of `vitzoo.save`, read by `from_pretrained` and `AutoImageProcessor`, then by `vitzoo.create`",
    tolerance="1e-5, tensors bit for bit",
)
@pytest.mark.proves(
    claim="Hugging Face's folders, both ways",
    against="transformers `from_pretrained`, `AutoImageProcessor`",
    tolerance="1e-5, tensors bit for bit",
)
@torch.no_grad()
@pytest.mark.parametrize("name", WRITTEN)
def test_transformers_loads_what_is_saved_and_we_create_it_again(name: str, tmp_path: Path) -> None:
    layout, reader, _ = WRITTEN[name]
    model, folder = model_of(name), tmp_path / "folder"
    assert vitzoo.save(model, folder, layout="huggingface") == folder
    theirs, info = reader.from_pretrained(folder, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"))
    x = pictures(model.spec.img_size)
    out = theirs.eval()(x)
    if name == "aimv2":  # the class pools only with its own attention
        torch.testing.assert_close(model.forward_features(x), out["last_hidden_state"], atol=1e-5, rtol=1e-5)
    else:
        torch.testing.assert_close(model(x), answer(out), atol=1e-5, rtol=1e-5)
    if model.labels is not None:
        assert tuple(theirs.config.id2label.values()) == LABELS
    processor = hf.AutoImageProcessor.from_pretrained(folder)
    assert processor(Image.open(CAT), return_tensors="pt")["pixel_values"].shape[2:] == model.spec.img_size
    again = vitzoo.create(folder)
    assert again.load_report.layout == layout
    assert again.labels == model.labels
    assert vitzoo.preprocess(again)(CAT).equal(vitzoo.preprocess(model)(CAT))
    assert all(torch.equal(tensor, model.state_dict()[key]) for key, tensor in again.state_dict().items())
    torch.testing.assert_close(again(x), model(x), atol=1e-5, rtol=1e-5)
    differing = [key for key in type(model.spec).model_fields if getattr(again.spec, key) != getattr(model.spec, key)]
    assert set(differing) <= {"layer_scale", "pos_embed"}


def same_classes(pipe: Any, model: ViT, picture: Path = CAT) -> None:
    names = model.labels() if callable(model.labels) else model.labels
    with torch.no_grad():
        ours = model(vitzoo.preprocess(model)(picture)[None]).softmax(-1)[0]
    best = ours.argsort(descending=True)
    theirs = pipe(str(picture), top_k=len(names))
    assert [row["label"] for row in theirs] == [names[i] for i in best]
    torch.testing.assert_close(torch.tensor([row["score"] for row in theirs]), ours[best], atol=1e-4, rtol=0)


@pytest.mark.proves(
    claim="Hugging Face's folders, both ways", against="its `pipeline`", tolerance="1e-4 of probabilities"
)
@pytest.mark.parametrize("name", PIPED)
def test_the_pipeline_gives_our_classes_and_probabilities(name: str, tmp_path: Path) -> None:
    model = model_of(name)
    folder = vitzoo.save(model, tmp_path / "folder", layout="huggingface")
    processor = hf.AutoImageProcessor.from_pretrained(folder, backend="pil")
    same_classes(hf.pipeline("image-classification", model=str(folder), image_processor=processor), model)


def test_the_bundled_model_classifies_in_the_pipeline(tmp_path: Path) -> None:
    model = vitzoo.create("vit_nano4.cifar10", pretrained=True)
    folder = vitzoo.save(model, tmp_path / "folder", layout="huggingface")
    pipe = hf.pipeline("image-classification", model=str(folder))
    assert pipe(str(CAT))[0]["label"] == "cat"
    processor = hf.AutoImageProcessor.from_pretrained(folder, backend="pil")
    same_classes(hf.pipeline("image-classification", model=str(folder), image_processor=processor), model)


@pytest.mark.proves(
    layout="hf_siglip2", against="transformers' pipeline on a folder", tolerance="1e-4 of probabilities"
)
def test_the_pipeline_cuts_the_patches_of_siglip2_itself(tmp_path: Path) -> None:
    """Its processor keeps the shape of a picture; of a square it makes what we make."""
    model = model_of("siglip")
    with pytest.raises(LayoutError, match=r"Siglip2ImageProcessor crops nothing.*found center"):
        vitzoo.save(model, tmp_path / "folder", layout="hf_siglip2")
    model.preprocessing = Preprocessing(crop_mode=CropMode.SQUASH, interpolation=Interpolation.BILINEAR)
    folder = vitzoo.save(model, tmp_path / "folder", layout="hf_siglip2")
    assert vitzoo.create(folder).preprocessing == model.preprocessing
    Image.open(CAT).crop((60, 0, 360, 300)).save(tmp_path / "square.png")
    processor = hf.AutoImageProcessor.from_pretrained(folder, backend="pil")
    pipe = hf.pipeline("image-classification", model=str(folder), image_processor=processor)
    same_classes(pipe, model, tmp_path / "square.png")


def test_the_pipelines_comparison_notices_a_swap(tmp_path: Path) -> None:
    """The control: two rows of the classifier that have changed places."""
    model = model_of("vit")
    folder = vitzoo.save(model, tmp_path / "folder", layout="huggingface")
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.weight"] = tensors["classifier.weight"].roll(1, 0)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(AssertionError):
        same_classes(hf.pipeline("image-classification", model=str(folder)), model)


@pytest.mark.parametrize("shards", [False, True], ids=["whole", "shards"])
@pytest.mark.parametrize("name", PEERS)
def test_create_needs_nothing_but_the_folder(name: str, shards: bool, tmp_path: Path) -> None:
    """The number of heads, eps and the activation come from config.json, the rest from the tensors."""
    peer, _, _ = saved(name, tmp_path / "folder")
    if shards:
        peer.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
        assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    model = vitzoo.create(tmp_path / ("shards" if shards else "folder"))
    assert model.load_report.layout == hf_config.KINDS[hf_config.model_kind(peer.config.to_dict())[0]].layout
    compare(peer, model, 32)


def test_pytorchs_own_files_and_a_processor_in_one_file_are_read(tmp_path: Path) -> None:
    """What version 4 wrote for weights, and what version 5 writes for a processor of pictures and texts."""
    peer, _, disk = saved("clip", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(disk, tmp_path / "pytorch_model.bin")
    processor = hf.CLIPImageProcessor(size={"shortest_edge": 40}, crop_size=32).to_dict()
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": processor}))
    model = vitzoo.create(tmp_path)
    compare(peer, model, 32)
    assert model.preprocessing.crop_pct == 0.8
    assert model.preprocessing.mean == tuple(processor["image_mean"])


@pytest.mark.parametrize("middle", ["timm", "vitzoo", "huggingface"])
@pytest.mark.parametrize("name", ["vit", "deit", "beit", "siglip_bare", "clip", "dinov3"])
def test_converting_there_and_back_leaves_every_byte(name: str, middle: str, tmp_path: Path) -> None:
    # timm's entry points have the usual eps, and a classifier with a bias.
    changes: dict[str, Any] = {
        "vit": {"norm_eps": 1e-6},
        "clip": {"head": "linear", "out_dim": None, "head_bias": True},
    }.get(name, {})
    start = vitzoo.save(model_of(name, **changes), tmp_path / "start", layout="huggingface")
    there = Path(vitzoo.convert(start, tmp_path / "there", middle).target)
    back = Path(vitzoo.convert(there, tmp_path / "back", "huggingface").target)
    assert (back / "model.safetensors").read_bytes() == (start / "model.safetensors").read_bytes()
    for file in ("config.json", "preprocessor_config.json"):
        told, kept = (json.loads((folder / file).read_text()) for folder in (start, back))
        assert {key for key in told if told[key] != kept[key]} <= {"layer_scale_init_value", "layerscale_value"}


def test_what_a_caller_wants_otherwise_is_adapted(tmp_path: Path) -> None:
    """config.json says what the file has, pixels beyond the last patch included; the caller may want another model."""
    start = model_of("siglip", img_size=36, drop_remainder=True)
    folder = vitzoo.save(start, tmp_path / "folder", layout="huggingface")
    assert vitzoo.create(folder).spec == start.spec
    model = vitzoo.create(folder, img_size=48, num_classes=3, generator=0)
    assert (model.spec.img_size, model.spec.num_classes, model.labels) == ((48, 48), 3, None)
    assert {row.tensor: row.action for row in model.load_report.rows}["pos_embed.grid"] == "resampled"


def test_fields_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = vitzoo.save(model_of("vit"), tmp_path / "folder", layout="huggingface")
    with pytest.raises(WeightsError, match="32 rows of the queries are not divisible by num_heads 5, which was given"):
        vitzoo.create(folder, num_heads=5)
    with pytest.raises(WeightsError, match="depth is 2 in the tensors, and 3 was given"):
        vitzoo.create(folder, depth=3)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hidden_size", 64, "hidden_dim is 32 in the tensors, and 64 was in config.json"),
        ("num_hidden_layers", 3, "depth is 2 in the tensors, and 3 was in config.json"),
        ("intermediate_size", 48, "mlp_dim is 64 in the tensors, and 48 was in config.json"),
        ("image_size", 48, "img_size"),
        ("patch_size", 4, "patch_size"),
        ("qkv_bias", False, "qkv_bias is all in the tensors, and none was in config.json"),
        ("id2label", {"0": "a", "1": "b"}, "num_classes is 5 in the tensors, and 2 was in config.json"),
        ("architectures", ["ViTModel"], "num_classes is 5 in the tensors, and 0 was in config.json"),
        ("hidden_act", "relu", "hidden_act is 'relu'; expected one of gelu"),
        ("num_attention_heads", 5, "not divisible by num_heads 5, which was in config.json"),
        ("model_type", "swin", "model_type 'swin' is unknown; expected one of aimv2"),
        ("architectures", ["ViTForSemanticSegmentation"], "'ViTForSemanticSegmentation'.*ViTForImageClassification"),
    ],
)
def test_a_config_that_contradicts_the_tensors_is_refused(key: str, value: Any, message: str, tmp_path: Path) -> None:
    folder = vitzoo.save(model_of("vit"), tmp_path / "folder", layout="huggingface")
    changed(folder / "config.json", **{key: value})
    with pytest.raises(vitzoo.VitzooError, match=message):
        vitzoo.create(folder)


def test_classes_that_are_not_read_are_named() -> None:
    with pytest.raises(LayoutError, match=r"'BeitForSemanticSegmentation'.*expected one of BeitModel, BeitForImage"):
        hf_config.spec_fields({"model_type": "beit", "architectures": ["BeitForSemanticSegmentation"]})
    with pytest.raises(LayoutError, match="needs vision_config"):
        hf_config.spec_fields({"model_type": "siglip", "hidden_size": 32})


def test_names_of_other_than_all_classes_are_refused() -> None:
    model = model_of("vit")
    with pytest.raises(SpecError, match="4 names, and the model has 5 classes"):
        model.labels = LABELS[:4]


# Preprocessing


@pytest.mark.parametrize("name", hf_processor.PROCESSORS)
def test_defaults_of_processors_are_those_of_the_classes(name: str) -> None:
    processor = getattr(hf, name)().to_dict()
    told = hf_processor.preprocessing_fields(processor)
    for alias in (name, f"{name}Fast", name.replace("ImageProcessor", "FeatureExtractor")):
        assert hf_processor.preprocessing_fields({"image_processor_type": alias}) == told
    assert Preprocessing(**told).crop_pct == (0.875 if name == "DeiTImageProcessor" else 1.0)


PROCESSOR = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 40}, "crop_size": 32}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"do_resize": False}, "always resized.*do_resize False"),
        ({"do_rescale": False}, "always resized and scaled.*do_rescale False"),
        ({"rescale_factor": 1 / 127.5}, "rescale_factor 0.0078"),
        ({"do_pad": True}, "can do_pad"),
        ({"do_center_crop": False}, "do_center_crop False.*one size"),
        ({"size": {"longest_edge": 40}}, "longest_edge"),
        ({"size": {"shortest_edge": 30}}, "at most 1"),
        ({"crop_size": {"height": 32, "width": 16}}, "expected a square"),
        ({"resample": 1}, "resample is 1"),
        ({"size": {"height": 40, "width": 80}}, "no one crop_pct"),
        ({"image_processor_type": "LevitImageProcessor"}, "LevitImageProcessor is not known.*resample, image_mean"),
    ],
)
def test_preprocessing_that_we_cannot_do_is_refused(change: dict[str, Any], message: str) -> None:
    assert hf_processor.preprocessing_fields(PROCESSOR)["crop_pct"] == 0.8
    with pytest.raises(LayoutError, match=message):
        hf_processor.preprocessing_fields({**PROCESSOR, **change})


def test_pixels_without_normalising_are_left_as_they_are() -> None:
    told = Preprocessing(**hf_processor.preprocessing_fields({**PROCESSOR, "do_normalize": False}))
    assert (told.mean, told.std) == ((0.0,), (1.0,))
    spec = ViTSpec.parse(SIZES, "tiny")
    assert hf_processor.processor_config("hf_vit", spec, told)["image_mean"] == [0.0, 0.0, 0.0]


def test_any_size_and_crop_are_scaled_to_exactly_that_size() -> None:
    for crop in range(1, 600, 7):
        for size in range(crop, 900, 3):
            told = hf_processor.preprocessing_fields({**PROCESSOR, "size": {"shortest_edge": size}, "crop_size": crop})
            assert floor(crop / told["crop_pct"]) == size
            assert abs(told["crop_pct"] - crop / size) < 1e-12


def test_rectangles_are_squashed_to_one_ratio() -> None:
    sizes = {"size": {"height": 49, "width": 98}, "crop_size": {"height": 47, "width": 94}}
    told = hf_processor.preprocessing_fields({**PROCESSOR, **sizes})
    assert told["crop_mode"] is CropMode.SQUASH
    assert [floor(side / told["crop_pct"]) for side in (47, 94)] == [49, 98]


def small_spec(name: str, pool: str, num_classes: int) -> ViTSpec:
    sizes = {"depth": 2, "hidden_dim": 64, "num_heads": 2, "mlp_dim": 128, "img_size": 56, "patch_size": 14}
    head = {"head": "linear"} if num_classes == 0 else {}
    return registry.entry_spec(name).replace(**sizes, **head, pool=pool, num_classes=num_classes)


@pytest.mark.parametrize("pool", ["cls", "avg", "cls_avg", "map", "none"])
@pytest.mark.parametrize("num_classes", [0, 3])
def test_what_can_be_written_is_what_their_class_computes(tmp_path: Path, pool: str, num_classes: int) -> None:
    """A folder that transformers reads otherwise, or completes with random weights, must be refused when written."""
    written = set()
    first = {
        source.layout: entry
        for entry in reversed(registry.list_pretrained())
        for source in registry.weights_entry(entry).sources
        if source.layout.startswith("hf_") and source.layout != "hf_siglip2"  # NaFlex: pictures come as patches
    }
    for layout, name in first.items():
        try:
            model = vitzoo.create(small_spec(name, pool, num_classes), generator=0)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.normal_(std=0.05)
            folder = vitzoo.save(model, tmp_path / layout, layout)
        except (LayoutError, SpecError):
            continue
        written.add(layout)
        assert vitzoo.verify(folder).equal, (layout, name)
        assert vitzoo.create(folder).spec.pool == pool
    assert bool(written) == ((pool, num_classes) not in {("none", 3), ("map", 3)}), written
