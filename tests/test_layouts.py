"""Layouts against the peers that wrote them: files by their own save functions, every parameter randomised."""

import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer as TorchvisionViT

from vitzoo.errors import LayoutError, WeightsError
from vitzoo.factory import create
from vitzoo.layouts.native import native_shapes
from vitzoo.layouts.tables import LAYOUTS, bind
from vitzoo.model import ViT
from vitzoo.spec import ViTSpec
from vitzoo.weights.files import open_tensors
from vitzoo.weights.save import save

# The peers' own initial values would hide swaps; 2 x 2 patches and two blocks are enough to notice them.
FIELDS: dict[str, Any] = {
    "img_size": 32,
    "patch_size": 16,
    "hidden_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_dim": 40,
    "num_classes": 5,
}
HF: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 16,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "num_labels": 5,
}
TIMM: dict[str, Any] = {
    "img_size": 32,
    "patch_size": 16,
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_ratio": 40 / 24,
    "num_classes": 5,
}
X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def randomise(model: nn.Module, seed: int = 0) -> Any:
    """Default initialisation hides half of all swaps: every parameter gets values of its own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3, generator=generator)
    return model.eval()


@dataclass
class Case:
    """A peer's file, what the peer computes, and what our call has to say about it."""

    path: Path
    layout: str
    fields: dict[str, Any]
    tensors: dict[str, Tensor]
    features: Tensor
    logits: Tensor


def hf_classifier(folder: Path) -> Case:
    peer = randomise(transformers.ViTForImageClassification(transformers.ViTConfig(**HF)))
    features = peer.vit(X).last_hidden_state
    return hf_case(folder, peer, features, peer(X).logits, {})


def hf_base_model(folder: Path) -> Case:
    peer = randomise(transformers.ViTModel(transformers.ViTConfig(**HF)))
    out = peer(X)
    fields = {"head": "pre_logits", "num_classes": 0}
    return hf_case(folder, peer, out.last_hidden_state, out.pooler_output, fields)


def hf_base_model_without_biases(folder: Path) -> Case:
    peer = randomise(transformers.ViTModel(transformers.ViTConfig(**HF, qkv_bias=False), add_pooling_layer=False))
    features = peer(X).last_hidden_state
    return hf_case(folder, peer, features, features[:, 0], {"qkv_bias": "none", "num_classes": 0})


def hf_base_model_with_unused_pooler(folder: Path) -> Case:
    """The pooler and the mask token are dropped."""
    peer = randomise(transformers.ViTModel(transformers.ViTConfig(**HF), use_mask_token=True))
    features = peer(X).last_hidden_state
    return hf_case(folder, peer, features, features[:, 0], {"num_classes": 0})


def hf_deit(folder: Path) -> Case:
    peer = randomise(transformers.DeiTForImageClassification(transformers.DeiTConfig(**HF)))
    fields = {"dist_token": True, "pos_prefix": "all"}
    return hf_case(folder, peer, peer.deit(X).last_hidden_state, peer(X).logits, fields)


def hf_deit_distilled(folder: Path) -> Case:
    peer = randomise(transformers.DeiTForImageClassificationWithTeacher(transformers.DeiTConfig(**HF)))
    fields = {"dist_token": True, "pos_prefix": "all", "pool": "cls_dist", "head": "distilled"}
    return hf_case(folder, peer, peer.deit(X).last_hidden_state, peer(X).logits, fields)


def hf_case(folder: Path, peer: Any, features: Tensor, logits: Tensor, fields: dict[str, Any]) -> Case:
    peer.save_pretrained(folder)
    path = folder / "model.safetensors"
    fields = {**FIELDS, "norm_eps": peer.config.layer_norm_eps, **fields}
    return Case(path, "huggingface", fields, load_file(path), features, logits)


def torchvision_plain(folder: Path, representation: int | None = None) -> Case:
    peer = randomise(
        TorchvisionViT(32, 16, 2, 3, 24, 40, num_classes=5, representation_size=representation)  # eps 1e-6
    )
    tokens = peer._process_input(X)
    features = peer.encoder(torch.cat([peer.class_token.expand(len(X), -1, -1), tokens], dim=1))
    path = folder / "vit.pth"
    torch.save(peer.state_dict(), path)
    fields = FIELDS if representation is None else {**FIELDS, "head": "pre_logits"}
    return Case(path, "torchvision", fields, peer.state_dict(), features, peer(X))


def torchvision_pre_logits(folder: Path) -> Case:
    return torchvision_plain(folder, representation=24)


def google_names(state: dict[str, Tensor], heads: int, prefix: str = "") -> dict[str, np.ndarray]:
    """timm's state dict as flax has it, written down from vit_jax/models_vit.py and not from our table."""
    flax: dict[str, Tensor] = {
        "cls": state["cls_token"],
        "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "embedding/kernel": state["patch_embed.proj.weight"].permute(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
        "head/kernel": state["head.weight"].T,
        "head/bias": state["head.bias"],
    }
    depth = len({key.split(".")[1] for key in state if key.startswith("blocks.")})
    for i in range(depth):
        ours, theirs = f"blocks.{i}", f"Transformer/encoderblock_{i}"
        attention = f"{theirs}/MultiHeadDotProductAttention_1"
        for n, name in enumerate(("query", "key", "value")):
            weight = state[f"{ours}.attn.qkv.weight"].chunk(3)[n]
            dim = weight.shape[1]
            flax[f"{attention}/{name}/kernel"] = weight.T.reshape(dim, heads, -1)
            flax[f"{attention}/{name}/bias"] = state[f"{ours}.attn.qkv.bias"].chunk(3)[n].reshape(heads, -1)
        flax[f"{attention}/out/kernel"] = state[f"{ours}.attn.proj.weight"].T.reshape(heads, -1, dim)
        flax[f"{attention}/out/bias"] = state[f"{ours}.attn.proj.bias"]
        for norm, number in (("norm1", 0), ("norm2", 2)):
            flax[f"{theirs}/LayerNorm_{number}/scale"] = state[f"{ours}.{norm}.weight"]
            flax[f"{theirs}/LayerNorm_{number}/bias"] = state[f"{ours}.{norm}.bias"]
        for n in (0, 1):
            flax[f"{theirs}/MlpBlock_3/Dense_{n}/kernel"] = state[f"{ours}.mlp.fc{n + 1}.weight"].T
            flax[f"{theirs}/MlpBlock_3/Dense_{n}/bias"] = state[f"{ours}.mlp.fc{n + 1}.bias"]
    return {prefix + key: tensor.contiguous().numpy() for key, tensor in flax.items()}


def google_plain(folder: Path, prefix: str = "") -> Case:
    peer = randomise(VisionTransformer(**TIMM))
    arrays = google_names(peer.state_dict(), 3, prefix)
    path = folder / "vit.npz"
    np.savez(path, **arrays)
    fresh = VisionTransformer(**TIMM).eval()
    fresh.load_pretrained(str(path))  # timm's own reader agrees that this is Google's layout
    torch.testing.assert_close(fresh(X), peer(X))
    return Case(path, "google", FIELDS, tensors_of(arrays, prefix), peer.forward_features(X), peer(X))


def google_old_prefix(folder: Path) -> Case:
    return google_plain(folder, "opt/target/")


def tensors_of(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): torch.from_numpy(array) for key, array in arrays.items()}


def timm_plain(folder: Path) -> Case:
    peer = randomise(VisionTransformer(**TIMM))
    path = folder / "checkpoint.pth"
    torch.save({"state_dict": peer.state_dict()}, path)
    return Case(path, "timm", FIELDS, peer.state_dict(), peer.forward_features(X), peer(X))


PEERS: dict[str, Callable[[Path], Case]] = {
    f.__name__: f
    for f in (
        hf_classifier,
        hf_base_model,
        hf_base_model_without_biases,
        hf_base_model_with_unused_pooler,
        hf_deit,
        hf_deit_distilled,
        torchvision_plain,
        torchvision_pre_logits,
        google_plain,
        google_old_prefix,
        timm_plain,
    )
}


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    with torch.no_grad():
        return PEERS[request.param](tmp_path_factory.mktemp(request.param))


all_peers = pytest.mark.parametrize("case", PEERS, indirect=True)


def ours(case: Case) -> ViT:
    return create(case.path, layout=case.layout, **case.fields)


@all_peers
def test_equal_to_the_peer(case: Case) -> None:
    model = ours(case)
    with torch.no_grad():
        torch.testing.assert_close(model.forward_features(X), case.features, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(model(X), case.logits, atol=1e-5, rtol=1e-5)
    assert case.logits.std() > 0.1
    assert not model.training


@all_peers
def test_export_gives_the_peers_file_back(case: Case, tmp_path: Path) -> None:
    model = ours(case)
    strip = LAYOUTS[case.layout].strip
    dropped = {row.tensor for row in model.load_report.rows if row.action == "dropped"}
    theirs = {strip(key): tensor for key, tensor in case.tensors.items() if strip(key) not in dropped}
    back = load_file(save(model, tmp_path / "back", layout=case.layout))
    assert back.keys() == theirs.keys()
    for key, tensor in theirs.items():
        assert back[key].dtype == tensor.dtype
        assert back[key].shape == tensor.shape
        assert back[key].numpy().tobytes() == tensor.contiguous().numpy().tobytes(), key


@pytest.mark.parametrize("case", ["hf_base_model_with_unused_pooler"], indirect=True)
def test_what_is_dropped_is_reported(case: Case) -> None:
    report = ours(case).load_report
    assert {row.tensor: row.detail for row in report.rows if row.action == "dropped"} == {
        "embeddings.mask_token": "only masked pretraining uses it",
        "pooler.dense.weight": "the classifier does not use the pooler",
        "pooler.dense.bias": "the classifier does not use the pooler",
    }
    assert "3 dropped" in str(report)


def test_timm_reads_our_npz(tmp_path: Path) -> None:
    peer = randomise(VisionTransformer(**TIMM))
    binding = bind("google", ViTSpec(**FIELDS))
    native = bind("timm", ViTSpec(**FIELDS)).import_all(peer.state_dict())
    np.savez(tmp_path / "ours.npz", **{key: t.numpy() for key, t in binding.export_all(native).items()})
    fresh = VisionTransformer(**TIMM).eval()
    fresh.load_pretrained(str(tmp_path / "ours.npz"))
    for key, tensor in peer.state_dict().items():
        assert torch.equal(fresh.state_dict()[key], tensor), key
    with torch.no_grad():
        torch.testing.assert_close(fresh(X), peer(X), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "case", ["hf_classifier", "torchvision_plain", "google_plain", "hf_deit_distilled"], indirect=True
)
def test_a_swap_in_the_file_is_noticed(case: Case) -> None:
    """The control: any two tensors of a shape swapped, and the logits are others."""
    strip = LAYOUTS[case.layout].strip
    tensors = {strip(key): tensor for key, tensor in case.tensors.items()}
    spec = ViTSpec(**case.fields)
    binding = bind(case.layout, spec)
    shapes: dict[tuple[int, ...], list[str]] = {}
    for key in binding.stored:
        shapes.setdefault(tuple(tensors[key].shape), []).append(key)
    swaps = [(a, b) for keys in shapes.values() for i, a in enumerate(keys) for b in keys[i + 1 :]]
    model, unnoticed = ViT(spec).eval(), []
    with torch.no_grad():
        for a, b in [("", ""), *swaps]:
            swapped = {**tensors, a: tensors[b], b: tensors[a]} if a else tensors
            model.load_state_dict(binding.import_all(swapped))
            if torch.allclose(model(X), case.logits, atol=1e-5, rtol=1e-5):
                unnoticed.append((a, b))
    assert len(swaps) > 50
    # A key's bias adds the same to every score of a query, and softmax does not see it: no output can tell two apart.
    blind = {(a, b) for a, b in swaps if all(key.endswith("key.bias") or "key/bias" in key for key in (a, b))}
    # The mean of two heads' logits does not see it either.
    blind |= {("cls_classifier.bias", "distillation_classifier.bias")} & set(swaps)
    assert set(unnoticed) == {("", ""), *blind}
    assert len(blind) <= 2


# --- round trips -------------------------------------------------------------------------------------------------


@st.composite
def specs(draw: st.DrawFn) -> ViTSpec:
    flag = st.booleans()
    class_token = draw(flag)
    dist_token = class_token and draw(flag)
    distilled = dist_token and draw(flag)
    pools = ["avg", "avg_all", "map", *(["cls", "cls_avg"] if class_token else [])]
    heads = ["linear", "pre_logits"]
    patch = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    grid = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    return ViTSpec(
        img_size=(patch[0] * grid[0], patch[1] * grid[1]),
        patch_size=patch,
        in_chans=draw(st.integers(1, 4)),
        hidden_dim=8,
        depth=draw(st.integers(1, 2)),
        num_heads=draw(st.sampled_from([1, 2, 4])),
        head_dim=draw(st.sampled_from([None, 3])),
        mlp_dim=draw(st.sampled_from([8, 12])),
        class_token=class_token,
        dist_token=dist_token,
        reg_tokens=draw(st.sampled_from([0, 0, 2])),
        pos_embed=draw(st.sampled_from(["learned", "learned", "fixed", "none"])),
        pos_prefix=draw(st.sampled_from(["cls", "none", "all"] if class_token else ["none", "all"])),
        patch_bias=draw(flag),
        patch_norm=draw(st.sampled_from([False, False, True])),
        norm=draw(st.sampled_from(["layer", "rms"])),
        norm_pre=draw(st.sampled_from([False, False, True])),
        final_norm=draw(st.sampled_from(["tokens", "pooled", "none"])),
        layer_scale=draw(st.sampled_from([None, None, 0.1])),
        qkv_bias=draw(st.sampled_from(["all", "qv", "none"])),
        qk_norm=draw(st.sampled_from([False, False, True])),
        proj_bias=draw(flag),
        mlp=draw(st.sampled_from(["plain", "plain", "gated"])),
        mlp_bias=draw(flag),
        pool="cls_dist" if distilled else draw(st.sampled_from(pools)),
        head="distilled" if distilled else draw(st.sampled_from(heads)),
        head_bias=draw(flag),
        num_classes=draw(st.sampled_from([0, 5])),
    )


def plain(spec: ViTSpec) -> bool:
    """What Google's code, torchvision's and transformers' ViT and DeiT have in common."""
    return not (
        spec.reg_tokens
        or spec.pos_embed == "none"
        or spec.patch_norm
        or spec.norm_pre
        or spec.layer_scale
        or spec.qk_norm
        or spec.mlp == "gated"
        or spec.pool == "map"
    )


HOLDS: dict[str, Callable[[ViTSpec], bool]] = {
    "vitzoo": lambda spec: True,
    "timm": lambda spec: True,
    "huggingface": plain,
    "torchvision": lambda spec: plain(spec) and not spec.dist_token,
    "google": lambda spec: plain(spec) and not spec.dist_token and spec.qkv_bias != "qv",
}


def random_tensors(spec: ViTSpec) -> dict[str, Tensor]:
    """Bits of every kind: NaN, infinity and negative zero survive a round trip too."""
    generator = torch.Generator().manual_seed(0)
    tensors = {key: torch.randn(shape, generator=generator) for key, shape in native_shapes(spec).items()}
    for key, tensor in tensors.items():
        if key.endswith("qkv.bias") and spec.qkv_bias == "qv":
            tensor[spec.attn_dim : 2 * spec.attn_dim] = 0.0
        elif key.endswith("weight"):
            tensor.view(-1)[:3] = torch.tensor([float("nan"), float("inf"), -0.0])[: tensor.numel()]
    return tensors


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=150, deadline=None, derandomize=True)
@given(spec=specs())
def test_import_of_export_is_the_same_bit_for_bit(layout: str, spec: ViTSpec) -> None:
    if not HOLDS[layout](spec):
        with pytest.raises(LayoutError) as error:
            bind(layout, spec)
        assert f"layout '{layout}'" in str(error.value)
        named = [key for key in native_shapes(spec) if key in str(error.value)]
        assert named or "pos_embed" in str(error.value) or "position_embeddings" in str(error.value)
        return
    binding, tensors = bind(layout, spec), random_tensors(spec)
    stored = binding.export_all(tensors)
    assert {key: tuple(t.shape) for key, t in stored.items()} == binding.stored
    back = binding.import_all(stored)
    assert back.keys() == tensors.keys()
    for key, tensor in tensors.items():
        assert torch.equal(back[key].contiguous().view(torch.int32), tensor.view(torch.int32)), key


@pytest.mark.parametrize("layout", ["huggingface", "torchvision", "google"])
@pytest.mark.parametrize(
    ("changes", "tensor"),
    [
        ({"reg_tokens": 2}, "reg_tokens"),
        ({"layer_scale": 0.1}, "blocks.0.ls1.gamma"),
        ({"qk_norm": True}, "blocks.0.attn.q_norm.weight"),
        ({"mlp": "gated"}, "blocks.0.mlp.gate.weight"),
        ({"pool": "map"}, "pool.kv.weight"),
        ({"norm_pre": True}, "norm_pre.weight"),
        ({"pos_embed": "none"}, "pos"),
    ],
)
def test_a_layout_that_cannot_hold_the_model_says_what(layout: str, changes: dict[str, Any], tensor: str) -> None:
    with pytest.raises(LayoutError, match=f"layout '{layout}'") as error:
        bind(layout, ViTSpec(**FIELDS).replace(**changes))
    assert tensor in str(error.value)
    assert "\n" not in str(error.value)


def test_a_key_bias_is_not_lost_in_silence() -> None:
    spec = ViTSpec(**FIELDS, qkv_bias="qv")
    tensors = random_tensors(spec)
    tensors["blocks.1.attn.qkv.bias"][24] = 0.5
    with pytest.raises(LayoutError, match=r"does not store a part of blocks.1.attn.qkv.bias .* up to 0.5 there"):
        bind("huggingface", spec).export_all(tensors)


def test_an_unknown_layout_names_the_known_ones() -> None:
    with pytest.raises(LayoutError, match="unknown layout 'keras'; the layouts are vitzoo, timm, huggingface"):
        bind("keras", ViTSpec(**FIELDS))


# --- files that do not fit -----------------------------------------------------------------------------------------


def write(tmp_path: Path, tensors: dict[str, Tensor]) -> Path:
    path = tmp_path / "changed.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    return path


def refused(path: Path, case: Case) -> str:
    with pytest.raises(LayoutError) as error:
        create(path, layout=case.layout, **case.fields)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    return str(error.value)


some_peers = pytest.mark.parametrize(
    "case", ["hf_classifier", "torchvision_plain", "google_plain", "timm_plain"], indirect=True
)


@some_peers
def test_missing_surplus_and_wrong_shape_at_once(case: Case, tmp_path: Path) -> None:
    tensors = dict(case.tensors)
    norm, bias = list(tensors)[-4], list(tensors)[-1]
    gone = tensors.pop(norm)
    tensors["extra.weight"] = torch.zeros(2, 3)
    old, tensors[bias] = tuple(tensors[bias].shape), torch.zeros(9, 2)
    strip, message = LAYOUTS[case.layout].strip, refused(write(tmp_path, tensors), case)
    assert f"missing 1: {strip(norm)} {list(gone.shape)}" in message
    assert "not expected 1: extra.weight [2, 3]" in message
    assert f"shape of {strip(bias)}: expected {list(old)}, found [9, 2]" in message


@some_peers
def test_another_architecture_does_not_fit(case: Case) -> None:
    with pytest.raises(LayoutError, match=r"missing \d+: .* and \d+ more"):
        create(case.path, layout=case.layout, **{**case.fields, "depth": 3})
    with pytest.raises(LayoutError, match=r"not expected \d+: "):
        create(case.path, layout=case.layout, **{**case.fields, "depth": 1})
    with pytest.raises(LayoutError, match=r"expected \[.*3.*\], found \[.*5.*\]"):
        create(case.path, layout=case.layout, **{**case.fields, "num_classes": 3})


@pytest.mark.parametrize("case", ["hf_classifier"], indirect=True)
def test_a_tensor_with_and_without_prefix(case: Case, tmp_path: Path) -> None:
    tensors = dict(case.tensors)
    tensors["embeddings.cls_token"] = tensors["vit.embeddings.cls_token"].clone()
    message = refused(write(tmp_path, tensors), case)
    assert {"vit.embeddings.cls_token", "embeddings.cls_token"} <= set(re.split("[ ;,]", message))


@pytest.mark.parametrize("case", ["hf_classifier"], indirect=True)
def test_the_wrong_layout(case: Case) -> None:
    with pytest.raises(LayoutError, match=r"does not fit layout 'timm'.*missing .*not expected "):
        create(case.path, layout="timm", **case.fields)
    with pytest.raises(WeightsError, match="give its layout and the fields of its spec"):
        create(case.path)


# --- files that cannot be read -------------------------------------------------------------------------------------


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


def bad_files(folder: Path) -> dict[str, Path]:
    good = folder / "good.safetensors"
    save_file({"a": torch.randn(40, 40)}, good)
    np.savez(folder / "good.npz", a=np.ones((40, 40), np.float32))
    torch.save({"a": torch.randn(40, 40)}, folder / "good.pth")
    made: dict[str, Path] = {}

    def put(name: str, data: bytes) -> None:
        made[name] = folder / name
        made[name].write_bytes(data)

    for suffix in ("safetensors", "npz", "pth"):
        data = (folder / f"good.{suffix}").read_bytes()
        for share in (2, 20, 60, 95):
            put(f"cut{share}.{suffix}", data[: len(data) * share // 100])
        put(f"empty.{suffix}", b"")
        put(f"text.{suffix}", b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 123\n")
        put(f"noise.{suffix}", bytes(range(256)) * 8)
    np.savez(folder / "objects.npz", a=np.array([{"x": 1}, None], dtype=object))
    np.savez(folder / "strings.npz", a=np.array(["x", "y"]))
    with (folder / "bare.npz").open("wb") as file:
        np.save(file, np.ones(3))
    torch.save([torch.ones(2)], folder / "list.pth")
    torch.save({"a": 1, "b": torch.ones(2)}, folder / "mixed.pth")
    torch.save({"model": Bomb(folder / "fired")}, folder / "bomb.pth")
    (folder / "bomb.bin").write_bytes(pickle.dumps({"a": Bomb(folder / "fired")}))
    np.savez(folder / "bomb.npz", a=np.array([Bomb(folder / "fired")], dtype=object))
    for name in ("objects.npz", "strings.npz", "bare.npz", "list.pth", "mixed.pth", "bomb.pth", "bomb.bin", "bomb.npz"):
        made[name] = folder / name
    put("weights.h5", b"\x89HDF")
    made["missing"] = folder / "missing.safetensors"
    made["empty folder"] = folder / "empty"
    made["empty folder"].mkdir()
    return made


def test_bad_files_are_one_line_errors(tmp_path: Path) -> None:
    wrong = {}
    for name, path in bad_files(tmp_path).items():
        try:
            create(path, layout="timm", **FIELDS)
            wrong[name] = "no error"
        except WeightsError as error:
            if "\n" in str(error) or path.name not in str(error):
                wrong[name] = str(error)
        except Exception as error:
            wrong[name] = repr(error)
    assert wrong == {}
    assert not (tmp_path / "fired").exists(), "a pickle ran code"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cut60.safetensors", "cannot be read as a safetensors file.*fetch or copy it again"),
        ("text.safetensors", "cannot be read as a safetensors file"),
        ("objects.npz", "'a' holds pickled objects, which are never loaded"),
        ("bomb.pth", "was not loaded, because that could run code"),
        ("bomb.bin", "was not loaded, because that could run code"),
        ("list.pth", "holds no state dict"),
        ("missing", "no weights file at"),
        ("weights.h5", r"unknown suffix; expected one of .safetensors, .npz"),
    ],
)
def test_bad_files_say_what_is_wrong(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        open_tensors(bad_files(tmp_path)[name])
    assert not (tmp_path / "fired").exists()


def test_good_neighbours_of_the_bad_files_open(tmp_path: Path) -> None:
    bad_files(tmp_path)
    for suffix in ("safetensors", "npz", "pth"):
        file = open_tensors(tmp_path / f"good.{suffix}")
        assert file.shapes == {"a": (40, 40)}
        assert file.read("a").shape == (40, 40)
