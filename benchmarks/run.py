"""vitzoo beside timm, transformers, torchvision and the floor, on one ViT-B/16 checkpoint.

    python benchmarks/run.py [start create memory forward list] [--repeats N] [--markdown FILE] [--device cuda]

Contenders take turns, so that a slow moment of the machine hits all of them. Tables show the median, the least, and
the ratio of medians to vitzoo's and to the floor's. Nothing here asserts a time.
"""

import argparse
import gc
import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import contenders

Samples = dict[str, list[float]]
HERE = Path(__file__).parent
LIST = """
import sys
from vitzoo.cli import main
try:
    main()
finally:
    assert "torch" not in sys.modules, "vitzoo list imported torch"
"""


def interleave(names: Iterable[str], repeats: int, measure: Callable[[str], float]) -> Samples:
    """`repeats` rounds in which each contender is measured once."""
    samples: Samples = {name: [] for name in names}
    for _ in range(repeats):
        for name in samples:
            samples[name].append(measure(name))
    return samples


def table(title: str, unit: str, scale: float, samples: Samples) -> str:
    """One Markdown table; `scale` turns the samples into `unit`."""
    medians = {name: median(values) for name, values in samples.items()}
    rows = [f"### {title}\n", f"| | median, {unit} | least | / vitzoo | / floor |", "|---|---:|---:|---:|---:|"]
    for name, values in samples.items():
        ratios = [f"{medians[name] / medians[base]:.2f}" if medians.get(base) else "" for base in ("vitzoo", "floor")]
        rows.append(f"| {name} | {medians[name] * scale:.3g} | {min(values) * scale:.3g} | {' | '.join(ratios)} |")
    return "\n".join(rows) + "\n"


def start(folder: Path, repeats: int, device: str) -> Iterable[str]:
    """From the start of a process to its first logits."""

    def measure(name: str) -> float:
        begin = perf_counter()
        command = [sys.executable, str(HERE / "worker.py"), "start", name, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            line = process.stdout.readline() if process.stdout else ""
            seconds = perf_counter() - begin
        if line.strip() != "1000":
            raise RuntimeError(f"{name} gave no logits: {' '.join(command)}")
        return seconds

    names = ("floor", "vitzoo", "timm", "transformers")
    interleave(names, 1, measure)  # byte code and page cache
    yield table("From process start to first logits", "s", 1, interleave(names, repeats, measure))


def create(folder: Path, repeats: int, device: str) -> Iterable[str]:
    """`create` alone, after the imports; the floor opens the file and maps all tensors."""

    def measure(name: str) -> float:
        gc.collect()
        begin = perf_counter()
        model = contenders.create(name, folder)
        seconds = perf_counter() - begin
        del model
        return seconds

    names = ("floor", "vitzoo", "timm", "transformers")
    interleave(names, 1, measure)
    yield table("create", "ms", 1e3, interleave(names, repeats, measure))


def memory(folder: Path, repeats: int, device: str) -> Iterable[str]:
    """Peak resident memory of `create` above that after the imports, in sizes of the file."""
    size = contenders.checkpoint(folder).stat().st_size
    for what, title in (("memory", "create"), ("memory-forward", "create and one forward pass, batch 1")):

        def measure(name: str, what: str = what) -> float:
            command = [sys.executable, str(HERE / "worker.py"), what, name, str(folder)]
            return int(subprocess.run(command, capture_output=True, check=True).stdout.split()[-1]) / size

        names = ("floor", "vitzoo", "timm", "transformers")
        yield table(f"Peak memory of {title}", "x file", 1, interleave(names, min(repeats, 3), measure))


def forward(folder: Path, repeats: int, device: str) -> Iterable[str]:
    """Latency of one forward pass. The contenders' logits are compared first."""
    import torch

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    torch.manual_seed(0)
    names = ("floor", "vitzoo", "timm", "transformers", "torchvision")
    with torch.inference_mode():
        for dtype in (torch.float32, torch.bfloat16):
            models: dict[str, Any] = {name: contenders.create(name, folder).to(device, dtype) for name in names}
            for batch in (1, 8):
                x = torch.randn(batch, 3, 224, 224).to(device, dtype)
                first = {name: model(x).float() for name, model in models.items()}  # warms up, too
                off = {name: (logits - first["floor"]).abs().max().item() for name, logits in first.items()}
                if dtype is torch.float32 and max(off.values()) > 1e-4 * first["floor"].abs().max().item():
                    raise RuntimeError(f"the contenders do not compute the same: {off}")

                def measure(name: str, models: dict[str, Any] = models, x: Any = x) -> float:
                    wait()
                    begin = perf_counter()
                    models[name](x)
                    wait()
                    return perf_counter() - begin

                slow = measure("floor") > 3.0
                samples = interleave(names, min(repeats, 3) if slow else repeats, measure)
                title = f"Forward pass, {str(dtype).removeprefix('torch.')}, batch {batch}, {device}"
                yield table(title, "ms", 1e3, samples) + f"\nLargest difference of logits: {max(off.values()):.1e}.\n"


def list_(folder: Path, repeats: int, device: str) -> Iterable[str]:
    """`vitzoo list` as a process, which must not import torch; beside it Python alone."""
    code = {"vitzoo": LIST, "python alone": "pass"}

    def measure(name: str) -> float:
        begin = perf_counter()
        subprocess.run([sys.executable, "-c", code[name], "list"], stdout=subprocess.DEVNULL, check=True)
        return perf_counter() - begin

    interleave(code, 1, measure)
    yield table("vitzoo list", "s", 1, interleave(code, repeats, measure))


SECTIONS = {"start": start, "create": create, "memory": memory, "forward": forward, "list": list_}


def environment() -> str:
    """Versions, processor and threads in one line."""
    import torch

    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "timm", "transformers")]
    info = Path("/proc/cpuinfo")
    model = [line.partition(": ")[2] for line in info.read_text().splitlines() if line.startswith("model name")]
    cpu = model[0] if model else platform.processor()
    return ", ".join([f"Python {platform.python_version()}", *versions, cpu, f"{torch.get_num_threads()} threads"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", help=f"any of {', '.join(SECTIONS)}; all if none is given")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--markdown", type=Path, help="write the tables to this file, too")
    parser.add_argument("--device", default="cpu", help="for forward")
    arguments = parser.parse_args()
    if unknown := set(arguments.sections) - set(SECTIONS):
        parser.error(f"unknown section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    sys.path.insert(1, str(HERE.parent))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contenders.use_cache(folder)
        contenders.write_checkpoints(folder)
        parts = [environment() + f", {arguments.repeats} repeats.\n"]
        print(parts[0])
        for section in arguments.sections or SECTIONS:
            for part in SECTIONS[section](folder, arguments.repeats, arguments.device):
                parts.append(part)
                print(part, flush=True)
    if arguments.markdown is not None:
        arguments.markdown.write_text("\n".join(parts))


if __name__ == "__main__":
    main()
