"""`convert` and `verify`: every way between layouts and back, what they report, and what they refuse."""

import json
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import vitzoo
from vitzoo import ViT
from vitzoo.cli import main
from vitzoo.errors import LayoutError, SpecError, WeightsError
from vitzoo.files.read import open_tensors
from vitzoo.spec import Origin

SPEC = tiny.spec(hidden_dim=48, mlp_dim=96)
LABELS = ("ant", "bee", "cat", "dog", "eel")
# Layouts that can hold the plain ViT; Google's code computes the tanh form of GELU.
PLAIN = ("vitzoo", "timm", "huggingface", "torchvision", "dino", "mae", "deit")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tiny.randomise(ViT(SPEC))
    model.about = model.about.replace(labels=LABELS, license="apache-2.0", origin=Origin(note="a test"))
    return vitzoo.save(model, tmp_path_factory.mktemp("source") / "model")


def tensors(path: Path) -> dict[str, Tensor]:
    file = open_tensors(path)
    return {key: file.read(key) for key in file.shapes}


def same_bits(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) and a[key].dtype == b[key].dtype for key in a)


@pytest.mark.proves(
    layout=("vitzoo", "timm", "hf_vit", "torchvision", "dino", "mae", "deit"),
    against="native files, after `convert` there and back",
    tolerance="bit for bit",
)
@pytest.mark.parametrize("layout", PLAIN)
def test_there_and_back(source: Path, tmp_path: Path, layout: str) -> None:
    there = vitzoo.convert(source, tmp_path / "there", layout)
    like = {name: getattr(SPEC, name) for name in ("num_heads", "norm_eps", "act", "pool", "pool_prefix", "block")}
    fields = {} if layout in ("vitzoo", "timm", "huggingface") else like
    back = vitzoo.convert(there.target, tmp_path / "back", "vitzoo", source_layout=layout, **fields)
    assert same_bits(tensors(source), tensors(Path(back.target)))
    assert there.used == len(tensors(source)) - len(there.dropped)
    assert {row.target for row in there.rows} == set(tensors(Path(there.target)))
    assert sorted(there.sha256) == sorted({str(source), *(p for p in there.sha256 if p != str(source))})
    assert all(len(digest) == 64 for digest in there.sha256.values())


@pytest.mark.proves(
    layout=("google", "google_linen"), against="native files, after `convert` there and back", tolerance="bit for bit"
)
@pytest.mark.parametrize("layout", ["google", "google_linen"])
def test_there_and_back_with_the_activation_of_flax(source: Path, tmp_path: Path, layout: str) -> None:
    with pytest.raises(LayoutError, match=r"act is gelu, and layout '.*' has act gelu_tanh"):
        vitzoo.convert(source, tmp_path / "there", layout)
    there = vitzoo.convert(source, tmp_path / "there", layout, drop=["act"])
    assert there.target.endswith(".npz")
    back = vitzoo.convert(there.target, tmp_path / "back", "vitzoo", source_layout=layout, num_heads=3)
    assert same_bits(tensors(source), tensors(Path(back.target)))
    assert vitzoo.create(back.target).spec.act == "gelu_tanh"


@pytest.mark.parametrize("layout", ["big_vision", "big_vision_scan"])
def test_a_slot_for_the_class_token_is_not_dropped_with_the_activation(
    source: Path, tmp_path: Path, layout: str
) -> None:
    with pytest.raises(LayoutError, match=r"act is gelu, and layout '.*' has act gelu_tanh"):
        vitzoo.convert(source, tmp_path / "there", layout)
    with pytest.raises(LayoutError, match="pos_prefix is cls"):
        vitzoo.convert(source, tmp_path / "there", layout, drop=["act"])


def test_meaning_goes_with_the_tensors(source: Path, tmp_path: Path) -> None:
    vitzoo.convert(source, tmp_path / "hf", "huggingface")
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["id2label"] == {str(i): name for i, name in enumerate(LABELS)}
    again = vitzoo.create(tmp_path / "hf")
    assert again.labels == LABELS
    assert again.spec == SPEC


def test_dtype_shards_and_the_report(source: Path, tmp_path: Path) -> None:
    report = vitzoo.convert(source, tmp_path / "half", "timm", dtype=torch.bfloat16, shard_size=40_000)
    index = json.loads((tmp_path / "half" / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1
    assert all(t.dtype is torch.bfloat16 for t in tensors(tmp_path / "half").values())
    text = str(report)
    assert "100 % accounted for" in text
    rows = {row.target: row for row in report.rows}
    assert rows["pos_embed"].source == ("pos_embed.prefix", "pos_embed.grid")
    assert rows["pos_embed"].shape == (1, 17, 48)
    assert json.loads(json.dumps(report.to_dict()))["source_layout"] == "vitzoo"


def test_what_is_dropped_is_named(tmp_path: Path) -> None:
    model = tiny.randomise(ViT(SPEC.replace(reg_tokens=4)))
    path = vitzoo.save(model, tmp_path / "registers")
    with pytest.raises(LayoutError, match=r"reg_tokens is 4, and layout 'torchvision' has reg_tokens 0"):
        vitzoo.convert(path, tmp_path / "tv.pth", "torchvision")
    assert not (tmp_path / "tv.pth").exists()
    report = vitzoo.convert(path, tmp_path / "tv.pth", "torchvision", drop=["reg_tokens"])
    assert report.dropped == {"reg_tokens": "left out on purpose: reg_tokens"}
    with pytest.raises(LayoutError, match="there is no need to drop 'depth'"):
        vitzoo.convert(path, tmp_path / "tv2.pth", "torchvision", drop=["reg_tokens", "depth"])


def test_refusals(source: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="converting does not change a model, and num_classes would"):
        vitzoo.convert(source, tmp_path / "x", "timm", num_classes=3)
    with pytest.raises(LayoutError, match="unknown layout 'keras'"):
        vitzoo.convert(source, tmp_path / "x", "keras")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(WeightsError, match="is not empty"):
        vitzoo.convert(source, tmp_path / "full", "timm")
    assert [p.name for p in tmp_path.iterdir()] == ["full"]


@pytest.mark.parametrize("peer", ["timm", "huggingface", "torchvision"])
def test_verify_against_the_library_itself(source: Path, peer: str) -> None:
    result = vitzoo.verify(source, peer)
    assert result.equal
    assert {row.output for row in result.rows} >= {"logits"}
    sizes = {row.size for row in result.rows}
    assert sizes == ({(32, 32)} if peer == "torchvision" else {(32, 32), (48, 48), (40, 56)})
    assert ("takes 32x32 alone" in str(result)) == (peer == "torchvision")


def test_verify_computes_in_full_precision_on_both_sides(tmp_path: Path) -> None:
    """The bundled weights are stored in half precision, in which transformers would compute as well."""
    folder = vitzoo.convert("vit_nano4.cifar10", tmp_path / "half", "huggingface").target
    assert {t.dtype for t in tensors(Path(folder)).values()} == {torch.float16}
    assert vitzoo.verify(folder).equal


def test_verify_reads_the_folder_of_the_library_itself(source: Path, tmp_path: Path) -> None:
    """What is compared is the file at hand: damage that our own export would hide has to show."""
    vitzoo.convert(source, tmp_path / "timm", "timm")
    assert vitzoo.verify(tmp_path / "timm").equal
    state = load_file(tmp_path / "timm" / "model.safetensors")
    state["blocks.0.norm1.weight"], state["blocks.0.norm2.weight"] = (
        state["blocks.0.norm2.weight"],
        state["blocks.0.norm1.weight"],
    )
    result = vitzoo.verify(source, _native(tmp_path, state))
    assert not result.equal
    assert "DIFFERENT" in str(result)


def _native(folder: Path, state: dict[str, Tensor]) -> Path:
    """timm tensors as a native file of the same architecture."""
    save_file(state, folder / "swapped.safetensors", {"format": "pt"})
    hidden = {name: getattr(SPEC, name) for name in ("num_heads", "norm_eps", "act", "pool", "pool_prefix", "block")}
    model = vitzoo.create(folder / "swapped.safetensors", layout="timm", **hidden)
    return vitzoo.save(model, folder / "native")


def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object
) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["vitzoo", *map(str, arguments)])
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_command_line(source: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    code, out, err = run(capsys, monkeypatch, "convert", source, tmp_path / "timm", "--layout", "timm", "--tensors")
    assert code == 0
    assert "100 % accounted for" in out
    assert "1x17x48" in out
    code, out, _ = run(capsys, monkeypatch, "verify", tmp_path / "timm", "--json")
    assert (code, json.loads(out)["equal"]) == (0, True)
    code, out, _ = run(capsys, monkeypatch, "verify", source, "vit_nano4.cifar10", "--img-size", "32x32")
    assert code == 2 or "DIFFERENT" in out
    code, out, err = run(capsys, monkeypatch, "info", tmp_path / "timm")
    assert "layout timm" in out
    for arguments, message in (
        (["convert", source, tmp_path / "y", "--layout", "torchvision", "--shard-size", "much"], "a size is a number"),
        (["convert", source, tmp_path / "y", "--layout", "timm", "--set", "depth"], "--set takes FIELD=VALUE"),
        (["convert", source, tmp_path / "y", "--layout", "timm", "--dtype", "int8"], "unknown dtype 'int8'"),
        (["verify", source, "--img-size", "big"], "a size is a number of pixels or HEIGHTxWIDTH"),
        (["convert", tmp_path / "none.pth", tmp_path / "y", "--layout", "timm"], "no weights file at"),
    ):
        code, out, err = run(capsys, monkeypatch, *arguments)
        assert (code, out) == (2, "")
        assert message in err
        assert len(err.strip().splitlines()) == 1


def test_an_unknown_layout_is_said_before_anything_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitzoo.checkpoints.convert.identified", lambda *_, **__: pytest.fail("the source was read"))
    with pytest.raises(LayoutError, match="unknown layout 'keras'"):
        vitzoo.convert("vit_b16", tmp_path / "out", "keras")
