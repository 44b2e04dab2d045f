"""What is known of weights beside their architecture: how pictures are prepared, tables resampled, classes called."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from vitzoo import registry
from vitzoo.checkpoints.reading import Reading
from vitzoo.layouts.beside import Beside
from vitzoo.layouts.layout import Layout
from vitzoo.spec import About, Preprocessing

UNDECIDED = "resample: not known, another size asks for it"


class Meaning(NamedTuple):
    """The record, and what of it was assumed."""

    about: About
    because: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()

    @classmethod
    def of(cls, reading: Reading, layouts: Sequence[Layout], entries: Sequence[str], beside: Beside) -> Self:
        """From the configuration beside a file, else from published weights that it is like, else from its layouts.

        What these do not agree in is not known: a policy is then none, and pictures are prepared as ImageNet's are,
        which is said.
        """
        known = [registry.weights_entry(name) for name in _nearest(reading, entries)]
        # A configuration names the program that reads the file, and so its policy: weights may be read by several.
        policies = set() if beside.layout is not None else {entry.resample for entry in known}
        if len(policies) != 1:
            policies = {layout.policy(reading.spec) for layout in layouts}
        pictures: set[Preprocessing | None] = {entry.preprocessing for entry in known}
        if len(pictures) != 1:
            pictures = {layout.preprocessing for layout in layouts}
        about: dict[str, Any] = {"resample": policies.pop() if len(policies) == 1 else None}
        assumed: tuple[str, ...] = ()
        if beside.preprocessing is not None:
            about["preprocessing"] = Preprocessing.parse(
                beside.preprocessing, "the configuration beside the checkpoint"
            )
        elif len(pictures) == 1 and None not in pictures:
            about["preprocessing"] = pictures.pop()
        else:
            assumed = ("preprocessing: not known, ImageNet's mean and standard deviation are taken",)
        because = () if about["resample"] is not None else (UNDECIDED,)
        return cls(About(**about, **_labels(reading, entries, beside)), because, assumed)


def _nearest(reading: Reading, entries: Sequence[str]) -> Sequence[str]:
    """Of published weights, those for the same grid and the same outputs, if there are some."""
    tagged = [name for name in entries if registry.resolve(name).tag is not None]
    same_size = [name for name in tagged if registry.entry_spec(name).grid == reading.spec.grid]
    return _same_head(reading, same_size) or same_size or tagged


def _same_head(reading: Reading, entries: Sequence[str]) -> list[str]:
    return [name for name in entries if registry.entry_spec(name).output_dim == reading.spec.output_dim]


def _labels(reading: Reading, entries: Sequence[str], beside: Beside) -> dict[str, Any]:
    """Names of the classes, where the configuration has one for each, or all weights with such a head have the same."""
    if beside.labels is not None and len(beside.labels) == reading.spec.num_classes:
        return {"labels": beside.labels, "task": beside.task}
    alike = [name for name in _nearest(reading, entries) if registry.entry_spec(name).grid == reading.spec.grid]
    names = {registry.weights_entry(name).labels for name in _same_head(reading, alike)}
    return {"labels": names.pop()} if len(names) == 1 else {}
