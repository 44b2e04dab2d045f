"""From pictures to a store of their vectors. Run again it goes on: with what is missing, new, gone or another."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vitzoo.data.columns import ANY, Columns
from vitzoo.data.progress import tracked
from vitzoo.data.saying import say_reading, summed
from vitzoo.embedding.features import Extractor, extractor
from vitzoo.embedding.items import Data, Items, items_of
from vitzoo.embedding.recipe import DTYPES, Made, Recipe, recipe_of
from vitzoo.embedding.store import Row, Said, Store
from vitzoo.embedding.writing import Known, Writer, writing
from vitzoo.errors import Argument, ImageError, SpecError
from vitzoo.images.load import unusual
from vitzoo.images.ranges import Form, Note
from vitzoo.images.read import read_picture
from vitzoo.images.transform import Transform, preprocess
from vitzoo.publish.dialect import ViT, create, is_model

ROWS = 8192
"""Pictures of a file: what is lost at most if the process is killed."""
LARGEST = 2 << 30
"""Bytes of one picture."""
HASHED = 1024  # pictures that are hashed between two looks at the clock
IN_MEMORY = "a model in memory"
"""What a recipe says of a model that was given as such."""


class Embedded(NamedTuple):
    """What a run did."""

    store: Store
    computed: int
    kept: int
    """Pictures whose vectors were there already."""
    removed: int
    unread: tuple[tuple[Row, str], ...]
    """All pictures of the store that have no vector, each with the reason."""
    left_out: int
    """Files that are no pictures."""


def embed(
    model: str | os.PathLike[str] | ViT,
    data: Data,
    output: str | os.PathLike[str],
    *,
    features: str | None = None,
    blocks: Sequence[int] = (),
    normalize: bool = False,
    dtype: str = "float32",
    batch_size: int = 32,
    deterministic: bool = False,
    rows_per_file: int = ROWS,
    columns: Columns = ANY,
    num_workers: int | None = None,
    **options: object,
) -> Embedded:
    """Put the vectors of pictures into a folder, `output`; one that is there goes on. See `vitzoo.embedding.store`.

    Args:
        model: whatever `create` takes, or a model.
        data: a folder, a tar file, a table, `wds/...`, `hfds/...`, or a list of files.
        features: one of `Features`; by default the projection of a model that has one, else the pooled features.
        blocks: of these blocks, through the final norm, one after the other; -1 is the last.
        normalize: to length 1.
        dtype: "float32" or "float16", of the numbers that are kept.
        batch_size: pictures in a forward pass.
        deterministic: all forward passes are of one size; see `Recipe.batch_size`.
        rows_per_file: pictures of a file; a killed run loses the work on the file that it was at.
        columns: what folders within folders or the columns of a table mean; labels and splits are kept where known.
        num_workers: processes that read pictures; as many as there are cores by default.
        options: of `create`, such as img_size and device; its dtype is `model_dtype` here.

    Raises:
        SpecError, DataError: features that the model lacks, other vectors; no pictures, a folder that is not writable.
    """
    _check(dtype, batch_size, rows_per_file)
    found = items_of(data, columns)
    options |= {"dtype": options.pop("model_dtype")} if "model_dtype" in options else {}
    vit = model if is_model(model) else create(model, pretrained=True, **options)  # type: ignore[arg-type]
    how = extractor(vit.eval(), features, blocks)
    made = Made(normalize, dtype, batch_size if deterministic else None)
    recipe = recipe_of(vit, IN_MEMORY if is_model(model) else os.fspath(model), how, made)
    workers = (os.cpu_count() or 1) if num_workers is None else num_workers
    with writing(Path(output), recipe) as writer:
        work = _Work(vit, how, recipe, batch_size, rows_per_file, workers)
        done = [_brought_up_to_date(writer, items, work) for items in found]
        computed, kept, removed = map(sum, zip(*done, strict=True))
        store = writer.store
    return Embedded(store, computed, kept, removed, tuple(store.unread_rows()), sum(len(i.left_out) for i in found))


def _check(dtype: str, batch_size: int, rows_per_file: int) -> None:
    if dtype not in DTYPES:
        raise SpecError(f"vectors are kept as {' or '.join(DTYPES)}, found '{dtype}'; choose with ", Argument("dtype"))
    if min(batch_size, rows_per_file) < 1:
        raise SpecError(f"batch_size {batch_size} and rows_per_file {rows_per_file} have to be 1 at least")


class _Work(NamedTuple):
    vit: ViT
    how: Extractor
    recipe: Recipe
    batch_size: int
    rows_per_file: int
    num_workers: int


def _brought_up_to_date(writer: Writer, items: Items, work: _Work) -> tuple[int, int, int]:
    """What a store has of one source becomes what is there now; pictures computed, kept and removed."""
    known = writer.known(items.source)
    todo, gone = _compare(items, known)
    said = _said_anew(items, known, todo)
    if gone or said:
        writer.commit(removed={(items.source, key) for key in gone}, said=said)
    size = work.rows_per_file
    files = [todo[i : i + size] for i in range(0, len(todo), size)]
    remarks = summed(_compute(work, items, files, writer))
    say_reading(items.source or "the list", items.left_out, remarks)
    return len(todo), len(items) - len(todo), len(gone)


def _compare(items: Items, known: dict[str, Known]) -> tuple[list[int], set[str]]:
    """The pictures that have to go through the model, and the keys of those that are no longer there.

    A picture whose bytes are as they were is left alone, also if it could not be read.
    """
    gone = {key for key, one in known.items() if not one.removed} - set(items.keys) if items.whole else set()
    there = [i for i, key in enumerate(items.keys) if key in known and not known[key].removed]
    some = [there[start : start + HASHED] for start in range(0, len(there), HASHED)]
    same = set[int]()
    with ThreadPoolExecutor() as pool:  # hashing lets other threads go on
        for numbers in tracked(some, "comparing"):
            digests = pool.map(lambda i: _digest(items, i), numbers)
            same |= {
                i
                for i, found in zip(numbers, digests, strict=True)
                if found is not None and found == known[items.keys[i]].sha256
            }
    return [i for i in range(len(items)) if i not in same], gone


def _said_anew(items: Items, known: Mapping[str, Known], todo: Sequence[int]) -> dict[tuple[str, str], Said]:
    """Of the pictures whose vectors stay those that are said to be of another class or part than the store has."""
    left = set(todo)
    there = [key for i, key in enumerate(items.keys) if i not in left and known[key].stem is not None]
    told = ((key, items.said_of(key)) for key in there)
    return {(items.source, key): now for key, now in told if now != (known[key].label, known[key].split)}


def _compute(work: _Work, items: Items, files: Sequence[Sequence[int]], writer: Writer) -> Iterator[tuple[str, Note]]:
    """Each of the `files` is put into the store when all of its pictures went through the model; gives their notes."""
    size = work.batch_size
    batches = [list(file[i : i + size]) for file in files for i in range(0, len(file), size)]
    dataset = _Pictures(items, preprocess(work.vit), Form.of(work.vit))
    loader = DataLoader(dataset, batch_sampler=batches, num_workers=work.num_workers, collate_fn=dataset.batch)
    found = iter(tracked(loader, "embedding"))
    for file in files:
        rows: list[Row] = []
        vectors: list[npt.NDArray[Any]] = []
        unread: dict[Row, str] = {}
        for start in range(0, len(file), size):
            x, pictures = next(found)
            values = _vectors(work, x)
            for i, picture, vector in zip(file[start : start + size], pictures, values, strict=True):
                row, reason = items.row(i, picture.sha256), picture.reason
                yield from ((row.key, note) for note in picture.notes)
                if reason is None and not np.isfinite(vector).all():
                    reason = f"{row.key!r}: its vector has numbers that {work.recipe.dtype} does not hold"
                if reason is None:
                    rows.append(row)
                    vectors.append(vector)
                else:
                    unread[row] = reason
        writer.commit(rows, np.stack(vectors) if rows else None, unread)


@torch.inference_mode()
def _vectors(work: _Work, x: Tensor) -> npt.NDArray[Any]:
    """(pictures, length). A batch that has to be as large as all others is filled up with zeros."""
    like, count = next(work.vit.parameters()), len(x)
    if work.recipe.batch_size is not None:
        x = torch.cat([x, x.new_zeros(work.recipe.batch_size - count, *x.shape[1:])])
    found = work.how.function(x.to(like.device, like.dtype))[:count].float().flatten(1)
    if work.recipe.normalize:
        found = F.normalize(found)
    with np.errstate(over="ignore"):  # what does not fit is told apart where it is put into the store
        return found.cpu().numpy().astype(work.recipe.dtype)


class _Picture(NamedTuple):
    """What is known of a picture beside its pixels."""

    sha256: str | None = None
    reason: str | None = None
    """Why it cannot be used."""
    notes: tuple[Note, ...] = ()


class _Pictures(Dataset[tuple[Tensor | None, _Picture]]):
    """Pictures as the model takes them, each with the digest of its bytes; or why there is none."""

    def __init__(self, items: Items, transform: Transform, form: Form) -> None:
        self.items, self.transform, self.form = items, transform, form

    def __getitem__(self, i: int) -> tuple[Tensor | None, _Picture]:
        found = _Picture()
        try:
            content = _content(self.items, i)
            found = _Picture(hashlib.sha256(content).hexdigest())
            read = read_picture(BytesIO(content), self.form, repr(self.items.keys[i]))
            return self.transform(read.picture), found._replace(notes=read.notes)
        except (ImageError, OSError) as error:
            return None, found._replace(reason=str(error))

    def batch(self, found: Sequence[tuple[Tensor | None, _Picture]]) -> tuple[Tensor, list[_Picture]]:
        """A picture that cannot be read keeps its place, with zeros: no other comes to stand elsewhere."""
        empty = torch.zeros(self.transform.in_chans, *self.transform.size)
        return torch.stack([empty if x is None else x for x, _ in found]), [picture for _, picture in found]


def _content(items: Items, i: int) -> bytes:
    """The bytes of a picture; an OSError or ImageError where there are none."""
    place = items.places[i]
    if place is not None and place.path.exists() and not place.path.is_file():
        raise ImageError(f"{items.keys[i]!r}: expected a picture file, found {unusual(place.path)}")
    with items.open(i) as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ImageError(f"{items.keys[i]!r}: has more than {LARGEST:,} bytes; expected a picture")
    return content


def _digest(items: Items, i: int) -> str | None:
    try:
        return hashlib.sha256(_content(items, i)).hexdigest()
    except (ImageError, OSError):
        return None
