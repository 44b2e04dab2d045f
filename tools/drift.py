"""Compares the registry with the installed timm: `python -m tools.drift [--json]`; exit 1 if they differ."""

import json
import re
import sys
from typing import Any

from vitzoo import registry
from vitzoo.spec import HubSource, UrlSource

MODULES = ("vision_transformer", "deit", "eva", "beit")
# Not plain ViTs: convolutional stems, window or decomposed relative positions, two-dimensional feature maps.
NOT_PLAIN = re.compile(r"_r\d+_|_r_s\d+|_resnet|relpos|samvit|_mci_|naflex")


def plain_tags() -> list[str]:
    """timm's plain ViT tags that have published weights."""
    import timm

    names = {name for module in MODULES for name in timm.list_models(module=module, pretrained=True, include_tags=True)}
    return sorted(name for name in names if not NOT_PLAIN.search(name))


def differences() -> dict[str, list[str]]:
    """`new`: timm's tags that the registry lacks; `gone`: the registry's that timm lacks; `changed`: other facts.

    This is the one place that holds the registry's facts against timm's; tests/registry/test_against_timm.py compares
    architectures and outputs.
    """
    from timm.models import get_arch_name, get_pretrained_cfg

    tags, urls = plain_tags(), _urls()
    found: dict[str, list[str]] = {"new": [], "gone": [], "changed": []}
    for tag in tags:
        if not registry.knows(tag):
            found["new"].append(tag)
            continue
        config = get_pretrained_cfg(tag)
        found["changed"] += [f"{tag}: {line}" for line in _changes(tag, config)]
        if config.url and config.url not in urls:
            found["changed"].append(f"{tag}: timm's {config.url} is no source of any entry here")
    for arch in sorted({get_arch_name(tag) for tag in tags if registry.knows(tag)}):
        default = f"{arch}.{get_pretrained_cfg(arch).tag}"
        if _weights(arch) != _weights(default):
            found["changed"].append(f"{arch}: timm's default is {default}, here it is {_weights(arch)}")
    for name in registry.list_pretrained():
        for source in registry.weights_entry(name).sources:
            if isinstance(source, HubSource) and source.repo.startswith("timm/"):
                repo = source.repo.removeprefix("timm/")
                found["gone"] += [] if repo in tags else [repo]
    return found


def _weights(name: str) -> str | None:
    """The weights that a name stands for; a model stands for its first ones. None for an unknown name."""
    if not registry.knows(name):
        return None
    return registry.resolve(name).name if registry.resolve(name).tag else registry.default_entry(name)


def _urls() -> set[str]:
    entries = map(registry.weights_entry, registry.list_pretrained())
    return {source.url for entry in entries for source in entry.sources if isinstance(source, UrlSource)}


def _changes(tag: str, config: Any) -> list[str]:
    entry, spec = registry.weights_entry(tag), registry.entry_spec(tag)
    own = entry.preprocessing
    pairs = {
        "mean": (own.mean, tuple(config.mean)),
        "std": (own.std, tuple(config.std)),
        "interpolation": (own.interpolation.value, config.interpolation),
        "crop_pct": (own.crop_pct, config.crop_pct),
        "crop_mode": (own.crop_mode.value, config.crop_mode or "center"),
        "num_classes": (spec.num_classes or spec.out_dim or 0, config.num_classes),
        "input_size": ((spec.in_chans, *spec.img_size), tuple(config.input_size)),
    }
    if config.license:
        pairs["license"] = (entry.license, config.license)
    found = [f"{field} is {new!r} in timm, {old!r} here" for field, (old, new) in pairs.items() if old != new]
    if not config.license and "nconfirmed" not in str(entry.note):
        found.append(f"license is not stated in timm, and no note says that {entry.license!r} is unconfirmed")
    return found


def main() -> None:
    """Print what differs; with --json for a program."""
    found = differences()
    if "--json" in sys.argv[1:]:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(f"{kind}: {line}" for kind, lines in found.items() for line in lines) or "no differences")
    sys.exit(1 if any(found.values()) else 0)


if __name__ == "__main__":
    main()
