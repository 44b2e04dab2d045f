"""The registry's figures from the tables that timm and open_clip publish: `python -m tools.figures FOLDER [--check]`.

FOLDER holds `timm/`, the `results/` of pytorch-image-models at TIMM's commit, and `open_clip/`, the `docs/` of
open_clip at OPEN_CLIP's. The tables themselves are not part of the project; each figure that is
taken over says where it stands.
"""

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vitzoo import registry

OUT = Path(__file__).parents[1] / "registry" / "figures"
HEAD = "# yaml-language-server: $schema=../schema/figures.schema.json\n#\n# Written by `python -m tools.figures`.\n"
TIMM = "https://github.com/huggingface/pytorch-image-models/blob/aa4b5850c1543fa488abf260f18390eda46cf85d/results"
OPEN_CLIP = "https://github.com/mlfoundations/open_clip/blob/89fb801f1e6087880e951fc8354b8a2077b79c6d/docs"
TEST_SETS = {
    "in1k": ("results-imagenet", "ImageNet-1k validation"),
    "in1k_real": ("results-imagenet-real", "ImageNet-ReaL"),
    "in1k_v2": ("results-imagenetv2-matched-frequency", "ImageNet-V2, matched frequency"),
    "in1k_a": ("results-imagenet-a", "ImageNet-A"),
    "in1k_a_clean": ("results-imagenet-a-clean", "ImageNet-1k, the 200 classes of ImageNet-A"),
    "in1k_r": ("results-imagenet-r", "ImageNet-R"),
    "in1k_r_clean": ("results-imagenet-r-clean", "ImageNet-1k, the 200 classes of ImageNet-R"),
    "in1k_sketch": ("results-sketch", "ImageNet-Sketch"),
}
DEVICES = {
    "speed_rtx3090": ("amp-nchw-pt240-cu124-rtx3090", "RTX 3090, AMP, torch 2.4.0"),
    "speed_rtx4090": ("amp-nchw-pt291-cu128-4090", "RTX 4090, AMP, torch 2.9.1"),
    "speed_rtx4090_compiled": ("amp-nchw-pt291-cu128-4090-dynamo", "RTX 4090, AMP, torch 2.9.1, compiled"),
    "speed_rtx5090_compiled": ("amp-nchw-pt291-cu130-5090-dynamo", "RTX 5090, AMP, torch 2.9.1, compiled"),
    "speed_pro6000_compiled": (
        "bf16-nchw-pt291-cu130-pro6000maxq-dynamo",
        "RTX PRO 6000 Max-Q, bfloat16, torch 2.9.1, compiled",
    ),
    "speed_i7_12700h_compiled": (
        "fp32-nchw-pt240-cpu-i7_12700h-dynamo",
        "Core i7-12700H, float32, torch 2.4.0, compiled, one picture at a time",
    ),
    "speed_i9_10940x_compiled": (
        "fp32-nchw-pt240-cpu-i9_10940x-dynamo",
        "Core i9-10940X, float32, torch 2.4.0, compiled, one picture at a time",
    ),
}
TOWERS = {
    "EVA01-g-14 laion400m_s11b_b41k": "eva_clip_g14.laion400m",
    "EVA01-g-14-plus merged2b_s11b_b114k": "eva_clip_g14.merged2b",
    "EVA02-B-16 merged2b_s8b_b131k": "eva02_clip_b16.merged2b",
    "EVA02-E-14 laion2b_s4b_b115k": "eva02_clip_e14.laion2b",
    "EVA02-E-14-plus laion2b_s9b_b144k": "eva02_clip_e14.laion2b_plus",
    "EVA02-L-14 merged2b_s4b_b131k": "eva02_clip_l14.merged2b",
    "EVA02-L-14-336 merged2b_s6b_b61k": "eva02_clip_l14.merged2b_336",
    "ViT-B-16 datacomp_xl_s13b_b90k": "clip_b16.datacompxl",
    "ViT-B-16 dfn2b": "clip_b16.dfn2b",
    "ViT-B-16 laion2b_s34b_b88k": "clip_b16.laion2b",
    "ViT-B-16 laion400m_e32": "clip_b16.laion400m_e32",
    "ViT-B-16 openai": "clip_b16.openai",
    "ViT-B-16-plus-240 laion400m_e32": "clip_b16_plus.laion400m_e32",
    "ViT-B-16-quickgelu metaclip_400m": "clip_b16.metaclip_400m",
    "ViT-B-16-quickgelu metaclip_fullcc": "clip_b16.metaclip_2pt5b",
    "ViT-B-16-SigLIP webli": "siglip_b16.webli",
    "ViT-B-16-SigLIP-256 webli": "siglip_b16.webli_256",
    "ViT-B-16-SigLIP-384 webli": "siglip_b16.webli_384",
    "ViT-B-16-SigLIP-512 webli": "siglip_b16.webli_512",
    "ViT-B-16-SigLIP-i18n-256 webli": "siglip_b16.webli_i18n_256",
    "ViT-B-32 datacomp_xl_s13b_b90k": "clip_b32.datacompxl",
    "ViT-B-32 laion2b_s34b_b79k": "clip_b32.laion2b",
    "ViT-B-32 openai": "clip_b32.openai",
    "ViT-B-32-256 datacomp_s34b_b86k": "clip_b32.datacompxl_256",
    "ViT-B-32-quickgelu laion400m_e32": "clip_b32.laion400m_e32",
    "ViT-B-32-quickgelu metaclip_400m": "clip_b32.metaclip_400m",
    "ViT-B-32-quickgelu metaclip_fullcc": "clip_b32.metaclip_2pt5b",
    "ViT-bigG-14 laion2b_s39b_b160k": "clip_gigantic14.laion2b",
    "ViT-H-14 laion2b_s32b_b79k": "clip_h14.laion2b",
    "ViT-H-14-378-quickgelu dfn5b": "clip_h14.dfn5b_378",
    "ViT-H-14-quickgelu dfn5b": "clip_h14.dfn5b",
    "ViT-H-14-quickgelu metaclip_fullcc": "clip_h14.metaclip_2pt5b",
    "ViT-L-14 datacomp_xl_s13b_b90k": "clip_l14.datacompxl",
    "ViT-L-14 laion2b_s32b_b82k": "clip_l14.laion2b",
    "ViT-L-14 laion400m_e32": "clip_l14.laion400m_e32",
    "ViT-L-14 openai": "clip_l14.openai",
    "ViT-L-14-336 openai": "clip_l14.openai_336",
    "ViT-L-14-quickgelu dfn2b": "clip_l14.dfn2b",
    "ViT-L-14-quickgelu metaclip_400m": "clip_l14.metaclip_400m",
    "ViT-L-14-quickgelu metaclip_fullcc": "clip_l14.metaclip_2pt5b",
    "ViT-L-16-SigLIP-256 webli": "siglip_l16.webli",
    "ViT-L-16-SigLIP-384 webli": "siglip_l16.webli_384",
    "ViT-SO400M-14-SigLIP webli": "siglip_so400m14.webli",
    "ViT-SO400M-14-SigLIP-384 webli": "siglip_so400m14.webli_384",
}
"""open_clip's model and tag -> the image tower of these weights. Of ViT-g-14 there are two trainings, and nothing says
which one `clip_g14.laion2b` is."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files; with `--check` only compare, and return 1 if one differs."""
    parser = argparse.ArgumentParser(prog="python -m tools.figures", description="Write the registry's figures.")
    parser.add_argument("folder", type=Path, help="with timm/ and open_clip/")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a file is not up to date")
    chosen = parser.parse_args(arguments)
    stale = [path for path, text in written(chosen.folder).items() if not path.is_file() or path.read_text() != text]
    for path, text in written(chosen.folder).items():
        if path in stale and not chosen.check:
            path.write_text(text)
            print(f"wrote {path}")
    for path in stale if chosen.check else ():
        print(f"{path} is not what the tables say; run `python -m tools.figures {chosen.folder}`")
    return int(chosen.check and bool(stale))


def written(folder: Path) -> dict[Path, str]:
    """Each file with its text."""
    return {
        OUT / "imagenet.yaml": accuracies(folder / "timm"),
        OUT / "zero_shot.yaml": zero_shot(folder / "open_clip"),
        OUT / "speed.yaml": speeds(folder / "timm"),
    }


def accuracies(folder: Path) -> str:
    """timm's own measurements of the weights that it hosts."""
    measures, tables = {}, []
    for name, (file, title) in TEST_SETS.items():
        for place in ("top1", "top5") if name == "in1k" else ("top1",):
            measure = name if place == "top1" else f"{name}_top5"
            measures[measure] = (
                f"{title}, {place.replace('top', 'top-')}",
                "classifier",
                "%",
                f"{TIMM}/{file}.csv",
                place,
            )
            tables.append(
                {(_weights(row["model"]), row["img_size"]): row[place] for row in _read(folder / f"{file}.csv")}
            )
    how = "timm's validate.py on the weights that it hosts, at the size and crop of their configuration"
    return _text("timm (Ross Wightman)", how, "2026-08-08", measures, "weights", tables)


def zero_shot(folder: Path) -> str:
    """open_clip's measurements of its towers."""
    rows = {f"{row['name']} {row['pretrained']}": row for row in _read(folder / "openclip_results.csv")}
    sizes = {name: _size(name) for name in TOWERS.values()}
    places = {
        "zero_shot": ("mean of 38 data sets", "Average perf. on 38 datasets"),
        "zero_shot_in1k": ("ImageNet-1k", "ImageNet 1k"),
    }
    source, measures, tables = f"{OPEN_CLIP}/openclip_results.csv", {}, []
    for measure, (title, place) in places.items():
        measures[measure] = (f"zero-shot, {title}", "zero-shot", "%", source, place)
        tables.append(
            {(ours, sizes[ours]): round(100 * float(rows[theirs][place]), 2) for theirs, ours in TOWERS.items()}
        )
    how = "open_clip's evaluation of both towers; retrieval sets count with their recall. Image and text tower together"
    return _text("open_clip", how, "2026-06-27", measures, "weights", tables)


def speeds(folder: Path) -> str:
    """timm's measurements of architectures; where several of its names are one of ours, the first stands."""
    measures, tables = {}, []
    for measure, (file, title) in DEVICES.items():
        file = f"benchmark-infer-{file}.csv"
        measures[measure] = (title, "speed", "pictures/s", f"{TIMM}/{file}", "infer_samples_per_sec")
        table: dict[Any, Any] = {}
        for row in _read(folder / file):
            table.setdefault((_model(row["model"]), row["infer_img_size"]), row["infer_samples_per_sec"])
        tables.append(table)
    how = "timm's benchmark.py, inference, with the batch size that was fastest on a GPU; random weights"
    return _text("timm (Ross Wightman)", how, "2026-08-08", measures, "model", tables)


def _read(file: Path) -> Iterator[dict[str, str]]:
    with file.open(newline="") as lines:
        yield from csv.DictReader(lines)


def _weights(name: str) -> str | None:
    """Our name of timm's `arch.tag`."""
    return registry.resolve(name).name if "." in name and registry.knows(name) else None


def _model(name: str) -> str | None:
    """Our architecture of timm's: that of the weights which timm takes for the name by default."""
    return registry.resolve(name).model if registry.knows(name) else None


def _size(name: str) -> str:
    return str(registry.record(name).spec["img_size"][0])


def _text(by: str, how: str, published: str, measures: Any, key: str, tables: list[dict[Any, Any]]) -> str:
    """The file; a name that we do not have is left out."""
    lines = [f"{HEAD}measured_by: {by}", f"how: >-\n  {how}", f"published: {published}", "measures:"]
    for name, (title, kind, unit, source, place) in measures.items():
        lines += [
            f"  {name}:",
            f"    title: {title}",
            f"    kind: {kind}",
            f"    unit: '{unit}'",
            f"    source: {source}",
            f"    place: {place}",
        ]
    lines += [f"columns: [{', '.join([key, 'img_size', *measures])}]", "rows:"]
    keys = sorted({at for table in tables for at in table if at[0] is not None}, key=lambda at: (at[0], int(at[1])))
    for at in keys:
        values = [_number(table.get(at)) for table in tables]
        lines.append(f"  - [{at[0]}, {at[1]}, {', '.join(values)}]")
    return "\n".join(lines) + "\n"


def _number(value: Any) -> str:
    return "null" if value is None else f"{float(value):g}" if float(value) < 1000 else f"{float(value):.0f}"


if __name__ == "__main__":
    sys.exit(main())
