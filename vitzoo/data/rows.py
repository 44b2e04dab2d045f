"""Tables as rows with named columns: CSV and TSV, JSON lines, Parquet and Hugging Face datasets."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from vitzoo.data.pictures import file_digest, reading_errors
from vitzoo.errors import DataError

DELIMITERS = ",;\t|"
MOST_TEXT = 1 << 31  # bytes of a table of text
LONGEST_CELL = 1 << 20


class Table(Protocol):
    """Rows with named columns."""

    @property
    def where(self) -> str: ...
    @property
    def folder(self) -> Path:
        """What paths are relative to."""

    @property
    def columns(self) -> tuple[str, ...]: ...
    @property
    def fingerprint(self) -> str: ...
    def __len__(self) -> int: ...
    def cell(self, row: int, column: str) -> Any: ...
    def values(self, column: str) -> Sequence[Any]:
        """All of a column."""

    def sample(self, column: str, count: int) -> Sequence[Any]:
        """The first values of a column."""

    def class_names(self, column: str) -> tuple[str, ...] | None:
        """In their order, where the table has one."""


@dataclass(frozen=True)
class TextTable:
    """A table that is in memory."""

    path: Path
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]

    @property
    def where(self) -> str:
        return str(self.path)

    @property
    def folder(self) -> Path:
        return self.path.parent

    @cached_property
    def fingerprint(self) -> str:
        return file_digest([self.path])

    def __len__(self) -> int:
        return len(self.rows)

    def cell(self, row: int, column: str) -> Any:
        return self.rows[row].get(column)

    def values(self, column: str) -> list[Any]:
        return [row.get(column) for row in self.rows]

    def sample(self, column: str, count: int) -> list[Any]:
        return [row.get(column) for row in self.rows[:count]]

    def class_names(self, column: str) -> None:
        return None


@dataclass(frozen=True)
class ArrowTable:
    """A table of the datasets library, which reads what is asked for from disk."""

    where: str
    folder: Path
    dataset: Any

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.dataset.column_names)

    @property
    def fingerprint(self) -> str:
        return str(self.dataset._fingerprint)

    def __len__(self) -> int:
        return len(self.dataset)

    def cell(self, row: int, column: str) -> Any:
        return self._named(column, [self.dataset.select_columns([column])[row][column]])[0]

    def values(self, column: str) -> list[Any]:
        return self._named(column, self.dataset.select_columns([column])[:][column])

    def sample(self, column: str, count: int) -> list[Any]:
        return self._named(column, self.dataset.select_columns([column])[:count][column])

    def class_names(self, column: str) -> tuple[str, ...] | None:
        names = getattr(self.dataset.features[column], "names", None)
        return None if names is None else tuple(names)

    def _named(self, column: str, values: Sequence[Any]) -> list[Any]:
        """Numbers of classes as their names; -1 is a class that is kept secret."""
        feature = self.dataset.features[column]
        if (names := getattr(getattr(feature, "feature", None), "names", None)) is not None:
            return [None if row is None else [names[value] for value in row] for row in values]
        if (names := self.class_names(column)) is None:
            return list(values)
        return [None if value is None or value < 0 else names[value] for value in values]


def open_rows(path: Path) -> Table:
    """A table by the ending of its name.

    Raises:
        DataError: it cannot be read, or a row does not fit its head.
    """
    with reading_errors(str(path), needs="datasets"):
        if path.suffix.lower() == ".parquet":
            return _parquet(path)
        if path.stat().st_size > MOST_TEXT:
            raise DataError(f"{path}: more than {MOST_TEXT >> 30} GB of text; save it as Parquet")
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise DataError(f"{path}: its text is not UTF-8; save it as UTF-8, or as Parquet") from None
    return _json_lines(path, text) if path.suffix.lower() in (".jsonl", ".ndjson") else _csv(path, text)


def _csv(path: Path, text: str) -> TextTable:
    """The character that is most frequent in the first line of those that separate stands between the columns."""
    head = text.partition("\n")[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(DELIMITERS, key=head.count)
    csv.field_size_limit(LONGEST_CELL)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        columns = tuple(name.strip() for name in next(rows, []))
        if not columns or len(set(columns)) < len(columns):
            raise DataError(f"{path}: expected a first line with a name for each column, found {', '.join(columns)!r}")
        found = []
        for row in rows:
            if not row:
                continue
            if len(row) != len(columns):
                raise DataError(
                    f"{path}: line {rows.line_num} has {len(row)} values, and there are {len(columns)} columns"
                )
            found.append(dict(zip(columns, row, strict=True)))
    except csv.Error as error:
        raise DataError(f"{path}: line {rows.line_num} cannot be read: {error}; check its quotes") from None
    return TextTable(path, columns, found)


def _json_lines(path: Path, text: str) -> TextTable:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: line {number} is no JSON: {error}; expected an object a line") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}: line {number}: expected an object, found {type(row).__name__}")
        rows.append(row)
    return TextTable(path, tuple(dict.fromkeys(name for row in rows for name in row)), rows)


def _parquet(path: Path) -> ArrowTable:
    import datasets

    with quiet():
        found = datasets.load_dataset("parquet", data_files=str(path.resolve()), split="train")
    return ArrowTable(str(path), path.parent, undecoded(found))


@contextmanager
def quiet() -> Iterator[None]:
    """Without the bars of the datasets library, and with its own errors as those of a file."""
    import datasets

    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    except datasets.exceptions.DatasetsError as error:
        raise ValueError(str(error.__cause__ or error)) from error
    finally:
        if shown:
            datasets.enable_progress_bars()


def undecoded(dataset: Any) -> Any:
    """With pictures as their bytes, so that the one reader of all commands decodes them."""
    import datasets

    for name, feature in dataset.features.items():
        if isinstance(feature, datasets.Image):
            dataset = dataset.cast_column(name, datasets.Image(decode=False))
    return dataset
