"""Configuration of other libraries with odd values in it: what it says, or an error that names the field."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from typer._click.exceptions import UsageError

import vitzoo
from vitzoo import ViT
from vitzoo.cli import command_line
from vitzoo.errors import SpecError, VitzooError, WeightsError
from vitzoo.layouts.beside import read_beside
from vitzoo.layouts.border import DEEPEST
from vitzoo.layouts.native import describe, described
from vitzoo.spec import About

LABELS = ("cat", "dog", "ape")
ATOMS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.sampled_from([10**9, 2**64, 10**400, -(10**12)])
    | st.floats()
    | st.sampled_from(["", "0", "-1", "gelu", "tok", "ViTModel", "BeitImageProcessor", "2020-01-01", "\0", "x" * 2000])
    | st.text(max_size=4)
)
KEYS = st.sampled_from(["0", "1", "00", "height", "width", "shortest_edge", "eps", "a"]) | st.text(max_size=3)
VALUES = st.recursive(ATOMS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=3))
OPEN_CLIP = {
    "model_cfg": {"embed_dim": 16, "vision_cfg": {"image_size": 16, "layers": 1, "width": 64, "patch_size": 8}},
    "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"},
}
MORE: Mapping[str, Mapping[str, Any]] = {
    "config.json": {
        "vision_config": {},
        "num_labels": 3,
        "projection_dim": 4,
        "label_names": [],
        "vitzoo": {},
        "model_type": "vit",
    },
    "preprocessor_config.json": {"crop_size": 8, "max_num_patches": 4, "image_processor_type": "Siglip2ImageProcessor"},
    "open_clip_config.json": {},
}
"""Keys that readers look at and the file need not have."""


def folder(tmp: Path, layout: str) -> Path:
    """A folder of a library, with its configuration."""
    path = tmp / layout
    if layout == "open_clip":
        path.mkdir()
        (path / "open_clip_model.safetensors").touch()
        (path / "open_clip_config.json").write_text(json.dumps(OPEN_CLIP))
        return path
    model = tiny.randomise(ViT(tiny.spec(**tiny.SMALLEST), About(labels=LABELS)))
    return vitzoo.save(model, path, layout)


def places(data: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [*([above] if above else []), *(place for key, value in inner for place in places(value, (*above, key)))]


@pytest.mark.proves(guarantee="A file is right or an error", against="JSON of any kind in configuration beside weights")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("timm", "config.json"),
        ("huggingface", "config.json"),
        ("huggingface", "preprocessor_config.json"),
        ("open_clip", "open_clip_config.json"),
    ],
)
def test_odd_values(tmp_path: Path, layout: str, name: str) -> None:
    place = folder(tmp_path, layout)
    whole = json.loads((place / name).read_text())
    weights = place / ("open_clip_model.safetensors" if layout == "open_clip" else "model.safetensors")
    outcomes, longest = {"read": 0, "refused": 0}, [0]

    @settings(max_examples=150, derandomize=True, database=None, deadline=None)
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        changed = json.loads(json.dumps(whole))
        for _ in range(data.draw(st.integers(1, 2))):
            *above, last = data.draw(st.sampled_from([*places(changed), *((key,) for key in MORE[name])]))
            inner = changed
            for key in above:
                inner = inner[key]
            inner[last] = data.draw(VALUES)
        (place / name).write_text(json.dumps(changed))
        try:
            found = read_beside(weights)
        except VitzooError as error:
            outcomes["refused"] += 1
            longest.append(len(str(error)))
            return
        outcomes["read"] += 1
        assert found.labels is None or all(isinstance(label, str) for label in found.labels)

    check()
    assert max(longest) < 1500
    assert min(outcomes.values()) > 10, outcomes


def test_labels_that_are_numbered_otherwise(tmp_path: Path) -> None:
    for layout, change in (
        ("huggingface", lambda config, labels: config.update(id2label=labels)),
        ("timm", lambda config, labels: config["pretrained_cfg"].update(label_names=labels)),
    ):
        file = folder(tmp_path, layout) / "config.json"
        whole = json.loads(file.read_text())

        def read(labels: Any, file: Path = file, whole: Any = whole, change: Callable[..., Any] = change) -> Any:
            changed = json.loads(json.dumps(whole))
            change(changed, labels)
            file.write_text(json.dumps(changed))
            return read_beside(file).labels

        assert read({"1": "b", "0": "a", "2": "c"}) == ("a", "b", "c")
        assert read({"0": "a", "2": "c", "5": "b"}) is None  # the order of the logits is not known
        for wrong in ({"0": "a", "00": "b", "1": "c"}, {"0": "a", "1": None}, {"zero": "a"}, "abc", 3):
            with pytest.raises(WeightsError, match=r"config\.json: .*(id2label|label_names): expected .*texts"):
                read(wrong)


def test_what_is_deep_or_large(tmp_path: Path) -> None:
    file = folder(tmp_path, "timm") / "config.json"
    for value, said in (
        (json.loads("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1)), f"more than {DEEPEST} levels"),
        (10**30, "no number of a configuration"),
        (float("nan"), "nan is no number of a configuration"),
    ):
        file.write_text(json.dumps({**json.loads(file.read_text()), "odd": value}))
        with pytest.raises(WeightsError, match=said):
            read_beside(file)


def test_labels_are_as_many_as_classes(tmp_path: Path) -> None:
    """Fewer names would be an IndexError where they are used."""
    model = ViT(tiny.spec(**tiny.SMALLEST))
    for labels in (("a",), "imagenet-1k"):
        with pytest.raises(SpecError, match=r"labels has \d+ names, and the model has 3 classes; give one"):
            model.labels = labels
    model.labels = LABELS
    file = vitzoo.save(tiny.randomise(model), tmp_path / "x.safetensors")
    with safe_open(file, "pt") as opened:
        said = json.loads(opened.metadata()["vitzoo"])
    said["about"]["labels"] = ["cat", "dog"]
    save_file(load_file(file), file, {"vitzoo": json.dumps(said)})
    with pytest.raises(SpecError, match="labels has 2 names, and the model has 3 classes"):
        vitzoo.create(file)


NATIVE = json.loads(describe(tiny.spec(**tiny.SMALLEST), About(labels=LABELS, license="mit", resample="timm")))
OLD = {"format": 1, "spec": NATIVE["spec"], "preprocessing": {}, "resample": "timm", "origin": "x sha256:00"}


@pytest.mark.parametrize("whole", [NATIVE, OLD], ids=["now", "format 1"])
def test_odd_values_in_the_metadata_of_native_files(whole: Mapping[str, Any]) -> None:
    outcomes = {"read": 0, "refused": 0}

    @settings(max_examples=150, derandomize=True, database=None, deadline=None)
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        changed = json.loads(json.dumps(whole))
        *above, last = data.draw(st.sampled_from(places(changed)))
        inner = changed
        for key in above:
            inner = inner[key]
        inner[last] = data.draw(VALUES)
        try:
            found = described({"vitzoo": json.dumps(changed)}, "a file")
        except VitzooError:
            outcomes["refused"] += 1
            return
        outcomes["read"] += found is not None

    check()
    assert min(outcomes.values()) > 0, outcomes


@pytest.mark.parametrize("text", ["[" * 10**5, '{"a":' * 10**5, "1" * 5000, '{"format": 1' + "0" * 5000 + "}"])
def test_metadata_without_an_end(text: str) -> None:
    with pytest.raises(WeightsError, match="the metadata of this native file cannot be read"):
        described({"vitzoo": text}, "a file")


LONG = "x" * 300


@pytest.mark.parametrize(
    "words",
    [
        ("info", f"./{LONG}"),
        ("classify", LONG),
        ("evaluate", "vit_nano4.cifar10", LONG),
        ("recipes", LONG),
        ("registry", "check", f"{LONG}.yaml"),
        ("convert", "vit_nano4.cifar10", f"out/{LONG}.pth", "--layout", "timm"),
        ("convert", "vit_nano4.cifar10", f"out/{'x' * 252}.pth", "--layout", "timm"),
        ("convert", "vit_nano4.cifar10", "out/a\0b", "--layout", "timm"),
        ("info", "./a\0b"),
    ],
)
def test_names_that_no_file_can_have(words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((VitzooError, UsageError)):
        command_line()(list(words), standalone_mode=False)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
