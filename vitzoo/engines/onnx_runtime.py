"""ONNX: written by torch's exporter, run by ONNX Runtime. OpenVINO, TensorRT and CoreML read the same files."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from vitzoo.engines.engine import Engine, Opened, Run
from vitzoo.engines.graph import INPUT, Graph
from vitzoo.engines.record import Precision, Record
from vitzoo.extras import needs

LARGEST = 1_900_000_000
"""Bytes of tensors in one file; protobuf ends at 2 GB, and more stand in a file beside it."""
DATA = ".data"
FIELDS = frozenset({0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72})
"""The tags that may follow `ir_version` in an ONNX file."""
FP32_OPERATORS = ("LayerNormalization", "Softmax", "ReduceMean", "Pow", "Sqrt", "Reciprocal", "Range", "Sin", "Cos")
"""What stays in float32 in fp16: norms, softmax, and the positions that are computed from the size."""


class OnnxRuntime(Engine):
    """ONNX files."""

    name: ClassVar[str] = "onnx"
    suffix: ClassVar[str] = ".onnx"
    extra: ClassVar[str] = "export"
    packages: ClassVar[tuple[str, ...]] = ("torch", "onnx", "onnxscript", "onnxruntime")
    lacks: ClassVar[Mapping[Precision, str]] = {
        Precision.BF16: "ONNX Runtime has no bfloat16 for processors; export to .xml (OpenVINO) or .pt2 instead",
    }

    def recognises(self, path: Path, head: bytes) -> bool:
        """`ir_version`, a small number, and then another field of an ONNX model."""
        return len(head) > 8 and head[0] == 0x08 and head[1] < 0x40 and head[2] in FIELDS and head[8] != ord("{")

    def make(self, graph: Graph, precision: Precision, calibration: Sequence[Tensor]) -> Any:
        with needs(self.extra):
            import onnx_ir
            import onnxscript as onnxscript  # which torch imports late, and says less of
        made: Any = torch.onnx.export(
            graph.program, dynamo=True, verbose=False, input_names=[INPUT], output_names=list(graph.outputs)
        )
        if precision is Precision.FP32:
            return made.model
        changed = CHANGES[precision](onnx_ir.to_proto(made.model), calibration)
        return onnx_ir.from_proto(changed)

    def save(self, made: Any, path: Path, metadata: Mapping[str, str]) -> None:
        import onnx_ir

        made.metadata_props.update(metadata)
        size = sum(one.const_value.nbytes for one in made.graph.initializers.values() if one.const_value is not None)
        onnx_ir.save(made, path, external_data=f"{path.name}{DATA}" if size > LARGEST else None)

    def open(self, path: Path) -> Opened:
        with needs(self.extra):
            import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4
        # Threads that spin after a run slow down whatever comes next: the loading of pictures, other models.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])

        def start(record: Record) -> Run:
            def run(x: Tensor) -> Sequence[Tensor]:
                return [torch.from_numpy(y) for y in session.run(list(record.outputs), {INPUT: x.numpy()})]

            return run

        return Opened(session.get_modelmeta().custom_metadata_map, start)


def _half(model: Any, calibration: Sequence[Tensor]) -> Any:
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    blocked = [*DEFAULT_OP_BLOCK_LIST, *FP32_OPERATORS]
    return convert_float_to_float16(model, keep_io_types=True, op_block_list=blocked)


def _int8(model: Any, calibration: Sequence[Tensor]) -> Any:
    nncf = quiet_nncf()
    data = nncf.Dataset([one.numpy() for one in calibration], lambda x: {INPUT: x})
    return nncf.quantize(model, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(calibration))


def _int8_weights(model: Any, calibration: Sequence[Tensor]) -> Any:
    nncf = quiet_nncf()
    # ONNX Runtime takes no scale of four axes, which the kernel of the patches would get.
    return nncf.compress_weights(model, ignored_scope=nncf.IgnoredScope(types=["Conv"], validate=False))


def quiet_nncf() -> Any:
    """NNCF, which else prints tables."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # which misses CUDA when NNCF imports it
    with needs("export"):
        import nncf
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf


CHANGES = {Precision.FP16: _half, Precision.INT8: _int8, Precision.INT8_WEIGHTS: _int8_weights}
