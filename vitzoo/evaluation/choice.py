"""Which model to take: the best by a published figure that keeps to what is asked, and to a time on this machine."""

import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from vitzoo import registry
from vitzoo.errors import Argument, RegistryError
from vitzoo.registry import catalogue
from vitzoo.registry.catalogue import Condition
from vitzoo.registry.entry import Entry, near

TASKS = {"classify": "in1k", "zero-shot": "zero_shot", "features": "dinov2_linear"}
"""What a model is for, and the published figure that says how good it is at it. Figures of different parties are not
mixed, so that a task has the entries alone that one party measured."""
WARM_UP, RUNS = 2, 7
PATIENCE = 2  # candidates beyond the budget, one after the other, before larger ones are not tried any more


class Candidate(NamedTuple):
    """Weights that keep to what was asked."""

    name: str
    figure: float
    """The published figure by which candidates are ordered."""
    params: int
    macs: int
    license: str
    ms: float | None
    """Milliseconds for one picture here, median of some runs; None if no time was asked for."""
    fits: bool
    """Whether that is within the budget."""


class Choice(NamedTuple):
    """What is proposed, and what it was chosen from."""

    best: Candidate
    candidates: tuple[Candidate, ...]
    """The front: no other keeps to the conditions and is better without costing more multiply-adds. The best first."""
    measure: str
    considered: int
    """Entries that keep to the conditions and have the figure."""
    unknown: dict[str, int]
    """How many entries were left out since a column is not known of them."""


def choose(
    task: str = "classify",
    *,
    by: str | None = None,
    license: Sequence[str] | str | None = None,
    budget_ms: float | None = None,
    device: str = "cpu",
    where: Sequence[str] = (),
    **limits: Any,
) -> Choice:
    """Propose weights: `choose(max_params=30e6, min_in1k=80, license=["apache-2.0"], budget_ms=50)`.

    `by` is the published figure that decides (`vitzoo list --columns help`), that of the `task` if not given. `max_X`
    and `min_X` bound a column X, `X=value` asks for one. With `budget_ms`, candidates are built with random weights on
    `device` and timed on one picture of their own size, from the cheapest on: speed needs no download.

    Raises:
        RegistryError: an unknown task, column or bound, or nothing that keeps to all of them.
    """
    if by is None and task not in TASKS:
        raise RegistryError(f"expected task to be {', '.join(TASKS)}, found '{task}'{near(task, TASKS)}")
    measure = catalogue.checked_column(by or TASKS[task])
    if measure not in registry.measures():
        raise RegistryError(
            f"'{measure}' says nothing of how good a model is; choose one of {', '.join(registry.measures())}"
        )
    names = registry.list_pretrained(license=license)
    conditions = [catalogue.condition(text) for text in where] + list(_bounds(limits))
    asked = catalogue.select(map(registry.record, names), conditions)
    front = catalogue.front(asked.entries, "macs", measure)
    considered = len(asked.entries) - front.unknown.get(measure, 0)
    unknown = {**asked.unknown, **front.unknown}
    if not front.entries:
        raise RegistryError(_nothing(measure, license, conditions, len(asked.entries)))
    found = list(_timed(front.entries, measure, budget_ms, device))
    found.sort(key=lambda one: (not one.fits, -one.figure))
    if not found[0].fits:
        fastest = min(found, key=lambda one: one.ms or 0.0)
        raise RegistryError(
            f"nothing takes at most {budget_ms:g} ms on {device}: {fastest.name} takes {fastest.ms:.1f}; give more: ",
            Argument("budget_ms", round(2 * (fastest.ms or 0))),
        )
    return Choice(found[0], tuple(found), measure, considered, unknown)


def _bounds(limits: dict[str, Any]) -> Iterator[Condition]:
    """`max_params=3e7` as `params<=3e7`, `min_in1k=84` as `in1k>=84`, `pool="avg"` as `pool=avg`."""
    for name, value in limits.items():
        kind, _, column = name.partition("_")
        test = {"max": "<=", "min": ">="}.get(kind)
        column, test = (column, test) if test and column else (name, "=")
        text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
        yield catalogue.condition(f"{column}{test}{text}")


def _timed(entries: Sequence[Entry], measure: str, budget: float | None, device: str) -> Iterator[Candidate]:
    """Each entry, timed if there is a budget; after some that take too long, the dearer ones are left out."""
    beyond = 0
    for entry in entries:  # the cheapest first
        value = catalogue.value_of(entry, measure)
        assert isinstance(value, float)
        ms = None if budget is None else milliseconds(entry.name, device)
        fits = budget is None or (ms is not None and ms <= budget)
        beyond = 0 if fits else beyond + 1
        yield Candidate(entry.name, value, entry.params, entry.macs, str(entry.license), ms, fits)
        if beyond == PATIENCE:
            return


def milliseconds(name: str, device: str) -> float:
    """One picture of the weights' own size through a network of that architecture with random weights."""
    import torch  # not needed where nothing is timed

    from vitzoo.publish.dialect import create

    model = create(name, pretrained=False, device=device).eval()
    picture = torch.zeros(1, model.spec.in_chans, *model.spec.img_size, device=device)
    times = []
    with torch.inference_mode():
        for _ in range(WARM_UP + RUNS):
            start = time.perf_counter()
            model(picture)
            if picture.device.type != "cpu":
                torch.accelerator.synchronize(picture.device)
            times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[WARM_UP:])


def _nothing(measure: str, license: Sequence[str] | str | None, conditions: Sequence[Condition], left: int) -> str:
    licenses = [license] if isinstance(license, str) else list(license or ())
    asked = " and ".join([*([f"license {' or '.join(licenses)}"] if licenses else []), *map(str, conditions)])
    if left:
        title = registry.measures()[measure]["title"]
        return f"nobody published '{measure}' ({title}) of the {left} weights that keep to {asked}; decide by another"
    return f"nothing keeps to {asked}; ask for less (`vitzoo list` shows what there is)"
