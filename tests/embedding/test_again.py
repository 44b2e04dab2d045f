"""Running it again brings a store up to date: after pictures changed, and after each step that a run was killed at."""

import errno
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import tiny
import torch
from embedding.conftest import COUNT, FEW, contents, picture, vectors

from vitzoo import Store, ViT, create, embed
from vitzoo.embedding import writing
from vitzoo.errors import DataError, SpecError


def test_new_gone_changed_and_damaged_pictures(tmp_path: Path, vit: ViT, pictures: Path) -> None:
    first = embed(vit, pictures, tmp_path / "out", **FEW)
    assert first[1:] == (COUNT, 0, 0, (), 0)
    before = vectors(first.store)
    assert embed(vit, pictures, tmp_path / "out", **FEW)[1:4] == (0, COUNT, 0)

    (pictures / "a" / "0.png").unlink()
    picture(pictures / "b" / "1.png", 99)
    (pictures / "a" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    picture(pictures / "b" / "new.png", 100)
    second = embed(vit, pictures, tmp_path / "out", **FEW)
    assert second[1:4] == (3, COUNT - 3, 1)
    ((damaged, reason),) = second.unread
    assert (damaged.key, damaged.sha256 is not None) == ("a/2.png", True)
    assert "a/2.png" in reason
    after = vectors(second.store)
    assert after.keys() == before.keys() - {"a/0.png", "a/2.png"} | {"b/new.png"}
    assert [key for key in after.keys() & before.keys() if not np.array_equal(after[key], before[key])] == ["b/1.png"]
    marked = pandas.read_parquet(tmp_path / "out")
    assert list(marked[marked["removed"]]["key"]) == ["a/0.png"]

    assert embed(vit, pictures, tmp_path / "out", **FEW)[1:4] == (0, COUNT, 0)  # the damaged one is as it was
    picture(pictures / "a" / "0.png", 0)
    picture(pictures / "a" / "2.png", 2)
    third = embed(vit, pictures, tmp_path / "out", **FEW)
    assert (third[1:4], third.unread) == ((2, COUNT - 1, 0), ())
    again = vectors(third.store)
    np.testing.assert_allclose(again["a/0.png"], before["a/0.png"], atol=1e-6)
    assert len(again) == COUNT + 1
    third.store.verify()


def test_two_sources_in_one_store(tmp_path: Path, vit: ViT, pictures: Path) -> None:
    embed(vit, pictures / "a", tmp_path / "out", **FEW)
    store = embed(vit, pictures / "b", tmp_path / "out", **FEW).store
    assert len(store) == COUNT
    assert len({row.source for block in store.blocks() for row in map(block.row, range(len(block.vectors)))}) == 2


def test_vectors_of_another_model_are_refused(tmp_path: Path, vit: ViT, pictures: Path) -> None:
    before = contents(embed(vit, pictures, tmp_path / "out", **FEW).store.folder)
    other = tiny.randomise(create(tiny.spec()), seed=5)
    with pytest.raises(SpecError, match=r"another kind .*weights sha256:\w+ here and sha256:\w+ there"):
        embed(other, pictures, tmp_path / "out", **FEW)
    for options, message in (
        ({"normalize": True}, "normalize True here and False there"),
        ({"features": "mean"}, "features mean here and pooled there"),
        ({"deterministic": True}, "batch_size 3 here and None there"),
    ):
        with pytest.raises(SpecError, match=message):
            embed(vit, pictures, tmp_path / "out", **FEW, **options)
    assert contents(tmp_path / "out") == before


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path, vit: ViT, pictures: Path) -> None:
    with pytest.raises(DataError, match=r"holds other files, such as [ab]; name a new folder"):
        embed(vit, pictures, pictures, **FEW)


def test_a_vector_that_the_kept_type_does_not_hold(tmp_path: Path, pictures: Path) -> None:
    model = create(tiny.spec())
    torch.nn.init.constant_(model.norm.weight, 1e6)
    found = embed(model, pictures, tmp_path / "out", dtype="float16", features="cls", **FEW)
    assert len(found.store) == 0
    assert all("numbers that float16 does not hold" in reason for _, reason in found.unread)


def test_files_in_a_tar_and_in_a_list(tmp_path: Path, vit: ViT, pictures: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        archive.add(pictures, "in")
    expected = vectors(embed(vit, pictures, tmp_path / "folder", **FEW).store)
    packed = embed(vit, tmp_path / "all.tar", tmp_path / "packed", **FEW).store
    found = {key.removeprefix("in/"): vector for key, vector in vectors(packed).items()}
    assert found.keys() == expected.keys()
    assert all(np.allclose(found[key], expected[key], atol=1e-6) for key in found)
    row = next(packed.blocks()).row(0)
    assert row.path is not None
    assert row.size is not None
    with Path(row.path).open("rb") as file:
        file.seek(row.offset or 0)
        assert file.read(row.size) == (pictures / row.key.removeprefix("in/")).read_bytes()
    listed = embed(vit, [pictures / "a/0.png", tmp_path / "none.png"], tmp_path / "listed", **FEW)
    assert len(listed.store) == 1
    assert "none.png" in listed.unread[0][1]


def test_a_second_list_says_nothing_of_the_first(tmp_path: Path, vit: ViT, pictures: Path) -> None:
    embed(vit, [pictures / "a" / "0.png"], tmp_path / "out", **FEW)
    done = embed(vit, [pictures / "b" / "1.png"], tmp_path / "out", **FEW)
    assert (len(done.store), done.removed) == (2, 0)


def test_a_picture_in_two_rows_of_a_table_has_one_vector(tmp_path: Path, vit: ViT, pictures: Path) -> None:
    rows = ["path,label", "a/0.png,x", "a/2.png,x", "a/0.png,y", "b/1.png,y"]
    (pictures / "table.csv").write_text("\n".join(rows) + "\n")
    store = embed(vit, pictures / "table.csv", tmp_path / "out", **FEW).store
    assert sorted(key.rpartition("/")[2] for key in vectors(store)) == ["0.png", "1.png", "2.png"]
    assert len(store) == 3
    assert embed(vit, pictures / "table.csv", tmp_path / "out", **FEW)[1:4] == (0, 3, 0)


def test_a_name_that_is_no_text(tmp_path: Path, vit: ViT, pictures: Path) -> None:
    odd = os.fsdecode(bytes(pictures) + b"/a/\xff.png")
    shutil.copy(pictures / "a" / "0.png", odd)
    store = embed(vit, pictures, tmp_path / "out", **FEW).store
    assert vectors(store).keys() >= {"a/\\xff.png"}
    assert embed(vit, pictures, tmp_path / "out", **FEW)[1:4] == (0, COUNT + 1, 0)
    assert len(embed(vit, [odd], tmp_path / "list", **FEW).store) == 1


def test_places_are_found_from_anywhere(
    tmp_path: Path, vit: ViT, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pictures)
    for data in ("a", ["a/0.png"]):
        store = embed(vit, data, tmp_path / f"out{len(data)}{data[0]}".replace("/", "-"), **FEW).store
        assert Path(str(next(store.blocks()).row(0).path)).is_absolute()


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"rows_per_file": 0}])
def test_numbers_below_one(tmp_path: Path, vit: ViT, pictures: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(SpecError, match="have to be 1 at least"):
        embed(vit, pictures, tmp_path / "out", **{**FEW, **wrong})
    with pytest.raises(DataError, match="the list of files: no pictures found"):
        embed(vit, [], tmp_path / "out", **FEW)


# --- killed at each step


def crash(step: int, work: Callable[[], object]) -> int:
    """Run it in a process that is killed before its `step`-th renaming; the exit code, negative for a signal."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    count, replace = 0, Path.replace

    def killed(self: Path, target: Any) -> Path:
        nonlocal count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    Path.replace = killed  # type: ignore[method-assign]
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def test_killed_at_any_step_it_ends_with_the_bytes_of_an_unbroken_run(tmp_path: Path, vit: ViT, pictures: Path) -> None:
    (pictures / "a" / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    options = {**FEW, "deterministic": True}
    whole = contents(embed(vit, pictures, tmp_path / "whole", **options).store.folder)
    for step in range(1, 100):
        folder = tmp_path / str(step)
        code = crash(step, lambda folder=folder: embed(vit, pictures, folder, **options))  # type: ignore[misc]
        if (folder / "_vitzoo.json").exists():
            Store(folder).verify()
        assert contents(embed(vit, pictures, folder, **options).store.folder) == whole
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert step > 7  # renamings of an unbroken run: three files, what cannot be read, and a manifest for each


def test_a_manifest_that_comes_before_its_files_is_noticed(
    tmp_path: Path, vit: ViT, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: with the order turned round, some step leaves a store that is not whole."""
    write = writing.Writer._write

    def early(self: writing.Writer, stem: str, table: Any) -> Any:
        part = write(self, stem, table)
        path = self.folder / part.file
        path.rename(path.with_suffix(".later"))
        late.append((self.folder, part.file))
        return part

    late: list[tuple[Path, str]] = []
    publish = writing.Writer._publish

    def then(self: writing.Writer, manifest: Any) -> None:
        publish(self, manifest)
        while late:
            folder, name = late.pop()
            (folder / name).with_suffix(".later").replace(folder / name)

    monkeypatch.setattr(writing.Writer, "_write", early)
    monkeypatch.setattr(writing.Writer, "_publish", then)
    broken = 0
    for step in range(1, 8):
        folder = tmp_path / str(step)
        crash(step, lambda folder=folder: embed(vit, pictures, folder, **FEW))  # type: ignore[misc]
        try:
            Store(folder).verify()
        except DataError:
            broken += 1
    assert broken > 1  # one is killed before there is any manifest


def test_a_full_disk(tmp_path: Path, vit: ViT, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    write, calls = pq.write_table, 0

    def full(*given: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", full)
        with pytest.raises(DataError, match=r"No space left on device; make room and run it again"):
            embed(vit, pictures, tmp_path / "out", **FEW)
    assert len(Store(tmp_path / "out")) == 4
    assert not list((tmp_path / "out").glob(".*"))
    assert embed(vit, pictures, tmp_path / "out", **FEW)[1:3] == (COUNT - 4, 4)


def test_one_of_two_writers_wins(tmp_path: Path, vit: ViT, pictures: Path) -> None:
    store = embed(vit, pictures, tmp_path / "out", **FEW).store
    with (
        writing.writing(store.folder, store.recipe),
        pytest.raises(DataError, match="another process writes vectors into it"),
    ):
        embed(vit, pictures, tmp_path / "out", **FEW)
    assert embed(vit, pictures, tmp_path / "out", **FEW).kept == COUNT


# --- stores that are not whole


def test_damaged_stores(tmp_path: Path, vit: ViT, pictures: Path) -> None:
    with pytest.raises(DataError, match="no store of vectors; make one: vitzoo embed MODEL PICTURES"):
        Store(tmp_path / "none")
    store = embed(vit, pictures, tmp_path / "out", **FEW).store
    file = store.folder / store.parts[1].file
    whole = file.read_bytes()
    file.write_bytes(whole[:-9] + b"x" + whole[-8:])
    with pytest.raises(DataError, match="expected sha256"):
        store.verify()
    file.write_bytes(whole[:100])
    with pytest.raises(DataError, match="cannot be read"):
        vectors(store)
    file.unlink()
    with pytest.raises(DataError, match="a file of the store is missing"):
        vectors(store)
    shutil.rmtree(store.folder)  # what the error says
    assert len(embed(vit, pictures, tmp_path / "out", **FEW).store) == COUNT
    manifest = store.folder / "_vitzoo.json"
    for text in ("", "[]", "{}", manifest.read_text().replace('"format": 1', '"format": 9'), '{"a":' * 5000):
        manifest.write_text(text)
        with pytest.raises(DataError, match=r"_vitzoo.json: cannot be read"):
            Store(store.folder)
