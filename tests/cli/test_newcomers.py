"""What somebody who comes from elsewhere types first, and what is answered."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vitzoo
from vitzoo.cli import command_line
from vitzoo.errors import Argument, SpecError, VitzooError, WeightsError
from vitzoo.spec import ViTSpec
from vitzoo.spec.keywords import ELSEWHERE

NANO = "vit_nano4.cifar10"


def listed(run, pattern: str, *options: str) -> list[str]:
    result = run("list", pattern, "--json", *options)
    return [row["name"] for row in json.loads(result.out)] if result.code == 0 else []


@pytest.mark.parametrize(
    ("pattern", "there"),
    [
        ("vit_b16", "vit_b16.augreg_in21k"),
        ("vit_b16.augreg_in21k", "vit_b16.augreg_in21k"),
        ("vit_base*", "vit_b16.augreg_in21k"),
        ("timm/vit_base*", "vit_b16.augreg_in21k"),
        ("google/vit-base-patch16-224", "vit_b16.hf_google_in21k_ft_in1k"),
        ("ViT_B_16_Weights.*", "vit_b16.tv_in1k_v1"),
        ("ViT-B/16", "vit_b16.augreg_in21k"),
        ("dinov2_vits14", "dinov2_s14.lvd142m"),
    ],
)
def test_list_finds_what_any_name_stands_for(run, pattern: str, there: str) -> None:
    assert there in listed(run, pattern)
    assert there in vitzoo.list_pretrained(pattern)
    assert there.partition(".")[0] in listed(run, pattern, "--models") == vitzoo.list_models(pattern)
    assert "vit_l16.augreg_in21k" not in listed(run, pattern)


@pytest.mark.parametrize("options", [(), ("--json",), ("--models",)])
@pytest.mark.parametrize(("pattern", "near"), [("vit_b17", "did you mean vit_b16"), ("xyz", "try `vitzoo list`")])
def test_list_of_nothing_says_what_is_near(run, pattern: str, near: str, options: tuple[str, ...]) -> None:
    result = run("list", pattern, *options)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"vitzoo: nothing matches '{pattern}'; {near}")


def test_the_version(run) -> None:
    assert run("--version") == (0, f"vitzoo {vitzoo.__version__}\n", "")
    code = [sys.executable, "-m", "vitzoo", "--version"]
    assert subprocess.run(code, capture_output=True, text=True, check=True).stdout == f"vitzoo {vitzoo.__version__}\n"


def commands() -> dict[str, list]:
    def walk(command, name: str) -> dict[str, list]:
        found = {name: command.params}
        for each, inner in getattr(command, "commands", {}).items():
            found |= walk(inner, f"{name} {each}")
        return found

    return walk(command_line(), "vitzoo")


def test_an_option_is_called_the_same_and_means_the_same_everywhere() -> None:
    homes: dict[str, dict[str, str]] = {}
    for command, params in commands().items():
        for param in params:
            if param.param_type_name == "option":
                homes.setdefault(param.name, {})[command] = max(param.opts, key=len)
    for name, options in homes.items():
        assert len(set(options.values())) == 1, options
        if name not in ("as_json", "as_csv", "settings", "k"):
            assert set(options.values()) == {f"--{name.replace('_', '-')}"}
    assert {"layout", "img_size", "device", "dtype", "like", "num_workers", "strict_data"} <= homes.keys()


@pytest.mark.parametrize("command", sorted(commands()))
def test_help_shows_no_type_for_a_flag(run, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = run(*command.split()[1:], "--help")
    assert shown.code == 0
    assert "--help" in shown.out
    assert "<bool>" not in shown.out


@pytest.mark.parametrize(
    ("argument", "typed", "offered"),
    [
        ("model", "vit_nan", "vit_nano4"),
        ("model", "vit_nano4.", NANO),
        ("layout", "hugg", "huggingface"),
        ("layout", "tim", "timm_eva"),
        ("recipe", "adamw", "adamw_layer_decay"),
    ],
)
def test_names_are_completed(argument: str, typed: str, offered: str) -> None:
    found = [p for params in commands().values() for p in params if p.name == argument]
    assert found
    for param in found:
        assert offered in [item.value for item in param.shell_complete(None, typed)]


def test_every_argument_that_takes_a_model_is_completed() -> None:
    for command, params in commands().items():
        for param in params:
            if param.name in ("model", "names", "first", "source", "like"):
                assert [item.value for item in param.shell_complete(None, "vit_nan")] == ["vit_nano4"], command


# --- in Python


def test_errors_are_there_after_a_plain_import() -> None:
    code = "import vitzoo; vitzoo.errors.VitzooError, vitzoo.errors.SpecError"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("create_model", r"vitzoo\.create\(name, pretrained=True\)"),
        ("from_pretrained", r"vitzoo\.create\(name, pretrained=True\)"),
        ("AutoModel", r"vitzoo\.create\("),
        ("creat", r"vitzoo\.create$"),
        ("list_model", r"vitzoo\.list_models$"),
    ],
)
def test_what_others_call_it_is_answered_with_what_is_meant(name: str, instead: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'vitzoo' has no attribute '{name}'; use {instead}"):
        getattr(vitzoo, name)
    assert not hasattr(vitzoo, "quite_another_thing")


@pytest.mark.parametrize("name", sorted(ELSEWHERE))
@pytest.mark.parametrize("model", ["vit_nano4", NANO])
def test_keywords_of_other_libraries_are_answered(name: str, model: str) -> None:
    with pytest.raises(SpecError, match=f"^unknown field '{name}': {re.escape(ELSEWHERE[name])}$"):
        vitzoo.create(model, pretrained="." in model, **{name: 1})


def test_what_the_answers_name_is_there() -> None:
    known = {*ViTSpec.model_fields, "dtype", "device", "hidden_dim", "num_classes"}
    for name, answer in ELSEWHERE.items():
        assert name not in ViTSpec.model_fields
        if found := re.search(r"it is (\w+) here|but (\w+)$|give (\w+),", answer):
            assert next(filter(None, found.groups())) in known, answer
    model = vitzoo.create("vit_nano4")
    assert callable(model.forward_intermediates)
    assert model.about is not None
    assert vitzoo.create("vit_nano4", num_classes=3, drop_path_rate=0.1).num_classes == 3


def test_a_keyword_that_is_nearly_right_is_answered_with_the_right_one() -> None:
    with pytest.raises(SpecError, match=r"unknown field 'num_class'; did you mean num_classes"):
        vitzoo.create("vit_nano4", num_class=3)
    with pytest.raises(SpecError, match="unknown field 'pretraind'; did you mean pretrained"):
        vitzoo.create("vit_nano4", pretraind=True)


def test_types_of_numbers_by_name() -> None:
    import torch

    for dtype in ("bfloat16", "torch.bfloat16", torch.bfloat16):
        assert next(vitzoo.create(NANO, pretrained=True, dtype=dtype).parameters()).dtype is torch.bfloat16
    for dtype in ("int8", "bf17", torch.int8, "load"):
        with pytest.raises(SpecError, match=r"unknown dtype .*; choose float32, float16 or bfloat16"):
            vitzoo.create(NANO, pretrained=True, dtype=dtype)


# --- errors speak as the one who asked


def test_an_argument_is_spelled_for_python_and_for_a_command() -> None:
    error = VitzooError("leave it out with ", Argument("drop", ["act", "head"]), " or ", Argument("like", "..."))
    assert str(error) == "leave it out with drop=['act', 'head'] or like='...'"
    assert (
        error.spelled({"drop": "--drop", "like": "--like"}) == "leave it out with --drop act --drop head or --like ..."
    )
    field = VitzooError("give ", Argument("num_heads", 6))
    assert field.spelled({"settings": "--set"}) == "give --set num_heads=6"
    assert field.spelled({}) == str(field) == "give num_heads=6"


def test_a_command_is_told_its_own_option_and_it_works(run, tmp_path: Path) -> None:
    source = vitzoo.save(vitzoo.create("vit_ti16", depth=1, act="silu"), tmp_path / "silu.safetensors")
    refused = run("convert", source, tmp_path / "out.pth", "--layout", "torchvision")
    assert refused.code == 2
    advised = re.findall(r"--drop \S+(?=[ ,])", refused.err)
    assert advised
    assert "drop=" not in refused.err
    words = [word.rstrip(",") for each in advised for word in each.split()]
    assert run("convert", source, tmp_path / "out.pth", "--layout", "torchvision", *words).code == 0
    with pytest.raises(vitzoo.errors.LayoutError, match=r"drop=\["):
        vitzoo.convert(source, tmp_path / "again.pth", "torchvision")


def test_a_native_file_needs_no_like(run, tmp_path: Path) -> None:
    source = vitzoo.save(vitzoo.create("vit_nano4"), tmp_path / "one.safetensors")
    assert "leave --like vit_b16 out" in run("info", source, "--like", "vit_b16").err
    assert "leave --layout timm out" in run("info", source, "--layout", "timm").err
    with pytest.raises(WeightsError, match="leave like='vit_b16' out"):
        vitzoo.create(source, like="vit_b16")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["finetune", "-m", "vit_b16", "-d", "nope", "-o", "out"], "nope: there is no such folder or file"),
        (["finetune", "-m", "vit_b17", "-d", ".", "-o", "out"], "unknown model 'vit_b17'; did you mean"),
        (["finetune", "-m", "vit_b16", "-d", ".", "-o", "out", "-r", "nope"], "unknown recipe 'nope'"),
        (["evaluate", "vit_b16", "nope"], "nope: there is no such folder or file"),
    ],
)
def test_what_is_plainly_wrong_is_said_before_torch_is_imported(arguments: list[str], message: str) -> None:
    code = (
        "import sys\nfrom vitzoo.cli import main\n"
        f"sys.argv = ['vitzoo', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as stop:\n"
        "    assert stop.code == 2, stop.code\n"
        "    assert not {'torch', 'lightning'} & set(sys.modules)\n"
        "else:\n    raise AssertionError\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert message in done.stderr


def test_old_names_of_options_are_still_taken(run, tmp_path: Path) -> None:
    source = vitzoo.save(vitzoo.create("vit_nano4"), tmp_path / "one.safetensors")
    assert run("convert", source, tmp_path / "two.safetensors", "--to", "timm", "--from", "vitzoo").code == 0
    assert run("verify", source, source, "--size", "32x32").code == 0


@pytest.mark.parametrize("text", ["0", "x", "32x", "x32", "-1", "32x32x32", "32.5"])
def test_sizes(run, text: str) -> None:
    cat = Path(__file__).parents[2] / "examples" / "cat.png"
    assert "a size is a number of pixels or HEIGHTxWIDTH" in run("classify", cat, "--img-size", text).err
    assert run("classify", cat, "--img-size", "32x36").code == 0


@pytest.mark.parametrize("library", ["timm", "transformers", "torchvision"])
def test_verify_without_the_library_says_what_to_install(
    run, tmp_path: Path, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = "huggingface" if library == "transformers" else library
    spec = vitzoo.create("vit_ti16", img_size=32, depth=1, hidden_dim=12, num_heads=3, mlp_dim=8, num_classes=5)
    source = vitzoo.save(spec, tmp_path / "one.safetensors")
    monkeypatch.setitem(sys.modules, library, None)
    result = run("verify", source, peer)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"vitzoo: {library} is not installed, which this needs: pip install ")


def test_what_to_install_is_what_the_package_declares() -> None:
    import tomllib

    from vitzoo.extras import PACKAGES, advice

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = [*project["dependencies"], *(one for each in extras.values() for one in each)]
    assert list(PACKAGES["train"]) == extras["train"]
    for name in PACKAGES.keys() - {"train", "torchvision"}:
        assert set(PACKAGES[name]) <= set(declared)
    assert advice("webdataset") == 'pip install "webdataset>=1"'
