"""Entries compared: conditions, order, and the front that no other beats."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitzoo import registry
from vitzoo.errors import RegistryError
from vitzoo.registry import catalogue
from vitzoo.registry.describe import count_macs

ENTRIES = [registry.record(name) for name in registry.list_pretrained()]
NUMBERS = [name for name in catalogue.columns() if isinstance(catalogue.value_of(ENTRIES[0], name) or 0, int | float)]


def test_costs_are_counted_as_the_models_are() -> None:
    for entry in random.Random(0).sample(ENTRIES, 20):
        spec = registry.entry_spec(entry.name)
        assert entry.macs == count_macs(spec)
        assert catalogue.value_of(entry, "tokens") == spec.num_patches + spec.num_prefix_tokens


@given(st.sampled_from(["params", "macs", "in1k", "tokens", "year"]), st.floats(0, 1e9), st.sampled_from("<>"))
def test_a_condition_and_its_contrary_part_the_known(column: str, bound: float, test: str) -> None:
    contrary = {"<": ">=", ">": "<="}[test]
    first = catalogue.select(ENTRIES, [catalogue.condition(f"{column}{test}{bound}")])
    second = catalogue.select(ENTRIES, [catalogue.condition(f"{column}{contrary}{bound}")])
    known = [entry for entry in ENTRIES if catalogue.value_of(entry, column) is not None]
    assert sorted(map(str, first.entries + second.entries)) == sorted(map(str, known))
    assert first.unknown.get(column, 0) == len(ENTRIES) - len(known)


@pytest.mark.parametrize("pair", [("params", "in1k"), ("macs", "zero_shot"), ("in1k", "in1k_a"), ("params", "macs")])
def test_the_front_is_what_no_other_beats(pair: tuple[str, str]) -> None:
    signs = [-1 if name in catalogue.SMALLER_IS_BETTER else 1 for name in pair]
    points = {}
    for entry in ENTRIES:
        values = [catalogue.value_of(entry, name) for name in pair]
        if None not in values:
            points[entry.name] = [sign * value for sign, value in zip(signs, values, strict=True)]
    beaten = {
        name
        for name, mine in points.items()
        if any(all(a >= b for a, b in zip(theirs, mine, strict=True)) and theirs != mine for theirs in points.values())
    }
    front = {entry.name for entry in catalogue.front(ENTRIES, *pair).entries}
    assert front
    assert not front & beaten
    assert {tuple(points[name]) for name in front} == {tuple(points[name]) for name in set(points) - beaten}


def test_order_is_the_best_first_and_the_unknown_last() -> None:
    values = [catalogue.value_of(entry, "in1k") for entry in catalogue.ordered(ENTRIES, "in1k")]
    known = [value for value in values if value is not None]
    assert values[: len(known)] == sorted(known, reverse=True)
    sizes = [entry.params for entry in catalogue.ordered(ENTRIES, "params")]
    assert sizes == sorted(sizes)


def test_units_patterns_and_answers() -> None:
    assert catalogue.condition("params<=30M").wanted == 30e6
    assert catalogue.condition(" macs < 4.5g ").wanted == 4.5e9
    assert catalogue.condition("name~dino*").holds("dinov2_s14.lvd142m")
    assert not catalogue.condition("rope~*").holds(None)
    assert {
        catalogue.value_of(one, "license")
        for one in catalogue.select(ENTRIES, [catalogue.condition("commercial=no")])[0]
    }
    assert str(catalogue.condition("commercial=yes")) == "commercial=yes"


@pytest.mark.follows("there is no column")
@pytest.mark.follows("a condition is COLUMN")
@pytest.mark.follows("is a number; compare it with one")
@pytest.mark.follows("is no number; ask for")
@pytest.mark.follows("is yes or no; found")
def test_a_condition_that_is_none_says_how() -> None:
    for text, message, instead in (
        ("in1kk>3", "did you mean in1k", "in1k>3"),
        ("params", "a condition is COLUMN, then one of", "params>3"),
        ("params>", "a condition is COLUMN", "params>3"),
        ("in1k>good", "such as 'in1k>30'", "in1k>30"),
        ("license<mit", "ask for 'license=...'", "license=mit"),
        ("commercial=perhaps", "is yes or no", "commercial=no"),
    ):
        with pytest.raises(RegistryError, match=message):
            catalogue.condition(text)
        assert catalogue.select(ENTRIES, [catalogue.condition(instead)]).entries
