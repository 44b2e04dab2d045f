"""A real picture through the preprocessing of every entry of the registry, beside timm's own transform."""

from functools import cache
from pathlib import Path

import pytest
import torch
from PIL import Image
from timm.data import create_transform

from vitzoo import registry
from vitzoo.images.transform import Transform
from vitzoo.spec import Preprocessing

CAT = Path(__file__).parents[2] / "examples" / "cat.png"


@cache
def kinds() -> dict[tuple[tuple[int, int], Preprocessing], str]:
    """Every distinct size and preprocessing, with an entry that has it."""
    found: dict[tuple[tuple[int, int], Preprocessing], str] = {}
    for name in registry.list_pretrained():
        found.setdefault((registry.entry_spec(name).img_size, registry.weights_entry(name).preprocessing), name)
    return found


@pytest.mark.proves(claim="preprocessing of every entry", against="timm's eval transform", tolerance="bit for bit")
@pytest.mark.parametrize("name", kinds().values())
def test_pixels_are_timms(name: str) -> None:
    spec, how = registry.entry_spec(name), registry.weights_entry(name).preprocessing
    ours = Transform(spec.img_size, spec.in_chans, how)(CAT)
    theirs = create_transform(
        (3, *spec.img_size),
        is_training=False,
        mean=how.mean,
        std=how.std,
        interpolation=how.interpolation.value,
        crop_pct=how.crop_pct,
        crop_mode=how.crop_mode.value,
    )(Image.open(CAT).convert("RGB"))
    assert torch.equal(ours, theirs)


def test_all_families_are_there() -> None:
    assert len(kinds()) > 40
