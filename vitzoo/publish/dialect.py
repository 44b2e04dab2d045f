"""`ViT`: the network with the Hugging Face hub's way of keeping a model; and `create`, which builds it."""

import os
from collections.abc import Callable
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, cast

from typing_extensions import TypeIs

from vitzoo.checkpoints.create import build
from vitzoo.checkpoints.save import save
from vitzoo.engines.exported import Exported, exported
from vitzoo.model import TimmDialect
from vitzoo.publish.card import write_card
from vitzoo.publish.push import push
from vitzoo.registry.reference import at, parse
from vitzoo.spec import ViTSpec

P = ParamSpec("P")


class ViT(TimmDialect):
    """A Vision Transformer: `vitzoo.create` makes one. The network is `Backbone`, timm's methods are `TimmDialect`."""

    @classmethod
    def from_pretrained(cls, model: str | os.PathLike[str], *, revision: str | None = None, **options: Any) -> Self:
        """`vitzoo.create` of a local file or folder, of weights of the registry, or of a repository `org/name`.

        `revision` is a commit, branch or tag of a repository; `options` are those of `create`.

        Raises:
            SpecError: a revision of what is in no repository.
        """
        reference = parse(model)
        return build(cls, reference if revision is None else at(reference, revision), pretrained=True, **options)

    def save_pretrained(self, folder: str | os.PathLike[str], *, results: Any = None) -> Path:
        """Write `model.safetensors`, which is enough for `create`, into a folder, and a card if a licence is known.

        `results` are for the card; see `vitzoo.write_card`. Returns the folder.
        """
        path = save(self, Path(folder) / "model.safetensors")
        if self.license is not None:
            write_card(self, path.parent, results=results)
        return path.parent

    def push_to_hub(self, repo: str, **options: Any) -> str:
        """`vitzoo.push` of this model to `org/name`; returns the address of the commit."""
        return push(self, repo, **options)


def is_model(model: object) -> TypeIs[ViT]:
    """Whether it is a model already: a ViT, or an exported one, which answers the same calls or says why not."""
    return isinstance(model, ViT | Exported)


def _of_vit(builder: Callable[Concatenate[type[ViT], P], ViT]) -> Callable[P, ViT]:
    """`builder` for this class, with a signature of its own."""

    @wraps(builder)
    def create(*args: P.args, **options: P.kwargs) -> ViT:
        given = shape.bind(*args, **options).arguments
        model, changes = given.pop("model"), given.pop("changes", {})
        # An exported file is no checkpoint: it is the model already.
        graph = None if isinstance(model, ViTSpec) else exported(parse(model), {**given, **changes})
        return builder(ViT, *args, **options) if graph is None else cast(ViT, graph)

    _, *parameters = signature(builder).parameters.values()
    shape = signature(builder).replace(parameters=parameters, return_annotation=ViT)
    create.__name__ = create.__qualname__ = "create"
    create.__doc__ = str(builder.__doc__).replace(
        " of the class `kind`, in evaluation mode; `vitzoo.create` is this with `ViT`", " in evaluation mode"
    )
    create.__signature__ = shape  # type: ignore[attr-defined]
    return create


create = _of_vit(build)
