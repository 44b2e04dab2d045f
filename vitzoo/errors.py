"""Every error that vitzoo raises on purpose; all of them are a :class:`VitzooError`.

Each message says what was expected, what was found and what to do next.
"""


class VitzooError(Exception):
    """Base of all errors that vitzoo raises on purpose."""


class SpecError(VitzooError, ValueError):
    """An architecture that cannot be built, or a value that a spec field does not take."""


class RegistryError(VitzooError, LookupError):
    """An unknown model, or a registry file that cannot be used."""


class LayoutError(VitzooError):
    """A checkpoint whose tensors do not match the layout that it should have."""


class WeightsError(VitzooError):
    """Weights that cannot be found, read, verified or loaded."""


class ResampleError(VitzooError, ValueError):
    """A table or a kernel that cannot be put on the requested grid."""


class LicenseError(VitzooError):
    """Weights whose licence is not among those that the caller allows."""


class PublishError(VitzooError):
    """A model that cannot be put on the hub."""


class ImageError(VitzooError):
    """A picture that cannot be read."""


class DataError(VitzooError):
    """Pictures that a model cannot be trained or evaluated on: none there, unreadable, or classes that do not fit."""


class TrainingError(VitzooError):
    """A run that cannot start, or that stopped before its end."""
