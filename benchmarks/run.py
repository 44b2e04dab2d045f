"""vitzoo beside timm, transformers, torchvision and the floor, on one ViT-B/16 checkpoint.

    python benchmarks/run.py [start create memory forward list] [--repeats N] [--markdown FILE] [--device cuda]

Contenders take turns, so that a slow moment of the machine hits all of them. Tables show the median, the least, and
the ratio of medians to vitzoo's and to the floor's. Nothing here asserts a time.
"""

import argparse
import gc
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import contenders

Samples = dict[str, list[float]]
HERE = Path(__file__).parent
WORKER = [sys.executable, str(HERE / "worker.py")]
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
    lines = [f"### {title}\n", f"| | median, {unit} | least | / vitzoo | / floor |", "|---|---:|---:|---:|---:|"]
    for name, values in samples.items():
        ratios = [f"{medians[name] / medians[base]:.2f}" if base in medians else "" for base in ("vitzoo", "floor")]
        lines.append(f"| {name} | {medians[name] * scale:,.3g} | {min(values) * scale:,.3g} | {' | '.join(ratios)} |")
    return "\n".join(lines) + "\n"


def start(folder: Path, repeats: int, device: str) -> Iterable[str]:
    """From the start of a process to its first logits."""

    def measure(name: str) -> float:
        begin = perf_counter()
        command = [*WORKER, "start", name, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            line = process.stdout.readline() if process.stdout else ""
            seconds = perf_counter() - begin
        if line.strip() != "1000":
            raise RuntimeError(f"{name} gave no logits: {' '.join(command)}")
        return seconds

    interleave(contenders.MODULES, 1, measure)  # byte code and page cache
    yield table("From process start to first logits", "s", 1, interleave(contenders.MODULES, repeats, measure))


def create(folder: Path, repeats: int, device: str) -> Iterable[str]:
    """`create` alone, after the imports; the floor opens the file and maps all tensors."""

    def measure(name: str) -> float:
        gc.collect()
        begin = perf_counter()
        model = contenders.create(name, folder)
        seconds = perf_counter() - begin
        del model
        return seconds

    interleave(contenders.MODULES, 1, measure)
    yield table("create", "ms", 1e3, interleave(contenders.MODULES, repeats, measure))


def memory(folder: Path, repeats: int, device: str) -> Iterable[str]:
    """Peak resident memory above that after the imports, in sizes of the file."""
    size = contenders.checkpoint(folder).stat().st_size
    for what, title in (("memory", "create"), ("memory-forward", "create and one forward pass, batch 1")):

        def measure(name: str, what: str = what) -> float:
            command = [*WORKER, what, name, str(folder)]
            return int(subprocess.run(command, capture_output=True, check=True).stdout.split()[-1]) / size

        yield table(f"Peak memory of {title}", "x file", 1, interleave(contenders.MODULES, min(repeats, 3), measure))


def forward(folder: Path, repeats: int, device: str) -> Iterable[str]:
    """Latency of one forward pass. The contenders' logits are compared first."""
    import torch

    torch.manual_seed(0)
    for dtype in (torch.float32, torch.bfloat16):
        models: dict[str, Any] = {
            name: contenders.create(name, folder).to(device, dtype) for name in (*contenders.MODULES, "torchvision")
        }
        for batch in (1, 8):
            x = torch.randn(batch, 3, 224, 224).to(device, dtype)

            @torch.inference_mode()
            def measure(name: str, models: dict[str, Any] = models, x: Any = x) -> float:
                begin = perf_counter()
                contenders.logits(models[name], x).sum().item()  # waits for the device
                return perf_counter() - begin

            with torch.inference_mode():
                first = {name: contenders.logits(model, x).float() for name, model in models.items()}  # warms up, too
            off = max(
                ((out - first["floor"]).abs().max() / first["floor"].abs().max()).item() for out in first.values()
            )
            if dtype is torch.float32 and off > 1e-4:
                raise RuntimeError(f"the contenders do not compute the same: their logits differ by {off:.1e}")
            once = measure("floor")
            rounds = repeats if once < 2 else min(repeats, 3 if once < 10 else 1)
            title = f"Forward pass, {str(dtype).removeprefix('torch.')}, batch {batch}, {device}, {rounds} repeats"
            yield table(title, "ms", 1e3, interleave(models, rounds, measure))
            yield f"Logits differ by at most {off:.0e} of the largest.\n"


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


def environment(repeats: int) -> str:
    """Versions, processor and threads in one line."""
    import torch

    packages = ("torch", "timm", "transformers", "torchvision")
    info = Path("/proc/cpuinfo")
    names = [line.partition(": ")[2].strip() for line in info.open() if "model name" in line] if info.exists() else []
    cpu = f"{names[0] if names else platform.processor()} ({os.cpu_count()} cores, {torch.get_num_threads()} threads)"
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"Python {platform.python_version()}, {versions}; {cpu}; {repeats} repeats."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all if none is given"
    )
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--markdown", type=Path, help="write the tables to this file, too")
    parser.add_argument("--device", default="cpu", help="for forward")
    arguments = parser.parse_args()
    if unknown := set(arguments.sections) - set(SECTIONS):
        parser.error(f"unknown section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    sys.path.insert(1, str(HERE.parent))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory() as name:
        contenders.use_cache(Path(name))
        contenders.write_checkpoints(Path(name))
        parts = [environment(arguments.repeats) + "\n"]
        print(parts[0])
        for section in arguments.sections or SECTIONS:
            for part in SECTIONS[section](Path(name), arguments.repeats, arguments.device):
                parts.append(part)
                print(part, flush=True)
                if arguments.markdown is not None:
                    arguments.markdown.write_text("\n".join(parts))


if __name__ == "__main__":
    main()
