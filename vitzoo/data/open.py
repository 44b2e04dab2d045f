"""From what a user names to the splits of a data set."""

import os
from pathlib import Path

from vitzoo.data.pictures import Pictures


def open_splits(source: str | os.PathLike[str]) -> dict[str, Pictures]:
    """The splits of a data set: "train", "val" and "test", those there are, or "all" if it is not split.

    `source` is a folder of class folders, or of split folders with class folders in them; a tar file laid out like
    one; `hfds/NAME` for a Hugging Face dataset; or `wds/FOLDER` and `wds/train-{000..009}.tar` for WebDataset shards.
    Settings of timm's readers may follow: `hfds/NAME?input_key=img&target_key=fine_label`.

    Raises:
        DataError: nothing there, no pictures, an empty class, pictures outside of class folders, two folders that
            would be one class, pictures both in and outside of split folders.
    """
    kind, _, rest = str(source).partition("/")
    if kind.lower() == "hfds":
        from vitzoo.data.hfds import open_dataset

        return open_dataset(rest)
    if kind.lower() == "wds":
        from vitzoo.data.shards import open_shards

        return open_shards(rest)
    from vitzoo.data.files import open_files

    return open_files(Path(source))
