"""What every record shares: it is frozen, closed, and its errors name the field."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PositiveInt,
    ValidationError,
)

from vitzoo.errors import SpecError

Shape = tuple[int, ...]


def _pair(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return (value, value)
    return tuple(value) if isinstance(value, list) else value


Size = Annotated[
    tuple[PositiveInt, PositiveInt],
    BeforeValidator(_pair, json_schema_input_type=PositiveInt | tuple[PositiveInt, PositiveInt]),
]
"""(height, width) in pixels; one integer means a square."""


class Frozen(BaseModel):
    """Immutable, hashable, and closed: an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_enum_values=False)

    @classmethod
    def parse(cls, data: Mapping[str, Any], where: str) -> Self:
        """Validate `data`; a :class:`SpecError` names `where` it stands, each bad field and the fields there are."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise SpecError(f"{where}: " + "; ".join(_explain(cls, e) for e in error.errors())) from None

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, checked like a new one; unknown fields and bad values are a SpecError."""
        return type(self).parse({**dict(self), **changes}, type(self).__name__.lower()) if changes else self


def _explain(cls: type[BaseModel], error: Any) -> str:
    field = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"unknown field '{field}'; the fields are {', '.join(sorted(cls.model_fields))}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{field}: {message}, found {error['input']!r}" if field else message
