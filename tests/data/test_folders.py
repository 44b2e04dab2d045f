"""What folders are taken for: files by their contents, classes, splits and groups; and what is said of them."""

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vitzoo
from vitzoo.data.columns import Columns
from vitzoo.data.open import open_splits
from vitzoo.data.parts import lacking, parts_of
from vitzoo.data.pictures import Pictures
from vitzoo.data.readable import readable
from vitzoo.data.saying import left_out, summed, taken_for
from vitzoo.data.split import one_fold, stratified
from vitzoo.errors import DataError
from vitzoo.images.ranges import DEEP, Note


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITZOO_CACHE", str(tmp_path_factory.mktemp("cache")))


def fill(folder: Path, count: int = 2, ending: str = ".png", kind: str = "PNG") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.new("RGB", (8, 8), (i, 9, 9)).save(folder / f"{i}{ending}", kind)
    return folder


def packed(root: Path) -> Path:
    with tarfile.open(root.with_suffix(".tar"), "w") as archive:
        for path in sorted(root.rglob("*")):
            if path.is_file():
                archive.add(path, path.relative_to(root))
    return root.with_suffix(".tar")


def found(pictures: Pictures) -> set[str]:
    return set(pictures.names)


# By content.


@pytest.mark.parametrize("source", ["folder", "tar"])
def test_pictures_are_known_by_their_contents_and_the_rest_is_listed(tmp_path: Path, source: str) -> None:
    root = tmp_path / "data"
    fill(root / "a", 1), fill(root / "b", 1, "", "JPEG"), fill(root / "b", 1, ".jfif", "JPEG")
    fill(root / "a", 1, ".dat", "WEBP"), fill(root / ".hidden", 1), fill(root / "a", 1, ".PNG~", "PNG")
    (root / "a" / "notes.txt").write_text("hello")
    (root / "b" / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (root / "b" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))
    (root / "b" / "nothing").write_bytes(b"")
    pictures = open_splits(packed(root) if source == "tar" else root)["all"]

    assert found(pictures) == {"a/0.png", "a/0.dat", "a/0.PNG~", "b/0", "b/0.jfif"}
    assert {skipped.where: skipped.reason for skipped in pictures.left_out} == {
        ".hidden/0.png": "a hidden file",
        "a/notes.txt": "no picture but a text file",
        "b/Thumbs.db": "no picture but a file of another kind",
        "b/phone.heic": "no picture but a HEIC picture",
        "b/nothing": "an empty file (0 bytes)",
    }
    assert len(readable(pictures).pictures) == 5


def test_pipes_and_links_to_nothing_are_listed_and_nobody_waits(tmp_path: Path) -> None:
    fill(tmp_path / "a"), fill(tmp_path / "b")
    for name in ("pipe", "pipe.png"):
        os.mkfifo(tmp_path / "a" / name)
    for name in ("link", "link.png"):
        (tmp_path / "b" / name).symlink_to("nowhere")
    pictures, skipped, _ = readable(open_splits(tmp_path)["all"])
    reasons = dict((*pictures.left_out, *skipped))

    assert len(pictures) == 4
    assert reasons["a/pipe"] == "a pipe or device"
    assert reasons["b/link"] == "a link to nothing"
    assert "found a pipe or device" in reasons["a/pipe.png"]
    assert "found a link to nothing" in reasons["b/link.png"]


def test_a_tar_in_a_tar_is_a_folder(tmp_path: Path) -> None:
    for name in "ab":
        fill(tmp_path / "parts" / name, 2)
        with tarfile.open(tmp_path / f"{name}.tar", "w") as archive:
            for file in sorted((tmp_path / "parts" / name).iterdir()):
                archive.add(file, file.name)
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        archive.add(tmp_path / "a.tar", "a.tar"), archive.add(tmp_path / "b.tar", "b.tar")
    pictures = open_splits(tmp_path / "all.tar")["all"]
    assert (pictures.classes, pictures.counts) == (("a", "b"), (2, 2))
    assert [np.asarray(pictures.load(i))[0, 0, 0] for i in range(4)] == [0, 1, 0, 1]


def test_a_disk_that_fails_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "a"), fill(tmp_path / "b")
    read = Pictures.read

    def failing(self: Pictures, i: int, form: object) -> object:
        if i == 1:
            raise OSError(5, "Input/output error")
        return read(self, i, form)

    monkeypatch.setattr(Pictures, "read", failing)
    assert len(readable(open_splits(tmp_path)["all"]).skipped) == 1
    monkeypatch.setattr(Pictures, "read", read)
    assert len(readable(open_splits(tmp_path)["all"]).skipped) == 0


def test_what_pillow_is_told_is_part_of_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import ImageFile

    fill(tmp_path / "a"), fill(tmp_path / "b", 2, ".jpg", "JPEG")
    Image.effect_noise((64, 64), 50).save(tmp_path / "b" / "0.jpg")
    whole = (tmp_path / "b" / "0.jpg").read_bytes()
    (tmp_path / "b" / "0.jpg").write_bytes(whole[: len(whole) // 2])
    assert len(readable(open_splits(tmp_path)["all"]).skipped) == 1
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert len(readable(open_splits(tmp_path)["all"]).skipped) == 0


# What folders mean.


def test_folders_in_folders_are_asked_about_and_both_answers_work(tmp_path: Path) -> None:
    for patient, name in enumerate(("ill", "ill", "ill", "well", "well", "well")):
        fill(tmp_path / name / f"p{patient}", 4)
    with pytest.raises(DataError) as error:
        open_splits(tmp_path)
    assert error.value.spelled({"group_by": "--group-by"}).endswith(
        "say which is the class. --group-by folder: the outer one (2 classes: ill, well), and pictures of one inner "
        "folder, such as a patient, stay on one side of a split. --group-by none: the one around a picture (6 classes: "
        "p0, p1, p2, p3 and 2 more)"
    )
    assert open_splits(tmp_path, Columns(group_by="none"))["all"].classes == tuple(f"p{i}" for i in range(6))
    pictures = open_splits(tmp_path, Columns(group_by="folder"))["all"]
    assert pictures.counts == (12, 12)
    assert "6 groups" in taken_for({"train": pictures})
    train, val = stratified(pictures, 0.2, 0)
    assert val.counts == (4, 4)
    assert not set(train.groups) & set(val.groups)
    with pytest.raises(DataError, match="takes folder or none here, found 'patient'"):
        open_splits(tmp_path, Columns(group_by="patient"))


def test_groups_that_there_are_none_of(tmp_path: Path) -> None:
    fill(tmp_path / "a"), fill(tmp_path / "b")
    with pytest.raises(DataError, match="no folder stands in the folder of a class; leave group_by out"):
        open_splits(tmp_path, Columns(group_by="folder"))


@pytest.mark.parametrize(
    "layout", ["{split}/{name}", "set/{split}/{name}", "{name}/{split}", "set/{name}/{split}", "{split}/set/{name}"]
)
def test_where_splits_may_stand(tmp_path: Path, layout: str) -> None:
    for split in ("train", "val"):
        for name in ("a", "b"):
            fill(tmp_path / layout.format(split=split, name=name))
    splits = open_splits(tmp_path)
    assert {split: (p.classes, p.counts) for split, p in splits.items()} == {
        "train": (("a", "b"), (2, 2)),
        "val": (("a", "b"), (2, 2)),
    }


@pytest.mark.parametrize("hidden", ["test", "test/unknown", "testing", "test/x/y"])
def test_test_pictures_of_which_nobody_knows_the_class_are_left_aside(tmp_path: Path, hidden: str) -> None:
    for name in "ab":
        fill(tmp_path / "train" / name)
    fill(tmp_path / hidden, 3)
    if hidden == "test/x/y":
        with pytest.raises(DataError, match="folders stand in folders"):
            parts_of(tmp_path)
        return
    parts = parts_of(tmp_path)
    assert (parts.test, parts.train.classes) == (None, ("a", "b"))
    assert len((*parts.aside, *parts.train.left_out)) == 3
    assert "3 files left out" in left_out((*parts.aside, *parts.train.left_out))


def test_some_test_pictures_of_another_class_are_refused_and_the_advice_works(tmp_path: Path) -> None:
    for folder in ("train/a", "train/b", "test/a", "test/c"):
        fill(tmp_path / folder)
    with pytest.raises(DataError) as error:
        parts_of(tmp_path)
    advice = error.value.spelled({"data": "--data"}).rpartition("--data ")[2]
    assert advice == str(tmp_path / "train")
    assert parts_of(advice).test is None


@pytest.mark.parametrize("emptied", ["folder", "no folder"])
def test_a_class_without_validation_pictures_is_trained_and_that_is_said(tmp_path: Path, emptied: str) -> None:
    for folder in ("train/a", "train/b", "train/rare", "val/a", "val/b"):
        fill(tmp_path / folder)
    if emptied == "folder":
        (tmp_path / "val" / "rare").mkdir()
    parts = parts_of(tmp_path)
    assert parts.train.classes == ("a", "b", "rare")
    assert lacking(parts.val) == ["rare"]


def test_a_table_beside_pictures_without_folders_is_pointed_at(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "labels.csv").write_text("file,label\n0.png,a\n1.png,b\n")
    with pytest.raises(DataError, match="give a table with a label for each, such as") as error:
        open_splits(tmp_path)
    table = str(error.value).rpartition("such as ")[2]
    assert open_splits(table)["all"].classes == ("a", "b")


# What is said.


def test_what_is_taken_for_what_is_one_line(tmp_path: Path) -> None:
    for i in range(30):
        fill(tmp_path / "train" / f"class{i}", i % 3 + 1)
    fill(tmp_path / "val" / "class0", 3)
    line = taken_for(open_splits(tmp_path))
    assert line == (
        f"reading {tmp_path}: 30 classes by the folder around each picture: train 60 (class0 1, class1 2, class2 3, "
        "class3 1, class4 2, class5 3 and 24 more), val 3 (class0 3, class1 0, class2 0, class3 0, class4 0, class5 0 "
        "and 24 more)"
    )


def test_notes_are_counted_and_the_range_is_said() -> None:
    deep = Note(f"of 16 bits taken as 0..{DEEP}", 4000.0)
    remarks = summed([("a", deep), ("b", deep._replace(largest=4095.0)), ("c", Note("with transparency"))])
    assert [str(remark) for remark in remarks] == [
        "2 pictures of 16 bits taken as 0..65535 (a; the largest value is 4095; if that is white, give white=4095)",
        "1 picture with transparency (c)",
    ]
    assert "if that is white" not in str(summed([("a", deep._replace(largest=60000.0))])[0])


def test_a_run_says_what_it_reads_before_its_first_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from training import run, write_model

    for name in "ab":
        fill(tmp_path / "data" / name, 8)
    (tmp_path / "data" / "a" / "notes.txt").write_text("hello")
    np.save(tmp_path / "data" / "b" / "deep.npy", np.full((8, 8, 3), 4095, np.uint16))
    run(write_model(tmp_path / "model.safetensors"), tmp_path / "data", tmp_path / "out")
    said = capsys.readouterr().err.splitlines()
    assert said[0].endswith("2 classes by the folder around each picture: train 13 (a 6, b 7), val 4 (a 2, b 2)")
    assert said[1].endswith("1 file left out: 1 no picture but a text file (a/notes.txt)")
    assert said[2].endswith("the largest value is 4095; if that is white, give white=4095)")
    again = run(tmp_path / "model.safetensors", tmp_path / "data", tmp_path / "white", white=4095.0)
    assert "16 bits" not in capsys.readouterr().err
    assert vitzoo.create(again).preprocessing.white == 4095
    report = (tmp_path / "out" / "report.md").read_text()
    assert "`a/notes.txt`: no picture but a text file" in report
    assert "taken as 0..65535" in report


# Parts.


def grouped(counts: list[list[int]]) -> Pictures:
    """Groups x classes."""
    rows = [(g, c) for g, row in enumerate(counts) for c, n in enumerate(row) for _ in range(n)]
    targets = np.array([c for _, c in rows], dtype=np.int64)
    names = [str(i) for i in range(len(rows))]
    classes = tuple(f"c{i}" for i in range(len(counts[0])))
    groups = np.array([g for g, _ in rows], dtype=np.int64)
    return Pictures("x", None, classes, names, targets, np.arange(len(rows)), "", groups=groups)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("groups", [False, True])
def test_folds_share_nothing_and_miss_nothing(count: int, groups: bool) -> None:
    rng = np.random.default_rng(count)
    pictures = grouped(rng.integers(0, 6, (40, 3)).tolist())
    if not groups:
        from dataclasses import replace

        pictures = replace(pictures, groups=None)
    held_out: list[str] = []
    for number in range(count):
        train, val = one_fold(pictures, number, count, seed=1)
        assert not set(train.names) & set(val.names)
        assert len(train) + len(val) == len(pictures)
        if groups:
            assert not set(train.groups) & set(val.groups)
        for all_of_it, part in zip(pictures.counts, val.counts, strict=True):
            assert abs(part - all_of_it / count) <= (0.25 * all_of_it if groups else 1)
        held_out += val.names
    assert sorted(held_out) == sorted(pictures.names)


def test_folds_that_cannot_be() -> None:
    with pytest.raises(DataError, match="2 groups of pictures are too few for 3 folds; give folds=2"):
        one_fold(grouped([[3, 3], [3, 3]]), 0, 3, 0)
    with pytest.raises(DataError, match=r"class 'c\d' is all in fold \d, too few for a validation part"):
        one_fold(grouped([[3, 0], [0, 3]]), 0, 2, 0)
    with pytest.raises(DataError, match="has too few groups that can be set apart"):
        stratified(grouped([[3, 0], [0, 3]]), 0.2, 0)
