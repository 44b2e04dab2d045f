"""The pictures of a store that are most like another: every vector is compared, file by file."""

import fnmatch
import os
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitzoo.embedding.features import extractor
from vitzoo.embedding.store import Block, Row, Store
from vitzoo.errors import Argument, DataError, SpecError
from vitzoo.images.ranges import Form
from vitzoo.images.read import read_picture
from vitzoo.images.transform import preprocess
from vitzoo.model.digest import tensors_digest
from vitzoo.publish.dialect import ViT, create

Vectors = npt.NDArray[np.float32]


class Metric(StrEnum):
    """How near two vectors are."""

    COSINE = "cosine"  # of the angle between them: 1 for the same direction
    DOT = "dot"  # their product
    L2 = "l2"  # the distance between them: 0 for the same


class Hit(NamedTuple):
    """A picture that was found."""

    row: Row
    score: float
    """The cosine, the product or the distance."""


def search(
    store: Store | str | os.PathLike[str],
    query: str | os.PathLike[str] | npt.NDArray[Any] | Tensor | None = None,
    *,
    key: str | None = None,
    k: int = 10,
    metric: str = "cosine",
    match: str = "*",
    model: str | ViT | None = None,
    device: str | None = None,
) -> list[Hit]:
    """The `k` pictures of a store that are nearest to a picture, a vector or another picture of it, nearest first.

    Args:
        store: the store, or its folder.
        query: a picture file, which goes through the store's own model, or a vector (length,).
        key: of a picture of the store, in the place of `query`; it is not among what is found itself.
        metric: "cosine", "dot" or "l2".
        match: only pictures whose keys are like this; `*` stands for any text.
        model: in the place of the one that the store names; it has to be the same.
        device: of the model.

    Raises:
        DataError: no such store or key, or nothing in it to compare with.
        SpecError: no query or two, a vector of another length, or another model.
        ImageError: a picture that cannot be read.
    """
    found = store if isinstance(store, Store) else Store(store)
    if (query is None) == (key is None):
        raise SpecError("give a picture or a vector to search for, or ", Argument("key"), " of one of the store's own")
    if key is not None:
        own, vector = vector_of(found, key)
        hits = nearest(found, vector[None], k + 1, metric, match)[0]
        return [hit for hit in hits if hit.row[:2] != own[:2]][:k]
    if isinstance(query, np.ndarray | Tensor):
        vector = np.asarray(query.detach().cpu() if isinstance(query, Tensor) else query, dtype=np.float32)
    else:
        assert query is not None, "asked above"
        vector = vector_of_picture(found, query, model, device)
    return nearest(found, vector[None], k, metric, match)[0]


def nearest(store: Store, queries: Vectors, k: int, metric: str = "cosine", match: str = "*") -> list[list[Hit]]:
    """For each of the vectors (queries, length) the `k` nearest of a store; one file of it is in memory at a time.

    Raises:
        SpecError: vectors of another length or with numbers that are not finite; an unknown metric.
        DataError: nothing to compare with.
    """
    how = _metric(metric)
    if k < 1:
        raise SpecError(f"k is {k}; ask for 1 picture at least")
    if queries.shape[1:] != (store.recipe.length,):
        raise SpecError(f"expected vectors of {store.recipe.length} numbers, found shape {list(queries.shape[1:])}")
    if not np.isfinite(queries).all():
        raise SpecError("a vector to search for has numbers that are not finite")
    best: list[list[Hit]] = [[] for _ in queries]
    for block in store.blocks():
        chosen = _matching(block, match)
        if not len(chosen):
            continue
        nearness = _nearness(queries, block.vectors[chosen].astype(np.float32), how)
        top = np.argsort(-nearness, axis=1, kind="stable")[:, :k]
        for place, numbers in enumerate(top):
            found = [Hit(block.row(int(chosen[i])), float(nearness[place, i])) for i in numbers]
            best[place] = sorted(best[place] + found, key=lambda hit: -hit.score)[:k]
    if not best[0]:
        whose = "" if match == "*" else f" whose key is like '{match}'"
        raise DataError(f"{store.folder}: no picture{whose} to compare with")
    return [[_scored(hit, how) for hit in hits] for hits in best]


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
    if isinstance(model, ViT):
        vit = model
    else:
        options: dict[str, Any] = {"device": device, "dtype": recipe.model_dtype, "pretrained": True}
        vit = create(model or recipe.model, **options)
        if vit.spec.img_size != recipe.spec.img_size:
            vit = create(model or recipe.model, img_size=recipe.spec.img_size, **options)
    if tensors_digest(vit) != recipe.weights:
        raise SpecError(
            f"the vectors in {store.folder} were made by other weights than those of '{model or recipe.model}'; give "
            "theirs with ",
            Argument("model"),
        )
    return vit


def _metric(name: str) -> Metric:
    try:
        return Metric(name)
    except ValueError:
        raise SpecError(f"unknown metric '{name}'; there are {', '.join(Metric)}") from None


def _matching(block: Block, match: str) -> npt.NDArray[np.int64]:
    keys = block.table["key"].to_pylist()
    return np.array(
        [i for i, key in enumerate(keys) if match == "*" or fnmatch.fnmatchcase(key, match)], dtype=np.int64
    )


def _nearness(queries: Vectors, vectors: Vectors, metric: Metric) -> Vectors:
    """(queries, vectors), larger for what is nearer."""
    if metric is Metric.COSINE:
        queries, vectors = unit(queries), unit(vectors)
    products: Vectors = queries @ vectors.T
    if metric is Metric.L2:
        products = 2 * products - (vectors**2).sum(1) - (queries**2).sum(1)[:, None]
    return products


def unit(vectors: Vectors) -> Vectors:
    """The vectors with length 1; one of zeros stays as it is."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: Vectors = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return found


def _scored(hit: Hit, metric: Metric) -> Hit:
    return hit._replace(score=float(np.sqrt(max(-hit.score, 0)))) if metric is Metric.L2 else hit
