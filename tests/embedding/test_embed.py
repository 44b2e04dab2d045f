"""Vectors are the peer's, and the store is what others read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas
import polars
import pytest
import timm
import tiny
import torch
from conftest import Result
from datasets import load_dataset
from embedding.conftest import COUNT, FEW, vectors
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_data_config

import vitzoo
from vitzoo import ViT, create, embed
from vitzoo.embedding.features import OF_TOKENS, Features
from vitzoo.errors import SpecError

PLAIN = {
    "layout": "timm",
    "num_heads": 3,
    "norm_eps": 1e-6,
    "act": "gelu",
    "pool": "cls",
    "block": "pre_norm",
    "rope": None,
}
"""What no tensor shows of timm's VisionTransformer."""
# --- what a vector is


PEERS: dict[str, Callable[[Any, torch.Tensor], torch.Tensor]] = {
    "pooled": lambda peer, x: peer.forward_head(peer.forward_features(x), pre_logits=True),
    "cls": lambda peer, x: peer.forward_features(x)[:, 0],
    "mean": lambda peer, x: peer.forward_features(x)[:, 1:].mean(1),
    "cls_mean": lambda peer, x: torch.cat([peer.forward_features(x)[:, 0], peer.forward_features(x)[:, 1:].mean(1)], 1),
    "patches": lambda peer, x: peer.forward_features(x)[:, 1:].flatten(1),
}


@pytest.mark.parametrize("features", PEERS)
@pytest.mark.parametrize("size", [32, (48, 32)])
def test_vectors_are_timms(tmp_path: Path, pictures: Path, features: str, size: int | tuple[int, int]) -> None:
    peer = tiny.randomise(timm.models.vision_transformer.VisionTransformer(**tiny.timm_arguments(img_size=size)))
    save_file(peer.state_dict(), tmp_path / "peer.safetensors")
    model = create(
        tmp_path / "peer.safetensors",
        **PLAIN,
        source_img_size=size,
    )
    store = embed(model, pictures, tmp_path / "out", features=features, **FEW).store
    transform = create_transform(**resolve_data_config({}, model=model), is_training=False)
    found = vectors(store)
    assert len(found) == COUNT
    for key, vector in found.items():
        x = transform(Image.open(pictures / key).convert("RGB"))[None]
        with torch.inference_mode():
            expected = PEERS[features](peer, x)[0].numpy()
        assert vector.shape == expected.shape
        assert np.abs(vector - expected).max() <= 1e-5 * np.abs(expected).max()


def test_vectors_of_blocks_are_timms(tmp_path: Path, pictures: Path) -> None:
    peer = tiny.randomise(timm.models.vision_transformer.VisionTransformer(**tiny.timm_arguments()))
    save_file(peer.state_dict(), tmp_path / "peer.safetensors")
    model = create(tmp_path / "peer.safetensors", **PLAIN)
    store = embed(model, pictures, tmp_path / "out", features="cls", blocks=[-1, 0], **FEW).store
    x = vitzoo.preprocess(model)(pictures / "a" / "0.png")[None]
    with torch.inference_mode():
        layers = peer.get_intermediate_layers(x, [0, 1], return_prefix_tokens=True, norm=True)
    expected = torch.cat([prefix[:, 0] for _, prefix in layers], 1)[0].numpy()
    np.testing.assert_allclose(vectors(store)["a/0.png"], expected, atol=1e-5)
    assert (store.recipe.blocks, store.recipe.shape) == ((0, 1), (48,))


def test_all_features_have_a_test() -> None:
    assert {*PEERS, "projection"} == set(Features)
    assert set(OF_TOKENS) <= set(PEERS)


def test_a_projection_is_the_models_output(tmp_path: Path, pictures: Path) -> None:
    model = tiny.randomise(create(tiny.spec(num_classes=0, head="projection", out_dim=7)))
    found = vectors(embed(model, pictures, tmp_path / "out", normalize=True, dtype="float16", **FEW).store)
    with torch.inference_mode():
        expected = model(vitzoo.preprocess(model)(pictures / "b" / "1.png")[None])[0]
    expected = (expected / expected.norm()).numpy().astype(np.float16)
    assert found["b/1.png"].dtype == np.float16
    np.testing.assert_allclose(found["b/1.png"], expected, atol=1e-3)


@pytest.mark.parametrize(
    ("spec", "options", "message", "remedy"),
    [
        ({}, {"features": "projection"}, "no projection; give features='pooled'", {"features": "pooled"}),
        (
            {"class_token": False, "pool": "avg", "pos_prefix": "none"},
            {"features": "cls"},
            "no class token; give features='pooled'",
            {"features": "pooled"},
        ),
        ({}, {"blocks": [0]}, "with blocks give cls, mean, cls_mean, patches", {"blocks": [0], "features": "mean"}),
        ({}, {"blocks": [7], "features": "cls"}, "blocks 0 to 1", {"blocks": [1], "features": "cls"}),
        ({}, {"features": "tokens"}, "there are pooled, projection, cls", {"features": "cls"}),
        ({}, {"dtype": "bfloat16"}, "float32 or float16", {"dtype": "float16"}),
    ],
)
def test_wrong_features_and_what_to_do(
    tmp_path: Path, pictures: Path, spec: Any, options: Any, message: str, remedy: Any
) -> None:
    model = create(tiny.spec(**spec))
    with pytest.raises(SpecError, match=message):
        embed(model, pictures, tmp_path / "out", **FEW, **options)
    assert not (tmp_path / "out").exists()
    assert len(embed(model, pictures, tmp_path / "out", **FEW, **remedy).store) == COUNT


@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_the_bits_of_a_vector_hang_on_no_other_picture(
    tmp_path: Path, vit: ViT, pictures: Path, batch_size: int
) -> None:
    options = {**FEW, "batch_size": batch_size, "deterministic": True}
    alone = vectors(embed(vit, [pictures / "a" / "4.png"], tmp_path / "alone", **options).store)
    among = vectors(embed(vit, pictures, tmp_path / "among", **options).store)
    assert np.array_equal(alone[str(pictures / "a" / "4.png")], among["a/4.png"])


# --- what others read


def test_others_read_the_files(tmp_path: Path, vit: ViT, pictures: Path) -> None:
    (pictures / "a" / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    store = embed(vit, pictures, tmp_path / "out", **FEW).store
    expected = vectors(store)
    assert len(expected) == len(store) == COUNT
    folder = tmp_path / "out"
    frames = {
        "pandas": pandas.read_parquet(folder),
        "polars": polars.read_parquet(f"{folder}/part-*.parquet").to_pandas(),
        "duckdb": duckdb.sql(f"select * from '{folder}/part-*.parquet'").df(),
        "datasets": load_dataset("parquet", data_files=f"{folder}/part-*.parquet", cache_dir=str(tmp_path / "c"))[
            "train"
        ].to_pandas(),
    }
    for name, frame in frames.items():
        assert len(frame) == COUNT, name
        for key, vector in zip(frame["key"], frame["vector"], strict=True):
            assert np.array_equal(np.asarray(vector, np.float32), expected[key]), name


def test_the_footer_says_how_the_vectors_were_made(tmp_path: Path, vit: ViT, pictures: Path) -> None:
    import pyarrow.parquet as pq

    store = embed(vit, pictures, tmp_path / "out", normalize=True, **FEW).store
    assert len(store.parts) == 3
    for part in store.parts:
        said = json.loads(pq.read_schema(tmp_path / "out" / part.file).metadata[b"vitzoo"])
        assert said["about"]["preprocessing"]["mean"] == list(vit.preprocessing.mean)
        assert (said["features"], said["normalize"], said["weights"]) == ("pooled", True, store.recipe.weights)


# --- the command


def test_the_command(tmp_path: Path, pictures: Path, run: Callable[..., Result]) -> None:
    (pictures / "a" / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    (pictures / "a" / "notes.txt").write_text("no picture")
    words = ("embed", "vit_nano4.cifar10", pictures, tmp_path / "out", "--num-workers", 0)
    done = run(*words)
    assert done.code == 1  # one has no vector
    assert f"{COUNT} vectors of 128 numbers (pooled of vit_nano4.cifar10)" in done.out
    assert "no vector: 'a/damaged.png'" in done.out
    assert "notes.txt" in done.err
    again = json.loads(run(*words, "--json").out)
    assert (again["computed"], again["kept"], again["left_out"]) == (0, COUNT + 1, 1)
    listed = "\n".join(str(path) for path in sorted(pictures.rglob("*.png")))
    done = run("embed", "vit_nano4.cifar10", "-", tmp_path / "listed", "--num-workers", 0, stdin=listed)
    assert f"{COUNT} vectors" in done.out
    wrong = run("embed", "vit_nano4.cifar10", pictures, tmp_path / "x", "--features", "projection")
    assert (wrong.code, "give --features pooled" in wrong.err) == (2, True)
    wrong = run("embed", "vit_nano4.cifar10", pictures, tmp_path / "x", "--blocks", "last")
    assert (wrong.code, "--blocks takes numbers with commas" in wrong.err) == (2, True)
