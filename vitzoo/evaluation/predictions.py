"""What a model gave for each picture, as a table that other tools read: `.parquet` or `.csv`."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vitzoo.errors import SpecError
from vitzoo.evaluation.classes import ClassEvaluation
from vitzoo.evaluation.labels import LabelEvaluation
from vitzoo.evaluation.result import Evaluation
from vitzoo.extras import needs
from vitzoo.files.atomic import replacing

SUFFIXES = (".parquet", ".csv")
ROWS = 4096  # that are held as Python values at once


def check_suffix(path: Path) -> None:
    """Refuse a table that cannot be written, before anything is computed for it.

    Raises:
        SpecError: another ending.
        MissingExtra: .parquet, and pyarrow is not installed.
    """
    if path.suffix not in SUFFIXES:
        raise SpecError(f"predictions are written as {' or '.join(SUFFIXES)}; found '{path.name}'")
    if path.suffix == ".parquet":
        with needs("parquet"):
            import pyarrow.parquet  # noqa: F401


def write_predictions(found: Evaluation, path: Path) -> Path:
    """A row for each picture: `key` (its place in the data), `truth`, `prediction`, and its probabilities.

    Of classes, truth and prediction are names, and each class has a column `probability CLASS`, with its number where
    several have one name. Of labels it is the same, but truth and prediction are lists of names, joined by `|` in CSV.
    Of numbers each has two columns, `truth NAME` and `prediction NAME`.
    """
    check_suffix(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        if path.suffix == ".csv":
            _write_csv(found, partial)
        else:
            _write_parquet(found, partial)
    return path


def _write_csv(found: Evaluation, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        for number, columns in enumerate(_parts(found)):
            if not number:
                writer.writerow(columns)
            rows = zip(*columns.values(), strict=True)
            writer.writerows(["|".join(v) if isinstance(v, list) else v for v in row] for row in rows)


def _write_parquet(found: Evaluation, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    for columns in _parts(found):
        kinds = {name: pa.list_(pa.string()) for name, values in columns.items() if isinstance(values[0], list)}
        table = pa.table({name: pa.array(values, kinds.get(name)) for name, values in columns.items()})
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def _parts(found: Evaluation) -> Iterator[dict[str, Sequence[Any]]]:
    """The table in parts of some thousand rows: its columns by name."""
    for start in range(0, len(found.targets), ROWS):
        rows = slice(start, start + ROWS)
        yield {"key": list(found.pictures.names[rows]), **_columns(found, rows)}


def _columns(found: Evaluation, rows: slice) -> dict[str, Sequence[Any]]:
    labels = found.labels
    if isinstance(found, ClassEvaluation):
        told = {
            "truth": [labels[i] for i in found.targets[rows].tolist()],
            "prediction": [labels[i] for i in found.predictions[rows].tolist()],
        }
        return {**told, **_probabilities(found, rows)}
    if isinstance(found, LabelEvaluation):
        told = {
            "truth": [_names(row, labels) for row in found.targets[rows].tolist()],
            "prediction": [_names(row, labels) for row in found.given[rows].tolist()],
        }
        return {**told, **_probabilities(found, rows)}
    both = {"truth": found.targets[rows], "prediction": found.scores[rows]}
    return {
        f"{column} {name}": values.reshape(len(values), -1)[:, i].tolist()
        for column, values in both.items()
        for i, name in enumerate(labels)
    }


def _probabilities(found: ClassEvaluation | LabelEvaluation, rows: slice) -> dict[str, Sequence[Any]]:
    values, times = found.probabilities[rows].numpy(), Counter(found.labels)
    named = [name if times[name] == 1 else f"{name} ({i})" for i, name in enumerate(found.labels)]
    return {f"probability {name}": values[:, i].tolist() for i, name in enumerate(named)}


def _names(row: Sequence[float], labels: Sequence[str]) -> list[str]:
    return [name for name, there in zip(labels, row, strict=True) if there]
