"""Between `.npz` files and our model, through one layout and without the registry."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vitzoo import ViT
from vitzoo.files.read import open_tensors
from vitzoo.layouts.layout import Layout
from vitzoo.spec import ViTSpec
from vitzoo.spec.tensors import native_shapes


def read(path: Path, layout: Layout, spec: ViTSpec) -> ViT:
    """The model of a file, its keys seen as the layout sees them."""
    file, binding = open_tensors(path), layout.bind(spec)
    keys = layout.view(file.shapes, binding.stored)
    dropped = binding.check({name: file.shapes[key] for name, key in keys.items()}, str(path))
    tensors = {name: file.read(key) for name, key in keys.items() if name not in dropped}
    model = ViT(spec)
    model.load_state_dict({key: t.float() for key, t in binding.import_all(tensors).items()})
    return model.eval()


def write(path: Path, layout: Layout, model: ViT) -> dict[str, np.ndarray]:
    """Save the model in the layout; gives what the file holds."""
    binding = layout.bind(model.spec, writing=True)
    names = layout.written(binding.stored)
    arrays = {names[key]: t.detach().numpy() for key, t in binding.export_all(model.state_dict()).items()}
    np.savez(path, **arrays)
    with np.load(path) as file:
        return dict(file)


def native(spec: ViTSpec, seed: int) -> dict[str, Tensor]:
    """Random values for every tensor of a spec."""
    generator = torch.Generator().manual_seed(seed)
    return {key: torch.randn(shape, generator=generator) for key, shape in native_shapes(spec).items()}


def assert_same_arrays(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Equal names, shapes and bits."""
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype, key
        assert np.array_equal(found[key], value), key
