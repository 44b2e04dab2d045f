"""The pictures of a store that are most like another picture, a vector, or one of its own."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitzoo.embedding.approximate import Index, usable_index
from vitzoo.embedding.features import extractor
from vitzoo.embedding.filters import Filter
from vitzoo.embedding.nearest import Hit, Vectors, nearest
from vitzoo.embedding.store import Row, Store
from vitzoo.engines.exported import weights_digest
from vitzoo.errors import Argument, DataError, SpecError
from vitzoo.images.ranges import Form
from vitzoo.images.read import read_picture
from vitzoo.images.transform import preprocess
from vitzoo.publish.dialect import ViT, create, is_model


def search(
    store: Store | str | os.PathLike[str],
    query: str | os.PathLike[str] | npt.NDArray[Any] | Tensor | None = None,
    *,
    key: str | None = None,
    k: int = 10,
    metric: str = "cosine",
    where: Sequence[str] = (),
    exact: bool = False,
    model: str | ViT | None = None,
    device: str | None = None,
) -> list[Hit]:
    """The `k` pictures of a store that are nearest to a picture, a vector or another picture of it, nearest first.

    Every vector is compared, unless the store has an index (see :func:`vitzoo.build_index`) of the same metric and
    state, there is no `where`, and the index finds as many as are wanted.

    Args:
        store: the store, or its folder.
        query: a picture file, which goes through the store's own model, or a vector (length,), also as a .npy file.
        key: of a picture of the store, in the place of `query`; it is not among what is found itself.
        metric: "cosine", "dot" or "l2".
        where: conditions that all have to hold, such as "key~cats/*" and "key!=cats/1.jpg"; see `Filter`.
        exact: compare every vector also if there is an index.
        model: in the place of the one that the store names; it has to be the same.
        device: of the model.

    Raises:
        DataError: no such store or key, or nothing in it to compare with.
        SpecError: no query or two, a vector of another length, no such column, or another model.
        ImageError: a picture that cannot be read.
    """
    return searched(store, query, key, k, metric, where, exact, model, device).hits


class Found(NamedTuple):
    """What a search gives."""

    hits: list[Hit]
    by: Index | None
    """The index that found them; None if every vector was compared."""


def searched(
    store: Store | str | os.PathLike[str],
    query: str | os.PathLike[str] | npt.NDArray[Any] | Tensor | None,
    key: str | None,
    k: int,
    metric: str,
    where: Sequence[str],
    exact: bool,
    model: str | ViT | None,
    device: str | None,
) -> Found:
    """:func:`search`, and how it was found."""
    found = store if isinstance(store, Store) else Store(store)
    if (query is None) == (key is None):
        raise SpecError("give a picture or a vector to search for, or ", Argument("key"), " of one of the store's own")
    taken = Filter.read(where, found.columns)
    index = None if exact or where else usable_index(found, metric)
    if key is not None:
        own, vector = vector_of(found, key)
        k += 1
    else:
        assert query is not None, "asked above"
        own, vector = None, _vector_of(found, query, model, device)
    hits = index.nearest(found, vector, k) if index is not None else None
    if hits is None:
        index, hits = None, nearest(found, vector[None], k, metric, taken)[0]
    others = hits if own is None else [hit for hit in hits if hit.row[:2] != own[:2]][: k - 1]
    return Found(others, index)


def _vector_of(
    store: Store,
    query: str | os.PathLike[str] | npt.NDArray[Any] | Tensor,
    model: str | ViT | None,
    device: str | None,
) -> Vectors:
    if isinstance(query, Tensor):
        return np.asarray(query.detach().cpu(), dtype=np.float32)
    if isinstance(query, np.ndarray):
        return np.asarray(query, dtype=np.float32)
    if Path(query).suffix.lower() != ".npy":
        return vector_of_picture(store, query, model, device)
    try:
        return np.asarray(np.load(query, allow_pickle=False), dtype=np.float32)
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise DataError(f"{query}: expected a vector that numpy.save wrote; {error}") from None


def vector_of(store: Store, key: str) -> tuple[Row, Vectors]:
    """The picture of a key, and its vector.

    Raises:
        DataError: no picture has it, or pictures of two sources.
    """
    found = []
    for block in store.blocks():
        for i in np.flatnonzero(np.array(block.table["key"].to_pylist(), dtype=object) == key):
            found.append((block.row(int(i)), block.vectors[i].astype(np.float32)))
    if not found:
        raise DataError(
            f"{store.folder}: no picture has the key '{key}'; keys are paths in the folder that was embedded"
        )
    if len(found) > 1:
        raise DataError(f"{store.folder}: {len(found)} sources have a picture '{key}'; give the picture's file instead")
    return found[0]


@torch.inference_mode()
def vector_of_picture(
    store: Store, picture: str | os.PathLike[str], model: str | ViT | None = None, device: str | None = None
) -> Vectors:
    """The vector of a picture file, made as those of the store."""
    recipe = store.recipe
    vit = model_of(store, model, device)
    like = next(vit.parameters())
    read = read_picture(picture, Form.of(vit))
    x = preprocess(vit)(read.picture)[None].to(like.device, like.dtype)
    return extractor(vit, recipe.features, recipe.blocks).function(x).float().flatten(1)[0].cpu().numpy()


def model_of(store: Store, model: str | ViT | None = None, device: str | None = None) -> ViT:
    """The model whose vectors a store has.

    Raises:
        SpecError: another model.
    """
    recipe = store.recipe
    if is_model(model):
        vit = model
    else:
        options: dict[str, Any] = {"device": device, "dtype": recipe.model_dtype, "pretrained": True}
        vit = create(model or recipe.model, **options)
        if vit.spec.img_size != recipe.spec.img_size:
            vit = create(model or recipe.model, img_size=recipe.spec.img_size, **options)
    if weights_digest(vit) != recipe.weights:
        raise SpecError(
            f"the vectors in {store.folder} were made by other weights than those of '{model or recipe.model}'; give "
            "theirs with ",
            Argument("model"),
        )
    return vit
