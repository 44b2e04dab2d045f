"""Values of tables: which are none, and what they are as labels."""

import math
from collections.abc import Sequence
from typing import Any

from vitzoo.data.pictures import Label

MISSING = frozenset(
    ("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A")
) | {"NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
"""Texts that stand for no value: those that pandas' `read_csv` takes for it."""


def is_empty(value: Any) -> bool:
    """What tables write where nothing is known."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def is_missing(value: Any, kept: Sequence[str] = ()) -> bool:
    """Whether a cell says nothing, also in the words that tables have for it; those that are `kept` say something."""
    return is_empty(value) or (isinstance(value, str) and value.strip() in MISSING and value.strip() not in kept)


def class_name(value: Any) -> str:
    """A value as the name of a class, without blanks around it; 3.0, which integers beside empty cells become, is 3."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def number(value: Any) -> float:
    """A value as a number; NaN if it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def label_of(value: Any) -> Label:
    """One cell: a name, or of a list the names or the numbers in it."""
    if not isinstance(value, list | tuple):
        return class_name(value)
    if value and all(isinstance(one, int | float) and not isinstance(one, bool) for one in value):
        return tuple(float(one) for one in value)
    return tuple(class_name(one) for one in value)


def labels_of(rows: Sequence[Sequence[Any]]) -> list[Label]:
    """The labels of rows, each with the value of each label column.

    One column of fractions gives floats, other numbers and texts are names; a list in a cell gives a tuple; several
    columns give a tuple, of floats where all of their values are numbers.
    """
    if len(rows[0]) > 1:
        numbers = [tuple(number(value) for value in row) for row in rows]
        if all(math.isfinite(one) for row in numbers for one in row):
            return list(numbers)
        return [tuple(class_name(value) for value in row) for row in rows]
    values = [row[0] for row in rows]
    if not any(isinstance(value, list | tuple) for value in values):
        numbers_of = [number(value) for value in values]
        if all(map(math.isfinite, numbers_of)) and not all(one.is_integer() for one in numbers_of):
            return list(numbers_of)
    return [label_of(value) for value in values]
