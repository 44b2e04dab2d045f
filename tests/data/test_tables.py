"""Tables of pictures: which column means what, in each form that tables have, and what is asked."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vitzoo.data.columns import Columns
from vitzoo.data.open import open_splits
from vitzoo.data.pictures import NO_CLASS
from vitzoo.data.saying import taken_for
from vitzoo.data.split import stratified
from vitzoo.data.truth import check_joint
from vitzoo.errors import DataError
from vitzoo.registry.recipes import load_recipe
from vitzoo.train.datamodule import PictureData

Rows = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


def rows(root: Path, count: int = 12, **more: Any) -> Rows:
    """Pictures in one folder, and a row for each."""
    (root / "images").mkdir(exist_ok=True)
    found = []
    for i in range(count):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(root / "images" / f"{i}.png")
        row = {"file": f"images/{i}.png", "label": ("owl", "ape")[i % 2]}
        found.append(row | {name: value(i) if callable(value) else value for name, value in more.items()})
    return found


def write(path: Path, table: Rows) -> Path:
    """By the ending."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table))
    elif path.suffix == ".parquet":
        import datasets

        datasets.Dataset.from_list(table).to_parquet(path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, table[0], delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader(), writer.writerows(table)
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.parquet"])
def test_every_form_says_the_same(tmp_path: Path, name: str) -> None:
    table = rows(
        tmp_path, split=lambda i: ("train", "Valid")[i > 7], patient=lambda i: f"p{i // 2}", weight=lambda i: i + 0.5
    )
    splits = open_splits(write(tmp_path / name, table), Columns(group_by="patient", weight_column="weight"))

    assert {split: len(pictures) for split, pictures in splits.items()} == {"train": 8, "val": 4}
    pictures = splits["val"]
    assert pictures.classes == ("ape", "owl")
    assert pictures.labels == ["owl", "ape", "owl", "ape"]
    assert pictures.targets.tolist() == [1, 0, 1, 0]
    assert pictures.weights.tolist() == [8.5, 9.5, 10.5, 11.5]
    assert pictures.names == [f"images/{i}.png" for i in range(8, 12)]
    assert np.asarray(pictures.load(1))[0, 0, 0] == 9
    assert [a == b for a, b in zip(pictures.groups, pictures.groups[1:], strict=False)] == [True, False, True]
    assert "by column label, pictures file, splits split, groups patient, weights weight" in taken_for(splits)


@pytest.mark.parametrize("cell", ["bytes", "image"])
def test_pictures_in_the_table_itself(tmp_path: Path, cell: str) -> None:
    datasets = pytest.importorskip("datasets")
    table = rows(tmp_path)
    contents = [(tmp_path / row["file"]).read_bytes() for row in table]
    columns: dict[str, Any] = {"photo": contents, "kind": [i % 3 for i in range(12)]}
    dataset = datasets.Dataset.from_dict(columns)
    if cell == "image":
        dataset = dataset.cast_column("photo", datasets.Image())
    dataset.to_parquet(tmp_path / "t.parquet")
    pictures = open_splits(tmp_path / "t.parquet")["all"]
    assert pictures.classes == ("0", "1", "2")
    assert [np.asarray(pictures.load(i))[0, 0, 0] for i in (0, 5, 11)] == [0, 5, 11]
    assert pictures.take(np.array([5])).load(0).getpixel((0, 0))[0] == 5
    assert pictures.names[2] == "row 3"


def test_columns_are_found_by_their_contents(tmp_path: Path) -> None:
    table = rows(tmp_path, comment=lambda i: f"text {i}", size=8)
    for row in table:
        row["diagnosis"] = row.pop("label")
    found = open_splits(write(tmp_path / "t.csv", table))["all"]
    assert (found.understood, found.classes) == ("by column diagnosis, pictures file", ("ape", "owl"))


@pytest.mark.parametrize(
    ("more", "message", "answer"),
    [
        ({"mask": lambda i: f"images/{i}.png"}, "file, mask all have pictures; say which: --image-column file", {}),
        ({"class": "x"}, "label, class could all be the label; say which: --label-column label", {}),
    ],
)
def test_what_may_be_meant_in_two_ways_is_asked_and_the_answer_works(
    tmp_path: Path, more: dict[str, Any], message: str, answer: dict[str, Any]
) -> None:
    path = write(tmp_path / "t.csv", rows(tmp_path, **more))
    with pytest.raises(DataError) as error:
        open_splits(path)
    options = {"image_column": "--image-column", "label_column": "--label-column"}
    assert error.value.spelled(options).endswith(message)
    option, value = message.split(": --")[1].split()
    given = Columns(**{option.replace("-", "_"): (value,) if option.startswith("label") else value})
    assert open_splits(path, given)["all"].classes == ("ape", "owl")


def test_numbers_without_endings_are_named_by_a_pattern(tmp_path: Path) -> None:
    table = [{"id": i, "label": row["label"]} for i, row in enumerate(rows(tmp_path))]
    with pytest.raises(DataError, match=r"no column has pictures .* the columns are id, label; name one, or a pattern"):
        open_splits(write(tmp_path / "t.csv", table))
    with pytest.raises(DataError, match=r"are not there: the first is .*/0; paths are relative to the table"):
        open_splits(tmp_path / "t.csv", Columns(image_column="id"))
    assert len(open_splits(tmp_path / "t.csv", Columns(image_column="images/{id}.png"))["all"]) == 12
    with pytest.raises(DataError, match="there is no column number; the columns are id, label"):
        open_splits(tmp_path / "t.csv", Columns(image_column="images/{number}.png"))


def test_paths_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = rows(tmp_path)
    (tmp_path / "tables").mkdir()
    path = write(tmp_path / "tables" / "t.csv", table)
    monkeypatch.chdir(tmp_path)
    assert len(open_splits(path)["all"]) == 12


def test_rows_without_a_label_or_a_picture_are_listed(tmp_path: Path) -> None:
    table = rows(tmp_path)
    table[3]["label"] = ""
    (tmp_path / table[5]["file"]).unlink()
    pictures = open_splits(write(tmp_path / "t.csv", table))["all"]
    assert len(pictures) == 10
    assert dict(pictures.left_out) == {"images/3.png": "no label", "images/5.png": "no such file"}
    assert np.asarray(pictures.load(9))[0, 0, 0] == 11


@pytest.mark.parametrize(
    ("values", "labels", "classes"),
    [
        ([3, 1, 3, 1], ["3", "1", "3", "1"], ("1", "3")),
        (["007", "08", "007", "08"], ["007", "08", "007", "08"], ("007", "08")),
        ([2.0, 10.0, 2.0, 10.0], ["2", "10", "2", "10"], ("2", "10")),
        ([True, False, True, False], ["True", "False", "True", "False"], ("False", "True")),
        ([0.5, 1.0, 2.0, 3.0], [0.5, 1.0, 2.0, 3.0], ()),
        ([["a", "b"], ["b"], [], ["c"]], [("a", "b"), ("b",), (), ("c",)], ("a", "b", "c")),
        ([[1, 2.5], [3, 4], [5, 6], [7, 8]], [(1.0, 2.5), (3.0, 4.0), (5.0, 6.0), (7.0, 8.0)], ()),
    ],
)
def test_labels_are_what_the_column_says(
    tmp_path: Path, values: list[Any], labels: list[Any], classes: tuple[str]
) -> None:
    table = [row | {"label": value} for row, value in zip(rows(tmp_path, 4), values, strict=True)]
    pictures = open_splits(write(tmp_path / "t.jsonl", table))["all"]
    assert (pictures.labels, pictures.classes) == (labels, classes)
    single = all(isinstance(label, str) for label in labels)
    assert (pictures.targets == NO_CLASS).all() == (not single)
    train, val = stratified(pictures, 0.25, 0)
    assert sorted(map(str, [*train.labels, *val.labels])) == sorted(map(str, labels))


def test_several_label_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", rows(tmp_path, x=lambda i: i, y=lambda i: i / 2))
    pictures = open_splits(path, Columns(label_column=("x", "y")))["all"]
    assert pictures.label_columns == ("x", "y")
    assert pictures.labels[3] == (3.0, 1.5)
    assert pictures.classes == ("x", "y")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "", "expected a first line with a name for each column"),
        ("t.csv", "file,label\n", "the table has no rows"),
        ("t.csv", "a,a\n1,2\n", "a name for each column, found 'a, a'"),
        ("t.csv", "a,b\n1,2,3\n", "line 2 has 3 values, and there are 2 columns"),
        ("t.jsonl", "{}\n[1]\n", "line 2: expected an object, found list"),
        ("t.jsonl", "{'a': 1}\n", "line 1 is no JSON"),
        ("t.parquet", "PAR1", "cannot be read"),
        ("t.csv", b"file,label\n\xff\xfe,\xe9\n", "its text is not UTF-8; save it as UTF-8"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, name: str, text: str | bytes, message: str) -> None:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message) as error:
        open_splits(tmp_path / name)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("delimiter", [";", "|", "\t"])
def test_other_characters_between_the_columns(tmp_path: Path, delimiter: str) -> None:
    table = rows(tmp_path)
    lines = [delimiter.join(row.values()) for row in ({"file": "file", "label": "label"}, *table)]
    (tmp_path / "t.csv").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    assert open_splits(tmp_path / "t.csv")["all"].counts == (6, 6)


def test_splits_and_weights_that_are_none(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", rows(tmp_path, part="fold1", weight=lambda i: "heavy" if i == 4 else 1))
    with pytest.raises(DataError, match="column part has fold1; expected train"):
        open_splits(path, Columns(split_column="part"))
    with pytest.raises(DataError, match="row 5 has the weight 'heavy'; expected a number from 0 on"):
        open_splits(path, Columns(weight_column="weight"))


@pytest.mark.parametrize("odd", ["", "holdout"])
def test_a_column_that_says_splits_but_for_some_rows(tmp_path: Path, odd: str) -> None:
    path = write(tmp_path / "t.csv", rows(tmp_path, part=lambda i: odd if i == 5 else ("train", "val")[i % 3 == 0]))
    with pytest.raises(DataError, match="column part seems to say splits"):
        open_splits(path)
    write(path, rows(tmp_path, part=lambda i: ("train", "val")[i % 3 == 0]))
    assert set(open_splits(path)) == {"train", "val"}


def test_classes_that_are_called_like_splits(tmp_path: Path) -> None:
    table = [{"file": row["file"], "shows": ("train", "bus", "train")[i % 3]} for i, row in enumerate(rows(tmp_path))]
    path = write(tmp_path / "t.csv", table)
    with pytest.raises(DataError, match="If it holds the labels, say so: label_column="):
        open_splits(path)
    assert open_splits(path, Columns(("shows",)))["all"].classes == ("bus", "train")


def test_rows_without_a_group_and_weights_of_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", rows(tmp_path, who=lambda i: "" if i > 9 else f"p{i // 2}", much=0))
    with pytest.raises(DataError, match="row 11 and 1 more have no group in column who"):
        open_splits(path, Columns(group_by="who"))
    with pytest.raises(DataError, match="all weights in column much are 0"):
        open_splits(path, Columns(weight_column="much"))


def test_a_run_on_tables(tmp_path: Path) -> None:
    from training import run, write_model

    import vitzoo

    train = write(tmp_path / "train.csv", rows(tmp_path, 24, patient=lambda i: f"p{i // 4}"))
    path = run(write_model(tmp_path / "m.safetensors"), train, tmp_path / "out", columns=Columns(group_by="patient"))
    assert vitzoo.create(path).labels == ("ape", "owl")
    assert vitzoo.evaluate(path, train).to_dict()["pictures"] == 24


def written(folder: Path, *labels: str) -> Path:
    """A table with a picture for each label, with blanks around its path."""
    for i in range(len(labels)):
        Image.new("RGB", (8, 8), (20 * i, 0, 0)).save(folder / f"{i}.png")
    rows = "".join(f" {i}.png ,{label}\n" for i, label in enumerate(labels))
    (folder / "t.csv").write_text(f"path,label\n{rows}")
    return folder / "t.csv"


def test_blanks_around_labels_and_paths_do_not_count(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = open_splits(written(tmp_path, "cat", " cat", "dog ", "dog"))["all"]
    assert (found.classes, found.targets.tolist()) == (("cat", "dog"), [0, 0, 1, 1])
    assert "blanks around labels do not count, which makes one class of each: cat, dog" in capfd.readouterr().err
    open_splits(written(tmp_path, " cat", " cat", "dog", "dog"))
    assert capfd.readouterr().err == ""


def test_words_for_no_value_are_no_classes(tmp_path: Path) -> None:
    table = written(tmp_path, "a", "NA", "b", "None", "nan", "", " NA ", "none", "a", "b")
    found = open_splits(table)["all"]
    assert found.classes == ("a", "b", "none")
    assert [reason for _, reason in found.left_out] == [
        "no label but 'NA', which may be kept",
        "no label but 'None', which may be kept",
        "no label but 'nan', which may be kept",
        "no label",
        "no label but 'NA', which may be kept",
    ]
    kept = open_splits(table, Columns(keep_labels=("NA",)))["all"]
    assert (kept.classes, kept.counts) == (("a", "b", "NA", "none"), (2, 2, 2, 1))


@pytest.mark.parametrize(
    ("labels", "joint", "several"),
    [
        (("a", "b", "a;b"), "a;b", 2),
        (("a|b", "c"), "a|b", 3),
        (("red", "red, round"), "red, round", 2),
        (("shark, white", "hen"), None, 0),
        (("a", "b"), None, 0),
    ],
)
def test_joint_labels_are_asked_about(labels: tuple[str, ...], joint: str | None, several: int, tmp_path: Path) -> None:
    table = written(tmp_path, *(f'"{label}"' for label in labels * 2))
    recipe, columns = load_recipe("full"), Columns(("label",))
    if joint is None:
        return check_joint(open_splits(table, columns)["all"])
    with pytest.raises(DataError, match="may be several labels or the name of one class") as raised:
        PictureData(table, recipe, columns=columns)
    assert f"'{joint}'" in str(raised.value)
    assert raised.value.spelled({"task": "--task"}).endswith("say which: --task multi_label or --task classes")
    for kind, count in (("multi_label", several), ("classes", len(labels))):
        assert len(PictureData(table, recipe.changed(task=kind), columns=columns).classes) == count
    return None
