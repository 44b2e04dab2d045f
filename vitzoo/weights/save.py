"""From a model to a file."""

import json
from pathlib import Path

from vitzoo.layouts.tables import bind
from vitzoo.model import ViT
from vitzoo.weights.files import write_safetensors


def describe(model: ViT) -> dict[str, object]:
    """What a native file says about itself: enough to build the model again from the file alone."""
    return {
        "format": 1,
        "spec": model.spec.model_dump(mode="json"),
        "preprocessing": model.preprocessing.model_dump(mode="json"),
        "resample": model.resample.value,
        "labels": list(model.labels) if model.labels else None,
        "license": model.license,
        "origin": model.origin,
    }


def save(model: ViT, path: str | Path, layout: str = "vitzoo") -> Path:
    """Write the model's tensors as safetensors, named and shaped as `layout` does; returns the file's path.

    A native file ("vitzoo") describes itself in its metadata: `vitzoo.create(path)` needs nothing else. The file is
    written under a temporary name and renamed when it is whole.

    Raises:
        LayoutError: the layout cannot hold the architecture, or a value of it.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        path = path.with_name(f"{path.name}.safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = bind(layout, model.spec).export_all(model.state_dict())
    metadata = {"format": "pt"} | ({"vitzoo": json.dumps(describe(model))} if layout == "vitzoo" else {})
    write_safetensors(path, tensors, metadata)
    return path
