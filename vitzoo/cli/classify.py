"""`vitzoo classify`: pictures in, classes and probabilities out."""

import csv
import json
import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol

import typer

from vitzoo.cli.guesses import KINDS, Said, answers
from vitzoo.cli.options import (
    ANY_MODEL,
    AsJson,
    Black,
    Device,
    ImgSize,
    Labels,
    NumWorkersOrNone,
    White,
    class_names,
    models,
    size,
    usable_device,
    with_range,
)
from vitzoo.errors import SpecError, one_line, public
from vitzoo.spec import Task

if TYPE_CHECKING:
    from vitzoo.cli.files import Files
    from vitzoo.data.stream import Batch, Flow
    from vitzoo.images.ranges import Note
    from vitzoo.publish.dialect import ViT

DEFAULT_MODEL = "vit_nano4.cifar10"
LARGER = "vit_b16"
"""What is named to those who named no model."""
MB, BYTES = 10**6, 4  # of a number in fp32


class Failure(NamedTuple):
    """A picture that could not be classified."""

    file: str
    error: str


def classify(
    pictures: Annotated[list[str], typer.Argument(help="files, folders (read recursively), or - for paths on stdin")],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help=f"{ANY_MODEL}; {DEFAULT_MODEL} if not given", autocompletion=models),
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="classes per picture")] = 5,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", min=1, help="pictures per forward pass")] = 16,
    img_size: ImgSize = None,
    white: White = None,
    black: Black = None,
    labels: Labels = None,
    device: Device = "cpu",
    num_workers: NumWorkersOrNone = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="a CSV row per class")] = False,
) -> None:
    """Name what is in pictures, as they come; one that cannot be read is reported (exit code 1)."""
    if as_json and as_csv:
        raise SpecError("--json and --csv exclude each other; give one of them")
    from vitzoo.cli.files import Files
    from vitzoo.data.saying import say
    from vitzoo.data.stream import Flow

    flow = Flow(batch_size)
    files = Files(pictures, flow.idle)
    files.check()
    name = DEFAULT_MODEL if model is None else model
    with_range(vit := _create(name, size(img_size), device), white, black)
    names = _labels(vit, labels)
    workers = _workers(pictures, batch_size) if num_workers is None else num_workers
    answer = _answer(public(name), vit.about.task or Task(), as_json, as_csv)
    apart = _apart(as_json or as_csv)
    notes, failures, count = _write(answer, _run(vit, flow, files, names, top_k, workers), apart)
    answer.end(failures, said := _remarks(files, notes))
    remarks = [f"reading: {line}" for line in said] if apart else []
    for line in [*remarks, _larger()] if model is None and not (as_json or as_csv) else remarks:
        say(line)
    if failures:
        raise typer.Exit(1 if count else 2)


# What is written, as it is known.


def _write(
    answer: "Answer", outcomes: Iterator[tuple["Batch", list[tuple[str, list[Said] | str]]]], apart: bool
) -> tuple[list[Any], list[Failure], int]:
    """The notes on what was read, what could not be, and how many pictures were classified."""
    notes, failures, count = [], list[Failure](), 0
    for batch, guesses in outcomes:
        for file, outcome in guesses:
            if isinstance(outcome, str):
                failures.append(Failure(file, outcome))
                if apart:
                    print(f"vitzoo: {outcome}", file=sys.stderr, flush=True)
            else:
                count += 1
                answer.add(file, outcome)
        sys.stdout.flush()
        notes += batch.notes
    return notes, failures, count


class Answer(Protocol):
    """A form of the answer."""

    def add(self, file: str, guesses: list[Said]) -> None: ...

    def end(self, failures: list[Failure], said: list[str]) -> None: ...


def _answer(model: str, task: Task, as_json: bool, as_csv: bool) -> Answer:
    """The form that was asked for."""
    return Json(model, task) if as_json else Csv(task) if as_csv else Text()


class Text:
    """For people."""

    def add(self, file: str, guesses: list[Said]) -> None:
        print(one_line(file))
        for guess in guesses:
            print(f"  {guess}")

    def end(self, failures: list[Failure], said: list[str]) -> None: ...


class Csv:
    """A row for each class; the head comes with the first."""

    def __init__(self, task: Task) -> None:
        self.writer = csv.writer(sys.stdout, lineterminator="\n")
        self.head = ["file", "rank", *KINDS[task.kind][1]._fields]

    def add(self, file: str, guesses: list[Said]) -> None:
        if self.head:
            self.writer.writerow(self.head)
            self.head = []
        self.writer.writerows([file, rank, *guess] for rank, guess in enumerate(guesses, 1))

    def end(self, failures: list[Failure], said: list[str]) -> None:
        if self.head:
            self.writer.writerow(self.head)


class Json:
    """One document: a line for each picture as it is known, at the end those that could not be read."""

    def __init__(self, model: str, task: Task) -> None:
        self.key = KINDS[task.kind][0]
        self.before = f'{{\n"model": {json.dumps(model)},\n"results": [\n'

    def add(self, file: str, guesses: list[Said]) -> None:
        print(self.before, end="")
        print(json.dumps({"file": file, self.key: [guess._asdict() for guess in guesses]}), end="")
        self.before = ",\n"

    def end(self, failures: list[Failure], said: list[str]) -> None:
        print("\n" if self.before == ",\n" else self.before, end="")
        print('],\n"errors": ' + json.dumps([failure._asdict() for failure in failures], indent=1), end="")
        print(',\n"notes": ' + json.dumps(said, indent=1) + "\n}")


def _apart(document: bool) -> bool:
    """Whether what is said on stderr does not fall into a document on stdout, which has it, too."""
    try:
        same = os.path.samestat(os.fstat(sys.stdout.fileno()), os.fstat(sys.stderr.fileno()))
    except (OSError, ValueError):
        return True
    return not (document and same and not sys.stdout.isatty())


# The model.


def _create(model: str, img_size: tuple[int, int] | None, device: str) -> "ViT":
    from vitzoo.publish.dialect import create

    sizes: dict[str, Any] = {} if img_size is None else {"img_size": img_size}
    return create(model, pretrained=True, device=usable_device(device), **sizes)


def _remarks(files: "Files", notes: list[tuple[str, "Note"]]) -> list[str]:
    """What was left out, and what was noticed of the pictures, in lines."""
    from vitzoo.data.saying import left_out, summed

    return [*([left_out(files.left_out)] if files.left_out else []), *map(str, summed(notes))]


def _larger() -> str:
    """How to get more classes than those of the model that comes with the package."""
    from vitzoo.registry.describe import info

    known, found = info(DEFAULT_MODEL), info(LARGER)
    return (
        f"this was {known.name}, which knows {known.spec.num_classes} classes; for {found.spec.num_classes:,}: "
        f"-m {LARGER} (downloads about {found.params * BYTES / MB:,.0f} MB once)"
    )


def _labels(vit: "ViT", path: Path | None) -> tuple[str, ...]:
    if vit.num_classes == 0:
        from vitzoo.registry.describe import no_classes

        raise SpecError(no_classes(vit.spec))
    if path is None:
        return vit.labels or tuple(f"class {i}" for i in range(vit.num_classes))
    names = class_names(path)
    if len(names) != vit.num_classes:
        raise SpecError(f"{path} names {len(names)} classes, but the model has {vit.num_classes}; give one a line")
    return names


def _workers(pictures: list[str], batch_size: int) -> int:
    """None for a few pictures: starting them takes longer than they save."""
    from vitzoo.cli.files import STDIN, Files
    from vitzoo.data.stream import usable_cores

    if STDIN not in pictures and len(list(islice(Files(pictures), 2 * batch_size))) < 2 * batch_size:
        return 0
    return usable_cores()


def _run(
    vit: "ViT", flow: "Flow", files: "Files", names: tuple[str, ...], top_k: int, workers: int
) -> Iterator[tuple["Batch", list[tuple[str, list[Said] | str]]]]:
    """Each batch, and for each of its files the classes or why there are none."""
    import torch

    from vitzoo.images.transform import preprocess

    device = next(vit.parameters()).device
    for batch in flow.read(files, preprocess(vit), workers):
        found: Iterator[list[Said]] = iter(())
        if batch.inputs is not None:
            with torch.inference_mode():
                outputs = vit(batch.inputs.to(device))
            found = iter(answers(outputs, names, vit.about.task or Task(), top_k))
        yield (
            batch,
            [
                (path, next(found) if reason is None else reason)
                for path, reason in zip(batch.paths, batch.reasons, strict=True)
            ],
        )
