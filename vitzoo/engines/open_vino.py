"""OpenVINO: a .xml with its .bin."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from vitzoo.engines.engine import Engine, Opened, Run
from vitzoo.engines.graph import INPUT, Graph
from vitzoo.engines.onnx_runtime import quiet_nncf
from vitzoo.engines.record import KEY, Precision, Record
from vitzoo.extras import needs
from vitzoo.layouts.native import KEY as MODEL

PLACE = "metadata"
HINTS = {Precision.FP16: "f16", Precision.BF16: "bf16"}
"""What is computed in; all else in float32, which OpenVINO would lower by itself where a processor has bfloat16."""


class OpenVino(Engine):
    """OpenVINO's files."""

    name: ClassVar[str] = "openvino"
    suffix: ClassVar[str] = ".xml"
    extra: ClassVar[str] = "export"
    packages: ClassVar[tuple[str, ...]] = ("torch", "onnx", "openvino")

    def recognises(self, path: Path, head: bytes) -> bool:
        return head.startswith(b"<?xml") and b"<net" in head

    def make(self, graph: Graph, precision: Precision, calibration: Sequence[Tensor]) -> Any:
        with needs(self.extra):
            import openvino
        whole = openvino.convert_model(graph.program)
        (given,) = (node.meta["val"].shape for node in graph.program.graph.nodes if node.name == INPUT)
        whole.reshape([-1 if isinstance(side, torch.SymInt) else side for side in given])
        whole.inputs[0].get_tensor().set_names({INPUT})
        for name, output in zip(graph.outputs, whole.outputs, strict=True):
            output.get_tensor().set_names({name})
        made = _quantised(whole, precision, calibration)
        if made is not whole:
            return made
        with tempfile.TemporaryDirectory() as folder:
            openvino.save_model(whole, Path(folder) / "graph.xml", compress_to_fp16=precision is Precision.FP16)
            # Read whole: the folder is gone before the model is written.
            return openvino.Core().read_model(
                *((Path(folder) / f"graph.{kind}").read_bytes() for kind in ("xml", "bin"))
            )

    def save(self, made: Any, path: Path, metadata: Mapping[str, str]) -> None:
        import openvino

        for key, text in metadata.items():
            made.set_rt_info(text, [PLACE, key])
        openvino.save_model(made, path, compress_to_fp16=False)

    def open(self, path: Path) -> Opened:
        with needs(self.extra):
            import openvino
        core = openvino.Core()
        model = core.read_model(path)
        known = [key for key in (MODEL, KEY) if model.has_rt_info([PLACE, key])]

        def start(record: Record) -> Run:
            how = {
                "INFERENCE_PRECISION_HINT": HINTS.get(record.precision, "f32"),
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            }
            compiled = core.compile_model(model, "CPU", how)

            def run(x: Tensor) -> Sequence[Tensor]:
                found = compiled({INPUT: x.numpy()})
                return [torch.from_numpy(found[name].copy()) for name in record.outputs]

            return run

        return Opened({key: str(model.get_rt_info([PLACE, key]).value) for key in known}, start)


def _quantised(model: Any, precision: Precision, calibration: Sequence[Tensor]) -> Any:
    if precision is Precision.INT8:
        nncf = quiet_nncf()
        data = nncf.Dataset([one.numpy() for one in calibration])
        return nncf.quantize(model, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(calibration))
    if precision is Precision.INT8_WEIGHTS:
        return quiet_nncf().compress_weights(model)
    return model
