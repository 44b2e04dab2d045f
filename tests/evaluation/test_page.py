"""docs/evaluation.md word for word: its commands and its Python, on small pictures."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vitzoo

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")


CLASSES = ("cat", "dog", "ship")


def write_pictures(folder: Path) -> None:
    """Noise, of which three in four stand in the class that the model sees in it."""
    random, vit = np.random.default_rng(0), vitzoo.create("vit_nano4.cifar10", pretrained=True)
    drawn = random.integers(0, 255, (72, 4, 4, 3), dtype=np.uint8)
    pictures = [Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC) for pixels in drawn]
    places = [vit.labels.index(name) for name in CLASSES]
    with torch.inference_mode():
        seen = vit(vitzoo.preprocess(vit).batch(pictures))[:, places].argmax(1).tolist()
    for number, (picture, place) in enumerate(zip(pictures, seen, strict=True)):
        own = folder / ("train", "val")[number % 2] / CLASSES[(place + (number % 8 < 2)) % 3]
        own.mkdir(parents=True, exist_ok=True)
        picture.save(own / f"{number}.png")


def test_the_page_word_for_word(run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(tmp_path / "pictures")
    monkeypatch.chdir(tmp_path)
    commands = 0
    for kind, text in re.findall(r"```(sh|python)\n(.*?)```", PAGE, re.DOTALL):
        if kind == "python":
            exec(compile(text, "docs/evaluation.md", "exec"), {})
            continue
        for line in text.splitlines():
            result = run(*shlex.split(line)[1:])
            assert result.code == 0, (line, result.err)
            commands += 1
    assert commands >= 6
    assert (tmp_path / "out" / "predictions.csv").is_file()
    assert vitzoo.create("out/calibrated.safetensors").about.training["calibration"]["pictures"] == 36
