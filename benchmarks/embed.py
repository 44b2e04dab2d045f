"""`vitzoo embed` beside the bare forward pass, timm's loader with its model, and transformers' pipeline.

    python benchmarks/embed.py PICTURES [--model vit_s16] [--img-size 224] [--workers 2] [--count 64] [--repeats 3]

PICTURES is a folder; its pictures are taken again and again until there are `--count` of them. All contenders have the
same random weights. Contenders take turns; tables show the median, the least, and ratios. Nothing here asserts a time.
"""

import argparse
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from typing import Any

import timm
import torch
from run import interleave, table
from timm.data import create_dataset, create_loader, resolve_data_config
from transformers import ViTImageProcessor, ViTModel, pipeline

import vitzoo

BATCH = 32


def laid_out(pictures: Path, folder: Path, count: int) -> list[Path]:
    """Links under new names; in the folder of a class, which timm asks for."""
    found = sorted(path for path in pictures.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    links = [folder / "all" / f"{i:05d}{path.suffix}" for i, path in enumerate(islice(cycle(found), count))]
    links[0].parent.mkdir(parents=True)
    for link, path in zip(links, cycle(found)):
        link.symlink_to(path.resolve())
    return links


def contenders(folder: Path, links: list[Path], model: Any, workers: int) -> dict[str, Callable[[], None]]:
    size = model.spec.img_size
    x = torch.stack([vitzoo.preprocess(model)(path) for path in links[:BATCH]])
    vitzoo.save(model, folder / "timm", layout="timm")
    theirs = timm.create_model(f"local-dir:{folder / 'timm'}", pretrained=True, num_classes=0).eval()
    vitzoo.save(model, folder / "hf", layout="huggingface")
    processor = ViTImageProcessor.from_pretrained(folder / "hf")
    features = pipeline(
        "image-feature-extraction", model=ViTModel.from_pretrained(folder / "hf"), image_processor=processor
    )

    @torch.inference_mode()
    def forward() -> None:
        for start in range(0, len(links), BATCH):
            model.forward_head(model.forward_features(x[: len(links) - start]), pre_logits=True)

    def embed(processes: int) -> Callable[[], None]:
        def run() -> None:
            shutil.rmtree(folder / "out", ignore_errors=True)
            vitzoo.embed(model, folder / "pictures", folder / "out", batch_size=BATCH, num_workers=processes)

        return run

    @torch.inference_mode()
    def with_timm() -> None:
        config = resolve_data_config({}, model=theirs)
        loader = create_loader(
            create_dataset("", str(folder / "pictures")),
            (3, *size),
            BATCH,
            num_workers=max(workers, 1),
            use_prefetcher=False,
            device=torch.device("cpu"),
            **{key: config[key] for key in ("mean", "std", "interpolation", "crop_pct")},
        )
        kept = [theirs(batch) for batch, _ in loader]
        assert sum(map(len, kept)) == len(links)

    def with_transformers() -> None:
        found = features([str(link) for link in links], batch_size=BATCH, return_tensors=True, pool=False)
        assert len(found) == len(links)

    return {
        "forward pass": forward,
        "vitzoo": embed(workers),
        "vitzoo, one process": embed(0),
        "timm": with_timm,
        "transformers": with_transformers,
    }


def timed(work: dict[str, Callable[[], Any]]) -> Callable[[str], float]:
    def measure(name: str) -> float:
        begin = perf_counter()
        work[name]()
        return perf_counter() - begin

    return measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--model", default="vit_s16")
    parser.add_argument("--img-size", type=int, default=224)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch.manual_seed(0)
    model = vitzoo.create(given.model, img_size=given.img_size)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        links = laid_out(given.pictures, folder / "pictures", given.count)
        work = contenders(folder, links, model, given.workers)
        print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
        title = f"{given.count} pictures, {given.model} at {given.img_size} px, {given.workers} workers"
        print(table(title, "s", 1, interleave(work, given.repeats, timed(work))))


if __name__ == "__main__":
    main()
