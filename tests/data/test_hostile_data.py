"""Data sets that an enemy made: no shell starts, no link is followed in a circle, no hole is read."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from vitzoo.data.open import open_splits
from vitzoo.data.shards import _expanded
from vitzoo.errors import DataError


@pytest.mark.proves(guarantee="No code from files", against="wds/pipe:..., and a pipe in _info.json")
@pytest.mark.parametrize("pattern", ["pipe:touch fired; cat x.tar", "pipe:touch fired #.tar", "x.tar|pipe:touch fired"])
def test_shards_run_no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError):
        open_splits(f"wds/{pattern}")
    (tmp_path / "_info.json").write_text(json.dumps({"splits": {"train": {"filenames": [pattern]}}}))
    with pytest.raises(DataError):
        open_splits(f"wds/{tmp_path}")
    assert not (tmp_path / "fired").exists()


@pytest.mark.parametrize(
    "info", ["[]", "{", '{"splits": 3}', '{"splits": {"a": {}}}', '{"splits": {"a": {"filenames": 3}}}']
)
def test_info_that_is_none(tmp_path: Path, info: str) -> None:
    (tmp_path / "_info.json").write_text(info)
    with pytest.raises(DataError):
        open_splits(f"wds/{tmp_path}")


def test_names_written_short() -> None:
    assert _expanded("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert _expanded("{a,b}-{0..1}.tar") == ["a-0.tar", "a-1.tar", "b-0.tar", "b-1.tar"]
    with pytest.raises(DataError, match="more than 100,000 shards"):
        _expanded("{0..999999999}.tar")


def sparse(path: Path, name: str) -> None:
    """A tar with one member of 6 GB that is a hole (GNU's format 1.0)."""
    member = tarfile.TarInfo(name)
    data = b"0\n".ljust(512, b"\0")
    member.size = len(data)
    member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": name}
    member.pax_headers["GNU.sparse.realsize"] = str(6 << 30)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        picture = io.BytesIO()
        Image.new("RGB", (4, 4)).save(picture, "PNG")
        first = tarfile.TarInfo("a/0.png")
        first.size = len(picture.getvalue())
        archive.addfile(first, io.BytesIO(picture.getvalue()))
        archive.addfile(member, io.BytesIO(data))


@pytest.mark.proves(guarantee="Bounds come before memory", against="a tar of 10 kB whose member is a hole of 6 GB")
@pytest.mark.parametrize(("kind", "name"), [("", "a/x.png"), ("wds/", "x.png"), ("wds/", "x.cls")])
def test_holes_in_archives(tmp_path: Path, kind: str, name: str) -> None:
    sparse(tmp_path / "x.tar", name)
    with pytest.raises(DataError, match="of holes; pack the pictures as they are"):
        open_splits(f"{kind}{tmp_path / 'x.tar'}")


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "a" / "x.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(DataError, match="a link leads to a folder that it stands in; remove the link"):
        open_splits(tmp_path)
