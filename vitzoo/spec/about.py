"""What is known of weights beside their architecture, as one frozen record. Nothing here imports torch."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Any, NamedTuple, Self

from pydantic import AfterValidator, Field, FiniteFloat, SerializerFunctionWrapHandler, model_serializer

from vitzoo.errors import public
from vitzoo.spec.base import Frozen
from vitzoo.spec.task import Task, TaskKind
from vitzoo.spec.weights import Preprocessing, Resample

LONGEST_LICENSE = 200  # characters of its name
TUNED = "fine-tuned from "
# As the hub spells them. Whoever uses weights under one of these owes at most credit and the text of the licence.
# fmt: off
PERMISSIVE = frozenset({
    "apache-2.0", "bsd", "bsd-2-clause", "bsd-3-clause", "bsl-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0",
    "cc0-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "isc", "mit", "ncsa", "pddl", "postgresql", "unlicense",
    "wtfpl", "zlib",
})
# fmt: on


class Result(Frozen):
    """What was measured on one set of data."""

    dataset: str = Field(description="its name, as people know it")
    dataset_id: str | None = Field(
        default=None, description="on the hub, as uoft-cs/cifar10; made of the name if not given"
    )
    split: str | None = None
    metrics: Mapping[str, FiniteFloat] = Field(min_length=1, description="name, e.g. accuracy, to value")
    method: str | None = Field(default=None, description="how it was measured: pictures, their size, the command")


class Origin(Frozen):
    """Where weights came from. What is not known is None."""

    name: str | None = Field(default=None, description="that they were known by: weights or a model of the registry")
    address: Annotated[str, AfterValidator(public)] | None = Field(
        default=None, description="of the first file, without its commit, passwords and queries; or a path"
    )
    commit: str | None = Field(default=None, description="or another revision of the repository at the address")
    sha256: str | None = Field(default=None, description="of the first file")
    note: str | None = Field(default=None, description="in somebody's own words")

    @classmethod
    def of(cls, text: str) -> Self:
        """Read the line that `str` gives; what is not such a line is somebody's own words."""
        where, _, sha256 = text.partition(" sha256:")
        name, _, address = ("", "", where) if _is_path(where) else where.rpartition(" from ")
        if (name and " " in name) or (" " in address and not _is_path(address)):
            return cls(note=where or None, sha256=sha256 or None)
        if not name and not re.search(r"[/\\:]", address):
            name, address = address, ""
        commit = None
        if match := re.fullmatch(r"(hf(?:-hub:|://)[^@]+)@(.+)", address):
            address, commit = match.groups()
        return cls(name=name or None, address=address or None, commit=commit, sha256=sha256 or None)

    @property
    def place(self) -> str | None:
        """The address with its commit: what `vitzoo.create` takes."""
        return self.address and self.address + (f"@{self.commit}" if self.commit else "")

    def __str__(self) -> str:
        """`[name from ]address[@commit][ sha256:digest]`, or the note."""
        where = self.note or " from ".join(part for part in (self.name, self.place) if part)
        return where + (f" sha256:{self.sha256}" if self.sha256 else "")

    def public(self) -> Self | None:
        """Without a path of the machine that read them, which is nobody else's business; None if nothing is left."""
        kept = self.replace(address=None) if self.address and _is_path(self.address) else self
        return kept if kept.note or kept.name or kept.address else None


class Past(NamedTuple):
    """Where weights came from, and what they were fine-tuned from."""

    origin: Origin | None
    derived_from: Origin | None

    @classmethod
    def of(cls, text: str | None) -> Self:
        """Read a line that says either."""
        if not text:
            return cls(None, None)
        start = text
        while start.startswith(TUNED):
            start = start.removeprefix(TUNED)
        return cls(Origin.of(text), None) if start == text else cls(None, Origin.of(start))


class About(Frozen):
    """What is known of weights beside their architecture; `replace` gives another record, this one stays as it is."""

    preprocessing: Preprocessing = Preprocessing()
    resample: Resample | None = Field(
        default=None,
        description="policy for tables of positions; without one, another size than the weights' own is an error",
    )
    labels: str | tuple[str, ...] | None = Field(
        default=None,
        description="names of the classes, or the name of a known set, which is looked up when they are asked for",
    )
    license: str | None = Field(default=None, description="as the hub spells it", max_length=LONGEST_LICENSE)
    base_license: str | None = Field(
        default=None,
        description="that restricts the weights which these were made from, where `license` was set to another",
        max_length=LONGEST_LICENSE,
    )
    origin: Origin | None = None
    derived_from: Origin | None = Field(default=None, description="the weights that these were fine-tuned from")
    training: Mapping[str, Any] | None = Field(
        default=None, description="how the weights were made: data, recipe, versions"
    )
    task: Task | None = Field(default=None, description="what the head's numbers mean; one of the labels if not given")
    published: tuple[Result, ...] = Field(default=(), description="what was measured of these weights")

    @model_serializer(mode="wrap")
    def _stated(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without a `base_license` and a `task` that there are not: versions before 0.3 do not know these fields."""
        fields: dict[str, Any] = whole(self)
        return {k: v for k, v in fields.items() if v is not None or k not in ("base_license", "task")}

    def replace(self, **changes: Any) -> Self:
        """As of every record; and a licence that restricts use stays known as `base_license` when another is set.

        A record that loses its past (`origin` and `derived_from`) in the same step is of weights that are one's own.
        """
        if "license" in changes and "base_license" not in changes:
            own = "origin" in changes and changes["origin"] is None and changes.get("derived_from", self) is None
            restricting = self.license if self.license is not None and self.license not in PERMISSIVE else None
            base = None if own else self.base_license or restricting
            changes["base_license"] = None if base == changes["license"] else base
        return super().replace(**changes)

    @property
    def kind(self) -> TaskKind:
        """What the head's numbers mean."""
        return TaskKind.CLASSES if self.task is None else self.task.kind

    @property
    def past(self) -> str | None:
        """Where the weights came from, or what they were fine-tuned from, in a line."""
        if self.derived_from is not None:
            return f"{TUNED}{self.derived_from}"
        return None if self.origin is None else str(self.origin)

    def headless(self) -> Self:
        """What is still true once the weights have another head: it was neither trained nor measured."""
        return self.replace(labels=None, task=None, training=None, published=())


NEW = About(resample=Resample.TIMM)
"""Of weights that are drawn here: no publication says how their tables are resampled."""


def _is_path(address: str) -> bool:
    return PurePosixPath(address).is_absolute() or PureWindowsPath(address).is_absolute()
