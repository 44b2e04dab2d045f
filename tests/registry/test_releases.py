"""Every source of every entry against its layout, and the releases that timm does not host."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torchvision
import transformers

from vitzoo import registry
from vitzoo.layouts.tables import get_layout
from vitzoo.spec import Activation, CropMode, HubSource, PosPrefix, Resample, Source, UrlSource

# Where a source's own code runs the same tensors otherwise than the entry does: each field with the reason.
ELSEWHERE = {
    "google": {"act"},  # timm and Hugging Face run Google's files with the exact GELU
    "big_vision": {"act"},
}
# transformers' classes by the repositories that they read, where the published configuration keeps their defaults.
CLASSES = {
    r"facebook/dino-vit": transformers.ViTConfig,
    r"facebook/vit-mae": transformers.ViTMAEConfig,
    r"facebook/vit-msn": transformers.ViTMSNConfig,
    r"facebook/dinov2-(?!with)": transformers.Dinov2Config,
    r"facebook/dinov2-with": transformers.Dinov2WithRegistersConfig,
    r"facebook/dinov3-": transformers.DINOv3ViTConfig,
    r"microsoft/beit-": transformers.BeitConfig,
    r"openai/clip-": transformers.CLIPVisionConfig,
    r"google/siglip2?-(?!.*naflex)": transformers.SiglipVisionConfig,
    r"google/siglip2-.*naflex": transformers.Siglip2VisionConfig,
    r"apple/aimv2": transformers.Aimv2VisionConfig,
}
ACTIVATIONS = {
    "gelu": Activation.GELU,
    "gelu_pytorch_tanh": Activation.GELU_TANH,
    "quick_gelu": Activation.QUICK_GELU,
    "silu": Activation.SILU,
}


def sources() -> Iterator[tuple[str, Source]]:
    for name in registry.list_pretrained():
        yield from ((name, source) for source in registry.weights_entry(name).sources)


def read_by_transformers() -> dict[str, str]:
    """Repository -> entry, of the repositories that belong to one of the classes."""
    return {
        source.repo: name
        for name, source in sources()
        if isinstance(source, HubSource) and any(re.match(pattern, source.repo) for pattern in CLASSES)
    }


@pytest.mark.proves(
    claim="the layout of each source can express what its entry says",
    against="the layouts' tables",
    tolerance="equal, but for what the test lists",
)
@pytest.mark.parametrize("layout", sorted({source.layout for _, source in sources()}))
def test_each_source_holds_the_tensors_of_its_entry(layout: str) -> None:
    for name, source in sources():
        if source.layout == layout:
            spec = registry.entry_spec(name)
            assert set(get_layout(layout).refusals(spec)) <= ELSEWHERE.get(layout, set()), name
            assert get_layout(layout).bind(spec).stored, name


def test_no_exception_is_idle() -> None:
    for layout, fields in ELSEWHERE.items():
        refused = [
            set(get_layout(layout).refusals(registry.entry_spec(name)))
            for name, source in sources()
            if source.layout == layout
        ]
        assert set().union(*refused) == fields


def test_no_address_stands_twice() -> None:
    places = [
        (source.repo, source.file) if isinstance(source, HubSource) else source.url
        for _, source in sources()
        if isinstance(source, HubSource | UrlSource)
    ]
    assert len(places) == len(set(places))


@pytest.mark.parametrize(("repo", "name"), read_by_transformers().items())
def test_entry_runs_as_transformers_default(repo: str, name: str) -> None:
    (config,) = [cls() for pattern, cls in CLASSES.items() if re.match(pattern, repo)]
    spec = registry.entry_spec(name)
    assert spec.norm_eps == getattr(config, "layer_norm_eps", None) or config.rms_norm_eps
    if spec.mlp == "plain":  # gated models name silu in their configuration
        assert spec.act == ACTIVATIONS[config.hidden_act]


def test_every_class_has_a_repository() -> None:
    for pattern in CLASSES:
        assert any(re.match(pattern, repo) for repo in read_by_transformers()), pattern


@pytest.mark.parametrize("model", registry.list_models("dinov2_*_reg4"))
def test_authors_registers_have_a_position_for_the_class_token(model: str) -> None:
    folded, own = registry.entry_spec(f"{model}.lvd142m"), registry.entry_spec(f"{model}.fb_lvd142m")
    layout = get_layout("dinov2")
    assert layout.bind(own).stored["pos_embed"] == (1, 1 + 37 * 37, own.hidden_dim)
    assert set(layout.refusals(folded)) == {"pos_prefix"}
    assert own == folded.replace(pos_prefix=PosPrefix.CLS)


@pytest.mark.parametrize("name", registry.list_pretrained("dinov3_*.fb_*"))
def test_authors_dinov3_files_store_the_periods(name: str) -> None:
    spec = registry.entry_spec(name)
    stored = get_layout("dinov3").bind(spec).stored
    assert stored["rope_embed.periods"] == (spec.dim_per_head // 4,)
    assert ("blocks.0.attn.qkv.bias_mask" in stored) is ("7b16" not in name)
    (source,) = registry.weights_entry(name).sources
    assert isinstance(source, UrlSource)
    assert source.url.endswith(f"-{source.sha256}.pth")
    twin = registry.entry_spec(name.replace("fb_", ""))
    assert spec.rope is not None
    assert twin == spec.replace(rope=spec.rope.model_copy(update={"stored": False}))


def test_what_was_not_read_is_said() -> None:
    for name in registry.list_pretrained("*.hf_*"):
        assert "nconfirmed" in str(registry.weights_entry(name).note), name


# --- torchvision, transformers, Google


def hub_repo(name: str) -> str:
    source = registry.weights_entry(name).sources[0]
    return source.repo if isinstance(source, HubSource) else ""


TORCHVISION = [
    weights
    for model in torchvision.models.list_models(include="vit_*")
    for weights in torchvision.models.get_model_weights(model)
]


@pytest.mark.parametrize("weights", TORCHVISION, ids=str)
def test_entry_agrees_with_torchvision(weights: Any) -> None:
    entry, spec = registry.weights_entry(str(weights)), registry.entry_spec(str(weights))
    transform, preprocessing = weights.transforms(), entry.preprocessing
    assert [spec.img_size[0]] == [weights.meta["min_size"][0]] == transform.crop_size
    assert spec.num_classes == len(weights.meta["categories"])
    assert entry.params == weights.meta["num_params"]
    assert int(spec.img_size[0] / preprocessing.crop_pct) == transform.resize_size[0]
    assert preprocessing.crop_mode is CropMode.CENTER
    assert preprocessing.interpolation == transform.interpolation.value
    assert (list(preprocessing.mean), list(preprocessing.std)) == (transform.mean, transform.std)
    assert entry.resample is Resample.TORCHVISION
    assert entry.license == ("cc-by-nc-4.0" if "SWAG" in weights.name else "bsd-3-clause")
    (source,) = entry.sources
    assert isinstance(source, UrlSource)
    assert source.url == weights.url
    assert weights.url.endswith(f"-{source.sha256}.pth")
    if weights is type(weights).DEFAULT:
        arch = type(weights).__name__.removesuffix("_Weights").lower()
        assert (
            registry.resolve(arch)
            == registry.resolve(f"{type(weights).__name__}.DEFAULT")
            == registry.resolve(str(weights))
        )


HF_NAMES = [n for n in registry.list_pretrained("vit_*") + registry.list_pretrained("deit_*") if ".hf_" in n]


@pytest.mark.parametrize("name", HF_NAMES)
def test_entry_agrees_with_transformers_defaults(name: str) -> None:
    from transformers import DeiTConfig, ViTConfig

    entry, spec = registry.weights_entry(name), registry.entry_spec(name)
    config = DeiTConfig() if spec.dist_token else ViTConfig()
    assert spec.norm_eps == config.layer_norm_eps == 1e-12
    assert spec.act == config.hidden_act
    assert entry.resample is Resample.HUGGINGFACE
    assert "Unconfirmed" in str(entry.note)
    assert registry.resolve(hub_repo(name)).name == name
    assert hub_repo(name).endswith(
        f"{spec.patch_size[0]}-{spec.img_size[0]}" + ("-in21k" if spec.head == "pre_logits" else "")
    )


def test_google_files_run_as_google_runs_them() -> None:
    names = registry.list_pretrained("*.google_in21k")
    assert len(names) == 5
    for name in names:
        spec, (source,) = registry.entry_spec(name), registry.weights_entry(name).sources
        assert (spec.act, spec.head, spec.norm_eps, spec.num_classes) == ("gelu_tanh", "pre_logits", 1e-6, 21843)
        assert source.layout == "google"
