"""Where weights came from: the line of text that a model keeps, read again."""

from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath

from vitzoo import registry
from vitzoo.spec import HubSource, WeightsEntry

TUNED, FROM, SHA256 = "fine-tuned from ", " from ", " sha256:"


@dataclass(frozen=True)
class Origin:
    """`[fine-tuned from ][name from ]address[ sha256:digest]`, or whatever else somebody wrote, as an address."""

    name: str | None = None
    """Weights or a model of the registry."""
    address: str | None = None
    """None if it is a path of the machine that read them, which is nobody else's business."""
    sha256: str | None = None
    tuned: bool = False

    @classmethod
    def of(cls, text: str | None) -> "Origin":
        text = text or ""
        tuned = text.startswith(TUNED)
        while text.startswith(TUNED):
            text = text.removeprefix(TUNED)
        text, _, sha256 = text.partition(SHA256)
        name, _, address = text.partition(FROM)
        if not registry.knows(name):
            name, address = "", text
        is_path = PurePosixPath(address).is_absolute() or PureWindowsPath(address).is_absolute()
        return cls(name or None, None if is_path else address or None, sha256 or None, tuned)

    def __str__(self) -> str:
        """The text again, without paths; empty where nothing is left."""
        place = FROM.join(part for part in (self.name, self.address) if part)
        return f"{TUNED * self.tuned}{place}{SHA256 + self.sha256 if self.sha256 else ''}" if place else ""

    @property
    def entry(self) -> WeightsEntry | None:
        """The weights of the registry."""
        found = None if self.name is None else registry.resolve(self.name)
        return None if found is None or found.tag is None else registry.weights_entry(found.name)

    @property
    def repo(self) -> str | None:
        """The repository of the hub that has the weights."""
        for prefix in ("hf://", "hf-hub:"):
            if self.address is not None and self.address.startswith(prefix):
                return "/".join(self.address.removeprefix(prefix).partition("@")[0].split("/")[:2])
        sources = self.entry.sources if self.entry is not None else ()
        return next((source.repo for source in sources if isinstance(source, HubSource)), None)
