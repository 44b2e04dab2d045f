"""What a training program pickles beside its tensors, and what is put in its place: data that does nothing.

The names here are all that a pickle may ask for. Each gets a class or a function of this file, which holds values or
drops them: no code of the program that wrote the file is imported or run, and nothing is made that is larger than what
the file itself holds.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

MOST_AXES = 16
LARGEST_KEY = 1 << 60  # from 2**61 on numbers of Python share their hashes, and a mapping of such keys is never done


class Unread:
    """Stands for an object whose content is of no use here."""

    def __new__(cls, *_: object, **__: object) -> "Unread":
        return super().__new__(cls)


class Dictionary(dict[Any, Any]):
    """A mapping by another name, with nothing but its entries."""

    def __init__(self, *arguments: object) -> None:
        for argument in arguments:
            pairs = argument.items() if isinstance(argument, dict) else argument
            for key, value in pairs if isinstance(pairs, Iterable) else ():
                self[checked_key(key)] = value


def checked_key(key: object) -> object:
    """A key whose hash is soon known and its own; a ValueError for others."""
    inside = key if isinstance(key, tuple) else (key,)
    if any(isinstance(one, tuple) or (isinstance(one, int) and abs(one) >= LARGEST_KEY) for one in inside):
        raise ValueError("it has a key that no program would write: a tuple of tuples, or a number beyond 2**60")
    return key


class Stored:
    """Bytes of the file, and what they are."""

    def __init__(self, memory: torch.UntypedStorage, dtype: torch.dtype) -> None:
        self.memory, self.dtype = memory, dtype


def _tensor(stored: Stored, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: object) -> Tensor:
    """A view of stored bytes; of `rest`, a type of its own is used."""
    dtype = next((one for one in rest if isinstance(one, torch.dtype)), stored.dtype)
    if len(size) != len(stride) or len(size) > MOST_AXES or min(offset, *size, *stride, 0) < 0:
        raise ValueError("it has a tensor of impossible sizes")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and (last + 1) * dtype.itemsize > stored.memory.nbytes():
        raise ValueError(f"it has a tensor of {list(size)} in {stored.memory.nbytes():,} bytes")
    return torch.empty(0, dtype=dtype).set_(stored.memory, offset, size, stride)


def _first(first: object, *_: object) -> object:
    return first


def _called(make: Callable[..., object], _: object, arguments: tuple[object, ...], *__: object) -> object:
    return make(*arguments)


def _not_plain(*_: object) -> Tensor:
    """Stands for a tensor that is more than an array of its bytes, or less."""
    return torch.empty(0, device="meta")


DTYPES = {name: found for name, found in vars(torch).items() if isinstance(found, torch.dtype)}
_STORED_AS = {
    "BFloat16": torch.bfloat16,
    "Bool": torch.bool,
    "Byte": torch.uint8,
    "Char": torch.int8,
    "ComplexDouble": torch.complex128,
    "ComplexFloat": torch.complex64,
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "Int": torch.int32,
    "Long": torch.int64,
    "QInt32": torch.qint32,
    "QInt8": torch.qint8,
    "QUInt2x4": torch.quint2x4,
    "QUInt4x2": torch.quint4x2,
    "QUInt8": torch.quint8,
    "Short": torch.int16,
}
_TENSORS = {
    **{f"torch._utils._rebuild_tensor{version}": _tensor for version in ("", "_v2", "_v3")},
    **{f"torch._utils._rebuild_parameter{more}": _first for more in ("", "_with_state")},
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _first,
    "torch._tensor._rebuild_from_type_v2": _called,
    **{
        f"torch._utils._rebuild_{kind}": _not_plain
        for kind in (
            "device_tensor_from_numpy",
            "meta_tensor_no_storage",
            "nested_tensor",
            "qtensor",
            "sparse_tensor",
            "wrapper_subclass",
        )
    },
}
_STORAGES = {
    **{f"{m}.{name}Storage": dtype for m in ("torch", "torch.cuda") for name, dtype in _STORED_AS.items()},
    **{f"torch.storage.{name}Storage": torch.uint8 for name in ("Untyped", "Typed", "_Untyped")},
    "torch._UntypedStorage": torch.uint8,
}
_DICTIONARIES = (
    *(f"collections.{name}" for name in ("OrderedDict", "Counter", "defaultdict")),
    "builtins.dict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "easydict.EasyDict",
)
_UNREAD = (
    *(
        f"builtins.{name}"
        for name in ("bool", "bytearray", "complex", "float", "frozenset", "int", "list", "set", "str")
    ),
    "_codecs.encode",
    "torch.Tensor",
    "torch.device",
    "torch.serialization._get_layout",
    *(f"torch.nn.parameter.{name}" for name in ("Parameter", "Buffer")),
    *(
        f"torch.{way}_{kind}"
        for way in ("per_channel", "per_tensor")
        for kind in ("affine", "symmetric", "affine_float_qparams")
    ),
    "argparse.Namespace",
    "types.SimpleNamespace",
    *(f"datetime.{name}" for name in ("date", "datetime", "timedelta", "timezone")),
    *(f"numpy.{name}" for name in ("dtype", "ndarray")),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *(
        f"{module}.{pure}{kind}Path"
        for module in ("pathlib", "pathlib._local")  # the second from Python 3.13 on
        for pure in ("", "Pure")
        for kind in ("Posix", "Windows")
    ),
    "typing.Any",
    *(f"omegaconf.{name}" for name in ("dictconfig.DictConfig", "listconfig.ListConfig")),
    *(f"omegaconf.base.{name}" for name in ("ContainerMetadata", "Metadata")),
    *(f"omegaconf.nodes.{name}Node" for name in ("Any", "Boolean", "Float", "Integer", "Path", "String")),
    "mmengine.logging.history_buffer.HistoryBuffer",
    "mmengine.config.config.ConfigDict",
)

HARMLESS: dict[str, Any] = {
    **_TENSORS,
    **_STORAGES,
    **{f"torch.{name}": dtype for name, dtype in DTYPES.items()},
    "torch.Size": partial(_first),
    **dict.fromkeys(_DICTIONARIES, Dictionary),
    **dict.fromkeys(_UNREAD, Unread),
}
"""From all that a pickle may ask for to what it gets."""
