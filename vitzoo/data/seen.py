"""What a model made of pictures before: whoever has that opens none of them."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Seen(NamedTuple):
    """The vectors of pictures, by number, and how they were made."""

    values: npt.NDArray[Any]
    """(pictures, ...), as they are kept"""
    digests: npt.NDArray[np.object_]
    """(pictures,) of each picture's bytes"""
    features: str
    """What they are of; one of `vitzoo.embedding.features.Features`."""
    blocks: int = 0
    """How many blocks' features stand one after the other; 0 for those of the model's end."""
    normalized: bool = False
    """Whether they are of length 1."""

    def take(self, chosen: npt.NDArray[np.int64]) -> "Seen":
        """Those of the given places, in that order."""
        return self._replace(values=self.values[chosen], digests=self.digests[chosen])
