"""What every record shares: it is frozen, closed, and its errors name the field."""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
)

from vitzoo.errors import SpecError, shown

Shape = tuple[int, ...]
MOST_SHOWN = 8  # wrong fields in one message
KIND_OF_UNION = re.compile(r"[\w-]+\[.+\]")
"""What pydantic puts into the place of an error where a field takes values of several kinds: one of the kinds."""


def _pair(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return (value, value)
    return tuple(value) if isinstance(value, list) else value


# What no model comes near, and no memory would hold: ViT-22B has 48 blocks of width 6,144 and an MLP of 24,576.
Depth = Annotated[PositiveInt, Field(le=1000)]
Count = Annotated[NonNegativeInt, Field(le=10_000)]
Heads = Annotated[PositiveInt, Field(le=10_000)]
Width = Annotated[PositiveInt, Field(le=1_000_000)]
Classes = Annotated[NonNegativeInt, Field(le=10_000_000)]
Pixels = Annotated[PositiveInt, Field(le=100_000)]
Size = Annotated[tuple[Pixels, Pixels], BeforeValidator(_pair, json_schema_input_type=Pixels | tuple[Pixels, Pixels])]
"""(height, width) in pixels; one integer means a square."""


class Frozen(BaseModel):
    """Immutable, hashable, and closed: an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_enum_values=False, allow_inf_nan=False, defer_build=True)

    @classmethod
    def parse(cls, data: Mapping[str, Any], where: str) -> Self:
        """Validate `data`; a :class:`SpecError` names `where` it stands, each bad field and the fields there are."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise SpecError(f"{where}: {'; '.join(explained(cls, error))}") from None

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, checked like a new one; unknown fields and bad values are a SpecError."""
        return type(self).parse({**dict(self), **changes}, type(self).__name__.lower()) if changes else self


def unknown_field(field: str, known: Iterable[str]) -> str:
    """What to say of a field that does not exist: the nearest ones that do, or else all of them."""
    name, names = field.rpartition(".")[2], sorted(known)
    close = difflib.get_close_matches(name, names, cutoff=0.55)
    close += [other for other in names if name and other.startswith(name) and other not in close]
    hint = f"did you mean {' or '.join(close[:3])}?" if close else f"the fields are {', '.join(names)}"
    return f"unknown field '{field}'; {hint}"


def explained(cls: type[BaseModel], error: ValidationError, field: str | None = None) -> list[str]:
    """What is wrong with a record, or with the value of one `field` of it, in words."""
    before = () if field is None else (field,)
    return [_explain(cls, one, (*before, *one["loc"])) for one in error.errors()[:MOST_SHOWN]]


def _explain(cls: type[BaseModel], error: Any, place: tuple[int | str, ...]) -> str:
    field = ".".join(str(part) for part in place if not KIND_OF_UNION.fullmatch(str(part)))
    if error["type"] == "extra_forbidden":
        return unknown_field(field, _fields_at(cls, place[:-1]))
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "model_type" and (needed := _needed(cls, place)):
        message = f"expected null (None in Python), or an object with {' and '.join(needed)} at least"
    return f"{field}: {message}, found {shown(error['input'])}" if field else message


def _needed(cls: type[BaseModel], place: Sequence[int | str]) -> list[str]:
    """What a field that is a record, or none, has to say, with an example of each; nothing of any other place."""
    records = list(_records(cls.model_fields[str(place[0])])) if len(place) == 1 else []
    fields = records[0].model_fields.items() if len(records) == 1 else ()
    return [f'"{name}": {json.dumps(one.examples[0])}' for name, one in fields if one.is_required() and one.examples]


def _fields_at(cls: type[BaseModel], place: Sequence[int | str]) -> set[str]:
    """The fields of the record at a place inside `cls`; of all that may stand there, if there are several."""
    records = {cls}
    for step in place:
        inner = {
            found
            for record in records
            if step in record.model_fields
            for found in _records(record.model_fields[str(step)])
        }
        records = inner or records
    return {name for record in records for name in record.model_fields}


def _records(annotated: Any) -> Iterator[type[BaseModel]]:
    """The records that an annotation names, at any depth."""
    annotation = getattr(annotated, "annotation", annotated)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _records(part)
