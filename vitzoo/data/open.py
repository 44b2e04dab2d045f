"""From what a user names to the splits of a data set."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from vitzoo.errors import DataError

if TYPE_CHECKING:
    from vitzoo.data.pictures import Pictures


def check_there(source: str | os.PathLike[str]) -> None:
    """Refuse a folder or a file that is not there, before anything is imported to read it.

    Raises:
        DataError: it is not there.
    """
    if _kind(source)[0] == "" and not Path(source).exists():
        raise DataError(
            f"{source}: there is no such folder or file; give a folder, a .tar file, hfds/NAME or wds/FOLDER"
        )


def _kind(source: str | os.PathLike[str]) -> tuple[str, str]:
    """The reader that a source names, or none, and the rest."""
    kind, _, rest = str(source).partition("/")
    return (kind.lower(), rest) if kind.lower() in ("hfds", "wds") else ("", str(source))


def open_splits(source: str | os.PathLike[str]) -> dict[str, "Pictures"]:
    """The splits of a data set: "train", "val" and "test", those there are, or "all" if it is not split.

    `source` is a folder of class folders, or of split folders with class folders in them; a tar file laid out like
    one; `hfds/NAME` for a Hugging Face dataset; or `wds/FOLDER` and `wds/train-{000..009}.tar` for WebDataset shards.
    Settings of timm's readers may follow: `hfds/NAME?input_key=img&target_key=fine_label`.

    Raises:
        DataError: nothing there, no pictures, an empty class, pictures outside of class folders, two folders that
            would be one class, pictures both in and outside of split folders.
    """
    kind, rest = _kind(source)
    if kind == "hfds":
        from vitzoo.data.hfds import open_dataset

        return open_dataset(rest)
    if kind == "wds":
        from vitzoo.data.shards import open_shards

        return open_shards(rest)
    check_there(source)
    from vitzoo.data.files import open_files

    return open_files(Path(source))
