"""`vitzoo classify` on lists of pictures as people have them: answers come as they are known, and nothing vanishes."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vitzoo

VITZOO = [sys.executable, "-m", "vitzoo", "classify"]
CAT = Path(__file__).parents[2] / "examples" / "cat.png"


def started(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*VITZOO, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(("form", "workers"), [([], 2), (["--csv"], 0), (["--json"], 2)])
def test_each_path_is_answered_before_the_next_one_comes(form: list[str], workers: int) -> None:
    with started("-", "-m", "vit_nano4", "-k", "1", "--num-workers", workers, *form) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        said = ""
        for number in range(1, 4):
            running.stdin.write(f"{CAT}\n")
            running.stdin.flush()
            while said.count(str(CAT)) < number:  # would wait for ever
                said += os.read(running.stdout.fileno(), 1 << 16).decode()
        rest, errors = running.communicate(timeout=60)
    assert (running.returncode, errors) == (0, "")
    if form == ["--json"]:
        assert [result["file"] for result in json.loads(said + rest)["results"]] == [str(CAT)] * 3


def test_who_names_no_model_is_told_of_a_larger_one(run) -> None:
    told = "which knows 10 classes; for 1,000: -m vit_b16 (downloads about 346 MB once)"
    assert run("classify", CAT).err.rstrip().endswith(told)
    for options in (["--json"], ["--csv"], ["-m", "vit_nano4.cifar10"]):
        assert run("classify", CAT, *options).err == ""


def test_several_processes_give_the_answers_of_one(run, tmp_path: Path) -> None:
    for i in range(40):
        Image.open(CAT).rotate(i).save(tmp_path / f"{i}.png")
    (tmp_path / "17.png").write_bytes(b"")
    one, two = (run("classify", tmp_path, "-b", "4", "--num-workers", n, "--csv") for n in ("0", "2"))
    assert (one.code, two.code) == (1, 1)
    assert one == two
    assert len({row["file"] for row in csv.DictReader(io.StringIO(two.out))}) == 39


def test_nothing_in_a_folder_vanishes(run, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    beside = tmp_path_factory.mktemp("beside")
    Image.open(CAT).save(beside / CAT.name)
    Image.open(CAT).save(tmp_path / "a", "PNG"), Image.open(CAT).convert("RGB").save(tmp_path / "b.data", "JPEG")
    (tmp_path / "c.png").symlink_to("nowhere"), (tmp_path / "d").symlink_to("nowhere")
    (tmp_path / "e.png").write_bytes(b""), (tmp_path / "f").write_bytes(b"")
    os.mkfifo(tmp_path / "g.png"), os.mkfifo(tmp_path / "h")
    (tmp_path / "i.txt").write_text("hello"), (tmp_path / "j.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))
    (tmp_path / ".k").write_bytes(b""), (tmp_path / "linked").symlink_to(beside)
    result = run("classify", tmp_path, "--json")
    document = json.loads(result.out)

    assert {Path(found["file"]).name for found in document["results"]} == {"a", "b.data", CAT.name}
    errors = {Path(failure["file"]).name: failure["error"].partition(": ")[2] for failure in document["errors"]}
    assert errors.keys() == {"c.png", "d", "e.png", "f", "g.png", "h"}
    assert all("no such file" in errors[name] or "link to nothing" in errors[name] for name in ("c.png", "d"))
    assert all("an empty file (0 bytes)" in errors[name] for name in ("e.png", "f"))
    assert all("a pipe" in errors[name] for name in ("g.png", "h"))
    assert document["notes"][0].startswith("3 files left out: ")
    assert all(kind in document["notes"][0] for kind in ("a text file", "a HEIC picture", "a hidden file"))
    assert result.code == 1


@pytest.mark.parametrize("ending", ["\r\n", "\0"])
def test_how_lines_end(ending: str, tmp_path: Path) -> None:
    paths = [CAT, tmp_path / "a b.png", tmp_path / "missing.png"]
    Image.open(CAT).save(paths[1])
    text = ending.join(map(str, paths))  # the last line has no end
    done = subprocess.run([*VITZOO, "-", "--json"], input=text, capture_output=True, text=True, check=False)
    document = json.loads(done.stdout)
    assert [found["file"] for found in document["results"]] == [str(path) for path in paths[:2]]
    assert [failure["file"] for failure in document["errors"]] == [str(paths[2])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            CAT.read_bytes(),
            "standard input is a PNG picture; expected paths of pictures, one a line: save it to a file",
        ),
        (b"", "standard input is empty; expected paths of pictures, one a line"),
    ],
)
def test_standard_input_that_is_no_list(content: bytes, message: str) -> None:
    done = subprocess.run([*VITZOO, "-"], input=content, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr.decode()


def test_what_is_said_does_not_fall_into_a_document(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"")
    with (tmp_path / "out.json").open("w") as out:
        done = subprocess.run([*VITZOO, CAT, tmp_path / "bad.png", "--json"], stdout=out, stderr=out, check=False)
    assert done.returncode == 1
    assert len(json.loads((tmp_path / "out.json").read_text())["errors"]) == 1


def test_a_model_of_four_channels_and_its_range(run, tmp_path: Path) -> None:
    model = vitzoo.create("vit_nano4.cifar10", pretrained=True, in_chans=4)
    model.preprocessing = model.preprocessing.replace(white=1000.0)
    path = vitzoo.save(model, tmp_path / "four.safetensors")
    pixels = np.random.default_rng(0).integers(0, 1001, (32, 32, 4), dtype=np.uint16)
    np.save(tmp_path / "a.npy", pixels)
    np.save(tmp_path / "b.npy", pixels / np.float32(1000))
    Image.fromarray((pixels * np.float32(0.255)).astype(np.uint8)).save(tmp_path / "c.png")
    result = run("classify", "-m", path, tmp_path / "a.npy", tmp_path / "c.png", "--json")
    first, second = (found["classes"][0] for found in json.loads(result.out)["results"])
    assert (result.code, result.err) == (0, "")
    assert first["probability"] == pytest.approx(second["probability"], abs=0.02)
    alone = json.loads(run("classify", "-m", path, "--white", "1", tmp_path / "b.npy", "--json").out)
    assert alone["results"][0]["classes"][0]["probability"] == pytest.approx(first["probability"], abs=1e-4)
    assert "white=1000" in run("classify", "-m", path, "--white", "500", tmp_path / "a.npy").err


def test_what_was_taken_for_granted_is_said_once(run, tmp_path: Path) -> None:
    for i in range(3):
        Image.fromarray(np.full((32, 32), 4000 + i, np.uint16)).save(tmp_path / f"{i}.png")
    said = run("classify", "-m", "vit_nano4.cifar10", tmp_path).err
    assert said.count("\n") == 1
    assert "3 pictures of 16 bits taken as 0..65535" in said
    assert "the largest value is 4002; if that is white, give white=4002" in said
