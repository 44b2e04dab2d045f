"""A model as a graph of another engine, and what the graph gives for a picture."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram, export

from vitzoo import ViT

Runner = Callable[[Tensor], Tensor]
SIZES = ("fixed", "batch", "any")


def program(model: ViT, sizes: str) -> ExportedProgram:
    """The model's graph for pictures of one shape, of any number, or of any number and size."""
    spec = model.spec
    rows, cols = spec.patch_size
    open_axes: dict[str, dict[int, object]] = {"fixed": {}, "batch": {0: Dim("batch", min=1, max=64)}}
    if spec.drop_remainder:
        sides = {2: Dim("height", min=2 * rows, max=1024), 3: Dim("width", min=2 * cols, max=1024)}
    else:
        sides = {2: rows * Dim("rows", min=2, max=128), 3: cols * Dim("columns", min=2, max=128)}
    open_axes["any"] = open_axes["batch"] | sides
    # An example of another size than the model's own: where both are one, a graph takes the one for the other.
    size = (rows * 5, cols * 7) if sizes == "any" else spec.img_size
    example = torch.zeros(2, spec.in_chans, *size)
    return export(model, (example,), dynamic_shapes={"x": open_axes[sizes]} if open_axes[sizes] else None)


def torch_export(model: ViT, sizes: str) -> Runner:
    return program(model, sizes).module()


def _onnx_file(model: ViT, sizes: str, folder: str) -> str:
    path = str(Path(folder) / "model.onnx")
    torch.onnx.export(program(model, sizes), f=path, dynamo=True, external_data=False, verbose=False)
    return path


def onnxruntime(model: ViT, sizes: str) -> Runner:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    with tempfile.TemporaryDirectory() as folder:
        session = ort.InferenceSession(_onnx_file(model, sizes, folder), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])


def _compiled(graph: object) -> Runner:
    import openvino as ov

    compiled = ov.Core().compile_model(
        graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    )
    return lambda x: torch.from_numpy(np.array(compiled(x.numpy())[0]))


def openvino(model: ViT, sizes: str) -> Runner:
    import openvino as ov

    return _compiled(ov.convert_model(program(model, sizes)))


ENGINES: dict[str, Callable[[ViT, str], Runner]] = {
    "torch.export": torch_export,
    "ONNX Runtime": onnxruntime,
    "OpenVINO": openvino,
}
NEEDS = {"torch.export": (), "ONNX Runtime": ("onnxscript", "onnxruntime"), "OpenVINO": ("openvino",)}
"""The packages of each."""
