"""The sha256 of files."""

import hashlib
from pathlib import Path


def hash_file(path: Path) -> str:
    """The sha256 of a file, read now."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
