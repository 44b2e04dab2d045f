"""What errors of loading, converting, saving and verifying say to do is done: the same call works after it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import tiny
import torch
from advice import check, remedy
from safetensors.torch import load_file, save_file

import vitzoo
from vitzoo import ViT
from vitzoo.errors import VitzooError
from vitzoo.layouts import native

Step = Callable[[Path], object]
NAME = "vit_nano4.cifar10"
PLAIN = {
    **{"layout": "timm", "num_heads": 3, "norm_eps": 1e-6, "act": "gelu", "block": "pre_norm"},
    **{"pool": "cls", "pool_prefix": False},
}
"""What the tensors of timm's file do not show."""


def own(folder: Path, **changes: Any) -> Path:
    """A native file."""
    return vitzoo.save(tiny.randomise(ViT(tiny.spec(**changes))), folder / "own")


def bare(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]] = dict, **arguments: Any) -> Path:
    """A bare file of timm's class."""
    peer = timm.models.VisionTransformer(**tiny.timm_arguments(**arguments))
    torch.save(change(peer.state_dict()), folder / "bare.pth")
    return folder / "bare.pth"


def rewritten(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A native file whose own words are changed."""
    path = own(folder)
    found = json.loads(words_of(path))
    change(found)
    save_file(load_file(path), path, {"format": "pt", native.KEY: json.dumps(found)})
    return path


def words_of(path: Path) -> str:
    size = int.from_bytes(path.read_bytes()[:8], "little")
    return str(json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"][native.KEY])


def broken(folder: Path) -> Path:
    path = own(folder)
    save_file(load_file(path), path, {"format": "pt", native.KEY: "{"})
    return path


def blocked(folder: Path) -> Path:
    (folder / "file").write_text("")
    return folder / "file" / "deeper.safetensors"


def huggingface(folder: Path, **changes: Any) -> Path:
    path = vitzoo.save(ViT(tiny.spec(norm_eps=1e-12)), folder / f"hf{len(list(folder.iterdir()))}", "huggingface")
    said = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(said | changes))
    return path


def alone(folder: Path) -> Path:
    path = huggingface(folder)
    (path / "config.json").unlink()
    return path


def short(folder: Path) -> Path:
    """A native file without its last norm."""
    path = own(folder)
    words = {"format": "pt", native.KEY: words_of(path)}
    save_file({key: value for key, value in load_file(path).items() if key != "norm.bias"}, path, words)
    return path


def integers(state: dict[str, Any]) -> dict[str, Any]:
    return state | {"blocks.0.attn.qkv.weight": state["blocks.0.attn.qkv.weight"].to(torch.int8)}


def create(*given: Any, **options: Any) -> ViT:
    return vitzoo.create(*given, **options)


CASES = [
    remedy(
        "origin of this native file is ",
        lambda p: vitzoo.create(rewritten(p, lambda found: found.update(origin=3))),
        lambda p: vitzoo.create(own(p)),
    ),
    remedy(
        "; create it with these fields, then save it",
        lambda p: vitzoo.convert(own(p), p / "out", "timm", num_classes=3),
        lambda p: vitzoo.save(create(p / "own.safetensors", num_classes=3), p / "out", "timm"),
    ),
    remedy(
        "leave them out",
        lambda p: create("vit_nano4", prefix="model."),
        lambda p: create("vit_nano4"),
        file="checkpoints/create.py",
    ),
    remedy(
        "unknown field '",
        lambda p: create("vit_nano4", num_clases=3),
        lambda p: create("vit_nano4", num_classes=3),
    ),
    remedy(
        "mend the configuration beside it, or move it away",
        lambda p: create(huggingface(p, num_attention_heads=5)),
        lambda p: (
            create(huggingface(p, num_attention_heads=3)),
            create(alone(p), **{**PLAIN, "layout": "hf_vit", "norm_eps": 1e-12}),
        ),
    ),
    remedy(
        "take another copy of it",
        lambda p: create(short(p)),
        lambda p: create(own(p)),
    ),
    remedy(
        "pool and global_pool are the same field; give one of them",
        lambda p: create("vit_nano4", pool="avg", global_pool="avg"),
        lambda p: (create("vit_nano4", pool="avg"), create("vit_nano4", global_pool="avg")),
    ),
    remedy(
        "'; the policies are ",
        lambda p: create("vit_nano4", resample="lanczos"),
        lambda p: create("vit_nano4", resample="timm"),
    ),
    remedy(
        " is a native file; leave ",
        lambda p: create(own(p), like="vit_s16"),
        lambda p: create(p / "own.safetensors"),
    ),
    remedy(
        " does not fit the model: ",
        lambda p: create(own(p), depth=3, num_classes=3),
        lambda p: create(p / "own.safetensors", num_classes=3),
    ),
    remedy(
        ": the metadata of this native file cannot be read: ",
        lambda p: create(broken(p)),
        lambda p: create(own(p)),
    ),
    remedy(
        ": the metadata of this native file has no '",
        lambda p: create(rewritten(p, lambda found: found["about"].pop("resample"))),
        lambda p: create(own(p)),
    ),
    remedy(
        "; mend that or give another path",
        lambda p: vitzoo.save(create("vit_nano4"), blocked(p)),
        lambda p: vitzoo.save(create("vit_nano4"), p / "other.safetensors"),
    ),
    remedy(
        " is not like ",
        lambda p: create(bare(p), like="vit_s16", **PLAIN),
        lambda p: create(p / "bare.pth", **PLAIN),
    ),
    remedy(
        " does not fit its table of positions, which may be of ",
        lambda p: create(bare(p), source_img_size=[24, 24], **PLAIN),
        lambda p: create(p / "bare.pth", source_img_size=[32, 32], **PLAIN),
    ),
    remedy(
        "; leave ",
        lambda p: create(bare(p), depth=3, hidden_dim=48, **PLAIN),
        lambda p: create(p / "bare.pth", **PLAIN),
        file="checkpoints/facts.py",
    ),
    remedy(
        "-bit integers (",
        lambda p: create(bare(p, integers), **PLAIN),
        lambda p: create(bare(p), **PLAIN),
    ),
    remedy(
        "'; choose float32, float16 or bfloat16",
        lambda p: create("vit_nano4", dtype="int8"),
        lambda p: [create("vit_nano4", dtype=name) for name in ("float32", "float16", "bfloat16")],
    ),
    remedy(
        " cannot be used: ",
        lambda p: create("vit_nano4", device="zz"),
        lambda p: create("vit_nano4", device="cpu"),
    ),
    *(
        remedy(
            "; expected text, such as ",
            lambda p, name=name: create(bare(p), **{**PLAIN, name: 3}),
            lambda p, name=name, value=value: create(bare(p), **{**PLAIN, name: value}),
        )
        for name, value in (("layout", "timm"), ("prefix", ""), ("like", None), ("wrapper", None))
    ),
    remedy(
        " in the tensors, and ",
        lambda p: create(bare(p), head="pre_logits", **PLAIN),
        lambda p: (create(p / "bare.pth", **PLAIN), create(p / "bare.pth", head="pre_logits", num_classes=5, **PLAIN)),
        file="checkpoints/identify.py",
    ),
    remedy(
        "there is nothing to compare, so the two are not said to be equal; ",
        lambda p: vitzoo.verify(own(p), "torchvision", sizes=[(64, 64)]),
        lambda p: vitzoo.verify(p / "own.safetensors", "torchvision", sizes=[(32, 32)]),
    ),
    remedy(
        "' is at hand; compare with a checkpoint, or ",
        lambda p: vitzoo.verify(own(p), "open_clip"),
        lambda p: vitzoo.verify(p / "own.safetensors", "timm", sizes=[(32, 32)]),
    ),
    remedy(
        "; give for both ",
        lambda p: vitzoo.verify(own(p, img_size=64), NAME),
        lambda p: vitzoo.verify(p / "own.safetensors", p / "own.safetensors", img_size=[32, 32], in_chans=3),
    ),
    remedy(
        "; compare it with another checkpoint: ",
        lambda p: vitzoo.verify(own(p, head_dim=12, rel_pos="shared")),
        lambda p: vitzoo.verify(p / "own.safetensors", p / "own.safetensors", sizes=[(32, 32)]),
    ),
]


@pytest.mark.parametrize(("fails", "works"), CASES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_the_error_says_works(fails: Step, works: Step, tmp_path: Path) -> None:
    check(fails, works, tmp_path)


@pytest.mark.parametrize(
    ("device", "word"), [("abacus", "device string"), ("cuda:99", ""), (3.5, "invalid combination of arguments")]
)
def test_a_device_that_is_not_there_is_one_error(device: Any, word: str) -> None:
    with pytest.raises(VitzooError, match="cannot be used") as error:
        vitzoo.create("vit_nano4", device=device)
    assert word in str(error.value)


def test_one_name_to_drop_is_a_list_of_one(tmp_path: Path) -> None:
    path = bare(tmp_path, lambda state: state | {"neck.weight": torch.ones(3, 3)})
    with pytest.warns(UserWarning, match="preprocessing"):
        assert "neck.weight" in str(vitzoo.create(path, drop="neck.*", **PLAIN).load_report)
    told = vitzoo.convert(
        path,
        tmp_path / "out.safetensors",
        "vitzoo",
        source_layout="timm",
        drop="neck.*",
        **{name: value for name, value in PLAIN.items() if name != "layout"},
    )
    assert "neck.weight" in told.dropped
