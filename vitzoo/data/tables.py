"""Pictures that a table lists, a row for each: what its columns mean, and the rows as pictures.

A column that is not named is found by its contents, and what was found is said. What may be meant in two ways is asked.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from vitzoo.data.cells import class_name, is_empty, is_missing, label_of, labels_of, number
from vitzoo.data.columns import Columns
from vitzoo.data.natural import natural
from vitzoo.data.pictures import NO_CLASS, SPLITS, WHOLE, Label, Pictures, numbered
from vitzoo.data.places import Place, Places, Reader, Skipped
from vitzoo.data.rows import Table, open_rows
from vitzoo.data.saying import say
from vitzoo.errors import Argument, DataError
from vitzoo.images.contents import HEAD, picture_kind

SAMPLE = 50  # rows that are looked into
LABELS = frozenset(["label", "labels", "class", "classes", "class_name", "classname", "target", "category", "y"])
"""What columns of labels are called; another name is found by its contents."""
PATTERN = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True)
class Meaning:
    """What the columns of a table are."""

    image: str
    """A column, or a pattern of columns such as images/{id}.jpg."""
    labels: tuple[str, ...]
    split: str | None
    group: str | None
    weight: str | None
    keep_labels: tuple[str, ...] = ()

    def __str__(self) -> str:
        found = [("column", name) for name in self.labels] + [("pictures", self.image), ("splits", self.split)]
        found += [("groups", self.group), ("weights", self.weight)]
        return "by " + ", ".join(f"{what} {name}" for what, name in found if name is not None)


@dataclass(frozen=True)
class Cells:
    """Reads pictures that stand in the table itself."""

    table: Table
    column: str

    def __getitem__(self, i: int) -> IO[bytes]:
        value = self.table.cell(i, self.column)
        if isinstance(value, dict):
            value = value["bytes"] if value.get("bytes") is not None else Path(value["path"]).read_bytes()
        return BytesIO(value)


def open_table(path: Path, columns: Columns) -> dict[str, Pictures]:
    """The splits of a CSV, TSV, JSON lines or Parquet file; paths are relative to its folder."""
    table = open_rows(path)
    if not len(table):
        raise DataError(f"{path}: the table has no rows; expected one for each picture")
    return by_split(table, meaning(table, columns))


def by_split(table: Table, means: Meaning, split: str | None = None) -> dict[str, Pictures]:
    """The pictures of a table; all are of the `split` that is given, else of that which their row says."""
    label_columns = [table.values(column) for column in means.labels]
    lacking = [_lacking(row, means.keep_labels) for row in zip(*label_columns, strict=True)]
    reader, names, there, fingerprint = _pictures(table, means)
    kept = np.array([i for i in range(len(table)) if not (lacking[i] or there[i])], dtype=np.int64)
    left_out = [Skipped(names[i], why) for i in range(len(table)) if (why := there[i] or lacking[i])]
    if not len(kept):
        raise DataError(f"{table.where}: no row has a label and a picture; the first: {' '.join(left_out[0])}")
    _say_merged(table, [column[i] for column in label_columns for i in kept])
    labels = labels_of([[column[i] for column in label_columns] for i in kept])
    classes, targets = _classes(labels, means, table)
    whole = Pictures(
        table.where,
        reader,
        classes,
        [names[i] for i in kept],
        targets,
        kept,
        fingerprint,
        tuple(left_out),
        str(means),
        labels,
        means.labels,
        None if means.group is None else _groups(table, means.group, kept),
        None if means.weight is None else _weights(table, means.weight, kept),
    )
    if split is not None or means.split is None:
        return {split or WHOLE: whole}
    words = [SPLITS[str(value).strip().lower()] for value in _chosen(table, means.split, kept)]
    parts = {word: np.flatnonzero(np.array(words) == word) for word in dict.fromkeys(words)}
    return {word: whole.take(places) for word, places in parts.items()}


def _lacking(row: Sequence[Any], kept: Sequence[str]) -> str | None:
    """Why the labels of a row are none, or None."""
    missing = [value for value in row if is_missing(value, kept)]
    if not missing:
        return None
    word = "" if is_empty(missing[0]) else str(missing[0]).strip()
    return f"no label but '{word}', which may be kept" if word else "no label"


def _say_merged(table: Table, values: Sequence[Any]) -> None:
    """Two spellings of a label that blanks tell apart are one class."""
    spelled: dict[str, set[str]] = {}
    for value in values:
        if isinstance(value, str):
            spelled.setdefault(value.strip(), set()).add(value)
    if merged := [name for name, spellings in spelled.items() if len(spellings) > 1]:
        said = _listed(merged)
        say(f"reading {table.where}: blanks around labels do not count, which makes one class of each: {said}")


def _chosen(table: Table, column: str, kept: npt.NDArray[np.int64]) -> list[Any]:
    values = table.values(column)
    return [values[i] for i in kept]


def _classes(labels: Sequence[Label], means: Meaning, table: Table) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """The classes, and of each label its place; none where a label is no class but numbers or several names."""
    if len(means.labels) > 1:
        return means.labels, np.full(len(labels), NO_CLASS)
    if any(isinstance(label, tuple) for label in labels):
        several = {name for label in labels if isinstance(label, tuple) for name in label if isinstance(name, str)}
        return tuple(sorted(several, key=natural)), np.full(len(labels), NO_CLASS)
    if any(isinstance(label, float) for label in labels):
        return (), np.full(len(labels), NO_CLASS)
    names = table.class_names(means.labels[0]) or tuple(sorted({str(label) for label in labels}, key=natural))
    index = {name: place for place, name in enumerate(names)}
    return names, np.array([index[str(label)] for label in labels], dtype=np.int64)


def _groups(table: Table, column: str, kept: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    found = _chosen(table, column, kept)
    if empty := [int(kept[i]) + 1 for i, value in enumerate(found) if is_missing(value)]:
        raise DataError(
            f"{table.where}: row {empty[0]} and {len(empty) - 1} more have no group in column {column}; give each "
            "picture one, of its own if it belongs to no other"
        )
    return numbered([class_name(value) for value in found])


def _weights(table: Table, column: str, kept: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    found = np.array([number(value) for value in _chosen(table, column, kept)], dtype=np.float64)
    if bad := np.flatnonzero(~(np.isfinite(found) & (found >= 0))).tolist():
        value = table.cell(int(kept[bad[0]]), column)
        raise DataError(f"{table.where}: row {kept[bad[0]] + 1} has the weight {value!r}; expected a number from 0 on")
    if not found.any():
        raise DataError(f"{table.where}: all weights in column {column} are 0, so nothing would count; give others")
    return found


# Where the pictures are.


def _pictures(table: Table, means: Meaning) -> tuple[Reader, list[str], list[str | None], str]:
    """What reads them, their names, why one is not there, and what changes when they do."""
    if _holds_pictures(table, means.image):
        names = [f"row {i + 1}" for i in range(len(table))]
        return Cells(table, means.image), names, [None] * len(table), table.fingerprint
    texts = paths_of(table, means.image)
    base = _base(table, texts)
    places, reasons, digest = [], [], hashlib.sha256(table.fingerprint.encode())
    for text in texts:
        place = Place(base / text)
        try:
            status = place.path.stat()
            digest.update(f"{text}:{status.st_size}:{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
            reasons.append(None if place.path.is_file() else "no file but a folder or a pipe")
        except (OSError, ValueError):
            reasons.append("no path" if not text else "no such file")
        places.append(place)
    if not any(reason is None for reason in reasons):
        raise DataError(
            f"{table.where}: the pictures of column {means.image} are not there: the first is {places[0].path}; paths "
            "are relative to the table; name a column, or a pattern such as ",
            Argument("image_column", "images/{id}.jpg"),
        )
    return Places(places), texts, reasons, digest.hexdigest()


def paths_of(table: Table, image: str, most: int | None = None) -> list[str]:
    """The paths that a column or a pattern gives for the first rows."""
    count = len(table) if most is None else min(most, len(table))
    if not PATTERN.search(image):
        return ["" if is_missing(value) else str(value).strip() for value in table.values(image)[:count]]
    columns = {name: table.values(name) for name in PATTERN.findall(image)}
    return [PATTERN.sub(lambda match, i=i: class_name(columns[match[1]][i]), image) for i in range(count)]  # type: ignore[misc]


def _base(table: Table, texts: Sequence[str]) -> Path:
    """The folder that paths are relative to: the table's, or the working directory where they are there alone."""
    first = next((text for text in texts if text and not _is_there(table.folder / text)), None)
    if first is not None and not any(text and _is_there(table.folder / text) for text in texts[:SAMPLE]):
        here = Path.cwd()
        return here if _is_there(here / first) else table.folder
    return table.folder


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a text that is too long for a path, or has zeros in it
        return False


def _holds_pictures(table: Table, column: str) -> bool:
    """Whether the column has the bytes of pictures."""
    if column not in table.columns:
        return False
    values = [value for value in table.sample(column, SAMPLE) if not is_empty(value)]
    return bool(values) and all(isinstance(value, bytes | dict) for value in values)


# Which column is which.


def meaning(table: Table, columns: Columns) -> Meaning:
    """What is named, and what is found by its contents.

    Raises:
        DataError: a column that is not there; none or several that could be meant.
    """
    named = [*columns.label_column, columns.split_column, columns.group_by, columns.weight_column]
    named += PATTERN.findall(columns.image_column or "") or [columns.image_column]
    if missing := [name for name in named if name is not None and name not in table.columns]:
        raise DataError(f"{table.where}: there is no column {missing[0]}; the columns are {_listed(table.columns)}")
    image = columns.image_column or _image_column(table, {name for name in named if name})
    split = columns.split_column or _split_column(table, columns)
    if columns.split_column is not None:
        _check_splits(table, columns.split_column)
    taken = {image, split, columns.group_by, columns.weight_column}
    labels = columns.label_column or (_label_column(table, [c for c in table.columns if c not in taken]),)
    return Meaning(image, tuple(labels), split, columns.group_by, columns.weight_column, columns.keep_labels)


def _image_column(table: Table, taken: set[str]) -> str:
    found = [name for name in table.columns if name not in taken and _shows_pictures(table, name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(
            f"{table.where}: {_listed(found)} all have pictures; say which: ", _either("image_column", found)
        )
    raise DataError(
        f"{table.where}: no column has pictures or paths of pictures that are there, relative to {table.folder}; the "
        f"columns are {_listed(table.columns)}; name one, or a pattern such as ",
        Argument("image_column", "images/{id}.jpg"),
    )


def _shows_pictures(table: Table, column: str) -> bool:
    values = [value for value in table.sample(column, SAMPLE) if not is_empty(value)]
    for value in values:
        if isinstance(value, bytes):
            return picture_kind(value[:HEAD]) is not None
        if isinstance(value, dict):
            return "bytes" in value
        if isinstance(value, str):
            path = value.strip()
            if _is_there(table.folder / path) or _is_there(Path(path)):
                return True
    return False


def _split_column(table: Table, columns: Columns) -> str | None:
    free = [name for name in table.columns if name not in columns.label_column]
    found = [name for name in free if _all(table, name, _is_split)]
    if len(found) > 1:
        raise DataError(f"{table.where}: {_listed(found)} all say splits; say which: ", _either("split_column", found))
    for name in free if not found else ():
        _check_nearly(table, name)
    return found[0] if found else None


def _check_nearly(table: Table, column: str) -> None:
    """Refuse a column most of whose values say a split, which would be passed over without a word."""
    if not any(map(_is_split, table.sample(column, SAMPLE))):
        return
    values = table.values(column)
    if sum(map(_is_split, values)) * 2 > len(values):
        others = sorted({str(value) for value in values if not _is_split(value)})
        raise DataError(
            f"{table.where}: column {column} seems to say splits, and has {_listed(others)} too; expected "
            f"{', '.join(SPLITS)} in each row. If it holds the labels, say so: ",
            Argument("label_column", [column]),
        )


def _is_split(value: object) -> bool:
    return str(value).strip().lower() in SPLITS


def _all(table: Table, column: str, holds: Callable[[Any], bool]) -> bool:
    """Whether it holds for all values; the first say no soon, before a column is read whole."""
    sample = table.sample(column, SAMPLE)
    small = all(isinstance(value, str | int | float) for value in sample)
    return small and all(map(holds, sample)) and all(map(holds, table.values(column)))


def _check_splits(table: Table, column: str) -> None:
    if unknown := sorted({str(value) for value in table.values(column) if not _is_split(value)}):
        raise DataError(
            f"{table.where}: column {column} has {_listed(unknown)}; expected {', '.join(SPLITS)} in each row"
        )


def _label_column(table: Table, left: Sequence[str]) -> str:
    called = [name for name in left if name.lower().replace(" ", "_") in LABELS]
    found = called or [name for name in left if _repeats(table, name)]
    if len(found) == 1:
        return found[0]
    what = f"{_listed(found)} could all be the label" if found else f"no column looks like a label: {_listed(left)}"
    raise DataError(f"{table.where}: {what}; say which: ", _either("label_column", found or left))


def _repeats(table: Table, column: str) -> bool:
    """Whether a column has a few values over and over, as classes are."""
    if not all(isinstance(value, str | int | None) for value in table.sample(column, SAMPLE)):
        return False
    values = [str(label_of(value)) for value in table.values(column) if not is_missing(value)]
    return 2 <= len(set(values)) <= len(values) // 2


def _either(option: str, names: Sequence[str]) -> Argument:
    return Argument(option, names[0] if names else "NAME")


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def joined(parts: dict[str, Pictures]) -> dict[str, Pictures]:
    """Splits that were opened one by one, with the classes of all of them."""
    names = list(dict.fromkeys(name for pictures in parts.values() for name in pictures.classes))
    same = len({pictures.classes for pictures in parts.values()}) == 1
    classes = tuple(names if same else sorted(names, key=natural))
    return {
        split: pictures if pictures.classes == classes else replace(pictures.as_classes(classes), classes=classes)
        for split, pictures in parts.items()
    }
