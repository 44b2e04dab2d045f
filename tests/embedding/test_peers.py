"""Vectors of folders that transformers and open_clip wrote are those of their own classes and processors."""

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import tiny
import torch
import transformers as hf
from embedding.conftest import FEW
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from vitzoo import Store, embed

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56, "patch_size": 14}
VISION = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 8, "mlp_ratio": 2.0}
TEXT = {"context_length": 8, "vocab_size": 16, "width": 8, "heads": 2, "layers": 1}
COLOURS = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bicubic", "resize_mode": "shortest"}


def check(store: Store, expected: dict[str, torch.Tensor]) -> None:
    """Each vector equals its peer's at 1e-5 of the largest value, and no two are alike."""
    found = {block.row(i).key: block.vectors[i] for block in store.blocks() for i in range(len(block.vectors))}
    assert found.keys() == expected.keys()
    for key, vector in found.items():
        theirs = expected[key].numpy()
        assert vector.shape == theirs.shape
        assert np.abs(vector - theirs).max() <= 1e-5 * np.abs(theirs).max(), key
    assert len({vector.tobytes() for vector in found.values()}) == len(found)


@pytest.mark.parametrize("features", ["cls", "mean", "patches"])
@pytest.mark.parametrize("side", [56, 42])
@torch.no_grad()
def test_vectors_are_those_of_transformers(tmp_path: Path, pictures: Path, features: str, side: int) -> None:
    peer = tiny.randomise(hf.Dinov2Model(hf.Dinov2Config(**SIZES, mlp_ratio=2)), std=0.2).eval()
    peer.save_pretrained(tmp_path / "peer")
    said = {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": side}, "resample": 3}
    said |= {"do_center_crop": True, "crop_size": {"height": side, "width": side}}
    (tmp_path / "peer" / "preprocessor_config.json").write_text(json.dumps(said))
    processor = hf.AutoImageProcessor.from_pretrained(tmp_path / "peer", backend="pil")
    store = embed(tmp_path / "peer", pictures, tmp_path / "out", features=features, **FEW).store
    expected = {}
    for path in pictures.rglob("*.png"):
        tokens = peer(processor(Image.open(path).convert("RGB"), return_tensors="pt")["pixel_values"]).last_hidden_state
        of = {"cls": tokens[0, 0], "mean": tokens[0, 1:].mean(0), "patches": tokens[0, 1:].flatten()}
        expected[path.relative_to(pictures).as_posix()] = of[features]
    check(store, expected)


@torch.no_grad()
def test_vectors_are_those_of_open_clip(tmp_path: Path, pictures: Path) -> None:
    peer = tiny.randomise(open_clip.CLIP(5, VISION, TEXT)).eval()
    folder = tmp_path / "peer"
    folder.mkdir()
    said = {"model_cfg": {"embed_dim": 5, "vision_cfg": VISION, "text_cfg": TEXT}, "preprocess_cfg": COLOURS}
    (folder / "open_clip_config.json").write_text(json.dumps(said))
    torch.save(peer.state_dict(), folder / "open_clip_pytorch_model.bin")
    prepare = image_transform_v2(PreprocessCfg(size=32, **COLOURS), is_train=False)
    store = embed(folder, pictures, tmp_path / "out", features="projection", normalize=True, **FEW).store
    expected = {
        path.relative_to(pictures).as_posix(): peer.encode_image(prepare(Image.open(path))[None], normalize=True)[0]
        for path in pictures.rglob("*.png")
    }
    check(store, expected)
