"""Exported files: the model's numbers at every size, and models for every command."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from click.testing import CliRunner

import vitzoo
from vitzoo import ViT
from vitzoo.cli import command_line
from vitzoo.engines.exported import Exported
from vitzoo.engines.record import Compared
from vitzoo.errors import ExportError, SpecError, VitzooError, WeightsError
from vitzoo.exporting import proof
from vitzoo.spec import About, Resample

CAT = Path(__file__).parents[2] / "examples" / "cat.png"
LABELS = tuple("abcde")
SIZES = ((32, 32), (40, 56), (48, 24))


@pytest.fixture(scope="module")
def model() -> ViT:
    return tiny.randomise(ViT(tiny.spec(), About(resample=Resample.TIMM, labels=LABELS, license="mit")))


@pytest.fixture(scope="module", params=[".onnx", ".pt2", ".xml"])
def file(request: pytest.FixtureRequest, model: ViT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With features, of any size."""
    path = tmp_path_factory.mktemp("graphs") / f"tiny{request.param}"
    vitzoo.export(model, path, features=True)
    return path


@pytest.fixture(scope="module")
def fixed(model: ViT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OpenVINO's, of one size, without features."""
    path = tmp_path_factory.mktemp("fixed") / "tiny.xml"
    vitzoo.export(model, path, sizes="fixed")
    return path


def graph_of(path: Path, **options: object) -> Exported:
    found = vitzoo.create(path, **options)
    assert isinstance(found, Exported)
    return found


@torch.no_grad()
def test_an_exported_file_gives_the_models_numbers_at_every_size(file: Path, model: ViT) -> None:
    found = graph_of(file)
    for size in SIZES:
        x = torch.randn(3, 3, *size)
        torch.testing.assert_close(found(x), model(x), atol=1e-5, rtol=1e-5)
        tokens, ours = found.tokens(x), model.tokens(x)
        assert tokens.grid == ours.grid
        torch.testing.assert_close(tokens.cls, ours.cls, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(tokens.patches, ours.patches, atol=1e-5, rtol=1e-5)
        pooled = found.forward_head(found.forward_features(x), pre_logits=True)
        expected = model.forward_head(model.forward_features(x), pre_logits=True)
        torch.testing.assert_close(pooled, expected, atol=1e-5, rtol=1e-5)


def test_it_says_what_it_is(file: Path, model: ViT) -> None:
    found = graph_of(file)
    assert (found.spec, found.labels, found.license) == (model.spec, LABELS, "mit")
    assert found.about.preprocessing == model.about.preprocessing
    assert "largest difference" in str(found.load_report)
    record = found.record
    assert len({(row.batch, row.size) for row in record.verified}) == 5
    assert {row.output for row in record.verified} == {"logits", "tokens", "pooled"}
    assert 0 <= record.difference <= 1e-5
    assert "torch" in record.versions


def test_a_fixed_graph_takes_pictures_one_by_one(fixed: Path, model: ViT) -> None:
    x = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(graph_of(fixed)(x), model(x), atol=1e-5, rtol=1e-5)


def test_every_command_takes_it(file: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> str:
        words = [str(one) for one in arguments]
        result = CliRunner().invoke(command_line(words), words, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    (guess,) = json.loads(run("classify", CAT, "-m", file, "-k", 1, "--json"))["results"]
    assert guess["classes"][0]["label"] in LABELS
    assert "largest difference" in run("info", file)
    run("embed", file, CAT.parent, tmp_path / "vectors", "--num-workers", 0)
    for name in LABELS:
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "cat.png").symlink_to(CAT)
    assert "accuracy" in run("evaluate", file, tmp_path / "data", "--num-workers", 0).lower()


def test_verify_compares_it_with_the_model(file: Path, model: ViT, tmp_path: Path) -> None:
    own = vitzoo.save(model, tmp_path / "own.safetensors")
    found = vitzoo.verify(own, file)
    assert found.equal
    assert found.tolerance == graph_of(file).record.tolerance
    assert {row.output for row in found.rows} == {"logits", "tokens", "pooled"}
    other = vitzoo.save(tiny.randomise(ViT(model.spec, model.about), seed=1), tmp_path / "other.safetensors")
    assert not vitzoo.verify(other, file).equal


def test_a_fixed_graph_is_compared_at_its_size(fixed: Path, model: ViT, tmp_path: Path) -> None:
    found = vitzoo.verify(vitzoo.save(model, tmp_path / "own.safetensors"), fixed)
    assert found.equal
    assert {row.size for row in found.rows} == {(32, 32)}
    assert any("takes 32x32 alone" in line for line in found.skipped)


@pytest.mark.follows("is an exported graph, which stands second")
def test_it_stands_second_in_verify(file: Path, model: ViT, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="which stands second"):
        vitzoo.verify(file)
    assert vitzoo.verify(vitzoo.save(model, tmp_path / "own.safetensors"), file).equal


# What it cannot do.


@pytest.mark.follows("cannot be changed any more; leave it out")
def test_what_is_in_a_graph_is_not_changed(file: Path) -> None:
    for options in ({"num_classes": 3}, {"in_chans": 1}, {"layout": "timm"}, {"depth": 1}):
        with pytest.raises(SpecError, match=f"{next(iter(options))} cannot be changed"):
            vitzoo.create(file, **options)  # type: ignore[arg-type]
    graph_of(file)


def test_it_has_no_tensors_to_save_or_train(file: Path, tmp_path: Path) -> None:
    with pytest.raises(VitzooError, match="no tensors to save or train; create the model"):
        vitzoo.save(graph_of(file), tmp_path / "again.safetensors")  # type: ignore[arg-type]
    with pytest.raises(VitzooError, match="has no 'blocks'; create the model"):
        graph_of(file).blocks  # noqa: B018
    with pytest.raises(SpecError, match="an exported graph already"):
        vitzoo.export(file, tmp_path / "again.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.follows("alone, found ")
@pytest.mark.follows("; leave img_size out, or export the model again with ")
def test_a_fixed_size_is_fixed(fixed: Path, model: ViT, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"32x32 alone, found 64x64.*vitzoo export --sizes any"):
        vitzoo.create(fixed, img_size=64)
    with pytest.raises(SpecError, match="32x32 alone, found 40x40"):
        graph_of(fixed)(torch.zeros(1, 3, 40, 40))
    graph_of(fixed, img_size=32)
    vitzoo.export(model, tmp_path / "any.pt2", sizes="any")
    assert graph_of(tmp_path / "any.pt2", img_size=64).spec.img_size == (64, 64)


def test_pictures_that_patches_do_not_divide_are_refused(file: Path) -> None:
    with pytest.raises(SpecError, match="not divisible by patch_size"):
        graph_of(file)(torch.zeros(1, 3, 36, 40))
    with pytest.raises(SpecError, match="at least 2x2 patches"):
        graph_of(file)(torch.zeros(1, 3, 8, 40))
    with pytest.raises(SpecError, match=r"takes \(batch, 3, height, width\), found \[1, 1, 32, 32\]"):
        graph_of(file)(torch.zeros(1, 1, 32, 32))


@pytest.mark.follows("was exported without its features")
def test_features_are_asked_for(fixed: Path, file: Path) -> None:
    x = torch.zeros(1, 3, 32, 32)
    with pytest.raises(VitzooError, match=r"without its features.*vitzoo export --features"):
        graph_of(fixed).tokens(x)
    assert graph_of(file).tokens(x).cls is not None


@pytest.mark.follows("the very tokens that forward_features gave last")
def test_a_head_takes_no_other_tokens(file: Path) -> None:
    found, x = graph_of(file), torch.zeros(1, 3, 32, 32)
    first = found.forward_features(x)
    with pytest.raises(VitzooError, match="the very tokens"):
        found.forward_head(first.clone())
    assert found.forward_head(first).shape == (1, 5)


@pytest.mark.follows("runs on the CPU, and ")
@pytest.mark.follows("takes and gives float32, whatever it computes with")
def test_it_runs_on_the_cpu_in_float32(file: Path) -> None:
    with pytest.raises(SpecError, match="give device='cpu'"):
        vitzoo.create(file, device="cuda")
    with pytest.raises(SpecError, match="give dtype='float32'"):
        vitzoo.create(file, dtype=torch.float16)
    graph_of(file, device="cpu", dtype="float32")


# What nobody wrote, or somebody changed.


def test_a_strangers_graph_is_no_model(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", sides[:1], sides[1:])
    made = helper.make_model(graph, producer_name="x", opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    save(made, tmp_path / "x.onnx")
    with pytest.raises(WeightsError, match=r"vitzoo did not write.*vitzoo export MODEL OUT"):
        vitzoo.create(tmp_path / "x.onnx")


def test_it_is_found_however_create_is_called(file: Path) -> None:
    assert isinstance(vitzoo.create(model=file), Exported)
    with pytest.raises(SpecError, match="depth cannot be changed any more"):
        vitzoo.create(model=file, depth=3)


def test_the_name_does_not_count(file: Path, tmp_path: Path) -> None:
    if file.suffix == ".xml":
        pytest.skip("its .bin is found by its name")
    other = tmp_path / "model.bin"
    other.write_bytes(file.read_bytes())
    assert graph_of(other).spec.num_classes == 5


@pytest.mark.follows("is missing or is not the one that was written with it")
def test_both_files_of_openvino_belong_together(fixed: Path, model: ViT, tmp_path: Path) -> None:
    for name in ("tiny.xml", "tiny.bin"):
        (tmp_path / name).write_bytes((fixed.parent / name).read_bytes())
    content = bytearray((tmp_path / "tiny.bin").read_bytes())
    content[-40] ^= 1
    (tmp_path / "tiny.bin").write_bytes(content)
    with pytest.raises(WeightsError, match=r"tiny.bin is missing or is not the one.*export the model again"):
        vitzoo.create(tmp_path / "tiny.xml")
    vitzoo.export(model, tmp_path / "tiny.xml", sizes="fixed")
    graph_of(tmp_path / "tiny.xml")


def test_a_damaged_file_is_one_line(file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    for number, damaged in enumerate((content[: len(content) // 2], content[:100])):
        path = tmp_path / f"{number}{file.suffix}"
        path.write_bytes(damaged)
        with pytest.raises(VitzooError) as error:
            vitzoo.create(path)(torch.zeros(1, 3, 32, 32))
        assert "\n" not in str(error.value)


@pytest.mark.follows(" holds more than tensors, which could run code")
def test_a_program_with_pickled_objects_is_not_read(model: ViT, tmp_path: Path) -> None:
    vitzoo.export(model, path := tmp_path / "a.pt2", sizes="fixed")
    with zipfile.ZipFile(path) as good, zipfile.ZipFile(tmp_path / "bad.pt2", "w") as bad:
        for name in good.namelist():
            content = good.read(name)
            bad.writestr(name, content.replace(b'"use_pickle": false', b'"use_pickle": true'))
    with pytest.raises(WeightsError, match=r"could run code.*or export the model again"):
        vitzoo.create(tmp_path / "bad.pt2")
    vitzoo.export(model, tmp_path / "bad.pt2", sizes="fixed")
    graph_of(tmp_path / "bad.pt2")


# The proof.


def test_a_graph_with_other_numbers_is_not_written(model: ViT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = proof.difference
    monkeypatch.setattr(proof, "difference", lambda a, b: own(a + 0.01, b))
    with pytest.raises(ExportError, match=r"difference of .* in logits of . pictures of 32x32.*Nothing is written"):
        vitzoo.export(model, tmp_path / "a.pt2", sizes="batch")
    assert not list(tmp_path.iterdir())


@pytest.mark.follows("Nothing is written; choose another engine")
def test_another_policys_graph_is_not_written(model: ViT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a graph that was traced with the wrong policy is equal at its own size alone."""
    from vitzoo.exporting import write

    own = write.traced
    wrong = tiny.randomise(ViT(model.spec, About(resample=Resample.DINOV2)))
    with monkeypatch.context() as patch:
        patch.setattr(write, "traced", lambda vit, *rest: own(wrong, *rest))
        with pytest.raises(ExportError, match=r"which 2 of 5 comparisons keep. Nothing is written"):
            vitzoo.export(model, tmp_path / "a.pt2")
    assert not list(tmp_path.iterdir())
    vitzoo.export(model, tmp_path / "a.onnx")


def test_no_numbers_are_beyond_any_tolerance() -> None:
    ones = torch.ones(1, 5)
    for wrong in (torch.full((1, 5), torch.nan), torch.ones(1, 4)):
        row = Compared(batch=1, size=(32, 32), output="logits", difference=proof.difference(wrong, ones))
        with pytest.raises(ExportError, match="other shapes or no numbers"):
            proof.check([row], 0.5, "onnx", "fp32")


def test_pictures_of_the_proof_differ_and_have_the_models_channels() -> None:
    for channels in (1, 3, 5):
        spec = tiny.spec(in_chans=channels)
        x = proof.batch_of(spec, About(), (40, 56), 3, [CAT] if channels == 3 else [])
        assert x.shape == (3, channels, 40, 56)
        assert len({picture.numpy().tobytes() for picture in x}) == 3
        assert np.ptp(x.numpy()) > 1


@pytest.mark.follows("does not say what to export to")
@pytest.mark.follows("ONNX Runtime has no bfloat16", "engines/onnx_runtime.py")
def test_wrong_words_are_answered(model: ViT, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"'a.engine' does not say what to export to.*\.onnx \(onnx\)"):
        vitzoo.export(model, tmp_path / "a.engine")
    with pytest.raises(ExportError, match="unknown precision 'fp8'; give one of fp32"):
        vitzoo.export(model, tmp_path / "a.onnx", precision="fp8")
    with pytest.raises(ExportError, match="unknown sizes 'all'; give one of any, batch, fixed"):
        vitzoo.export(model, tmp_path / "a.onnx", sizes="all")
    with pytest.raises(ExportError, match=r"has no bf16: ONNX Runtime has no bfloat16.*pt2"):
        vitzoo.export(model, tmp_path / "a.onnx", precision="bf16")
    found = vitzoo.export(model, tmp_path / "a.pt2", precision="bf16", sizes="fixed", force=True)
    assert 1e-4 < found.record.difference < found.record.tolerance


def test_a_model_in_training_is_left_as_it_is(model: ViT, tmp_path: Path) -> None:
    other = tiny.randomise(ViT(model.spec, model.about)).train()
    vitzoo.export(other, tmp_path / "a.pt2", sizes="fixed")
    assert other.training
    assert graph_of(tmp_path / "a.pt2").record.difference < 1e-5
