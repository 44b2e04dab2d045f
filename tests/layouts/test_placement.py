"""Where a model stands in a file, and what stands beside it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitzoo.errors import LayoutError
from vitzoo.layouts.placement import placements, view
from vitzoo.layouts.tables import LAYOUTS
from vitzoo.spec import ViTSpec

SPEC = ViTSpec(img_size=32, patch_size=16, hidden_dim=8, depth=2, num_heads=2, mlp_dim=16, num_classes=3)
PREFIXES = (
    "model.", "net.", "encoder.", "vit.", "backbone.", "module.", "_orig_mod.", "student.backbone.",
    "teacher_backbone.", "module.base_encoder.", "image_encoder.", "vision_model.", "trunk.", "visual.", "params/img/",
)  # fmt: skip


def of(name: str) -> dict[str, tuple[int, ...]]:
    """The tensors of a model in a layout, as the layout's own program writes them."""
    layout = LAYOUTS[name]
    spec = layout.without(SPEC, layout.refusals(SPEC))
    stored = layout.bind(spec, writing=True).stored
    return {key: stored[rule] for rule, key in layout.written(stored).items()}


def behind(prefix: str, name: str) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}{key}": shape for key, shape in of(name).items()}


@given(
    st.sampled_from(["timm", "hf_vit", "google", "torchvision", "dinov2", "mae"]),
    st.lists(st.sampled_from(PREFIXES), max_size=4),
)
def test_any_prefix_is_taken_off(name: str, words: list[str]) -> None:
    layout, prefix = LAYOUTS[name], "".join(words)
    plain, found = placements(layout, of(name)), placements(layout, behind(prefix, name))
    assert len(plain) == len(found) == 1
    assert {rule: f"{prefix}{key}" for rule, key in plain[0].names.items()} == found[0].names
    assert not found[0].left
    assert not found[0].strange


# OpenCLIP's own name of a tower of timm, and MoCo's of its encoder: their layouts read such a file, too.
SPOKEN_FOR = ("trunk.", "module.base_encoder.")


@given(st.lists(st.sampled_from([prefix for prefix in PREFIXES if prefix not in SPOKEN_FOR]), min_size=1, max_size=3))
def test_a_prefix_changes_no_layout(words: list[str]) -> None:
    def reading(keys: dict[str, tuple[int, ...]]) -> list[str]:
        found = [placements(layout, keys)[0] for layout in LAYOUTS.values()]
        return [
            layout.name
            for layout, one in zip(LAYOUTS.values(), found, strict=True)
            if not one.strange and all(layout.knows(rule) for rule in one.names)
        ]

    for name in ("timm", "hf_vit", "google", "open_clip"):
        assert reading(of(name)) == reading(behind("".join(words), name)) != []


def test_what_stands_beside_a_model_is_explained_or_strange() -> None:
    keys = behind("model.", "timm") | {"val_accuracy.total": (1,), "train_acc.weight": (), "criterion.weight": (3,)}
    found = view(LAYOUTS["timm"], keys | {"decoder.weight": (3, 3)})
    assert found.prefix == "model."
    assert found.left == {
        "val_accuracy.total": "state of a metric of the training run",
        "train_acc.weight": "state of a metric of the training run",
        "criterion.weight": "class weights of the loss",
    }
    assert found.strange == ("decoder.weight",)
    # A layer of that name has axes, and is no metric.
    assert view(LAYOUTS["timm"], behind("model.", "timm") | {"accuracy.weight": (3, 8)}).strange == ("accuracy.weight",)


def test_two_models_are_a_choice() -> None:
    keys = behind("student.", "timm") | behind("teacher.", "timm")
    layout = LAYOUTS["timm"]
    with pytest.raises(LayoutError, match=r"choose one with prefix='student\.' or prefix='teacher\.'"):
        view(layout, keys)
    for prefix in ("student.", "student"):
        found = view(layout, keys, prefix)
        assert found.prefix == "student."
        assert set(found.left) == set(behind("teacher.", "timm"))
        assert not found.strange
    with pytest.raises(LayoutError, match=r"stands behind the prefix 'ema'; there is prefix='student\.' or"):
        view(layout, keys, "ema")


def test_a_layout_says_what_its_program_leaves_beside() -> None:
    keys = behind("module.teacher.backbone.", "dino") | behind("module.student.backbone.", "dino")
    keys |= {"module.teacher.head.mlp.0.weight": (4, 8), "module.teacher.head.last_layer.weight_v": (9, 4)}
    found = view(LAYOUTS["dino"], keys)
    assert found.prefix == "module.teacher.backbone."
    assert set(found.left.values()) == {
        "the student of a training run, whose teacher is the model",
        "projection head of the pretraining loss",
    }
    assert view(LAYOUTS["dino"], behind("backbone.", "timm") | {"head.weight": (3, 8)}).strange == ("head.weight",)


def test_an_optimiser_holds_no_model() -> None:
    moments = behind("opt/0/mu/", "big_vision")
    found = view(LAYOUTS["big_vision"], behind("params/", "big_vision") | moments | {"chrono/seconds": ()})
    assert found.prefix == "params/"
    assert set(found.left) == {*moments, "chrono/seconds"}
    assert not {"embedding/kernel"} & set(view(LAYOUTS["big_vision"], moments).names)


@pytest.mark.parametrize(
    ("name", "own", "replaced"),
    [
        ("torchvision", "heads.head", ["heads", "heads.0", "heads.2", "heads.head.1", "heads.fc"]),
        ("timm", "head", ["head.1", "head.fc"]),
        ("hf_vit", "classifier", ["classifier.1"]),
    ],
)
@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_linear_classifier_under_another_name(name: str, own: str, replaced: list[str], prefix: str) -> None:
    whole, layout = behind(prefix, name), LAYOUTS[name]
    plain = view(layout, whole)
    for other in replaced:
        keys = {key.replace(f"{prefix}{own}.", f"{prefix}{other}."): shape for key, shape in whole.items()}
        assert set(view(layout, keys).names) == set(plain.names)
    deeper = {key: shape for key, shape in whole.items() if not key.startswith(f"{prefix}{own}.")}
    deeper |= {f"{prefix}{own}.0.weight": (8, 8), f"{prefix}{own}.2.weight": (3, 8)}
    found = view(layout, deeper)
    assert sum(not layout.knows(rule) for rule in found.names) == 2
