"""What an exported file says of itself beside the model: how it was written, and how it was verified."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from vitzoo.spec.base import Frozen, Size

KEY = "vitzoo_export"
"""Of the metadata of an exported file; the model stands beside it under the key of native files."""


class Sizes(StrEnum):
    """What a graph leaves open."""

    ANY = "any"  # pictures a batch, their height and their width
    BATCH = "batch"  # pictures a batch
    FIXED = "fixed"  # nothing: one picture of the model's own size at a time


class Precision(StrEnum):
    """The numbers that a graph computes with; what goes in and comes out is float32."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"  # weights and what they are multiplied with
    INT8_WEIGHTS = "int8_weights"  # weights alone


class Demand(NamedTuple):
    """What a precision is held to, and what a processor needs for it."""

    tolerance: float
    """Largest difference from the model itself, as a share of the largest value of an output."""
    instructions: frozenset[str] = frozenset()
    """Without one of these a processor computes it slower than float32; as Linux names them."""


DEMANDS: Mapping[Precision, Demand] = {
    Precision.FP32: Demand(1e-4),
    Precision.FP16: Demand(2e-2, frozenset({"avx512_fp16", "amx_fp16", "asimdhp"})),
    Precision.BF16: Demand(1e-1, frozenset({"avx512_bf16", "amx_bf16", "bf16"})),
    Precision.INT8: Demand(5e-1, frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})),
    Precision.INT8_WEIGHTS: Demand(1e-1),
}


class Compared(Frozen):
    """The largest difference of one output at one size, as a share of its largest value."""

    batch: int
    size: Size
    output: str
    difference: float


class Record(Frozen):
    """How a graph was written and verified."""

    engine: str
    precision: Precision
    sizes: Sizes
    outputs: tuple[str, ...]
    """Their names, in order; the first is what the model gives when it is called."""
    weights: str
    """The sha256 of the tensors of the model that was exported."""
    tolerance: float
    verified: tuple[Compared, ...] = ()
    """What the proof compared; none of a file that nobody verified."""
    calibration: str | None = None
    """The pictures that int8 was calibrated on, in words."""
    held_out: int = 0
    """Pictures beside those, on which the agreement was counted."""
    agreement: float | None = None
    """The share of them whose largest output is that of the model itself."""
    time: float | None = None
    """Of one run as a share of fp32's, where the file was written."""
    files: Mapping[str, str] = {}
    """The sha256 of each file that belongs to this one, by its name."""
    versions: Mapping[str, str] = {}

    @property
    def difference(self) -> float:
        """The largest of all."""
        return max((row.difference for row in self.verified), default=0.0)

    def __str__(self) -> str:
        sizes = dict.fromkeys(f"{row.batch}x{row.size[0]}x{row.size[1]}" for row in self.verified)
        said = (
            f"{self.engine}, {self.precision}, sizes {self.sizes}, outputs {', '.join(self.outputs)}; verified at "
            f"{', '.join(sizes)}: largest difference {self.difference:.1e} of {self.tolerance:g}"
        )
        if self.calibration is not None:
            said += f"; calibrated on {self.calibration}"
        if self.agreement is not None:
            said += f"; the largest output is the model's for {self.agreement:.1%} of {self.held_out} others"
        return said if self.time is None else f"{said}; {self.time:.2f} of fp32's time where it was written"
