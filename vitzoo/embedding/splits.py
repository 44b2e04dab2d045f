"""A store of vectors in place of pictures: its labels say the classes, its splits the parts."""

import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vitzoo.data.columns import ANY, Columns
from vitzoo.data.natural import natural
from vitzoo.data.open import open_splits
from vitzoo.data.pictures import WHOLE, Pictures
from vitzoo.data.places import Skipped
from vitzoo.data.seen import Seen
from vitzoo.embedding.recipe import MANIFEST
from vitzoo.errors import DataError, ImageError, SpecError
from vitzoo.extras import extra_for
from vitzoo.files.digest import hash_file
from vitzoo.publish.dialect import ViT

if TYPE_CHECKING:
    from vitzoo.embedding.store import Store

Source = str | os.PathLike[str]


def is_store(source: Source) -> bool:
    """Whether a folder holds vectors, not pictures."""
    return (Path(source) / MANIFEST).is_file()


def open_data(source: Source, columns: Columns = ANY) -> dict[str, Pictures]:
    """The splits of a data set, see `open_splits`; also those of a store, whose pictures are not opened.

    Raises:
        DataError: as `open_splits`; a store without labels, or with splits for some of its pictures.
    """
    if not is_store(source):
        return open_splits(source, columns)
    if columns != ANY:
        raise DataError(f"{source}: what columns mean is said to vitzoo embed; a store has its labels")
    with extra_for("embedding"):
        from vitzoo.embedding.store import Store
    return _by_split(Store(source))


def check_made_by(source: Source, vit: ViT) -> None:
    """Refuse a store of vectors that another model made.

    Raises:
        SpecError: what differs.
    """
    if not is_store(source):
        return
    with extra_for("embedding"):
        from vitzoo.embedding.store import Store
    recipe = Store(source).recipe
    if wrong := recipe.not_of(vit):
        raise SpecError(
            f"{source} holds vectors of another model ({recipe.model}, pictures of {recipe.img_size[0]} x "
            f"{recipe.img_size[1]}): {'; '.join(wrong[:4])}. Make the model as it was made for them, or embed anew"
        )


def _by_split(store: "Store") -> dict[str, Pictures]:
    names, said, seen = _read(store)
    known = np.array([label is not None for label, _ in said], dtype=np.bool_)
    if not known.any():
        raise DataError(
            f"{store.folder}: the store has no labels; embed pictures in folders of their classes, or a table that has "
            "labels, into it"
        )
    left_out = [Skipped(names[i], "has no label in the store") for i in np.flatnonzero(~known)]
    left_out += [Skipped(row.key, reason) for row, reason in store.unread_rows()]
    classes = tuple(sorted({label for label, _ in said if label is not None}, key=natural))
    index: dict[str | None, int] = {None: -1, **{name: place for place, name in enumerate(classes)}}
    whole = Pictures(
        str(store.folder),
        _Unopened(),
        classes,
        names,
        np.array([index[label] for label, _ in said], dtype=np.int64),
        np.arange(len(names), dtype=np.int64),
        hash_file(store.folder / MANIFEST),
        tuple(left_out),
        "by the labels of the store",
        seen=seen,
    )
    parts = np.array([split or WHOLE for _, split in said], dtype=object)
    splits = sorted(set(parts[known]))
    if WHOLE in splits and len(splits) > 1:
        lone = names[int(np.flatnonzero(known & (parts == WHOLE))[0])]
        others = ", ".join(split for split in splits if split != WHOLE)
        raise DataError(
            f"{store.folder}: some pictures are in a part ({others}) and some, such as {lone}, in none; embed them "
            "into stores of their own"
        )
    return {split: whole.take(np.flatnonzero(known & (parts == split))) for split in splits}


def _read(store: "Store") -> tuple[list[str], list[tuple[str | None, str | None]], Seen]:
    """Keys, (label, split) and vectors of all pictures."""
    names: list[str] = []
    said: list[tuple[str | None, str | None]] = []
    digests: list[str] = []
    vectors: list[npt.NDArray[Any]] = [np.zeros((0, store.recipe.length), store.recipe.dtype)]
    for block in store.blocks():
        columns = {name: block.table[name].to_pylist() for name in ("key", "label", "split", "sha256")}
        names += columns["key"]
        said += zip(columns["label"], columns["split"], strict=True)
        digests += columns["sha256"]
        vectors.append(block.vectors)
    recipe = store.recipe
    values = np.concatenate(vectors).reshape(-1, *recipe.shape)
    found = np.array(digests, dtype=object)
    return names, said, Seen(values, found, recipe.features, len(recipe.blocks), recipe.normalize)


class _Unopened:
    """The pictures behind vectors, which may be anywhere or gone."""

    def __getitem__(self, i: int) -> IO[bytes]:
        raise ImageError(f"picture {i} of a store of vectors is not opened; give the pictures themselves")
