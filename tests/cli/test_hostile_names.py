"""What somebody else named orders no terminal about, adds no line and no tag: in no command's output, in no report."""

import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import vitzoo
from vitzoo import ViT
from vitzoo.cli.options import prepared
from vitzoo.cli.tables import columns
from vitzoo.evaluation.classes import ClassResult, Confusion
from vitzoo.markdown import code, page, said, table
from vitzoo.spec import Origin
from vitzoo.train import report

EVIL = "cat\x1b[2J\x9b31m\u202e\rvitzoo: all is well\x07\x7f"
LINE = "dog\nvitzoo: all is well"
TAG = "<img src=x onerror=y> [here](http://evil) `|` *"
LABELS = (EVIL, LINE, TAG)
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ViT:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VITZOO_CACHE", str(tmp_path / "cache"))
    model = tiny.randomise(ViT(tiny.spec(**tiny.SMALLEST)))
    about = model.about.replace(labels=LABELS, license="mit", origin=Origin(note=EVIL))
    model.about = about
    vitzoo.save(model, "m.safetensors")
    for name in (EVIL, LINE.replace("/", ""), "tag"):
        (Path("data") / name).mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(Path("data") / name / f"{EVIL}.png")
    (Path("data") / EVIL / f"bad{EVIL}.png").write_bytes(b"x")
    (Path("data") / "tag" / os.fsdecode(b"\xff.png")).write_bytes((Path("data") / "tag" / f"{EVIL}.png").read_bytes())
    named = load_file("m.safetensors") | {f"more.{EVIL}": torch.ones(1)}
    save_file(named, "n.safetensors")
    (Path() / f"{EVIL}.safetensors").write_bytes(b"x")
    return model


COMMANDS = (
    ("info", "m.safetensors"),
    ("info", "n.safetensors"),
    ("info", "n.safetensors", "--drop", "more.*", "--layout", "vitzoo"),
    ("info", f"{EVIL}.safetensors"),
    ("info", EVIL),
    ("list", EVIL),
    ("classify", "--model", "m.safetensors", "data"),
    ("classify", "--model", "m.safetensors", "--csv", "data"),
    ("classify", "--model", "m.safetensors", "--json", "data"),
    ("evaluate", "--model", "m.safetensors", "--data", "data"),
    ("convert", "m.safetensors", "out.safetensors"),
    ("convert", "n.safetensors", f"{EVIL}.npz", "--layout", "timm"),
    ("verify", "m.safetensors", f"{EVIL}.safetensors"),
    ("cache", "list", EVIL),
    ("cache", "prefetch", f"hf-hub:{EVIL}/x"),
    ("pin", f"https://127.0.0.1:1/{EVIL}"),
    ("registry", "check", EVIL),
    ("recipes", EVIL),
    ("push", "m.safetensors", "org/x", "--dry-run", "folder"),
    ("finetune", "m.safetensors", EVIL),
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.proves(guarantee="Names are not orders", against="escapes in labels, tensors, files, arguments")
@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: " ".join(arguments[:1]))
def test_no_command_prints_them(model: ViT, run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.out + result.err
    assert not RAW.findall(result.out), result.out
    assert not RAW.findall(result.err), result.err
    if "--csv" not in arguments:  # which has it between quotation marks
        assert "\nvitzoo: all is well" not in result.out + result.err


def test_results_are_still_there(model: ViT, run) -> None:
    shown = run("classify", "--model", "m.safetensors", str(next(Path("data/tag").glob("cat*")))).out
    assert "cat\N{REPLACEMENT CHARACTER}[2J" in shown
    assert "dog vitzoo: all is well" in shown
    assert TAG in shown
    assert len(shown.splitlines()) == 4


@pytest.mark.filterwarnings("ignore")
@pytest.mark.proves(guarantee="Names are not orders", against="tags, links and escapes in reports and cards")
def test_no_report_has_them(model: ViT) -> None:
    vitzoo.save(model, "model.safetensors")
    card = Path(vitzoo.write_card(model, Path())).read_text()
    rows = "\n".join(table(("class", EVIL), [(said(name), 1) for name in LABELS]))
    for text in (card, rows, said(LABELS), code(LABELS)):
        assert not RAW.findall(text)
        assert "\nvitzoo: all is well" not in text
    for text in (card.rpartition("---")[2], rows):
        assert not re.search(r"(?<!\\)<img|(?<!\\)\[here", text)
    assert len(rows.splitlines()) == 2 + len(LABELS)
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in rows.splitlines())


def test_the_report_of_a_run() -> None:
    found = SimpleNamespace(
        classes=tuple(ClassResult(name, 1, 0.0) for name in LABELS), confusions=(Confusion(EVIL, TAG, 1),)
    )
    data = SimpleNamespace(classes=LABELS, counts=(1, 1, 1), train_pictures=None, val_pictures=None, test_pictures=None)
    data.remarks = [f"{TAG}{EVIL}"]
    data.skipped = [SimpleNamespace(where=f"`{EVIL}`", reason=f"{TAG}{EVIL}")]
    text = page([*report._classes(found, data), *report._confusions(found), *report._pictures(data)])
    assert not RAW.findall(text)
    assert not re.search(r"(?<!\\)<img|(?<!\\)\[here", text)


def test_tables_and_streams(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a command prints goes through these."""
    rows = columns([(EVIL, "1"), (LINE, "2")]).splitlines()
    assert len(rows) == 2
    assert not RAW.findall("".join(rows))
    prepared(SimpleNamespace(callback=lambda: print(EVIL), get_params=None)).callback()
    shown = capsys.readouterr().out
    assert "vitzoo: all is well" in shown
    assert not RAW.findall(shown)
