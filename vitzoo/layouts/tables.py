"""The known layouts by name, and `bind`, which ties one to a spec."""

from collections.abc import Iterable
from dataclasses import dataclass

from vitzoo.errors import LayoutError
from vitzoo.layouts.google import google
from vitzoo.layouts.huggingface import huggingface
from vitzoo.layouts.native import native_shapes
from vitzoo.layouts.rules import Binding, Rule, Table, same
from vitzoo.layouts.timm import timm
from vitzoo.layouts.torchvision import torchvision
from vitzoo.spec import ViTSpec


def vitzoo(spec: ViTSpec) -> Iterable[Rule]:
    """The model's own names and shapes."""
    return [same(key, key) for key in native_shapes(spec)]


@dataclass(frozen=True)
class Layout:
    """A table, and the prefixes that files of this layout may carry before some of their keys."""

    table: Table
    prefixes: tuple[str, ...] = ()

    def strip(self, key: str) -> str:
        for prefix in self.prefixes:
            if key.startswith(prefix):
                return key.removeprefix(prefix)
        return key


LAYOUTS: dict[str, Layout] = {
    "vitzoo": Layout(vitzoo),
    "timm": Layout(timm),
    "huggingface": Layout(huggingface, prefixes=("vit.", "deit.")),
    "torchvision": Layout(torchvision),
    "google": Layout(google, prefixes=("opt/target/",)),
}


def get_layout(name: str) -> Layout:
    """A layout by its name; LayoutError with the names there are."""
    if name not in LAYOUTS:
        raise LayoutError(f"unknown layout '{name}'; the layouts are {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def bind(name: str, spec: ViTSpec) -> Binding:
    """The closed list of a layout's tensors for one architecture.

    Raises:
        LayoutError: the layout is unknown, or cannot hold the architecture.
    """
    return Binding(name, get_layout(name).table(spec), native_shapes(spec))
