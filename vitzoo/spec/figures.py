"""Published figures of models and weights: accuracies and speeds, with who measured them and where that is written."""

from collections.abc import Iterator, Mapping
from datetime import date
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, FiniteFloat, model_validator

from vitzoo.spec.base import Frozen

Line = Annotated[str, Field(min_length=1, max_length=300)]
KEYS = ("weights", "model")
IMG_SIZE = "img_size"


class MeasureKind(StrEnum):
    """What was measured, and so which figures may be compared with each other."""

    CLASSIFIER = "classifier"  # the weights' own classifier, without further training
    ZERO_SHOT = "zero-shot"  # classes by their names, with the text tower that the weights were trained with
    NEIGHBOURS = "neighbours"  # k nearest neighbours of frozen features
    LINEAR = "linear"  # a linear classifier on frozen features
    SPEED = "speed"  # pictures a second of the architecture; its weights do not matter


class Measure(Frozen):
    """One thing that was measured; its figures are comparable, as one party measured all of them in one way."""

    title: Line
    kind: MeasureKind
    unit: Annotated[str, Field(examples=["%", "pictures/s"])]
    source: Annotated[str, Field(pattern="^https://", description="address of the file or paper with the figures")]
    place: str | None = Field(None, description="table or section of a paper, or the column of a file")


class FiguresFile(Frozen):
    """A file of `registry/figures/`: what one party measured, a line for each entry, null where it was not measured."""

    measured_by: Line
    how: Annotated[str, Field(min_length=1, max_length=1000)]
    published: date
    measures: Mapping[Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")], Measure]
    columns: tuple[str, ...] = Field(
        description="`weights` (model.tag) or `model`, then `img_size` in pixels, then measures"
    )
    rows: tuple[tuple[str | FiniteFloat | None, ...], ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        key, size, *measures = (*self.columns, "", "")[: max(len(self.columns), 2)]
        if (
            key not in KEYS
            or size != IMG_SIZE
            or set(measures) != set(self.measures)
            or len(measures) != len(self.measures)
        ):
            raise ValueError(
                f"columns are {' or '.join(KEYS)}, then {IMG_SIZE}, then each measure once "
                f"({', '.join(self.measures)}); found {', '.join(self.columns)}"
            )
        seen: set[tuple[object, ...]] = set()
        for row in self.rows:
            name = row[0] if row else "a row"
            if len(row) != len(self.columns):
                raise ValueError(f"{name} has {len(row)} values, and there are {len(self.columns)} columns")
            if not isinstance(name, str) or not all(one is None or isinstance(one, float) for one in row[1:]):
                raise ValueError(f"{name}: a row is a name, and numbers or null")
            if not row[1] or all(one is None for one in row[2:]):
                raise ValueError(f"{name}: expected a number of pixels and at least one figure")
            if row[:2] in seen:
                raise ValueError(f"{name} has two rows for {row[1]:g} pixels; keep one")
            seen.add(row[:2])
        return self

    @property
    def entries(self) -> Iterator[tuple[str, int, dict[str, float]]]:
        """Name, pixels, and the figures of each row by their measure."""
        for name, size, *values in self.rows:
            figures = {
                one: float(value) for one, value in zip(self.columns[2:], values, strict=True) if value is not None
            }
            yield str(name), int(size or 0), figures
