"""Truth is monotone: any true facts give the right reading or an error, and more of them never less.

The budget is `VITZOO_FACTS` examples; more than the suite's few run with `VITZOO_FACTS=20000 pytest tests/checkpoints/
test_facts.py`.
"""

import os
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mystery import SHOWN_BY_NONE, TINY, File, facts_of, files, right

from vitzoo.checkpoints import settle
from vitzoo.checkpoints.identify import Identified, Told, identify
from vitzoo.errors import LayoutError, WeightsError
from vitzoo.layouts.layout import Layout
from vitzoo.layouts.tables import LAYOUTS
from vitzoo.spec import ViTSpec

BUDGET = int(os.environ.get("VITZOO_FACTS", "120"))


def outcome(file: File, facts: Mapping[str, Any], wanted: Any) -> Identified | None:
    facts = dict(facts)
    told = Told(facts.pop("layout", None), img_size=facts.pop("source_img_size", None))
    try:
        return identify(file, facts if wanted is None else {**facts, "img_size": wanted}, told)  # type: ignore[arg-type]
    except (LayoutError, WeightsError):
        return None


@settings(max_examples=BUDGET)
@given(files(), st.data())
def test_true_facts_give_the_right_reading_or_an_error_and_more_never_less(
    case: tuple[Layout, ViTSpec], data: st.DataObject
) -> None:
    layout, spec = case
    file = File(spec, layout, data.draw(st.sampled_from(["", "module.", "model.backbone."])))
    true = facts_of(layout, spec)
    wanted = data.draw(st.sampled_from([None, spec.img_size, (64, 80)]))
    few = st.sets(st.sampled_from([*SHOWN_BY_NONE, "source_img_size"]), max_size=5)
    some = data.draw(st.one_of(few, st.sets(st.sampled_from(sorted(true)))))
    more = some | data.draw(st.sets(st.sampled_from(sorted(true))))
    first = outcome(file, {name: true[name] for name in some}, wanted)
    second = outcome(file, {name: true[name] for name in more}, wanted)
    whole = outcome(file, true, wanted)
    assert whole is not None, "all facts together are not enough"
    for found in (first, second, whole):
        if found is not None:
            assert right(found, layout, spec, wanted), (found.layout.name, found.spec, found.because)
    assert first is None or second is not None, f"{sorted(more - some)} too are true, and it is refused"


def test_the_property_sees_a_preference(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the old preference put back (a reading that is complete wins over one that asks) the same facts lie."""
    spec = TINY.replace(patch_bias=False, norm_pre=True, norm_eps=1e-5, num_classes=0, act="quick_gelu")
    file = File(spec, LAYOUTS["open_clip"], "")
    facts = {"num_heads": 4, "norm_eps": 1e-5, "final_norm": "tokens", "pool": "cls"}
    assert outcome(file, facts, None) is None
    kept = settle._completed
    monkeypatch.setattr(settle, "_completed", lambda *given: (kept(*given)[0], {}))
    found = outcome(file, facts, None)
    assert found is not None
    assert not right(found, LAYOUTS["open_clip"], spec, None)
