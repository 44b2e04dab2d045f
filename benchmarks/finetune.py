"""Fine-tuning compared on CIFAR-10 pictures: what is trained, from how many pictures, for how long, in how much memory.

    python benchmarks/finetune.py --train cifar10-train.tar --val cifar10-val.tar --out runs --table docs/finetuning.md

Both archives hold one folder a class. Each row is one `vitzoo finetune` in a process of its own; the command is in the
table. The bundled weights know CIFAR-10's classes, so the small tasks ask what they were not trained for: which way up
a picture is (four classes). Its archives are written into `--out`.
"""

import argparse
import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

from PIL import Image

TURNS = ("upright", "left", "upside_down", "right")
MODEL = "vit_nano4.cifar10"
RECIPES = ("linear_probe", "last_blocks", "lora", "adamw_layer_decay")
BEGIN, END = "<!-- benchmarks/finetune.py -->", "<!-- end -->"


def write_turned(source: Path, target: Path, pictures: int) -> None:
    """An archive with every n-th picture of another one, each turned by 0, 90, 180 or 270 degrees in turn."""
    with tarfile.open(source) as archive, tarfile.open(target.with_suffix(".part"), "w") as turned:
        members = sorted((member for member in archive.getmembers() if member.isfile()), key=lambda member: member.name)
        for number, member in enumerate(members[:: len(members) // pictures][:pictures]):
            data = io.BytesIO()
            file = archive.extractfile(member)
            assert file is not None
            Image.open(file).rotate(90 * (number % 4)).save(data, "PNG")
            info = tarfile.TarInfo(f"{TURNS[number % 4]}/{number}.png")
            info.size = data.tell()
            data.seek(0)
            turned.addfile(info, data)
    target.with_suffix(".part").rename(target)


def run(name: str, out: Path, options: list[str]) -> dict[str, str]:
    """One row of the table."""
    folder = out / name.replace(" ", "_")
    command = ["vitzoo", "finetune", *options, "--output", str(folder)]
    if not (folder / "row.json").exists():
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was stopped
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-c", "from vitzoo.cli import main; main()", *command[1:]])
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{' '.join(command)} ended with status {status}")
        rows = list(csv.DictReader((folder / "metrics.csv").open()))
        shown = " ".join(Path(word).name if os.sep in word else word for word in command)
        row = {
            "run": name,
            "top-1": f"{100 * float(rows[-1]['val_top1']):.1f}%",
            "seconds": f"{time.perf_counter() - start:.0f}",
            "memory": f"{usage.ru_maxrss / 1e6:.2f} GB",
            "command": f"`{shown}`",
        }
        (folder / "row.json").write_text(json.dumps(row))
    return json.loads((folder / "row.json").read_text())  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results; rows that are there stay")
    parser.add_argument("--table", type=Path, help="Markdown file whose marked part the table replaces")
    parser.add_argument("--pictures", type=int, default=10_000, help="training pictures of the larger task")
    parser.add_argument("--epochs", type=int, default=5, help="of the larger task")
    args = parser.parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    train, val = args.out / "turned-train.tar", args.out / "turned-val.tar"
    for source, target, pictures in ((args.train, train, args.pictures), (args.val, val, 2_000)):
        if not target.exists():
            write_turned(source, target, pictures)
    turned = ["--data", str(train), "--val", str(val)]
    few = [*turned, "--batch-size", "20", "--set", "max_per_class=10"]
    many = [*turned, "--epochs", str(args.epochs)]
    whole = ["--data", str(args.train), "--val", str(args.val)]
    larger = ["--img-size", "48", "--epochs", "1", "--set", "warmup_epochs=0.1", "--set", "keep_head=true"]
    scratch = ["--recipe", "full", "--set", "pretrained=false"]
    rows = [
        *(run(f"10 a class, {name}", args.out, ["--model", MODEL, "--recipe", name, *few]) for name in RECIPES),
        run("10 a class, from scratch", args.out, ["--model", MODEL, *scratch, *few]),
        run("all, linear_probe", args.out, ["--model", MODEL, "--recipe", "linear_probe", *turned]),
        *(run(f"all, {name}", args.out, ["--model", MODEL, "--recipe", name, *many]) for name in RECIPES[1:]),
        run("all, from scratch", args.out, ["--model", MODEL, *scratch, *many]),
        run("CIFAR-10, 32 to 48 px", args.out, ["--model", MODEL, "--recipe", "full", *whole, *larger]),
    ]
    names = list(rows[0])
    lines = [f"| {' | '.join(names)} |", "|---|--:|--:|--:|---|", *(f"| {' | '.join(row.values())} |" for row in rows)]
    table = "\n".join(lines)
    print(table)
    if args.table is not None:
        before, _, rest = args.table.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        args.table.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
