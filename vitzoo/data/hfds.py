"""Datasets of the Hugging Face hub, or local ones that the datasets library loads."""

from pathlib import Path
from urllib.parse import parse_qsl

from vitzoo.data.columns import Columns
from vitzoo.data.pictures import SPLITS, Pictures, reading_errors
from vitzoo.data.places import Skipped
from vitzoo.data.rows import ArrowTable, quiet, undecoded
from vitzoo.data.tables import by_split, joined, meaning
from vitzoo.errors import DataError

SETTINGS = ("input_key", "target_key")
"""timm's names for the columns of pictures and labels, which may stand behind the name of a dataset."""


def open_dataset(name: str, columns: Columns) -> dict[str, Pictures]:
    """`NAME`, or `NAME?input_key=COLUMN&target_key=COLUMN`; see `open_splits`."""
    name, _, settings = name.partition("?")
    where = f"hfds/{name}"
    with reading_errors(where, needs="datasets"):
        from datasets import load_dataset

        columns = _with(columns, dict(parse_qsl(settings, strict_parsing=bool(settings))))
        with quiet():
            parts = {split: undecoded(part) for split, part in load_dataset(name).items()}
    splits: dict[str, Pictures] = {}
    aside = []
    for split, dataset in parts.items():
        table = ArrowTable(where, Path(name if Path(name).is_dir() else "."), dataset)
        if split not in SPLITS:
            aside.append(Skipped(f"split {split}", f"not one of {', '.join(SPLITS)}"))
            continue
        means = meaning(table, columns)
        if all(value is None for value in table.values(means.labels[0])):
            aside.append(Skipped(f"split {split}", f"nothing in column {means.labels[0]}"))
        else:
            splits |= by_split(table, means, SPLITS[split])
    if not splits:
        why = "; ".join(f"{where}: {reason}" for where, reason in aside)
        raise DataError(f"{where}: no split tells the classes of its pictures; expected one that does: {why}")
    first = next(iter(splits))
    splits[first] = splits[first].leaving_out(tuple(aside))
    return joined(splits)


def _with(columns: Columns, settings: dict[str, str]) -> Columns:
    for key, value in settings.items():
        if key not in SETTINGS:
            raise ValueError(f"there is no setting '{key}', only {', '.join(SETTINGS)}")
        if key == "target_key":
            columns = columns._replace(label_column=(value,))
        else:
            columns = columns._replace(image_column=value)
    return columns
