"""What an extra of the package installs, asked for where it is used; and what to install, said in one place."""

from collections.abc import Iterator
from contextlib import contextmanager

from vitzoo.errors import VitzooError

ROOMS = {"embedding": "embed", "exporting": "export", "train": "train"}
"""The extra that a room needs."""

PACKAGES = {
    "embed": ("pyarrow>=17",),
    "export": ("nncf>=2.17", "onnx>=1.19", "onnxruntime>=1.22", "onnxscript>=0.5", "openvino>=2025.2"),
    "train": ("lightning>=2.6,<3", "matplotlib>=3.9", "peft>=0.17", "tensorboard>=2.18", "torchmetrics>=1.6,<2"),
    "index": ("lancedb>=0.40",),
    "map": ("umap-learn>=0.5.7",),
    "datasets": ("datasets>=3,<6",),
    "mlflow": ("alembic>=1", "mlflow-skinny>=3,<4", "sqlalchemy>=2"),
    "parquet": ("pyarrow>=17",),
    "timm": ("timm>=1.0.31,<2",),
    "torchvision": ("torchvision",),
    "transformers": ("transformers>=5,<6",),
    "wandb": ("wandb>=0.18",),
    "webdataset": ("webdataset>=1",),
}
"""What to install for an extra, or for a library that is used where it is there."""


class MissingExtra(VitzooError):
    """A package that is not always installed is needed, and is not there."""


@contextmanager
def extra_for(room: str) -> Iterator[None]:
    """Around the import of a room; a :class:`MissingExtra` says what to install if a package of others is missing."""
    if room not in ROOMS:
        yield
        return
    with needs(ROOMS[room]):
        yield


@contextmanager
def needs(what: str) -> Iterator[None]:
    """Around the import of what `PACKAGES` lists under that name.

    Raises:
        MissingExtra: one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        if missing == "vitzoo":
            raise
        raise MissingExtra(f"{missing} is not installed, which this needs: {advice(what)}") from error


def advice(what: str) -> str:
    """The command that installs what `PACKAGES` lists, however this package was installed itself."""
    return "pip install " + " ".join(f'"{package}"' for package in PACKAGES[what])
