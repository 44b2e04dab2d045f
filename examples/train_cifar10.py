"""Train the ViT that ships with vitzoo: CIFAR-10, 32 pixels, patch 4, from random initialisation.

    python examples/train_cifar10.py --train cifar10-train.tar --val cifar10-val.tar --out runs/cifar10

Both archives hold one folder a class with the pictures in it. The run writes `checkpoint.pt` after every epoch and
goes on from there when it is started again; `model.safetensors` is written at the end. The defaults are the recipe
of the bundled weights on two CPU cores; `--epochs 300 --mixup 0.8 --cutmix 1.0 --device cuda` is for a GPU.
"""

import argparse
import io
import tarfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vitzoo.factory import create
from vitzoo.model import ViT
from vitzoo.spec import Preprocessing, Resample, ViTSpec
from vitzoo.weights.save import save

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
SPEC = ViTSpec(
    img_size=32, patch_size=4, hidden_dim=128, depth=6, num_heads=4, mlp_dim=256,
    class_token=False, pos_prefix="none", pool="avg", num_classes=10,
)  # fmt: skip


def read_archive(path: Path) -> tuple[Tensor, Tensor, list[str]]:
    """(pictures, 3, 32, 32) bytes, (pictures,) class numbers, and the names of the classes in alphabetical order."""
    with tarfile.open(path) as archive:
        members = sorted((m for m in archive.getmembers() if m.isfile()), key=lambda m: m.name)
        names = sorted({Path(m.name).parent.name for m in members})
        pixels = np.stack(
            [np.asarray(Image.open(io.BytesIO(archive.extractfile(m).read())).convert("RGB")) for m in members]
        )
    targets = torch.tensor([names.index(Path(m.name).parent.name) for m in members])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), targets, names


def normalize(pixels: Tensor) -> Tensor:
    mean, std = (torch.tensor(values, device=pixels.device).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (pixels.float() / 255 - mean) / std


def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """A crop shifted by up to 4 pixels, flipped for every second picture."""
    count, _, size, _ = pixels.shape
    padded = F.pad(pixels.float(), (4, 4, 4, 4), mode="reflect")
    rows, cols = torch.randint(0, 9, (2, count, 1), generator=generator).to(pixels.device)
    steps = torch.arange(size, device=pixels.device)
    flip = torch.randint(0, 2, (count, 1), generator=generator).bool().to(pixels.device)
    columns = torch.where(flip, steps.flip(0), steps) + cols
    picture = torch.arange(count, device=pixels.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[picture, (rows + steps)[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def forward(model: ViT, x: Tensor, keep: float, generator: torch.Generator) -> Tensor:
    """The model on a random part of the patches (PatchDropout, https://arxiv.org/abs/2208.07220)."""
    x, _ = model.embed(x)
    if keep < 1:
        chosen = torch.randperm(x.shape[1], generator=generator)[: round(x.shape[1] * keep)].sort().values
        x = x[:, chosen.to(x.device)]
    for block in model.blocks:
        x = model.run_block(block, x)
    return model.forward_head(model.final_norm(x))


@torch.inference_mode()
def accuracy(model: ViT, pixels: Tensor, targets: Tensor, size: int = 32) -> float:
    """Top-1 in percent; for another size the pictures are enlarged and the positions resampled."""
    model.eval()
    hits = 0
    for x, y in zip(pixels.split(500), targets.split(500), strict=True):
        x = normalize(x)
        if size != x.shape[-1]:
            x = F.interpolate(x, (size, size), mode="bicubic", antialias=True)
        hits += int((model(x).argmax(1) == y).sum())
    return 100 * hits / len(targets)


class Muon(torch.optim.Optimizer):
    """Momentum whose updates are made orthogonal (https://kellerjordan.github.io/posts/muon), computed in fp32.

    `torch.optim.Muon` computes in bfloat16, which took longer than the model itself on CPUs without bfloat16 units.
    Updates are scaled to the size that AdamW's have (https://arxiv.org/abs/2502.16982, equation 4).
    """

    def __init__(
        self, params: list[torch.nn.Parameter], lr: float, weight_decay: float, momentum: float = 0.95
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for shape in sorted({p.shape for p in group["params"]}):
                params = [p for p in group["params"] if p.shape == shape]
                for p in params:
                    self.state[p].setdefault("momentum", torch.zeros_like(p)).lerp_(p.grad, 1 - group["momentum"])
                updates = [p.grad.lerp(self.state[p]["momentum"], group["momentum"]) for p in params]
                scale = 0.2 * max(shape) ** 0.5 * group["lr"]
                for p, update in zip(params, orthogonalize(torch.stack(updates)), strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=scale)


def orthogonalize(x: Tensor) -> Tensor:
    """(matrices, rows, columns) -> about the nearest orthogonal ones, by five quintic Newton-Schulz steps."""
    if x.shape[1] > x.shape[2]:
        return orthogonalize(x.mT).mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


def optimizers(model: ViT, lr: float, weight_decay: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for everything else."""
    matrices = [p for p in model.blocks.parameters() if p.ndim == 2]
    taken = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in taken]
    decay = [p for p in rest if p.ndim > 3 or p is model.head.fc.weight]
    plain = [p for p in rest if not any(p is d for d in decay)]
    return [
        Muon(matrices, lr=3 * lr, weight_decay=weight_decay),
        torch.optim.AdamW(
            [{"params": decay, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}], lr=lr
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True, help="tar archive with a folder a class")
    parser.add_argument("--val", type=Path, required=True, help="the same, for evaluation")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint and the model")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--batch-size", type=int, default=250)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--keep", type=float, default=0.5, help="part of the patches that is seen before --full-from")
    parser.add_argument(
        "--full-from", type=float, default=0.75, help="part of the run after which all patches are seen"
    )
    parser.add_argument("--mixup", type=float, default=0.0, help="alpha of mixup")
    parser.add_argument("--cutmix", type=float, default=0.0, help="alpha of CutMix")
    parser.add_argument("--drop-path", type=float, default=0.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    train_x, train_y, names = (t.to(args.device) if isinstance(t, Tensor) else t for t in read_archive(args.train))
    val_x, val_y, _ = (t.to(args.device) if isinstance(t, Tensor) else t for t in read_archive(args.val))
    spec = SPEC.replace(drop_path_rate=args.drop_path)
    model = ViT(spec, Preprocessing(mean=MEAN, std=STD), Resample.TIMM).init_weights(args.seed).to(args.device)
    mix = None
    if args.mixup or args.cutmix:
        from timm.data import Mixup

        mix = Mixup(args.mixup, args.cutmix, num_classes=len(names), label_smoothing=0.1)

    opts = optimizers(model, args.lr, args.weight_decay)
    steps = len(train_x) // args.batch_size
    checkpoint = args.out / "checkpoint.pt"
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=args.device, weights_only=True)
        model.load_state_dict(state["model"])
        for opt, saved in zip(opts, state["optimizers"], strict=True):
            opt.load_state_dict(saved)
        first = state["epoch"]
        print(f"going on after epoch {first}")

    for epoch in range(first, args.epochs):
        # Seeded by the epoch, so that a resumed run sees what an uninterrupted one would have seen.
        generator = torch.Generator().manual_seed(args.seed * 1000 + epoch)
        np.random.seed(args.seed * 1000 + epoch)  # timm's Mixup draws from numpy
        keep = args.keep if epoch < args.full_from * args.epochs else 1.0
        model.train()
        start, total = time.perf_counter(), 0.0
        order = torch.randperm(len(train_x), generator=generator).to(args.device)
        for step in range(steps):
            progress = (epoch + step / steps) / args.epochs
            scale = min(progress / 0.05, (1 - progress) / 0.95)
            for opt in opts:
                for group in opt.param_groups:
                    group["lr"] = group.setdefault("peak_lr", group["lr"]) * scale
            chosen = order[step * args.batch_size : (step + 1) * args.batch_size]
            x, y = normalize(augment(train_x[chosen], generator)), train_y[chosen]
            if mix is not None:
                x, y = mix(x, y)
            with torch.autocast(args.device, torch.bfloat16, enabled=args.device != "cpu"):
                logits = forward(model, x, keep, generator)
            loss = F.cross_entropy(logits.float(), y, label_smoothing=0.1 if mix is None else 0.0)
            for opt in opts:
                opt.zero_grad()
            loss.backward()
            for opt in opts:
                opt.step()
            total += loss.item()
        score = accuracy(model, val_x, val_y)
        seconds = time.perf_counter() - start
        print(
            f"epoch {epoch + 1}/{args.epochs}  loss {total / steps:.4f}  val {score:.2f} %  {seconds:.0f} s", flush=True
        )
        state = {"model": model.state_dict(), "optimizers": [o.state_dict() for o in opts], "epoch": epoch + 1}
        torch.save(state, checkpoint.with_suffix(".tmp"))
        checkpoint.with_suffix(".tmp").replace(checkpoint)

    model.labels, model.license = tuple(names), "apache-2.0"
    model.origin = "examples/train_cifar10.py on CIFAR-10 (Krizhevsky 2009)"
    print("written:", save(model.half(), args.out / "model.safetensors"))
    model = create(args.out / "model.safetensors", device=args.device)
    for size in (32, 48):
        print(f"top-1 at {size} px: {accuracy(model, val_x, val_y, size):.2f} %")


if __name__ == "__main__":
    main()
