"""What a training program pickles beside its tensors, and what is put in its place: data that does nothing.

torch's restricted unpickler makes only what it is told of. A name here gets a class that holds values, or an empty
stand-in: no code of the program that wrote the file is imported or run.
"""

import argparse
import collections
import datetime
import pathlib
import types
from typing import Any

import numpy as np


class Unread:
    """Stands for an object whose content is of no use here."""

    def __new__(cls, *_: object) -> "Unread":
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


# numpy 2 renamed the module; a file has the name of its own time.
_MULTIARRAY = getattr(np, "_core", None) or np.core
_SCALARS = tuple({type(np.dtype(code)) for code in "?bBhHiIlLqQefdgFDG"})
_ARRAYS: tuple[Any, ...] = (
    np.dtype,
    *_SCALARS,
    *(
        (getattr(_MULTIARRAY.multiarray, name), f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for name in ("scalar", "_reconstruct")
    ),
    np.ndarray,
)
# A path of either system is read on both, and without a look at the disk.
_PATHS = tuple(
    (getattr(pathlib, f"Pure{name}"), f"{module}.{given}")
    for module in ("pathlib", "pathlib._local")  # the second from Python 3.13 on
    for name in ("PosixPath", "WindowsPath")
    for given in (name, f"Pure{name}")
)
_UNREAD = (
    "typing.Any",
    *(f"omegaconf.{name}" for name in ("dictconfig.DictConfig", "listconfig.ListConfig")),
    *(f"omegaconf.base.{name}" for name in ("ContainerMetadata", "Metadata")),
    *(f"omegaconf.nodes.{name}Node" for name in ("Any", "Boolean", "Float", "Integer", "Path", "String")),
    "mmengine.logging.history_buffer.HistoryBuffer",
    "mmengine.config.config.ConfigDict",
)
# Dictionaries by another name; the unpickler fills nothing else.
_DICTIONARIES = (
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "easydict.EasyDict",
)

HARMLESS: list[Any] = [
    argparse.Namespace,
    types.SimpleNamespace,
    collections.defaultdict,
    datetime.date,
    datetime.datetime,
    datetime.timedelta,
    datetime.timezone,
    *_ARRAYS,
    *_PATHS,
    *((Unread, name) for name in _UNREAD),
    *((dict, name) for name in _DICTIONARIES),
]
"""As `torch.serialization.safe_globals` takes them: classes, or pairs of a class and the name that it stands for."""
