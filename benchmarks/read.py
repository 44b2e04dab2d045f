"""How fast pictures are read and evaluated, beside timm, transformers and the bare forward pass.

    python benchmarks/read.py [--sizes 32 224] [--workers 1 2] [--pictures N] [--repeats N] [--markdown FILE]

One model (timm's, with random weights, read by each library in its own layout) and one folder of JPEG pictures in two
classes. Contenders take turns: `vitzoo.evaluate`, `vitzoo classify --json` as it runs, timm's loader with the loop of
its validate.py, transformers' pipeline, and the floor, which is the forward pass alone on tensors that are in memory.
Tables have the median of what each took, and its ratio to the floor's and to vitzoo's in the same round: of a machine
that others use, too, only the ratios mean something. Nothing here asserts a time.
"""

import argparse
import contextlib
import io
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

MODELS = {32: "vit_nano4", 224: "vit_ti16"}
PICTURE = {32: (32, 32), 224: (500, 375)}
"""Width and height of the files: CIFAR's, and the usual one of ImageNet."""
BATCH = 64
Contender = Callable[[int], Any]


def write_pictures(folder: Path, size: int, count: int) -> None:
    """Smooth pictures with some noise, about as large as JPEG files of photographs."""
    from PIL import Image

    rng, (width, height) = np.random.default_rng(0), PICTURE[size]
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((width, height))
        pixels = np.asarray(coarse, dtype=np.int16) + rng.normal(0, 6, (height, width, 3)).astype(np.int16)
        target = folder / ("a", "b")[i % 2]
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(target / f"{i:05}.jpg", quality=90)


def contenders(size: int, pictures: Path, folder: Path) -> dict[str, Contender]:
    """Each as a function of the number of workers; all have read their model."""
    import timm
    import torch
    import transformers

    import vitzoo

    transformers.logging.set_verbosity_error()
    model = vitzoo.create(MODELS[size], num_classes=2, img_size=size, generator=0)
    model.labels = ("a", "b")
    native = vitzoo.save(model, folder / "model.safetensors")
    vitzoo.save(model, folder / "transformers", layout="huggingface")
    vitzoo.save(model, folder / "timm", layout="timm")
    theirs = timm.create_model(f"local-dir:{folder / 'timm'}", pretrained=True).eval()
    paths = sorted(map(str, pictures.rglob("*.jpg")))
    pipelines = {}

    def pipeline(workers: int) -> Any:
        if workers not in pipelines:
            where = str(folder / "transformers")
            pipelines[workers] = transformers.pipeline("image-classification", where, num_workers=workers)
        return pipelines[workers](paths, batch_size=BATCH, top_k=2)

    x = torch.randn(BATCH, 3, size, size)
    return {
        "floor": lambda workers: _forward(model, x, len(paths)),
        "vitzoo.evaluate": lambda workers: _quietly(
            lambda: vitzoo.evaluate(model, pictures, batch_size=BATCH, num_workers=workers)
        ),
        "vitzoo classify": lambda workers: _quietly(lambda: _classify(native, pictures, workers)),
        "timm validate": partial(_validate, theirs, pictures),
        "transformers pipeline": pipeline,
    }


def _forward(model: Any, x: Any, count: int) -> None:
    import torch

    with torch.inference_mode():
        for _ in range(-(-count // len(x))):
            model(x)


def _validate(model: Any, pictures: Path, workers: int) -> float:
    """The loop of timm 1.0.31's validate.py: loss, top-1 and top-5 of each batch."""
    import timm
    import torch

    config = timm.data.resolve_data_config({}, model=model)
    loader = timm.data.create_loader(
        timm.data.create_dataset("", str(pictures)),
        config["input_size"],
        BATCH,
        use_prefetcher=False,
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
        num_workers=workers,
        crop_pct=config["crop_pct"],
    )
    top1 = timm.utils.AverageMeter()
    with torch.inference_mode():
        for images, targets in loader:
            output = model(images)
            torch.nn.functional.cross_entropy(output, targets)
            top1.update(timm.utils.accuracy(output.detach(), targets, topk=(1, 2))[0].item(), len(images))
    return float(top1.avg)


def _classify(model: Path, pictures: Path, workers: int) -> None:
    """In this process, so that imports are not counted."""
    from vitzoo.cli.classify import classify

    classify([str(pictures)], str(model), top_k=2, batch_size=BATCH, num_workers=workers, as_json=True)


def _quietly(function: Callable[[], Any]) -> Any:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return function()


def table(size: int, workers: int, samples: dict[str, list[float]], count: int) -> str:
    """Medians, and the median of the ratios within a round."""
    lines = [
        f"### {size} px, {workers} worker{'s' if workers > 1 else ''}\n",
        "| | pictures/s | time / floor | time / vitzoo.evaluate |",
        "|---|---:|---:|---:|",
    ]
    for name, seconds in samples.items():
        ratios = [
            median(one / base for one, base in zip(seconds, samples[to], strict=True))
            for to in ("floor", "vitzoo.evaluate")
        ]
        lines.append(f"| {name} | {count / median(seconds):,.0f} | {ratios[0]:.2f} | {ratios[1]:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 224], choices=sorted(MODELS))
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--pictures", type=int, help="2048 of 32 px and 512 of 224 px if not given")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    pages = [f"Python {platform.python_version()}, {os.cpu_count()} cores, {given.repeats} rounds.\n"]
    for size in given.sizes:
        count = given.pictures or {32: 2048, 224: 512}[size]
        with tempfile.TemporaryDirectory() as name:
            os.environ["VITZOO_CACHE"] = f"{name}/cache"
            write_pictures(Path(name, "pictures"), size, count)
            found = contenders(size, Path(name, "pictures"), Path(name))
            for workers in given.workers:
                samples: dict[str, list[float]] = {one: [] for one in found}
                for turn in range(given.repeats + 1):
                    for one, run in found.items():
                        start = perf_counter()
                        run(workers)
                        if turn:  # the first round warms up
                            samples[one].append(perf_counter() - start)
                pages.append(table(size, workers, samples, count))
                print(pages[-1], flush=True)
    if given.markdown:
        given.markdown.write_text("\n".join(pages), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
