"""What the errors of exporting and of exported files advise works."""

import importlib.metadata
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

import vitzoo
from vitzoo import ViT
from vitzoo.engines.exported import Exported
from vitzoo.errors import ExportError, SpecError, WeightsError
from vitzoo.extras import MissingExtra
from vitzoo.registry.recipes import load_recipe
from vitzoo.spec import About, Resample
from vitzoo.train.network import loaded


@pytest.fixture(scope="module")
def model() -> ViT:
    return tiny.randomise(ViT(tiny.spec(), About(resample=Resample.TIMM, license="mit")))


@pytest.fixture(scope="module")
def native(model: ViT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vitzoo.save(model, tmp_path_factory.mktemp("native") / "model")


@pytest.fixture(scope="module")
def file(model: ViT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graphs") / "tiny.pt2"
    vitzoo.export(model, path)
    return path


@pytest.mark.follows(" cannot read or run it: ")
def test_a_file_that_cannot_be_read_is_exported_again(model: ViT, file: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.pt2"
    with zipfile.ZipFile(file) as good, zipfile.ZipFile(path, "w") as bad:
        for name in good.namelist():
            bad.writestr(name, b"{}" if name.endswith("model.json") else good.read(name))
    with pytest.raises(WeightsError, match=r"cannot read or run it: .*; export the model again"):
        vitzoo.create(path)(torch.zeros(1, 3, 32, 32))
    vitzoo.export(model, path)
    assert isinstance(vitzoo.create(path), Exported)


@pytest.mark.follows("; prepare pictures with vitzoo.preprocess(model)")
@pytest.mark.follows(" takes pictures of at least ")
def test_pictures_are_prepared_and_large_enough(file: Path) -> None:
    found = vitzoo.create(file)
    picture = Image.fromarray(np.zeros((60, 50), np.uint8))
    with pytest.raises(SpecError, match=r"found .*; prepare pictures with vitzoo\.preprocess"):
        found(torch.zeros(60, 50))
    assert found(vitzoo.preprocess(found)(picture)[None]).shape == (1, 5)
    with pytest.raises(SpecError, match="at least 2x2 patches, found 8x8 pixels; give larger ones"):
        found(torch.zeros(1, 3, 8, 8))
    assert found(torch.zeros(1, 3, 16, 16)).shape == (1, 5)


@pytest.mark.follows(" is a graph and has no tensors to save or train")
@pytest.mark.follows(" is a graph and has no '")
@pytest.mark.follows(" is an exported graph already; give the model")
def test_what_a_graph_cannot_do_its_model_can(file: Path, native: Path, tmp_path: Path) -> None:
    found = vitzoo.create(file)
    for act in (found.state_dict, lambda: found.blocks, lambda: loaded(str(file), load_recipe("full"))):
        with pytest.raises(SpecError, match="create the model that it was exported from"):
            act()
    with pytest.raises(SpecError, match="give the model that it was exported from"):
        vitzoo.export(file, tmp_path / "b.pt2")
    whole = vitzoo.create(native)
    assert whole.state_dict()
    assert whole.blocks
    assert vitzoo.export(native, tmp_path / "b.pt2", sizes="fixed").bytes


@pytest.mark.follows(" that vitzoo did not write, and nothing says what it is")
def test_a_strangers_program_is_exported_by_vitzoo(model: ViT, tmp_path: Path) -> None:
    path = tmp_path / "x.pt2"
    torch.export.save(torch.export.export(torch.nn.ReLU(), (torch.zeros(1),)), path)
    with pytest.raises(WeightsError, match=r"vitzoo did not write.*vitzoo export MODEL OUT"):
        vitzoo.create(path)
    vitzoo.export(model, path, sizes="fixed")
    assert isinstance(vitzoo.create(path), Exported)


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_what_is_not_installed_is_said_before_a_model_is_read(
    missing: str, model: ViT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vitzoo.export(model, tmp_path / "a.onnx", sizes="fixed")
    version = importlib.metadata.version

    def asked(name: str) -> str:
        if name == missing:
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", asked)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtra, match=f'^{missing} is not installed, which this needs: pip install "nncf'):
        vitzoo.export("no/such/model", tmp_path / "b.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
    if missing == "onnxruntime":
        with pytest.raises(MissingExtra, match=r"^onnxruntime is not installed"):
            vitzoo.create(tmp_path / "a.onnx")


@pytest.mark.follows("'; give one of ", "exporting/write.py")
@pytest.mark.follows("; give another path")
@pytest.mark.follows(" pictures that can be read; calibrate with ")
def test_words_places_and_pictures(model: ViT, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="unknown sizes 'all'; give one of any, batch, fixed"):
        vitzoo.export(model, tmp_path / "a.pt2", sizes="all")
    with pytest.raises(ExportError, match=r"\.pt2 has no int8"):
        vitzoo.export(model, tmp_path / "a.pt2", precision="int8", calibrate=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match=r"cannot be written: .*; give another path"):
        vitzoo.export(model, tmp_path / "file" / "a.pt2", sizes="fixed")
    assert vitzoo.export(model, tmp_path / "a.pt2", sizes="fixed").path.is_file()
    folder = tmp_path / "pictures"
    folder.mkdir()
    for count in (3, 8):
        for number in range(count):
            Image.fromarray(np.full((40, 40, 3), 9 * number, np.uint8)).save(folder / f"{number}.png")
        if count < 8:
            with pytest.raises(ExportError, match="has 3 pictures that can be read; calibrate with 8 at least"):
                vitzoo.export(model, tmp_path / "a.onnx", precision="int8", calibrate=folder, force=True)
    from vitzoo.exporting.precision import calibration_of

    assert len(calibration_of(model, folder).fit) == 6
