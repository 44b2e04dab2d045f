"""A model or weights as plain data, and the names that it has. Nothing here imports pydantic."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Fields = Mapping[str, Any]


class Entry(NamedTuple):
    """A model, or weights, as plain data: reading it takes no pydantic."""

    name: str
    file: str
    """The YAML file that has it."""
    spec: Fields
    """All fields of the `ViTSpec`, as JSON has them."""
    params: int
    macs: int
    """Multiply-adds of one picture at its own size."""
    aliases: Sequence[str]
    weights: Fields | None = None
    """All fields of the `WeightsEntry`, as JSON has them; None for a model."""

    @property
    def license(self) -> str | None:
        """Of the weights; None for a model."""
        return None if self.weights is None else str(self.weights["license"])


def implied_names(entry: Entry) -> list[str]:
    """The names that sources imply: a repository's id; timm's are named `arch.tag`, so that alone too."""
    repos = [source["repo"] for source in (entry.weights or {}).get("sources", ()) if source["kind"] == "hub"]
    return [*repos, *(repo.removeprefix("timm/") for repo in repos if repo.startswith("timm/"))]


def near(name: str, known: Iterable[str], abstract: bool = False) -> str:
    """`; did you mean ...?` with the nearest names; nothing if none is near."""
    folded = {candidate.lower(): candidate for candidate in known if candidate.startswith("_") is abstract}
    close = [folded[match] for match in difflib.get_close_matches(name.lower(), folded)]
    return f"; did you mean {', '.join(close)}?" if close else ""
