"""The Hugging Face hub's way of keeping a model, for those who are used to it.

A model knows nothing of files: each method asks the package for what it has under another name.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from vitzoo.errors import SpecError
from vitzoo.spec import is_file

if TYPE_CHECKING:
    from vitzoo.model.vit import ViT


class HubDialect(nn.Module):
    """`from_pretrained`, `save_pretrained` and `push_to_hub`; `ViT` is the rest."""

    license: str | None

    @classmethod
    def from_pretrained(cls, model: str | os.PathLike[str], *, revision: str | None = None, **options: Any) -> "ViT":
        """`vitzoo.create` of a local file or folder, of weights of the registry, or of a repository `org/name`.

        `revision` is a commit, branch or tag of a repository; `options` are those of `create`.

        Raises:
            SpecError: a revision of what is in no repository.
        """
        import vitzoo

        name = str(model).removeprefix("hf-hub:")
        if is_file(model) or "://" in name:
            if revision is not None:
                raise SpecError(
                    f"{model} is one file or folder, and revision is of a repository (org/name); leave it out"
                )
        elif "/" in name or revision is not None:
            model = f"hf-hub:{name}" + (f"@{revision}" if revision else "")
        return vitzoo.create(model, pretrained=True, **options)

    def save_pretrained(self, folder: str | os.PathLike[str], *, results: Any = None) -> Path:
        """Write `model.safetensors`, which is enough for `create`, into a folder, and a card if a licence is known.

        `results` are for the card; see `vitzoo.write_card`. Returns the folder.
        """
        import vitzoo

        path = vitzoo.save(self, Path(folder) / "model.safetensors")  # type: ignore[arg-type]
        if self.license is not None:
            vitzoo.write_card(self, path.parent, results=results)  # type: ignore[arg-type]
        return path.parent

    def push_to_hub(self, repo: str, **options: Any) -> str:
        """`vitzoo.push` of this model to `org/name`; returns the address of the commit."""
        import vitzoo

        return vitzoo.push(self, repo, **options)  # type: ignore[arg-type]
