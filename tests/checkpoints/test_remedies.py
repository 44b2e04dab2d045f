"""Who does what an error of identifying says, round for round, ends with the right model.

The budget is `VITZOO_REMEDIES` examples.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from advice import LONGEST
from following import choices, choices_of_a_command, true_ones
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mystery import BASES, SHOWN_BY_NONE, File, facts_of, files, right

from vitzoo import registry
from vitzoo.checkpoints.identify import Identified, Told, identify
from vitzoo.checkpoints.load import load
from vitzoo.checkpoints.reading import function
from vitzoo.cli import command_line
from vitzoo.cli.options import options_of
from vitzoo.errors import LayoutError, SpecError, VitzooError
from vitzoo.layouts.layout import Layout
from vitzoo.layouts.tables import get_layout
from vitzoo.model import TimmDialect
from vitzoo.spec import ViTSpec

Run = Callable[..., Any]
BUDGET = int(os.environ.get("VITZOO_REMEDIES", "60"))
ROUNDS = 4
"""Layout or prefix, then fields, then the size of the table, then a policy."""
FREE = ("source_img_size",)
"""What an error suggests a value of, and only who has the file knows whether it is so."""
SETTINGS = options_of(command_line(["info"]), ["info"])


def attempt(file: File, known: Mapping[str, Any], wanted: Mapping[str, Any]) -> Identified | VitzooError:
    """What `create` does, up to the values of tensors; or its error."""
    fields = dict(known)
    names = ("layout", "like", "prefix", "source_img_size")
    told, policy = Told(*(fields.pop(name, None) for name in names)), fields.pop("resample", None)
    try:
        found = identify(file, fields | wanted, told)  # type: ignore[arg-type]
        about = found.about if policy is None else found.about.replace(resample=policy)
        load(TimmDialect, found.tensors(blank=True), found.spec.replace(**found.changes), about, torch.device("meta"))
    except VitzooError as error:
        return error
    return found


def advised(file: File, known: dict[str, Any], true: Mapping[str, Any], wanted: Any, data: st.DataObject) -> Identified:
    """Give what the errors ask for until there is none."""
    said: list[str] = []
    for _ in range(ROUNDS + 1):
        found = attempt(file, known, wanted)
        if isinstance(found, Identified):
            return found
        said.append(str(found))
        offered, typed = choices(found), choices_of_a_command(found.spelled(SETTINGS), SETTINGS)
        assert [set(choice) for choice in offered] == [set(choice) for choice in typed]
        possible = true_ones(offered, true, FREE)
        assert possible, f"nothing that is true can be done: {found}"
        for choice in possible:
            assert choice.keys() - known.keys(), f"it was given: {found}"
        known |= data.draw(st.sampled_from(possible))
    raise AssertionError(said)


@pytest.mark.follows(" can be read in layout ")
@settings(max_examples=BUDGET)
@given(files(), st.data())
def test_who_does_what_the_errors_say_gets_the_right_model(case: tuple[Layout, ViTSpec], data: st.DataObject) -> None:
    layout, spec = case
    own, other = data.draw(st.sampled_from([("", None), ("module.", None), ("student.", "teacher.")]))
    file, true = File(spec, layout, own), facts_of(layout, spec)
    if other is not None:
        again = File(spec, layout, other)
        file.shapes |= again.shapes
        file.dtypes |= again.dtypes
        true["prefix"] = own
    true |= {"resample": layout.policy(spec), "img_size": spec.img_size}
    size = data.draw(st.sampled_from([None, spec.img_size, (64, 80)]))
    few = st.sets(st.sampled_from([*SHOWN_BY_NONE, "source_img_size"]), max_size=5)
    some = data.draw(st.one_of(few, st.sets(st.sampled_from(sorted(true.keys() - {"img_size"})))))
    known = {name: true[name] for name in some}
    found = advised(file, known, true, {} if size is None else {"img_size": size}, data)
    assert right(found, layout, spec, known.get("img_size", size)), (found.layout.name, found.spec, found.because)


def test_the_longest_question_can_be_read_at_a_glance() -> None:
    """Nothing is known of a file, whose table may be of many grids, and layouts have long names."""
    lengths = []
    for name, tiny in ((name, tiny) for name, found in BASES.items() for tiny in found):
        with suppress(SpecError, LayoutError):
            spec = tiny.replace(img_size=(48, 80))
            found = attempt(File(spec, get_layout(name), "module."), {}, {"img_size": spec.img_size})
            lengths.append(len(found.spelled(SETTINGS)) if isinstance(found, VitzooError) else 0)
    assert 400 < max(lengths) <= LONGEST


@settings(max_examples=max(BUDGET // 4, 1))
@given(st.sampled_from(registry.list_pretrained()), st.data())
def test_a_file_like_published_weights_is_told_by_their_name_or_by_fields(name: str, data: st.DataObject) -> None:
    """Of the size that was published, where an error names weights that are alike."""
    spec = registry.entry_spec(name)
    layout = get_layout(data.draw(st.sampled_from([source.layout for source in registry.weights_entry(name).sources])))
    assume("act" not in layout.holds or spec.act in (layout.holds["act"] or (spec.act,)))
    file, true = File(spec, layout, data.draw(st.sampled_from(["", "model."]))), facts_of(layout, spec)
    some = data.draw(st.sets(st.sampled_from(SHOWN_BY_NONE), max_size=3))
    known = {field: true[field] for field in some}
    true |= {"resample": layout.policy(spec), "img_size": spec.img_size, "like": name}
    found = advised(file, known, true, {}, data)
    assert function(found.spec) == function(spec), (name, found.layout.name, found.spec, found.because)


@pytest.mark.follows("several models stand in ")
@pytest.mark.follows(" the size of the pictures, (height, width) in pixels, that its table of positions is for, ")
@pytest.mark.follows("; what its tensors do not show has to be given: ")
def test_a_command_prints_what_to_type(tmp_path: Path, run: Run) -> None:
    """Two models of a training run in one file, whose tables are no squares: the answers are typed as they stand."""
    peer = timm.create_model("vit_tiny_patch16_224", depth=1, img_size=(32, 80), num_classes=0).state_dict()
    torch.save({f"{who}.{key}": value for who in ("student", "teacher") for key, value in peer.items()}, tmp_path / "x")
    true = {"num_heads": 3, "norm_eps": 1e-6, "act": "gelu", "pool": "cls", "pool_prefix": "false", "block": "pre_norm"}
    true |= {"prefix": "teacher.", "layout": "timm", "source_img_size": "[32,80]", "rope": "null"}
    typed: list[str] = []
    for _ in range(ROUNDS + 1):
        result = run("info", tmp_path / "x", *typed)
        if result.code == 0:
            break
        choice, *_ = true_ones(choices_of_a_command(result.err, SETTINGS), true, FREE)
        for name, value in choice.items():
            typed += [SETTINGS[name], value] if name in SETTINGS else ["--set", f"{name}={value}"]
    assert result.code == 0, result.err
    assert "teacher." in result.out


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_command_without_such_options_names_one_that_has_them(tmp_path: Path, run: Run) -> None:
    """`classify` takes no fields: the file that `convert` writes with them needs none, nor a policy."""
    torch.save(timm.create_model("vit_tiny_patch16_224", depth=1, img_size=32).state_dict(), tmp_path / "x.pth")
    true = {"num_heads": 3, "norm_eps": 1e-6, "act": "gelu", "pool": "cls", "pool_prefix": "false", "block": "pre_norm"}
    true |= {"rope": "null", "pool_heads": "null", "resample": "mae"}
    picture, new = Path(__file__).parents[2] / "examples" / "cat.png", tmp_path / "new.safetensors"
    options = options_of(command_line(["convert"]), ["convert"])
    typed: list[str] = []
    for model, more in ((tmp_path / "x.pth", []), (new, []), (new, ["--img-size", "64"])):
        for _ in range(ROUNDS):
            result = run("classify", picture, "-m", model, *more)
            if result.code == 0:
                break
            assert "`vitzoo convert FILE NEW.safetensors --layout vitzoo`" in result.err
            choice, *_ = true_ones(choices_of_a_command(result.err.partition("Those are")[0], options), true)
            typed += [word for name, value in choice.items() for word in ("--set", f"{name}={value}")]
            new.unlink(missing_ok=True)
            written = run("convert", tmp_path / "x.pth", new, "--layout", "vitzoo", *typed)
            model = new if written.code == 0 else model
        assert result.code == 0, result.err
