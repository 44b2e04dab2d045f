"""What errors of publishing say to do is done: the same works after it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from advice import check, remedy
from huggingface_hub import constants
from loopback_hub import LoopbackHub

import vitzoo
from vitzoo import ViT
from vitzoo.publish import push as publishing

NAME, REPO = "vit_nano4.cifar10", "org/nano"
Step = Callable[[Path], object]


def prepared(folder: Path, **options: Any) -> Path:
    given = {"model": NAME, "repo": REPO, "out": folder / f"out{len(list(folder.iterdir()))}"} | options
    return publishing.prepare(given.pop("model"), given.pop("out"), given.pop("repo"), **given)


def written(folder: Path) -> Path:
    folder.mkdir()
    vitzoo.save(vitzoo.create(NAME, pretrained=True), folder / "model.safetensors")
    return folder


def nan() -> ViT:
    model = vitzoo.create(NAME, pretrained=True)
    with torch.no_grad():
        model.head.fc.bias[0] = float("nan")
    return model


def blocked(folder: Path) -> Path:
    (folder / "file").write_text("")
    return folder / "file" / "out"


CASES = [
    remedy(
        "; write the model there first (vitzoo.save), then its card",
        lambda p: vitzoo.write_card(vitzoo.create(NAME, pretrained=True), p),
        lambda p: vitzoo.write_card(vitzoo.create(NAME, pretrained=True), written(p / "own")),
    ),
    remedy(
        "' cannot be published; expected ",
        lambda p: prepared(p, layout="google"),
        lambda p: (prepared(p, layout="vitzoo"), vitzoo.convert(NAME, p / "own.npz", "vitzoo")),
    ),
    remedy("; give another folder (for push: TMPDIR)", lambda p: prepared(p, out=blocked(p)), prepared),
    remedy("; expected org/name", lambda p: prepared(p, repo="a--b/c..d"), prepared),
    remedy(": expected org/name, with the owner before the slash", lambda p: prepared(p, repo="nano"), prepared),
    remedy("; if a tensor holds ", lambda p: prepared(p, model=nan()), prepared),
]


@pytest.mark.parametrize(("fails", "works"), CASES)
def test_what_the_error_says_works(fails: Step, works: Step, tmp_path: Path) -> None:
    check(fails, works, tmp_path)


@pytest.mark.follows(" cannot be published, since HF_HUB_OFFLINE is set; unset it, or write ")
@pytest.mark.follows(" needs a login: ")
@pytest.mark.follows("run `hf auth login`, or set HF_TOKEN to a token with the role 'write' (")
def test_a_login(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def unset() -> None:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_own")
        publishing.find_token(REPO)
        monkeypatch.delenv("HF_TOKEN")

    check(lambda: publishing.find_token(REPO), lambda: (prepared(tmp_path), unset()))
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    check(lambda: publishing.find_token(REPO), lambda: publishing.find_token(REPO, "hf_own"))
