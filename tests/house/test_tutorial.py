"""docs/finetuning.md word for word: its commands and its Python, on small pictures."""

import json
import re
import shlex
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vitzoo

PAGE = (Path(__file__).parents[2] / "docs" / "finetuning.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```(sh|python)\n(.*?)```", re.DOTALL)  # "sh skip" needs machines that are not here


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures of two classes that are easy to tell apart, in the working directory."""
    drawn = np.random.default_rng(0)
    for split, (name, level) in product(("train", "val"), (("cat", 60), ("dog", 190))):
        folder = tmp_path / "pictures" / split / name
        folder.mkdir(parents=True)
        for number in range(12):
            pixels = drawn.integers(level - 40, level + 40, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "pictures"


def test_the_page_word_for_word(pictures: Path, run) -> None:
    blocks = BLOCK.findall(PAGE)
    commands = 0
    scope: dict[str, object] = {}
    for kind, text in blocks:
        if kind == "python":
            exec(compile(text, "docs/finetuning.md", "exec"), scope)
            continue
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line)
            if words[:2] == ["pip", "install"]:
                continue
            assert words[0] == "vitzoo", line
            result = run(*words[1:])
            assert result.code == 0, (line, result.err)
            commands += 1
    assert commands >= 9
    made = sorted(path.name for path in Path("out").iterdir())
    assert made == ["first", "folds", "for_transformers", "found", "larger", "lora", "probe", "python"]
    for name in set(made) - {"folds", "for_transformers"}:
        model = vitzoo.create(f"out/{name}")
        assert model.labels == ("cat", "dog")
        assert (Path("out") / name / "report.md").is_file()
        assert "e7771e916525b9127d43ea87965a5b4f9c2fc4bf494331b8234405640ee91ddc" in model.origin
    assert json.loads((Path("out") / "folds" / "results.json").read_text())["folds"] == 2
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(scope["adapted"](x), vitzoo.create("out/lora")(x), rtol=1e-4, atol=1e-4)
    assert vitzoo.create("out/larger").spec.img_size == (48, 48)
    assert (Path("out") / "lora" / "adapter" / "adapter_model.safetensors").is_file()
    assert vitzoo.verify("out/for_transformers").equal
    named = {name for name in re.findall(r"^\| `([^`]+)`", PAGE, re.MULTILINE) if "." in name}
    assert all((Path("out/first") / name).exists() or (Path("out/found") / name).exists() for name in named), named
