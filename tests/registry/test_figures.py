"""Published figures: each has a source, a name that exists, and is found again."""

import os
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools import figures as tool
from vitzoo import registry
from vitzoo.errors import RegistryError
from vitzoo.registry import catalogue, index
from vitzoo.spec.figures import FiguresFile

FOLDER = Path(__file__).parents[2] / "registry" / "figures"
FILES = sorted(FOLDER.glob("*.yaml"))
MINE: dict[str, Any] = {
    "measured_by": "me",
    "how": "by hand",
    "published": "2026-01-02",
    "measures": {"mine": {"title": "t", "kind": "linear", "unit": "%", "source": "https://example.org"}},
    "columns": ["weights", "img_size", "mine"],
    "rows": [["vit_nano4.cifar10", 32, 50.5]],
}


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_loaded", index._registry())


def add(folder: Path, **changes: object) -> None:
    """A registry with one model and one file of figures."""
    (folder / "families").mkdir(exist_ok=True)
    (folder / "figures").mkdir(exist_ok=True)
    (folder / "families" / "acme.yaml").write_text("models: {acme: {base: _s, patch_size: 16}}\n")
    (folder / "figures" / "mine.yaml").write_text(yaml.safe_dump({**MINE, **changes}, sort_keys=False))
    registry.add_registry(folder)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_row_of_a_file_is_found_again(file: Path) -> None:
    found = FiguresFile.model_validate(yaml.safe_load(file.read_text()))
    count = 0
    for name, img_size, values in found.entries:
        own = {(one.measure, one.img_size): one.value for one in registry.figures(name)}
        for measure, value in values.items():
            assert own[measure, img_size] == value
            count += 1
    assert count >= len(found.rows) > 0
    assert all(registry.measures()[measure]["source"].startswith("https://") for measure in found.measures)


def test_as_many_as_were_promised() -> None:
    have = {name: {one.measure for one in registry.figures(name)} for name in registry.list_pretrained()}
    for test_set in tool.TEST_SETS:
        assert sum(test_set in measures for measures in have.values()) >= 157
    assert sum("zero_shot" in measures for measures in have.values()) == len(tool.TOWERS)
    speeds = yaml.safe_load((FOLDER / "speed.yaml").read_text())["rows"]
    assert sum(len(row) - row.count(None) - 2 >= 2 for row in speeds) >= 200


@pytest.mark.skipif("VITZOO_RESULTS" not in os.environ, reason="VITZOO_RESULTS names the folder of published tables")
def test_the_files_are_what_the_tables_say() -> None:
    assert tool.main([os.environ["VITZOO_RESULTS"], "--check"]) == 0


def test_the_tool_reads_upstreams_columns(tmp_path: Path) -> None:
    (tmp_path / "timm").mkdir()
    (tmp_path / "open_clip").mkdir()
    for number, (file, _) in enumerate(tool.TEST_SETS.values()):
        rows = f"deit_tiny_patch16_224.fb_in1k,224,{70 + number}.5,9{number}.0\nresnet50.a1_in1k,224,80.0,95.0\n"
        (tmp_path / "timm" / f"{file}.csv").write_text(f"model,img_size,top1,top5\n{rows}")
    for file, _ in tool.DEVICES.values():
        head = "model,infer_img_size,infer_samples_per_sec\n"
        (tmp_path / "timm" / f"benchmark-infer-{file}.csv").write_text(f"{head}deit_tiny_patch16_224,224,12.25\n")
    names = "".join(f"{name.replace(' ', ',')},0.5,0.25\n" for name in tool.TOWERS)
    head = "name,pretrained,Average perf. on 38 datasets,ImageNet 1k\n"
    (tmp_path / "open_clip" / "openclip_results.csv").write_text(head + names)
    found = {path.stem: yaml.safe_load(text) for path, text in tool.written(tmp_path).items()}
    assert found["imagenet"]["rows"] == [["deit_ti16.fb_in1k", 224, 70.5, 90, *(70.5 + i for i in range(1, 8))]]
    assert found["speed"]["rows"] == [["deit_ti16", 224, *[12.25] * 7]]
    assert {tuple(row[2:]) for row in found["zero_shot"]["rows"]} == {(50, 25)}
    assert tool.main([str(tmp_path), "--check"]) == 1  # these are not the published tables


def test_a_registry_of_ones_own_has_figures(tmp_path: Path) -> None:
    add(tmp_path)
    assert registry.figures("vit_nano4.cifar10") == [("mine", 50.5, 32)]
    assert registry.measures()["mine"]["measured_by"] == "me"
    registry.add_registry(tmp_path)  # once more adds nothing
    assert registry.figures("vit_nano4.cifar10") == [("mine", 50.5, 32)]
    assert catalogue.condition("mine>50").holds(50.5)


@pytest.mark.follows(", then each measure once (")
@pytest.mark.follows(" values, and there are ")
@pytest.mark.follows(": a row is a name, and numbers or null")
@pytest.mark.follows(": expected a number of pixels and at least one figure")
@pytest.mark.follows(" has two rows for ")
@pytest.mark.follows("is there already; choose another name")
def test_a_file_that_is_not_right_adds_nothing_until_it_is(tmp_path: Path) -> None:
    row: list[object] = ["vit_nano4.cifar10", 32]
    wrong: tuple[tuple[dict[str, object], str], ...] = (
        ({"columns": ["weights", "mine"]}, "columns are weights or model, then img_size, then each measure once"),
        ({"columns": ["weights", "img_size", "mine", "mine"]}, "columns are weights or model"),
        ({"rows": [row]}, "has 2 values, and there are 3 columns"),
        ({"rows": [[*row, "much"]]}, "a row is a name, and numbers or null"),
        ({"rows": [[*row, None]]}, "expected a number of pixels and at least one figure"),
        ({"rows": [[*row, 1.0]] * 2}, "two rows for 32 pixels"),
        ({"rows": [["vit_nano5.cifar10", 32, 1.0]]}, "is no name of weights"),
        ({"rows": [["vit_nano4", 32, 1.0]]}, "is no name of weights"),
        (
            {"measures": {"in1k": MINE["measures"]["mine"]}, "columns": ["weights", "img_size", "in1k"]},
            "choose another name",
        ),
        ({"published": "yesterday"}, "published"),
    )
    for changes, message in wrong:
        with pytest.raises(RegistryError, match=message):
            add(tmp_path, **changes)
        assert "acme" not in registry.list_models()
        assert "mine" not in registry.measures()
    add(tmp_path)
    assert "mine" in registry.measures()


def test_a_table_of_another_size_is_no_figure_of_weights() -> None:
    """Speeds are those of the weights' own size alone."""
    rows = {(row[0], row[1]) for row in yaml.safe_load((FOLDER / "speed.yaml").read_text())["rows"]}
    for name in random.Random(0).sample(registry.list_pretrained(), 50):
        entry = registry.record(name)
        for one in registry.figures(name):
            if one.measure.startswith("speed_"):
                assert (name.partition(".")[0], one.img_size) in rows
                assert entry.spec["img_size"] == [one.img_size, one.img_size]
