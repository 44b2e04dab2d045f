"""A compact forward pass over the tensors of a flax ViT file, in numpy with their names and axes as they are stored.

Written from google-research/vision_transformer `vit_jax/models_vit.py` and google-research/big_vision
`big_vision/models/{vit,proj/flexi/vit}.py`: flax's LayerNorm has an epsilon of 1e-6, its gelu is the tanh form.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]
GOOGLE = ("LayerNorm_0", "MultiHeadDotProductAttention_1", "LayerNorm_2", "MlpBlock_3")
LINEN = ("LayerNorm_0", "MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0")


def norm(p: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return scaled * p[f"{name}/scale"] + p[f"{name}/bias"]


def dense(p: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    return x @ p[f"{name}/kernel"] + p[f"{name}/bias"]


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def mlp(p: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    return dense(p, f"{name}/Dense_1", gelu(dense(p, f"{name}/Dense_0", x)))


def attention(p: Arrays, name: str, ask: np.ndarray, x: np.ndarray) -> np.ndarray:
    def heads(part: str, x: np.ndarray) -> np.ndarray:
        kernel = p[f"{name}/{part}/kernel"]  # (in, heads, head_dim)
        return np.einsum("bnd,dhk->bhnk", x, kernel) + p[f"{name}/{part}/bias"][:, None]

    q, k, v = heads("query", ask), heads("key", x), heads("value", x)
    scores = np.exp(np.einsum("bhqk,bhnk->bhqn", q, k) / np.sqrt(q.shape[-1]))
    mixed = np.einsum("bhqn,bhnk->bhqk", scores / scores.sum(-1, keepdims=True), v)
    return np.einsum("bhqk,hkd->bqd", mixed, p[f"{name}/out/kernel"]) + p[f"{name}/out/bias"]


def patches(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """(batch, height, width, channels) -> (batch, rows, columns, dim)."""
    height, width = kernel.shape[:2]
    batch, rows, cols = len(image), image.shape[1] // height, image.shape[2] // width
    cut = image.reshape(batch, rows, height, cols, width, -1)
    return np.einsum("brhcwi,hwid->brcd", cut, kernel)


def sincos2d(rows: int, cols: int, width: int) -> np.ndarray:
    table = np.empty((rows, cols, width))
    for row, col, band in np.ndindex(rows, cols, width // 4):
        angle = 10_000.0 ** (-band / (width // 4 - 1))
        places = np.arange(4) * (width // 4) + band
        table[row, col, places] = [*_wave(col * angle), *_wave(row * angle)]
    return table.reshape(1, rows * cols, width)


def _wave(angle: float) -> tuple[float, float]:
    return float(np.sin(angle)), float(np.cos(angle))


def forward(stored: Arrays, image: np.ndarray, big_vision: bool, linen: bool = True) -> Any:
    """Logits, or features without a head, of pictures (batch, channels, height, width).

    big_vision adds positions before the class token, Google's own code after it. The pool follows from the tensors:
    the class token if there is one, else an attention head if there is one, else the mean.
    """
    p = {key: value.astype(np.float64) for key, value in stored.items()}
    x = patches(image.astype(np.float64).transpose(0, 2, 3, 1), p["embedding/kernel"]) + p["embedding/bias"]
    batch, rows, cols, dim = x.shape
    x = x.reshape(batch, rows * cols, dim)
    if big_vision:
        x = x + (p["pos_embedding"] if "pos_embedding" in p else sincos2d(rows, cols, dim))
    if "cls" in p:
        x = np.concatenate([np.tile(p["cls"], (batch, 1, 1)), x], axis=1)
    if not big_vision:
        x = x + p["Transformer/posembed_input/pos_embedding"]
    names = LINEN if linen else GOOGLE
    scan = "Transformer/encoderblock/LayerNorm_0/scale" in p
    depth = len(p["Transformer/encoderblock/LayerNorm_0/scale"]) if scan else 0
    while not scan and f"Transformer/encoderblock_{depth}/LayerNorm_0/scale" in p:
        depth += 1
    for i in range(depth):
        root = "Transformer/encoderblock/" if scan else f"Transformer/encoderblock_{i}/"
        block = {k.removeprefix(root): v[i] if scan else v for k, v in p.items() if k.startswith(root)}
        y = norm(block, names[0], x)
        x = x + attention(block, names[1], y, y)
        x = x + mlp(block, names[3], norm(block, names[2], x))
    x = norm(p, "Transformer/encoder_norm", x)
    if "cls" in p:
        x = x[:, 0]
    elif "MAPHead_0/probe" in p:
        y = attention(p, "MAPHead_0/MultiHeadDotProductAttention_0", np.tile(p["MAPHead_0/probe"], (batch, 1, 1)), x)
        x = (y + mlp(p, "MAPHead_0/MlpBlock_0", norm(p, "MAPHead_0/LayerNorm_0", y)))[:, 0]
    else:
        x = x.mean(1)
    x = np.tanh(dense(p, "pre_logits", x)) if "pre_logits/kernel" in p else x
    return dense(p, "head", x) if p.get("head/bias", np.empty(0)).size else x


def parameters(
    numbers: tuple[str, str, str, str],
    positions: str | None,
    slots: int,
    *,
    dim: int = 24,
    heads: int = 3,
    hidden: int = 40,
    depth: int = 2,
    patch: tuple[int, int] = (8, 8),
    classes: int = 5,
    cls: bool = False,
    pre_logits: bool = False,
    map_head: bool = False,
    scan: bool = False,
) -> dict[str, np.ndarray]:
    """The tensors that the flax module would make, with random values; `positions` is the table's name."""
    shapes: dict[str, tuple[int, ...]] = {"embedding/kernel": (*patch, 3, dim), "embedding/bias": (dim,)}

    def linear(name: str, rows: int, cols: int) -> None:
        shapes.update({f"{name}/kernel": (rows, cols), f"{name}/bias": (cols,)})

    def layer_norm(name: str) -> None:
        shapes.update({f"{name}/scale": (dim,), f"{name}/bias": (dim,)})

    def block(root: str, norm1: str | None, attn: str, norm2: str, feed: str) -> None:
        for name in filter(None, (norm1, norm2)):
            layer_norm(f"{root}/{name}")
        for part in ("query", "key", "value"):
            shapes[f"{root}/{attn}/{part}/kernel"] = (dim, heads, dim // heads)
            shapes[f"{root}/{attn}/{part}/bias"] = (heads, dim // heads)
        shapes[f"{root}/{attn}/out/kernel"] = (heads, dim // heads, dim)
        shapes[f"{root}/{attn}/out/bias"] = (dim,)
        linear(f"{root}/{feed}/Dense_0", dim, hidden)
        linear(f"{root}/{feed}/Dense_1", hidden, dim)

    for i in range(depth):
        block(f"Transformer/encoderblock_{i}", *numbers)
    layer_norm("Transformer/encoder_norm")
    if positions:
        shapes[positions] = (1, slots, dim)
    if cls:
        shapes["cls"] = (1, 1, dim)
    if map_head:
        shapes["MAPHead_0/probe"] = (1, 1, dim)
        block("MAPHead_0", None, "MultiHeadDotProductAttention_0", "LayerNorm_0", "MlpBlock_0")
    if pre_logits:
        linear("pre_logits", dim, dim)
    if classes:
        linear("head", dim, classes)
    rng = np.random.default_rng(0)
    made = {key: (rng.standard_normal(shape) * 0.3).astype(np.float32) for key, shape in shapes.items()}
    return stack(made, depth) if scan else made


def stack(arrays: Arrays, depth: int) -> dict[str, np.ndarray]:
    """encoderblock_0 ... encoderblock_N -> encoderblock with a leading axis, as flax.linen.scan keeps them."""
    first = "Transformer/encoderblock_0/"
    leaves = [key.removeprefix(first) for key in arrays if key.startswith(first)]
    kept = {key: value for key, value in arrays.items() if not key.startswith("Transformer/encoderblock_")}
    return kept | {
        f"Transformer/encoderblock/{leaf}": np.stack(
            [arrays[f"Transformer/encoderblock_{i}/{leaf}"] for i in range(depth)]
        )
        for leaf in leaves
    }
