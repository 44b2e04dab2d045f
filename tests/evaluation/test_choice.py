"""What is proposed keeps to what was asked, and nothing that does is better."""

import json
import subprocess
import sys

import pytest

import vitzoo
from vitzoo import registry
from vitzoo.errors import RegistryError
from vitzoo.evaluation import choice
from vitzoo.registry import catalogue


def test_nothing_that_keeps_to_the_conditions_is_better() -> None:
    found = vitzoo.choose(max_params=90e6, license=["apache-2.0"], img_size=224)
    assert found.best.name in {one.name for one in found.candidates}
    for name in registry.list_pretrained(license=["apache-2.0"]):
        entry = registry.record(name)
        value = catalogue.value_of(entry, "in1k")
        if entry.params <= 90e6 and entry.spec["img_size"] == [224, 224] and value is not None:
            assert value <= found.best.figure
    assert found.unknown["in1k"] > 0


def test_a_budget_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = []

    def ms(name: str, device: object) -> float:
        timed.append(name)
        return registry.record(name).macs / 1e8

    monkeypatch.setattr(choice, "milliseconds", ms)
    found = vitzoo.choose(budget_ms=50, license="apache-2.0")
    assert found.best.ms is not None
    assert found.best.ms <= 50
    assert found.best.figure == max(one.figure for one in found.candidates if one.fits)
    assert sum(not one.fits for one in found.candidates) == choice.PATIENCE
    assert [registry.record(name).macs for name in timed] == sorted(registry.record(name).macs for name in timed)


def test_it_is_timed_here() -> None:
    assert choice.milliseconds("vit_nano4.cifar10", "cpu") > 0


def test_what_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        RegistryError, match="expected task to be classify, zero-shot, features, found 'clasify'; did you mean"
    ):
        vitzoo.choose("clasify")
    with pytest.raises(RegistryError, match="says nothing of how good a model is"):
        vitzoo.choose(by="params")
    with pytest.raises(RegistryError, match="nothing keeps to license mit and in1k>=99"):
        vitzoo.choose(min_in1k=99, license="mit")
    with pytest.raises(RegistryError, match="nobody published 'zero_shot'"):
        vitzoo.choose("zero-shot", family="dinov2")
    monkeypatch.setattr(choice, "milliseconds", lambda name, device: 10.0)
    with pytest.raises(RegistryError, match=r"takes 10\.0; give more: budget_ms=20"):
        vitzoo.choose(budget_ms=1)
    assert vitzoo.choose(budget_ms=20).best.fits


def test_what_is_not_timed_needs_no_torch() -> None:
    code = "import sys, vitzoo; vitzoo.choose(max_params=30e6); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_command(run) -> None:
    said = run("choose", "--max-params", "30M", "--license", "mit")
    assert said.out.splitlines()[0] == vitzoo.choose(max_params=30e6, license="mit").best.name
    assert "Left out: " in said.out
    plain = json.loads(run("choose", "--max-params", "30M", "--license", "mit", "--json").out)
    assert plain["best"]["name"] == said.out.splitlines()[0]
    assert run("choose", "--task", "cook").code == 2


def test_the_list(run) -> None:
    rows = json.loads(
        run("list", "--sort", "in1k", "--max-params", "30M", "--commercial", "--min-size", "384", "--json").out
    )
    assert rows[0]["in1k"] == max(row["in1k"] for row in rows if row["in1k"] is not None)
    assert all(row["params"] <= 30e6 and row["license"] in ("apache-2.0", "mit", "bsd-3-clause") for row in rows)
    table = run("list", "-w", "in1k>=84", "--columns", "params,in1k", "-n", "3")
    assert table.out.split()[:3] == ["name", "params", "in1k"]
    assert len(table.out.splitlines()) == 4
    assert "left out: " in table.err
    lines = run("list", "--pareto", "params,in1k", "--csv").out.splitlines()
    assert lines[0].startswith("name,params")
    assert len(lines) > 5
    assert run("list", "--columns", "help").out.count("\n") == len(catalogue.columns())
    for wrong in (["--json", "--csv"], ["--pareto", "params"], ["--columns", "colour"], ["-w", "in1k>99"]):
        assert run("list", *wrong).code == 2
    assert "published (--json has the sources)" in run("info", "dinov2_s14.lvd142m").out
    figures = json.loads(run("info", "dinov2_s14.lvd142m", "--json").out)["figures"]
    assert {one["source"].partition("/blob/")[0] for one in figures if one["measure"].startswith("dinov2")} == {
        "https://github.com/facebookresearch/dinov2"
    }
