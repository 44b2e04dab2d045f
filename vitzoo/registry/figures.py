"""Published figures of a registry's entries, as plain data: who measured what, how, and where that is written."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vitzoo.errors import RegistryError

Plain = dict[str, Any]
"""`measures`: the fields of each measure by its name; `rows`: [measure, img_size, value] lists by weights or model."""
NO_FIGURES: Plain = {"measures": {}, "rows": {}}


class Figure(NamedTuple):
    """One published number of weights, or of an architecture."""

    measure: str
    value: float
    img_size: int
    """Pixels of a side of the pictures that it was measured with."""


def read_figures(files: Iterable[Path], known: Plain, names: Iterable[str]) -> tuple[Plain, list[str]]:
    """Those of `files` on top of `known`, and what is wrong with them.

    `names` are the models and weights that there are.
    """
    from vitzoo.registry.families import checked
    from vitzoo.registry.strict_yaml import read_yaml
    from vitzoo.spec.figures import FiguresFile

    measures, rows = dict(known["measures"]), dict(known["rows"])
    names, problems = set(names), []
    for file in files:
        try:
            found = checked(FiguresFile.parse, read_yaml(file), str(file))
        except RegistryError as error:
            problems.append(str(error))
            continue
        shared = {"measured_by": found.measured_by, "how": found.how, "published": found.published.isoformat()}
        for name, measure in found.measures.items():
            if name in measures:
                problems.append(f"{file}: the measure '{name}' is there already; choose another name")
            measures[name] = {**measure.model_dump(mode="json"), **shared}
        for name, img_size, row in found.entries:
            if name not in names or ("." in name) != (found.columns[0] == "weights"):
                problems.append(f"{file}: '{name}' is no name of {found.columns[0]} (`vitzoo list`)")
            rows[name] = [*rows.get(name, ()), *([measure, img_size, value] for measure, value in row.items())]
    return {"measures": measures, "rows": rows}, problems


def figures_of(name: str, img_size: tuple[int, int], plain: Mapping[str, Any]) -> list[Figure]:
    """Of weights: their own, and the speeds of their architecture at their size. Of a model: all of its speeds."""
    model, dot, _ = name.partition(".")
    own = [Figure(measure, value, size) for measure, size, value in plain["rows"].get(name, ())] if dot else []
    speeds = [Figure(measure, value, size) for measure, size, value in plain["rows"].get(model, ())]
    return own + [one for one in speeds if not dot or img_size == (one.img_size, one.img_size)]
