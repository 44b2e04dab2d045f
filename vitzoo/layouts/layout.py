"""A layout: its table of rules, what else it can express, and how its keys stand in a file."""

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from vitzoo.errors import Argument, LayoutError
from vitzoo.layouts.domains import Clause, Values, implies, universe
from vitzoo.layouts.placement import view
from vitzoo.layouts.reads import Reads
from vitzoo.layouts.rules import OUTSIDE as OUTSIDE
from vitzoo.layouts.rules import Binding, Drop, Fixed, Join, Piece, Rule, either
from vitzoo.spec import Preprocessing, Resample, Shape, ViTSpec
from vitzoo.spec.tensors import admits, native_shapes, spec_field

# Sizes, which every layout shows in its shapes or in the code that reads it.
SIZES = frozenset(
    {
        "img_size",
        "patch_size",
        "in_chans",
        "hidden_dim",
        "depth",
        "num_heads",
        "mlp_dim",
        "num_classes",
        "out_dim",
        "drop_path_rate",
        "drop_remainder",
    }
)
Implications = tuple[tuple[Mapping[str, Any], Mapping[str, tuple[Any, ...]]], ...]
ANY = None


@dataclass(frozen=True)
class Layout:
    """One way to store a ViT.

    `holds` names the spec fields besides the sizes that a reader of the layout can tell or takes for granted, with the
    values that it allows (ANY for all). A field that is not named must have its default, so that a new field of the
    spec is refused by every layout until somebody has looked.

    The model may be a part of a larger file, behind any prefix (see `placement`). `scopes` are what it is called in the
    program's own larger model, of which the first is written; a rule names a key outside of the scope with "../".
    `prefixes` may precede some keys and not others, and are not written. Nor are chunks: a file may split the list of
    blocks called `chunks`, and a block keeps its number in its chunk.
    """

    name: str
    rules: tuple[Rule, ...]
    holds: Mapping[str, tuple[Any, ...] | None]
    origin: str
    variants: Mapping[str, tuple[Any, ...] | None] = field(default_factory=dict)
    """What its class takes as an argument that no file says: one that is read may have it, and none is written so."""
    scopes: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    suffix: str = ".safetensors"
    chunks: str = ""
    head: str = ""
    """The module that users replace to have other classes, where that is more than the linear classifier itself."""
    resample: Resample = Resample.TIMM
    """How the layout's own reader puts tables on another grid: the policy of weights that name none."""
    resample_if: tuple[Mapping[str, Any], Resample] | None = None
    """Another policy, for specs that have all of the first (a value, or a tuple of values)."""
    preprocessing: Preprocessing | None = None
    """How the layout's own code prepares pictures, where it does so for all of its weights."""
    square: bool = False
    """Whether its reader knows one length for the height and the width of pictures and patches."""
    implies: Implications = ()
    """Where the spec has all of the first (a value, or a tuple of values), it must have one of the second's values."""

    def policy(self, spec: ViTSpec) -> Resample:
        """How the layout's own reader puts the tables of such a model on another grid."""
        if self.resample_if is not None:
            condition, policy = self.resample_if
            if all(admits(allowed, spec_field(spec, name)) for name, allowed in condition.items()):
                return policy
        return self.resample

    def refusals(self, spec: ViTSpec) -> dict[str, str]:
        """The fields of `spec` that the layout cannot express, each with the reason."""
        reasons = {}
        for name, about in ViTSpec.model_fields.items():
            value, default = getattr(spec, name), about.default
            allowed = self.holds.get(name, (default,)) if name not in SIZES or name in self.holds else ANY
            if allowed is not ANY and value not in allowed:
                expected = " or ".join(map(str, allowed))
                reasons[name] = f"{name} is {value}, and layout '{self.name}' has {name} {expected}"
        for name in ("img_size", "patch_size") if self.square else ():
            rows, cols = getattr(spec, name)
            if rows != cols:
                reasons[name] = f"{name} is {rows}x{cols}, and layout '{self.name}' is for squares"
        for name, values in self._implied(spec).items():
            if name not in reasons and spec_field(spec, name) not in values:
                reasons[name] = (
                    f"{name} is {spec_field(spec, name)}, and layout '{self.name}' has {name} "
                    f"{' or '.join(map(str, values))} in such a model"
                )
        return reasons

    def _implied(self, spec: ViTSpec) -> dict[str, tuple[Any, ...]]:
        """What some of the spec's fields ask of others; where two rules ask, both have to be met."""
        asked: dict[str, tuple[Any, ...]] = {}
        for condition, then in self.implies:
            if all(spec_field(spec, name) in either(value) for name, value in condition.items()):
                for name, values in then.items():
                    asked[name] = tuple(v for v in values if name not in asked or v in asked[name])
        return asked

    def without(self, spec: ViTSpec, drop: Iterable[str]) -> ViTSpec:
        """The spec with the fields in `drop` set to what the layout can hold; a LayoutError for one that it holds."""
        refused, changes = self.refusals(spec), {}
        for name in drop:
            if name not in refused:
                cannot = f"what it cannot hold is {', '.join(refused)}" if refused else "it can hold all of this model"
                raise LayoutError(f"there is no need to drop '{name}' for layout '{self.name}': {cannot}; leave it in")
            if name not in ViTSpec.model_fields:
                raise LayoutError(f"'{name}' cannot be dropped by itself; change the model's spec: {refused[name]}")
            allowed = self.holds.get(name) or self._implied(spec).get(name) or (ViTSpec.model_fields[name].default,)
            changes[name] = allowed[0]
        return spec.replace(**changes)

    def bind(self, spec: ViTSpec, writing: bool = False) -> Binding:
        """The closed list of tensors for one architecture.

        Raises:
            LayoutError: the layout cannot hold the tensors or, if it is for writing, the meaning of the architecture.
        """
        if writing and (refused := self.refusals(spec)):
            raise LayoutError(
                f"{'; '.join(refused.values())}; leave it out on purpose with ",
                Argument("drop", list(refused)),
                ", or choose another layout",
            )
        return Binding(self.name, self.rules, spec, native_shapes(spec))

    @cached_property
    def reads(self) -> Reads:
        """The rules as seen from a file."""
        return Reads(self.rules)

    @cached_property
    def domains(self) -> Mapping[str, Values]:
        """The values that each field may have in a file of this layout."""
        found = dict(universe())
        for name, about in ViTSpec.model_fields.items():
            allowed = {**self.holds, **self.variants}.get(name, ANY if name in SIZES else (about.default,))
            found[name] = found[name] if allowed is ANY else frozenset(allowed)
        return found

    @cached_property
    def clauses(self) -> tuple[Clause, ...]:
        """What goes together in a file of this layout."""
        return tuple(clause for condition, then in self.implies for clause in implies(condition, then))

    @cached_property
    def anchors(self) -> tuple[str, ...]:
        """The names of the patch kernel, which tell where in a file the model stands."""
        return tuple(
            part.key
            for rule in self.rules
            if isinstance(rule, Join) and any(piece.key == "patch_embed.proj.weight" for piece in rule.native)
            for part in rule.stored
            if isinstance(part, Piece)
        )

    @cached_property
    def classifiers(self) -> dict[str, str]:
        """The modules that are a linear classifier, each with the one that users replace: "heads.head" and "heads"."""
        own = [
            part.key.removesuffix(".weight")
            for rule in self.rules
            if isinstance(rule, Join) and [piece.key for piece in rule.native] == ["head.fc.weight"]
            for part in rule.stored
            if isinstance(part, Piece) and part.pattern is None and part.key.endswith(".weight")
        ]
        return {name: self.head or name for name in own}

    @cached_property
    def _known(self) -> tuple[re.Pattern[str], frozenset[str]]:
        """What matches every name that a rule reads or drops, and those that are read outside of the scope."""
        read = [part.key for r in self.rules if isinstance(r, Join) for part in r.stored if isinstance(part, Piece)]
        read += [rule.key for rule in self.rules if isinstance(rule, Fixed)]
        dropped = [rule.key for rule in self.rules if isinstance(rule, Drop) and not rule.empty]
        patterns = (re.escape(key).replace(r"\{i\}", "[0-9]+").replace(r"\*", ".*") for key in [*read, *dropped])
        return re.compile("|".join(dict.fromkeys(patterns))), frozenset(k for k in read if k.startswith(OUTSIDE))

    def knows(self, name: str) -> bool:
        """Whether a rule reads or drops a tensor of this name."""
        return self._known[0].fullmatch(name) is not None

    def outside(self, name: str) -> bool:
        """Whether a rule reads a tensor of this name ("../") outside of the scope, or it stands in the classifier."""
        return name in self._known[1] or name.startswith(self._roots)

    @cached_property
    def _roots(self) -> tuple[str, ...]:
        return tuple(f"{root}." for root in self.classifiers.values() if root.startswith(OUTSIDE))

    def view(self, keys: Iterable[str], stored: Container[str] = (), prefix: str | None = None) -> dict[str, str]:
        """From the rules' names to the keys of a file; those outside of the prefix have "../" before their names.

        Raises:
            LayoutError: two keys that stand for one name, or several models to choose from.
        """
        shapes = keys if isinstance(keys, Mapping) else dict[str, Shape].fromkeys(keys, ())
        found = view(self, shapes, prefix)
        return {**found.names, **{f"{OUTSIDE}{key}": key for key in found.strange}}

    def written(self, names: Iterable[str]) -> dict[str, str]:
        """From the rules' names to the keys that are written: with the scope if something stands outside of it."""
        names = list(names)
        scope = self.scopes[0] if self.scopes and any(name.startswith(OUTSIDE) for name in names) else ""
        return {name: name.removeprefix(OUTSIDE) if name.startswith(OUTSIDE) else f"{scope}{name}" for name in names}
