"""Peak memory of `vitzoo.convert` on a synthetic ViT-g/14, for several ways between layouts.

    python benchmarks/convert_memory.py [--gigabytes 4] [--folder DIRECTORY]

Each conversion runs in a process of its own. Two peaks are read, as Linux tells them and above what they were after
the imports: RssAnon, the memory that the process itself asked for, sampled every two milliseconds, and VmHWM, which
also counts the pages of mapped files that happen to be resident and that the kernel may take back at any time.
Disk: two and a half times the size. All files are removed at the end.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from worker import resident

MODEL = "vit_g14"
# Google's layouts hold the tanh form of GELU alone, and big_vision's no slot of the class token in the table.
FIELDS = {"act": "gelu_tanh"}
NO_SLOT = {"act": "gelu_tanh", "pos_prefix": "none"}


@dataclass(frozen=True)
class Way:
    """One conversion: from a file in `source` to `target`, written as `name`."""

    source: str
    target: str
    name: str
    spec: dict[str, Any] = field(default_factory=lambda: FIELDS)
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        kind = Path(self.name).suffix or ("shards of 1 GB" if "shard_size" in self.options else "folder")
        return f"{self.source} to {self.target}, {kind}"


WAYS = (
    Way("timm", "vitzoo", "out.safetensors"),
    Way("timm", "huggingface", "out"),
    Way("timm", "huggingface", "out", options={"shard_size": 10**9}),
    Way("timm", "google", "out.npz"),
    Way("google", "timm", "out", options={"source_layout": "google", "num_heads": 16}),
    Way("timm", "big_vision_scan", "out.npz", NO_SLOT),
    Way("big_vision_scan", "timm", "out", NO_SLOT, {"source_layout": "big_vision_scan", "num_heads": 16}),
    Way("timm", "timm", "out.pth"),
)


def write_source(folder: Path, way: Way, gigabytes: float) -> tuple[Path, int]:
    """A checkpoint of about `gigabytes`, all values alike, and the bytes of one block of the model."""
    import torch

    from vitzoo.checkpoints.save import Export
    from vitzoo.registry import model_spec
    from vitzoo.spec import NEW
    from vitzoo.spec.tensors import native_shapes

    spec = model_spec(MODEL).replace(**way.spec)
    block = 4 * sum(math.prod(shape) for key, shape in native_shapes(spec).items() if key.startswith("blocks.0."))
    spec = spec.replace(depth=max(1, round(gigabytes * 1e9 / block)))
    shapes = native_shapes(spec)
    export = Export.planned(way.source, spec, NEW)
    path = export.write(folder / "source", lambda key: torch.full(shapes[key], 0.02), lambda key: torch.float32)
    return path, block


def convert(source: str, target: str, layout: str, options: dict[str, Any]) -> dict[str, float]:
    """Convert in this process; peaks in bytes, seconds, and sizes."""
    import huggingface_hub  # noqa: F401 (what convert imports when it needs it belongs to the baseline)
    import timm.data  # noqa: F401

    import vitzoo
    from vitzoo.files.read import open_tensors

    vitzoo.convert  # noqa: B018 (imported when it is first asked for)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, anonymous = resident("VmRSS"), resident("RssAnon")
    peak, done = anonymous, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, resident("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    begin = perf_counter()
    try:
        vitzoo.convert(source, target, layout, **options)
    finally:
        done.set()
        watcher.join()
    seconds, high = perf_counter() - begin, resident("VmHWM") - before
    file = open_tensors(Path(target))
    largest = max(math.prod(shape) * file.dtypes[key].itemsize for key, shape in file.shapes.items())
    return {"anonymous": peak - anonymous, "high": high, "largest": largest, "size": len(file), "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=4, help="of the checkpoint in fp32, in steps of a block")
    parser.add_argument("--folder", type=Path, help="where to put the files, a folder of the system if not given")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # what a process of its own is told
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(convert(*json.loads(arguments.one))))
        return
    root = str(Path(__file__).resolve().parent.parent)
    sys.path.insert(1, root)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    print("| | size, GB | largest tensor written, MB | peak RssAnon, MB | peak VmHWM, MB | s |")
    print("|---|---:|---:|---:|---:|---:|")
    for way in WAYS:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
            source, block = write_source(Path(name), way, arguments.gigabytes)
            job = json.dumps([str(source), str(Path(name, way.name)), way.target, way.options])
            command = [sys.executable, __file__, "--one", job]
            found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        megabytes = [f"{found[key] / 1e6:,.0f}" for key in ("largest", "anonymous", "high")]
        print(f"| {way} | {found['size'] / 1e9:.2f} | {' | '.join(megabytes)} | {found['seconds']:.0f} |", flush=True)
    print(f"\nOne block of the model is {block / 1e6:,.0f} MB.")


if __name__ == "__main__":
    main()
