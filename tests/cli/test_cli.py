"""The command line as a user meets it: answers, exit codes, and one clear line on bad input."""

import csv
import io
import json
from pathlib import Path

import pytest
from PIL import Image

import vitzoo

CAT = Path(__file__).parents[2] / "examples" / "cat.png"


def test_classify_names_the_cat(run) -> None:
    result = run("classify", "-m", "vit_nano4", CAT)
    assert result.code == 0
    assert result.out.splitlines()[0] == str(CAT)
    assert result.out.splitlines()[1].endswith("  cat")
    assert "%" in result.out.splitlines()[1]
    assert result.err == ""


def test_classify_json_csv_and_stdin_agree(run) -> None:
    document = json.loads(run("classify", CAT, "--json", "-k", "3").out)
    rows = list(csv.DictReader(io.StringIO(run("classify", "-", "--csv", "-k", "3", stdin=f"{CAT}\n").out)))
    guesses = document["results"][0]["classes"]
    assert [guess["label"] for guess in guesses] == [row["label"] for row in rows]
    assert guesses[0]["label"] == "cat"
    assert len(rows) == 3
    assert float(rows[0]["probability"]) == pytest.approx(guesses[0]["probability"])


def test_one_bad_picture_does_not_stop_the_others(run, tmp_path: Path) -> None:
    Image.open(CAT).save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_text("this is no picture")
    whole = io.BytesIO()
    Image.open(CAT).convert("RGB").save(whole, "JPEG")
    (tmp_path / "c.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    (tmp_path / "sub").mkdir()
    Image.open(CAT).convert("L").save(tmp_path / "sub" / "d.jpg")
    (tmp_path / "notes.txt").write_text("no picture")
    result = run("classify", tmp_path, "-b", "2", "--json")
    document = json.loads(result.out)
    assert result.code == 1
    assert [Path(r["file"]).name for r in document["results"]] == ["a.png", "d.jpg"]
    assert [Path(e["file"]).name for e in document["errors"]] == ["b.jpg", "c.jpg"]
    (note,) = document["notes"]
    assert note.startswith("1 file left out: 1 no picture but a text file (")
    assert note.endswith("/notes.txt)")
    assert len(result.err.strip().splitlines()) == 3


def test_the_same_file_twice_is_answered_twice(run) -> None:
    assert run("classify", CAT, CAT).out.count(str(CAT)) == 2


def test_batches_do_not_change_the_answer(run, tmp_path: Path) -> None:
    for i in range(5):
        Image.open(CAT).rotate(i * 7).save(tmp_path / f"{i}.png")
    one, many = (json.loads(run("classify", tmp_path, "-b", b, "--json").out) for b in ("1", "5"))
    for a, b in zip(one["results"], many["results"], strict=True):
        assert a["file"] == b["file"]
        assert a["classes"][0]["probability"] == pytest.approx(b["classes"][0]["probability"], abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["classify", "missing.jpg"], "no such file or folder: missing.jpg"),
        (["classify", "{tmp}"], "no pictures in the folder"),
        (["classify", "{cat}", "-m", "vit_b17"], "unknown model 'vit_b17'; did you mean"),
        (["classify", "{cat}", "-m", "missing.safetensors"], "no weights file at missing.safetensors"),
        (["classify", "{cat}", "--img-size", "33"], "not divisible by patch_size 4x4"),
        (["classify", "{cat}", "--json", "--csv"], "exclude each other"),
        (["classify", "{cat}", "--labels", "{labels}"], "names 2 classes, but the model has 10"),
        (["classify", "{cat}", "--device", "abacus"], "device 'abacus' cannot be used"),
        (["list", "nothing*"], "nothing matches 'nothing*'"),
        (["list", "--license", "mine"], "under mine"),
        (["info", "vit_b16", "--set", "depth=3"], "describe a checkpoint, and 'vit_b16' is a name"),
        (["info", "vit_b16.tag"], "unknown tag 'tag' of model 'vit_b16'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run, tmp_path: Path, arguments: list[str], message: str) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    labels = tmp_path / "labels"
    labels.write_text("one\ntwo\n")
    result = run(*(a.format(tmp=empty, cat=CAT, labels=labels) for a in arguments))
    assert result.code == 2
    assert result.out == ""
    assert message in result.err
    assert len(result.err.strip().splitlines()) == 1


def test_only_bad_pictures_is_exit_code_2(run, tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_text("this is no picture")
    assert run("classify", tmp_path / "b.jpg").code == 2


def test_labels_file(run, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"name {i}" for i in range(10)))
    assert run("classify", CAT, "--labels", labels).out.splitlines()[1].endswith("name 3")


def test_list(run) -> None:
    rows = json.loads(run("list", "vit_b16*", "--json").out)
    assert rows[0]["name"] == "vit_b16.augreg2_in21k_ft_in1k"
    assert rows[0]["params"] == 86_567_656
    assert rows[0]["license"] == "apache-2.0"
    table = run("list").out.splitlines()
    assert table[0].split() == ["name", "params", "img_size", "classes", "license"]
    assert len(table) == 1 + len(vitzoo.list_pretrained())
    noncommercial = json.loads(run("list", "--license", "cc-by-nc-4.0", "--json").out)
    assert {row["license"] for row in noncommercial} == {"cc-by-nc-4.0"}
    models = json.loads(run("list", "--models", "--json").out)
    assert [row["name"] for row in models] == vitzoo.list_models()


def test_info_prints_the_papers_shapes(run) -> None:
    out = run("info", "vit_b16").out
    for text in ("224x224x3", "14x14 patches", "196x768", "197x768", "12 heads of 197x64", "197x3072", "86,567,656"):
        assert text in out
    document = json.loads(run("info", "vit_base_patch16_224", "--json").out)
    assert document["name"] == "vit_b16.augreg2_in21k_ft_in1k"
    assert document["weights"]["license"] == "apache-2.0"


def test_info_of_a_file_shows_its_load_report(run, tmp_path: Path) -> None:
    path = vitzoo.save(vitzoo.create("vit_nano4.cifar10", pretrained=True), tmp_path / "model")
    out = run("info", path).out
    assert "64x128" in out
    assert "model.safetensors (vitzoo): " in out


def test_an_embedding_is_called_one(run) -> None:
    assert "512-d embedding" in run("list", "clip_b16.openai").out
    (row,) = json.loads(run("list", "clip_b16.openai", "--json").out)
    assert (row["classes"], row["out_dim"]) == (0, 512)
    assert "512-d embedding" in run("info", "clip_b16.openai").out


def test_a_model_without_classes_says_what_it_is_for(run, tmp_path: Path) -> None:
    sizes = {"img_size": 32, "patch_size": 8, "hidden_dim": 24, "depth": 1, "num_heads": 3, "mlp_dim": 40}
    for fields, what in (
        ({"head": "projection", "out_dim": 7}, "7-d embedding"),
        ({"num_classes": 0}, "24-d features"),
    ):
        path = vitzoo.save(vitzoo.create(vitzoo.ViTSpec(**sizes, **fields)), tmp_path / what)
        result = run("classify", CAT, "-m", path)
        assert result.code == 2
        assert f"it gives a {what} of a picture" in result.err
        assert "`vitzoo list '*ft_in1k*'`" in result.err
        assert len(result.err.strip().splitlines()) == 1
    assert "clip_b16.openai_ft_in1k" in run("list", "*ft_in1k*").out  # the remedy
