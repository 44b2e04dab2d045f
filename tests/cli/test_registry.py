"""`vitzoo registry check`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

DRAFT = """
layout: timm
models:
  acme_s16: {base: _s, patch_size: 16, aliases: [acme-small]}
weights:
  acme_s16.in1k:
    base: _norm_half
    license: mit
    resample: timm
    labels: imagenet-1k
    origin: https://github.com/acme/vit
    sources: [{repo: acme/vit-s16}, {url: https://acme.example/s16.npz, layout: google}]
"""


def test_a_good_draft_is_shown_as_it_would_be(run: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "acme.yaml"
    file.write_text(DRAFT)
    code, out, err = run("registry", "check", file)
    assert (code, err) == (0, "")
    for line in ("22,050,664", "acme-small", "repo acme/vit-s16", "act is gelu, and layout 'google' has act gelu_tanh"):
        assert line in out
    assert out.endswith("\n1 models and 1 weights: all is well\n")
    found = {entry["name"]: entry for entry in json.loads(run("registry", "check", file, "--json").out)}
    assert found["acme_s16.in1k"]["params"] == 22_050_664
    assert found["acme_s16.in1k"]["names"] == ["acme/vit-s16"]
    assert run("info", "acme_s16").code == 2  # it was looked at, not added


def test_all_that_is_wrong_is_said_at_once(run: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "acme.yaml"
    file.write_text(DRAFT.replace("base: _s,", "base: _ss,").replace("license", "licence") + "  vit_b17.x: {}\n")
    code, out, err = run("registry", "check", file)
    assert (code, out) == (2, "")
    assert "acme_s16.in1k: unknown field 'licence'; did you mean license?" in err
    assert "acme_s16: unknown base '_ss'; did you mean _s?" in err
    assert "vit_b17.x: there is no model 'vit_b17'; did you mean vit_b16" in err
    file.write_text(DRAFT.replace("layout: google", "layout: gogle"))
    code, _, err = run("registry", "check", file)
    assert (code, "unknown layout 'gogle'; did you mean google" in err) == (2, True)


def test_a_file_that_ships_is_checked_as_it_stands(run: Callable[..., Any], tmp_path: Path) -> None:
    dino = Path(__file__).parents[2] / "registry" / "families" / "dino.yaml"
    assert "4 models and 8 weights: all is well" in run("registry", "check", dino).out
    shutil.copy(dino, tmp_path / "copy.yaml")
    code, _, err = run("registry", "check", tmp_path / "copy.yaml")
    assert (code, "families/dino.yaml has that name" in err) == (2, True)
