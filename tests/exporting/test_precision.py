"""Numbers below float32: what they are fitted to, and what is said of them before and after."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

import vitzoo
from vitzoo import ViT
from vitzoo.engines.record import Precision
from vitzoo.errors import ExportError
from vitzoo.exporting import machine, precision
from vitzoo.spec import About, Resample


@pytest.fixture(scope="module")
def model() -> ViT:
    return tiny.randomise(ViT(tiny.spec(num_classes=3), About(resample=Resample.TIMM)))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    for number in range(12):
        Image.fromarray(draw.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG")
    return folder


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_int8_is_fitted_to_pictures_and_tried_on_others(
    model: ViT, pictures: Path, tmp_path: Path, suffix: str
) -> None:
    found = vitzoo.export(
        model, tmp_path / f"a{suffix}", precision="int8", sizes="batch", calibrate=pictures, force=True
    )
    record = found.record
    assert (record.calibration, record.held_out) == (f"9 pictures of {pictures.name}", 3)
    assert record.agreement is not None
    assert record.time is not None
    assert 1e-4 < record.difference < record.tolerance
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        ours, theirs = model(x), vitzoo.create(found.path)(x)
    assert 1e-4 < (ours - theirs).abs().max() < 0.5 * ours.abs().max()


def test_a_graph_of_int8_holds_int8(model: ViT, tmp_path: Path) -> None:
    import onnx

    vitzoo.export(model, path := tmp_path / "a.onnx", precision="int8_weights", sizes="batch", force=True)
    kinds = {one.data_type for one in onnx.load(path).graph.initializer}
    assert kinds & {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}


@pytest.mark.follows("int8 is fitted to pictures like those that it will see")
def test_int8_asks_for_pictures(model: ViT, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="name some with calibrate='FOLDER'"):
        vitzoo.export(model, tmp_path / "a.xml", precision="int8")
    few = tmp_path / "few"
    few.mkdir()
    (few / "0.png").write_bytes((pictures / "0.png").read_bytes())
    with pytest.raises(ExportError, match="has 1 pictures that can be read; calibrate with 8 at least"):
        vitzoo.export(model, tmp_path / "a.xml", precision="int8", calibrate=few, force=True)


@pytest.mark.follows(" has no instructions for ")
def test_a_processor_without_instructions_is_said_before(
    model: ViT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "processor", lambda: machine.Processor("Old 1", frozenset({"avx2"})))
    with pytest.raises(ExportError, match=r"Old 1 has no instructions for bf16 \(.*avx512_bf16.*force=True"):
        vitzoo.export(model, tmp_path / "a.pt2", precision="bf16", sizes="fixed")
    assert not list(tmp_path.iterdir())
    vitzoo.export(model, tmp_path / "a.pt2", precision="bf16", sizes="fixed", force=True)
    assert machine.Processor("x", None).lacks(Precision.BF16) == frozenset()
    assert machine.Processor("x", frozenset({"amx_bf16"})).lacks(Precision.BF16) == frozenset()


@pytest.mark.follows(" times as long as fp32 with ")
def test_what_is_slower_is_not_written(model: ViT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "processor", lambda: machine.Processor("Slow 1", None))
    monkeypatch.setattr("vitzoo.exporting.write.time_beside", lambda *_: 1.5)
    with pytest.raises(ExportError, match=r"1.50 times as long as fp32 with torch_export on Slow 1.*force=True"):
        vitzoo.export(model, tmp_path / "a.pt2", precision="bf16", sizes="fixed")
    assert not list(tmp_path.iterdir())
    found = vitzoo.export(model, tmp_path / "a.pt2", precision="bf16", sizes="fixed", force=True)
    assert found.record.time == 1.5


def test_times_are_of_the_one_that_was_asked_of() -> None:
    import time

    slow = precision.time_beside(lambda x: [time.sleep(0.004)], lambda x: [time.sleep(0.001)], torch.zeros(1))  # type: ignore[func-returns-value,list-item]
    assert slow > 1.5
