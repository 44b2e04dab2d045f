"""The eval transform against timm's own, on synthetic photographs and on a folder of real ones where there is one."""

import builtins
import io
import os
import pickle
import re
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data import create_transform, resolve_data_config
from timm.data.model_config import resolve_input_data_config
from torch.utils.data import DataLoader

from vitzoo.errors import ImageError
from vitzoo.images.load import load_image
from vitzoo.images.transform import Transform, preprocess
from vitzoo.spec import CropMode, Interpolation, Preprocessing, ViTSpec

PHOTO_FOLDER = Path(
    os.environ.get("VITZOO_TEST_PHOTOS", Path(__file__).resolve().parents[3] / "shared" / "data" / "photos")
)
PHOTOS = sorted(path for path in PHOTO_FOLDER.glob("*") if path.suffix.lower() in {".jpeg", ".jpg", ".png", ".webp"})
SYNTHETIC = ["20x13", "333x500", "500x333", "1200x800", "300x300", "257x256", "9x400"]
CENTER, SQUASH = CropMode.CENTER, CropMode.SQUASH
BICUBIC, BILINEAR = Interpolation.BICUBIC, Interpolation.BILINEAR


def make_transform(size: tuple[int, int] = (32, 32), in_chans: int = 3, **preprocessing: Any) -> Transform:
    shape = {"patch_size": 1, "hidden_dim": 8, "depth": 1, "num_heads": 1, "mlp_dim": 8}
    spec = ViTSpec.model_validate({**shape, "img_size": size, "in_chans": in_chans})
    return preprocess(SimpleNamespace(spec=spec, preprocessing=Preprocessing(**preprocessing)))


def timm_transform(transform: Transform, **changes: Any) -> Callable[[Image.Image], torch.Tensor]:
    """timm's transform of a pretrained config with the same preprocessing."""
    config = {**transform.preprocessing.model_dump(mode="json"), "input_size": (3, *transform.size), **changes}
    return create_transform(**resolve_data_config(pretrained_cfg=config), is_training=False)  # type: ignore[no-any-return]


def pixels(width: int, height: int, channels: int = 3) -> np.ndarray[Any, Any]:
    """Smooth gradients that differ in every direction and channel, with an edge and seeded noise."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    planes = [np.sin(7 * x + c) + np.cos(5 * y * (c + 1)) + (x > y) for c in range(channels)]
    picture = np.stack(planes, -1) + np.random.default_rng(width * height).normal(0, 0.2, (height, width, channels))
    picture -= picture.min()
    return np.asarray((picture * (255 / picture.max())).round(), dtype=np.uint8)


@cache
def open_as_timm_users_do(name: str) -> Image.Image:
    if name in SYNTHETIC:
        width, height = map(int, name.split("x"))
        file = io.BytesIO()
        Image.fromarray(pixels(width, height)).save(file, "JPEG", quality=90)
        file.seek(0)
        return Image.open(file).convert("RGB")
    return Image.open(name).convert("RGB")


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(pixels(41, 29))


# The same pixels as timm


@pytest.mark.proves(
    claim="preprocessing of any picture: grey, CMYK, palette, alpha, EXIF",
    against="timm's eval transform",
    tolerance="bit for bit",
)
@pytest.mark.parametrize("name", [*SYNTHETIC, *map(str, PHOTOS)], ids=lambda name: Path(name).stem)
def test_pixels_equal_timm(name: str) -> None:
    picture = open_as_timm_users_do(name)
    sizes = [(32, 32), (224, 224), (96, 160), (150, 70)] if name in SYNTHETIC else [(224, 224), (128, 192)]
    for mode, interpolation, crop_pct, size in product(
        (CENTER, SQUASH), (BICUBIC, BILINEAR), (0.875, 0.9, 0.95, 1.0), sizes
    ):
        transform = make_transform(size, crop_mode=mode, interpolation=interpolation, crop_pct=crop_pct)
        assert torch.equal(transform(picture), timm_transform(transform)(picture)), transform


@pytest.mark.parametrize("path", PHOTOS or [None], ids=lambda path: path.stem if path else "none")
def test_photo_files_equal_timm(path: Path | None, tmp_path: Path) -> None:
    if path is None:  # a clean machine has no photos
        path = tmp_path / "picture.jpeg"
        open_as_timm_users_do("333x500").save(path)
    transform = make_transform((64, 64), crop_pct=0.9, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assert torch.equal(transform(path), timm_transform(transform)(Image.open(path).convert("RGB")))


@settings(max_examples=150, deadline=None)
@given(
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    crop_pct=st.floats(0.3, 1.0),
    mode=st.sampled_from(CropMode),
    interpolation=st.sampled_from(Interpolation),
)
def test_any_size_equals_timm(
    width: int, height: int, size: tuple[int, int], crop_pct: float, mode: CropMode, interpolation: Interpolation
) -> None:
    transform = make_transform(size, crop_mode=mode, interpolation=interpolation, crop_pct=crop_pct)
    picture = Image.fromarray(pixels(width, height))
    found = transform(picture)
    assert found.shape == (3, *size)
    assert torch.equal(found, timm_transform(transform)(picture))


@pytest.mark.parametrize(
    "change",
    [
        {"interpolation": "bilinear"},
        {"crop_pct": 0.95},
        {"crop_mode": "squash"},
        {"mean": (0.5, 0.5, 0.5)},
        {"std": (0.5, 0.5, 0.5)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_preprocessing_differs_from_timm(change: dict[str, Any]) -> None:
    picture = open_as_timm_users_do("333x500")
    transform = make_transform((64, 64), crop_pct=0.9)
    assert not torch.allclose(transform(picture), timm_transform(transform, **change)(picture), atol=1e-3)


def test_one_channel_equals_timm(picture: Image.Image) -> None:
    model = timm.create_model("test_vit", in_chans=1)
    config = resolve_input_data_config(model)
    assert config["input_size"][0] == 1
    cfg = model.pretrained_cfg
    transform = make_transform(
        config["input_size"][1:],
        1,
        mean=cfg["mean"],
        std=cfg["std"],
        crop_pct=config["crop_pct"],
        interpolation=config["interpolation"],
    )
    assert (transform.mean, transform.std) == (config["mean"], config["std"])
    assert torch.equal(transform(picture), create_transform(**config)(picture.convert("L")))


def test_mean_and_std_follow_the_channels() -> None:
    own: dict[str, Any] = {"mean": (0.1, 0.2, 0.6), "std": (0.2, 0.3, 0.4)}
    assert make_transform(in_chans=3, **own).mean == (0.1, 0.2, 0.6)
    assert make_transform(in_chans=1, **own).mean == pytest.approx((0.3,))
    assert make_transform(in_chans=5, **own).mean == pytest.approx((0.3,) * 5)
    assert make_transform(in_chans=5, **own).std == pytest.approx((0.3,) * 5)
    assert make_transform(in_chans=3, mean=(0.5,), std=(0.25,)).std == (0.25, 0.25, 0.25)


def test_a_batch_is_its_pictures_bit_for_bit() -> None:
    transform = make_transform((24, 20), crop_pct=0.9)
    pictures = [Image.fromarray(pixels(*size)) for size in ((41, 29), (20, 60), (24, 20))]
    cropped = [transform.cropped(picture) for picture in pictures]
    assert torch.equal(transform.normalised(np.stack(cropped)), transform.batch(pictures))


# Input forms


def test_every_form_of_one_picture_is_the_same(picture: Image.Image, tmp_path: Path) -> None:
    transform = make_transform((24, 20), crop_pct=0.9)
    expected = transform(picture)
    assert (expected.shape, expected.dtype) == ((3, 24, 20), torch.float32)
    path = tmp_path / "picture.png"
    picture.save(path)
    array = np.array(picture)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    alpha = np.dstack([array, np.full(array.shape[:2], 7, np.uint8)])
    for form in (path, str(path), array, tensor, alpha, array[:, ::-1][:, ::-1]):
        assert torch.equal(transform(form), expected)


def test_grey_arrays(picture: Image.Image) -> None:
    grey = np.array(picture.convert("L"))
    for in_chans in (1, 3):
        transform = make_transform((24, 20), in_chans)
        expected = transform(picture.convert("L"))
        for form in (grey, grey[..., None], torch.from_numpy(grey)[None]):
            assert torch.equal(transform(form), expected)
        floats = grey.astype(np.float64) / 255
        for form in (floats, floats[..., None], torch.from_numpy(floats)[None], (grey.astype(np.uint16) * 257)):
            assert torch.allclose(transform(form), expected, atol=1.2 / 255 / 0.22)


@pytest.mark.parametrize("in_chans", [1, 3])
@pytest.mark.parametrize("interpolation", [BICUBIC, BILINEAR])
def test_floats_and_16_bit_agree_with_8_bit(interpolation: Interpolation, in_chans: int) -> None:
    array = pixels(200, 150, 4)
    # mean 0 and std 1, so that the tolerance is in pixel values; 8-bit resizing rounds twice
    transform = make_transform((96, 64), in_chans, interpolation=interpolation, mean=(0.0,), std=(1.0,))
    expected = transform(array)
    tensor = torch.from_numpy(array / 255).permute(2, 0, 1)
    for form in (
        array / 255,
        (array / 255).astype(np.float16),
        array.astype(np.uint16) * 257,
        tensor,
        tensor.bfloat16(),
    ):
        atol = (1.5 if getattr(form, "dtype", None) != torch.bfloat16 else 3) / 255
        assert torch.allclose(transform(form), expected, atol=atol)
    assert torch.equal(
        transform(array.astype(np.uint16) * 257), transform((array / np.float32(255)).astype(np.float32))
    )


@pytest.mark.parametrize("interpolation", [BICUBIC, BILINEAR])
def test_float_channels_equal_torch_interpolate(interpolation: Interpolation) -> None:
    # black and white, so that bicubic overshoots and has to be clipped
    array = (np.random.default_rng(0).random((50, 70, 5)) > 0.5).astype(np.float32)
    transform = make_transform((32, 90), 5, crop_mode="squash", interpolation=interpolation, mean=(0.0,), std=(1.0,))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(array).permute(2, 0, 1)[None], (32, 90), mode=str(interpolation), antialias=True
    )
    assert torch.allclose(transform(array), expected[0].clamp(0, 1), atol=1e-5)


@pytest.mark.parametrize("in_chans", [2, 4, 5])
def test_any_number_of_channels_goes_channel_by_channel(in_chans: int) -> None:
    array = pixels(60, 50, in_chans)
    mean, std = tuple(0.1 * (c + 1) for c in range(in_chans)), tuple(0.2 + 0.1 * c for c in range(in_chans))
    found = make_transform((32, 32), in_chans, crop_pct=0.9, mean=mean, std=std)(array)
    for channel in range(in_chans):
        alone = make_transform(
            (32, 32), 1, crop_pct=0.9, mean=mean[channel : channel + 1], std=std[channel : channel + 1]
        )
        assert torch.equal(found[channel], alone(array[..., channel])[0])


def test_the_callers_picture_is_left_alone() -> None:
    array = np.random.default_rng(0).random((20, 30, 3), dtype=np.float32)
    copy, tensor = array.copy(), torch.rand(3, 20, 30, requires_grad=True)
    before = tensor.detach().clone()
    transform = make_transform((20, 30))  # the same size: nothing is resized
    found = transform(array)
    assert np.array_equal(array, copy)
    assert not transform(tensor).requires_grad
    assert torch.equal(tensor, before)
    assert torch.allclose(found[0], (torch.from_numpy(array)[..., 0] - 0.485) / 0.229)
    picture = Image.fromarray(pixels(20, 20)).convert("P")
    picture.info["transparency"] = bytes(range(256))
    transform(picture)
    assert (picture.mode, "transparency" in picture.info) == ("P", True)


# Files of every mode


def save(picture: Image.Image, path: Path, **options: Any) -> Path:
    picture.save(path, **options)
    return path


MODE_FILES: dict[str, Callable[[Image.Image, Path], Path]] = {
    "rgb": lambda p, at: save(p, at / "p.png"),
    "grey": lambda p, at: save(p.convert("L"), at / "p.jpg"),
    "1-bit": lambda p, at: save(p.convert("1"), at / "p.png"),
    "palette": lambda p, at: save(p.quantize(17), at / "p.png"),
    "palette with a transparent index": lambda p, at: save(p.quantize(17), at / "p.png", transparency=3),
    "palette with alpha": lambda p, at: save(p.quantize(17), at / "p.png", transparency=bytes(range(0, 255, 15))),
    "grey with a transparent value": lambda p, at: save(p.convert("L"), at / "p.png", transparency=100),
    "rgb with a transparent colour": lambda p, at: save(p, at / "p.png", transparency=(10, 20, 30)),
    "gif": lambda p, at: save(p.quantize(17), at / "p.gif", transparency=3),
    "RGBA": lambda p, at: save(Image.merge("RGBA", (*p.split(), p.convert("L"))), at / "p.png"),
    "LA": lambda p, at: save(Image.merge("LA", (p.convert("L"), p.split()[0])), at / "p.png"),
    "CMYK jpeg": lambda p, at: save(p.convert("CMYK"), at / "p.jpg"),
    "CMYK tiff": lambda p, at: save(p.convert("CMYK"), at / "p.tiff"),
    "YCbCr jpeg 2000": lambda p, at: save(p.convert("YCbCr"), at / "p.jp2"),
    "webp": lambda p, at: save(p, at / "p.webp"),
    "bmp": lambda p, at: save(p, at / "p.bmp"),
    "gif of two frames": lambda p, at: save(p, at / "p.gif", save_all=True, append_images=[p.rotate(180)]),
}


@pytest.mark.proves(
    claim="preprocessing of any picture: grey, CMYK, palette, alpha, EXIF",
    against="Pillow's `convert`",
    tolerance="bit for bit",
)
@pytest.mark.parametrize("in_chans", [1, 3])
@pytest.mark.parametrize("kind", MODE_FILES)
def test_load_image_equals_convert(kind: str, in_chans: int, picture: Image.Image, tmp_path: Path) -> None:
    path = MODE_FILES[kind](picture, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own about alpha in palettes
        with Image.open(path) as opened:
            expected = opened.convert("L" if in_chans == 1 else "RGB")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load_image(path, in_chans)
        with Image.open(path) as opened:
            again = load_image(opened, in_chans)
    assert found.mode == expected.mode
    assert found.tobytes() == again.tobytes() == expected.tobytes()
    transform = make_transform((16, 16), in_chans)
    assert torch.equal(transform(path), transform(expected))


SIXTEEN = np.array([[0, 128, 129, 255, 257], [30000, 32768, 65406, 65407, 65535]], dtype=np.uint16)
EIGHT = np.array([[0, 0, 1, 1, 1], [117, 128, 254, 255, 255]], dtype=np.uint8)


@pytest.mark.parametrize("name", ["p.png", "p.tiff", "p.pgm"])
def test_16_bit_files_are_scaled_and_not_clipped(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "p.pgm":
        path.write_bytes(b"P5 5 2 65535\n" + SIXTEEN.astype(">u2").tobytes())
    else:
        Image.fromarray(SIXTEEN).save(path)
    assert np.array_equal(np.array(load_image(path, 1)), EIGHT)
    assert np.array_equal(np.array(load_image(path)), EIGHT[..., None].repeat(3, -1))
    with Image.open(path) as opened:
        assert opened.mode.startswith("I")
        # what is avoided: all from 255 on is white
        assert np.array(opened.convert("L")).tolist()[1] == [255] * 5


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L", "I"])
def test_16_bit_pictures_in_memory(mode: str) -> None:
    dtype = {"I;16B": ">u2", "I": "<i4"}.get(mode, "<u2")
    picture = Image.frombytes(mode, (5, 2), SIXTEEN.astype(dtype).tobytes())
    assert np.array_equal(np.array(load_image(picture, 1)), EIGHT)


def test_12_bit_tiff_is_scaled(tmp_path: Path) -> None:
    tags = {256: 4, 257: 1, 258: 12, 259: 1, 262: 1, 273: 8 + 2 + 9 * 12 + 4, 277: 1, 278: 1, 279: 6}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    data = bytes.fromhex("000fff800400")  # 0, 4095, 2048, 1024
    path = tmp_path / "p.tiff"
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0) + data)
    assert np.array(load_image(path, 1)).tolist() == [[0, 255, 128, 64]]


UPRIGHT: dict[int, Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]] = {  # EXIF 2.3, section 4.6.4 A
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff", "webp"])
def test_exif_orientation_is_applied(orientation: int, suffix: str, picture: Image.Image, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(picture, tmp_path / f"p.{suffix}", exif=exif)
    with Image.open(path) as opened:
        # Pillow turns TIFF by itself, so what was stored cannot be read back from it
        stored = opened.convert("RGB") if suffix in ("jpg", "webp") else picture
        found = load_image(opened)
    assert np.array_equal(np.array(found), UPRIGHT[orientation](np.array(stored)))
    assert load_image(path).tobytes() == found.tobytes()
    assert load_image(found).tobytes() == found.tobytes()  # not turned twice
    assert load_image(path, 1).tobytes() == found.convert("L").tobytes()


def test_an_array_gives_timms_pixels_of_a_turned_picture(picture: Image.Image, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(picture, tmp_path / "p.png", exif=exif)
    transform = make_transform((16, 24))
    with Image.open(path) as opened:
        lying = opened.convert("RGB")
    expected = timm_transform(transform)(lying)
    assert torch.equal(transform(np.asarray(lying)), expected)
    assert torch.equal(transform(lying), transform(path))
    assert not torch.allclose(transform(path), expected, atol=1e-2)


def test_exif_orientation_of_a_16_bit_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(Image.fromarray(SIXTEEN), tmp_path / "p.png", exif=exif)
    assert np.array_equal(np.array(load_image(path, 1)), np.rot90(EIGHT, -1))


def test_damaged_exif_is_a_warning_and_the_picture_is_used(picture: Image.Image, tmp_path: Path) -> None:
    path = save(picture, tmp_path / "p.png", exif=b"Exif\0\0this is no TIFF header")
    with pytest.warns(UserWarning, match=r"p\.png': its EXIF block cannot be read"):
        found = load_image(path)
    assert found.tobytes() == picture.tobytes()


# Errors


def truncated(path: Path, picture: Image.Image) -> None:
    picture.save(path)
    path.write_bytes(path.read_bytes()[:-300])


def recording(opened: list[Any]) -> Callable[..., Any]:
    """An `open` that keeps the files it opens."""
    real_open = builtins.open

    def recording_open(*args: Any, **options: Any) -> Any:
        opened.append(real_open(*args, **options))
        return opened[-1]

    return recording_open


BAD_FILES: dict[str, tuple[Callable[[Path, Image.Image], object], str]] = {
    "missing": (lambda path, _: None, "no such file"),
    "folder": (lambda path, _: path.mkdir(), "found a folder"),
    "text": (lambda path, _: path.write_text("hello"), "found a text file; check that it is whole"),
    "empty": (lambda path, _: path.write_bytes(b""), "found an empty file"),
    "truncated": (truncated, "truncated"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files(kind: str, picture: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, message = BAD_FILES[kind]
    path = tmp_path / "p.jpg"
    make(path, picture)
    opened: list[Any] = []
    monkeypatch.setattr(builtins, "open", recording(opened))
    for load in (load_image, make_transform()):
        with pytest.raises(ImageError, match=message) as error:
            load(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
        assert error.value.__cause__ is None
        assert error.value.__suppress_context__
    assert all(file.closed for file in opened)
    assert bool(opened) == (kind not in ("missing", "folder"))


def test_good_files_are_closed(picture: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [save(picture, tmp_path / name) for name in ("p.png", "p.gif", "p.tiff", "p.webp")]
    opened: list[Any] = []
    monkeypatch.setattr(builtins, "open", recording(opened))
    for path in paths:
        load_image(path).resize((3, 3))
    assert len(opened) >= 4
    assert all(file.closed for file in opened)


def test_decompression_bomb(picture: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(picture, tmp_path / "p.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError, match="bomb") as error:
        load_image(path)
    assert str(path) in str(error.value)


def test_a_picture_whose_resize_would_not_fit_in_memory() -> None:
    with pytest.raises(ImageError, match="224x22400000 it would not fit in memory"):
        make_transform((224, 224))(Image.new("RGB", (100_000, 1)))


def test_damaged_bytes_never_show_a_pillow_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "damaged"
    small = Image.fromarray(pixels(31, 24))
    messages: list[str] = []
    for kind in ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP", "PPM", "DDS", "SGI"):
        file = io.BytesIO()
        small.save(file, kind, **({"exif": exif} if kind in ("PNG", "JPEG", "WEBP") else {}))
        for _ in range(60):
            data = bytearray(file.getvalue())
            for place in rng.integers(0, min(len(data), 200), 3):
                data[place] = rng.integers(256)
            path.write_bytes(data)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    load_image(path)
            except ImageError as error:
                messages.append(str(error))
    assert len(messages) > 50
    assert all("damaged" in message and "\n" not in message for message in messages)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((3, 20, 20), np.uint8), "expected 3 channels, found 20"),
        (np.zeros((20, 20, 2), np.uint8), "expected 3 channels, found 2"),
        (np.zeros((1, 3, 20, 20), np.uint8), "ndarray of shape (1, 3, 20, 20): expected (height, width)"),
        (np.zeros((20, 20, 3), np.int64), "found int64"),
        (np.zeros((20, 20, 3), bool), "found bool"),
        (np.full((20, 20, 3), 200.0), "floats in 0..1, found 200..200"),
        (np.full((20, 20, 3), -0.5), "floats in 0..1, found -0.5..-0.5"),
        (np.full((20, 20, 3), np.nan), "floats in 0..1, found nan..nan"),
        (np.zeros((0, 20, 3), np.uint8), "at least one pixel"),
        (np.zeros((20, 20, 0), np.uint8), "at least one pixel"),
        (torch.zeros(20, 20), "Tensor of shape (20, 20): expected (channels, height, width)"),
        (torch.zeros(20, 20, 3), "Tensor of shape (20, 20, 3): expected 3 channels, found 20"),
        (torch.zeros(3, 20, 20, dtype=torch.int32), "found int32"),
        (torch.full((3, 20, 20), 255.0), "floats in 0..1"),
        (Image.new("RGB", (0, 5)), "RGB picture': expected at least one pixel, found 5x0"),
        (
            Image.new("F", (5, 5), 7.0),
            "expected floats in 0..1, found 7..7; scale them, or say which value is white: white=7",
        ),
        (
            Image.new("I", (5, 5), 70000),
            "values in 0..65535, found 70000..70000; scale them, or say which value is white: white=70000",
        ),
        (
            Image.new("I", (5, 5), -1),
            "values in 0..65535, found -1..-1; scale them, or say which value is white: black=-1 and white=0, or more",
        ),
        ("a\0b", "null byte"),
        ([1, 2], "expected a PIL picture, a path, an array or a tensor, found list"),
        (None, "found NoneType"),
    ],
)
def test_bad_pictures(image: Any, message: str) -> None:
    with pytest.raises(ImageError, match=re.escape(message)) as error:
        make_transform()(image)
    assert "\n" not in str(error.value)


def test_files_for_a_model_of_five_channels(picture: Image.Image) -> None:
    with pytest.raises(ImageError, match=r"expected 5 channels, found 3 in \(29, 41, 3\)"):
        make_transform(in_chans=5)(picture)


# The transform as an object


def test_it_follows_the_built_model() -> None:
    first, second = make_transform((32, 32)), make_transform((48, 16), 1)
    assert (first.size, first.in_chans, second.size, second.in_chans) == ((32, 32), 3, (48, 16), 1)
    with pytest.raises(AttributeError):
        first.size = (1, 1)  # type: ignore[misc]


def test_repr_shows_the_steps() -> None:
    text = repr(make_transform((224, 224), crop_pct=0.875))
    assert text.splitlines() == [
        "Transform(",
        "  load: upright, 8 bit RGB",
        "  resize: shorter side to 256, bicubic",
        "  crop: centre 224x224",
        "  normalise: 0..1, mean (0.485, 0.456, 0.406), std (0.229, 0.224, 0.225)",
        ")",
    ]
    assert "smallest that covers 96x160, bilinear" in repr(make_transform((96, 160), interpolation="bilinear"))
    assert "96x160, aspect ratio not kept" in repr(make_transform((96, 160), crop_mode="squash"))
    assert "array or tensor" in repr(make_transform(in_chans=5))


def test_batch(picture: Image.Image) -> None:
    transform = make_transform((16, 24))
    other = pixels(50, 20)
    found = transform.batch(form for form in (picture, other))
    assert torch.equal(found, torch.stack([transform(picture), transform(other)]))
    assert transform.batch([]).shape == (0, 3, 16, 24)


def test_pickle(picture: Image.Image) -> None:
    transform = make_transform((16, 24), crop_mode="squash", crop_pct=0.9)
    again = pickle.loads(pickle.dumps(transform))
    assert again == transform
    assert hash(again) == hash(transform)
    assert torch.equal(again(picture), transform(picture))


class Files(torch.utils.data.Dataset[torch.Tensor]):
    def __init__(self, paths: list[Path], transform: Transform) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(self.paths[index])


def test_in_a_data_loader(tmp_path: Path) -> None:
    paths = [save(Image.fromarray(pixels(30 + i, 20)), tmp_path / f"{i}.png") for i in range(4)]
    transform = make_transform((16, 16))
    found = torch.cat(list(DataLoader(Files(paths, transform), batch_size=2, num_workers=2)))
    assert torch.equal(found, transform.batch(paths))


def test_importing_it_imports_neither_torchvision_nor_timm() -> None:
    code = "import sys, vitzoo.images.transform; print([m for m in ('torchvision', 'timm') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
