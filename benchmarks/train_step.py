"""A training step of vitzoo beside timm's, on one ViT from the same weights.

    python benchmarks/train_step.py [--device cuda] [--batch 32] [--repeats 20] [--dtype bfloat16] [--markdown FILE]

Both models take turns in one process, under the same AdamW with layer-wise decay; their losses are compared first.
The table has the time of a step and the peak memory above what the model, its gradients and the optimiser hold; the
ratio is vitzoo's to timm's. Nothing here asserts a time.
"""

import argparse
import gc
import platform
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from statistics import median
from time import perf_counter

import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

import vitzoo
from vitzoo.registry.recipes import load_recipe
from vitzoo.train.module import make_optimizer

Step = Callable[[], float]
LR, DECAY, LAYER_DECAY = 1e-4, 0.05, 0.75


def models(name: str, device: str) -> dict[str, nn.Module]:
    """timm's model with every parameter randomised, and ours from its weights."""
    torch.manual_seed(0)
    peer = timm.create_model(name)
    with torch.no_grad():
        for parameter in peer.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    with tempfile.TemporaryDirectory() as folder:
        save_file(peer.state_dict(), Path(folder) / "model.safetensors")
        ours = vitzoo.create(Path(folder) / "model.safetensors", like=name)
        return {"timm": peer.to(device).train(), "vitzoo": ours.to(device).train()}


def optimizers(found: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
    """The same AdamW; timm's groups have the learning rate that its scheduler would give them."""
    recipe = load_recipe("full", lr=LR, weight_decay=DECAY, layer_decay=LAYER_DECAY)
    theirs = create_optimizer_v2(found["timm"], "adamw", LR, DECAY, layer_decay=LAYER_DECAY)
    for group in theirs.param_groups:
        group["lr"] = LR * group["lr_scale"]
    return {"timm": theirs, "vitzoo": make_optimizer(found["vitzoo"], recipe)}  # type: ignore[arg-type]


def step_of(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, dtype: torch.dtype) -> Step:
    def precision() -> AbstractContextManager[object]:
        return nullcontext() if dtype is torch.float32 else torch.autocast(x.device.type, dtype)

    def step() -> float:
        with precision():
            loss = F.cross_entropy(model(x).float(), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()  # waits for the device

    return step


def peak_memory(step: Step, device: str) -> int:
    """Bytes that a step allocates at most, above what is held before it."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return torch.cuda.max_memory_allocated() - before
    # The process keeps what it has freed, so its size would show the first step alone: torch's own counts do not.
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(accumulate(sizes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vit_base_patch16_224.augreg2_in21k_ft_in1k", help="weights' name of timm")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"], help="bfloat16: mixed precision")
    parser.add_argument("--markdown", type=Path, help="write the table to this file, too")
    arguments = parser.parse_args()

    torch.manual_seed(1)
    found = models(arguments.model, arguments.device)
    opts = optimizers(found)
    size = found["vitzoo"].spec.img_size
    x = torch.randn(arguments.batch, 3, *size, device=arguments.device)
    y = torch.randint(0, 1000, (arguments.batch,), device=arguments.device)
    dtype = getattr(torch, arguments.dtype)
    steps = {name: step_of(model, opts[name], x, y, dtype) for name, model in found.items()}

    losses = {name: [step() for _ in range(3)] for name, step in steps.items()}  # warms up, too
    off = max(abs(a - b) for a, b in zip(*losses.values(), strict=True))
    if dtype is torch.float32 and off > 1e-4:
        raise RuntimeError(f"the models do not compute the same: their losses differ by {off:.1e}")

    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(arguments.repeats):
        for name in (list(steps), list(reversed(steps)))[turn % 2]:  # neither always follows the other
            begin = perf_counter()
            steps[name]()
            seconds[name].append(perf_counter() - begin)
    memory = {name: [float(peak_memory(step, arguments.device))] for name, step in steps.items()}
    lines = [
        f"A training step of {arguments.model}, batch {arguments.batch}, {arguments.dtype}, "
        f"{device_name(arguments.device)}, {arguments.repeats} repeats; "
        f"torch {version('torch')}, timm {version('timm')}. The first three losses differ by at most {off:.0e}.\n",
        "| | timm, median | vitzoo, median | ratio | timm, least | vitzoo, least | ratio |",
        "|---|---:|---:|---:|---:|---:|---:|",
        row("step, ms", 1e3, seconds),
        row("peak memory of a step, MB", 1e-6, memory),
    ]
    text = "\n".join(lines)
    print(text)
    if arguments.markdown is not None:
        arguments.markdown.write_text(text + "\n")


def row(title: str, scale: float, samples: dict[str, list[float]]) -> str:
    cells = [title]
    for summary in (median, min):
        peer, ours = (summary(samples[name]) for name in ("timm", "vitzoo"))
        cells += [f"{peer * scale:,.1f}", f"{ours * scale:,.1f}", f"{ours / peer:.3f}"]
    return f"| {' | '.join(cells)} |"


def device_name(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    main()
