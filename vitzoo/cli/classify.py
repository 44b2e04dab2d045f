"""`vitzoo classify`: pictures in, classes and probabilities out."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from vitzoo.cli.options import AsJson, Device, ImgSize, Labels, ModelOption, class_names, size, usable_device
from vitzoo.errors import ImageError, SpecError, public

if TYPE_CHECKING:
    from vitzoo.publish.dialect import ViT

DEFAULT_MODEL = "vit_nano4.cifar10"
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"}


class Guess(NamedTuple):
    """One class for one picture."""

    label: str
    class_index: int
    probability: float


def classify(
    pictures: Annotated[list[str], typer.Argument(help="files, folders (read recursively), or - for paths on stdin")],
    model: ModelOption = DEFAULT_MODEL,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="classes per picture")] = 5,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", min=1, help="pictures per forward pass")] = 16,
    img_size: ImgSize = None,
    labels: Labels = None,
    device: Device = "cpu",
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="a CSV row per class")] = False,
) -> None:
    """Name what is in pictures; one that cannot be read is reported, the others are classified (exit code 1)."""
    if as_json and as_csv:
        raise SpecError("--json and --csv exclude each other; give one of them")
    files = list(find_pictures(pictures))
    vit = _create(model, size(img_size), device)
    names = _labels(vit, labels)

    results: list[tuple[Path, list[Guess]]] = []
    errors: list[tuple[Path, str]] = []
    for file, outcome in _run(vit, files, names, min(top_k, len(names)), batch_size):
        if isinstance(outcome, str):
            errors.append((file, outcome))
            print(f"vitzoo: {outcome}", file=sys.stderr)
        else:
            results.append((file, outcome))
            if not (as_json or as_csv):
                _print(file, outcome)
    if as_json:
        document = {
            "model": public(model),
            "results": [{"file": str(f), "classes": [g._asdict() for g in guesses]} for f, guesses in results],
            "errors": [{"file": str(f), "error": text} for f, text in errors],
        }
        print(json.dumps(document, indent=2))
    if as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(["file", "rank", *Guess._fields])
        for file, guesses in results:
            writer.writerows([file, rank, *guess] for rank, guess in enumerate(guesses, 1))
    if errors:
        raise typer.Exit(1 if results else 2)


def find_pictures(arguments: Iterable[str]) -> Iterator[Path]:
    """Files as they are named, folders' pictures in order; an ImageError for what is not there."""
    for argument in arguments:
        if argument == "-":
            yield from find_pictures(line.rstrip("\n") for line in sys.stdin if line.strip())
            continue
        path = Path(argument)
        if path.is_dir():
            found = sorted(f for f in path.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
            if not found:
                raise ImageError(f"no pictures in the folder {path}; looked for {', '.join(sorted(SUFFIXES))}")
            yield from found
        elif path.exists():
            yield path
        else:
            raise ImageError(f"no such file or folder: {path}")


def _create(model: str, img_size: tuple[int, int] | None, device: str) -> "ViT":
    from vitzoo.publish.dialect import create

    sizes: dict[str, Any] = {} if img_size is None else {"img_size": img_size}
    return create(model, pretrained=True, device=usable_device(device), **sizes)


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


def _run(
    vit: "ViT", files: list[Path], names: tuple[str, ...], top_k: int, batch_size: int
) -> Iterator[tuple[Path, list[Guess] | str]]:
    import torch
    from rich.console import Console
    from rich.progress import track

    from vitzoo.images.transform import preprocess

    transform = preprocess(vit)
    device = next(vit.parameters()).device
    batches = [files[i : i + batch_size] for i in range(0, len(files), batch_size)]
    for batch in track(batches, "classifying", console=Console(stderr=True), disable=len(batches) < 2, transient=True):
        outcomes: list[tuple[Path, list[Guess] | str]] = []
        inputs = []
        for file in batch:
            try:
                inputs.append(transform(file))
                outcomes.append((file, []))
            except ImageError as error:
                outcomes.append((file, str(error)))
        if inputs:
            with torch.inference_mode():
                top = vit(torch.stack(inputs).to(device)).float().softmax(-1).topk(top_k)
            good = [outcome for _, outcome in outcomes if not isinstance(outcome, str)]
            for guesses, values, indices in zip(good, top.values.tolist(), top.indices.tolist(), strict=True):
                guesses += [Guess(names[i], i, p) for i, p in zip(indices, values, strict=True)]
        yield from outcomes


def _print(file: Path, guesses: list[Guess]) -> None:
    print(file)
    for guess in guesses:
        print(f"  {guess.probability:6.1%}  {guess.label}")
