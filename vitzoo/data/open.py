"""From what a user names to the splits of a data set."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from vitzoo.data.columns import ANY, Columns
from vitzoo.errors import DataError
from vitzoo.small_files import there

if TYPE_CHECKING:
    from vitzoo.data.pictures import Pictures

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
EXPECTED = "a folder, a .tar file, a table (.csv, .tsv, .jsonl, .parquet), hfds/NAME or wds/FOLDER"


def check_there(source: str | os.PathLike[str]) -> None:
    """Refuse a folder or a file that is not there, before anything is imported to read it.

    Raises:
        DataError: it is not there, or is a file that is no data set.
    """
    if _kind(source)[0]:
        return
    path = Path(source)
    if not there(path):
        raise DataError(f"{source}: there is no such folder or file; give {EXPECTED}")
    if path.is_file() and path.suffix.lower() not in (".tar", *TABLES):
        raise DataError(f"{source}: expected {EXPECTED}, found another file; give its folder, unpack it or save it so")


def _kind(source: str | os.PathLike[str]) -> tuple[str, str]:
    """The reader that a source names, or none, and the rest."""
    kind, _, rest = str(source).partition("/")
    return (kind.lower(), rest) if kind.lower() in ("hfds", "wds") else ("", str(source))


def open_splits(source: str | os.PathLike[str], columns: Columns = ANY) -> dict[str, "Pictures"]:
    """The splits of a data set: "train", "val" and "test", those there are, or "all" if it is not split.

    `source` is a folder of class folders, or of split folders with class folders in them; a tar file laid out like
    one; a table with a row for each picture: CSV, TSV, JSON lines or Parquet; `hfds/NAME` for a Hugging Face dataset;
    or `wds/FOLDER` and `wds/train-{000..009}.tar` for WebDataset shards. `columns` says what cannot be found out.

    Raises:
        DataError: nothing there, no pictures, an empty class, pictures outside of class folders, two folders that
            would be one class, pictures both in and outside of split folders; folders or columns that may be meant
            in two ways.
    """
    kind, rest = _kind(source)
    if kind == "hfds":
        from vitzoo.data.hfds import open_dataset

        return open_dataset(rest, columns)
    if kind == "wds":
        from vitzoo.data.shards import open_shards

        return open_shards(rest)
    check_there(source)
    path = Path(source)
    if path.suffix.lower() in TABLES and path.is_file():
        from vitzoo.data.tables import open_table

        return open_table(path, columns)
    from vitzoo.data.folders import open_files

    return open_files(path, columns)
