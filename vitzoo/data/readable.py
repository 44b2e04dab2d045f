"""Which pictures cannot be read: each is decoded once, as training would, and the answer is kept for the next time."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import PIL
from torch.utils.data import DataLoader, Dataset

from vitzoo.data.pictures import Pictures, Skipped
from vitzoo.data.progress import tracked
from vitzoo.errors import DataError, ImageError
from vitzoo.files.atomic import replacing
from vitzoo.images.ranges import RGB, Form
from vitzoo.sources.cache import cache_folder, locked

BATCH = 64


class _Reasons(Dataset[str | None]):
    """Why a picture cannot be used, or None."""

    def __init__(self, pictures: Pictures, form: Form) -> None:
        self.pictures, self.form = pictures, form

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, i: int) -> str | None:
        try:
            self.pictures.load(i, self.form)
        except (ImageError, OSError) as error:
            return str(error)
        return None


def readable(
    pictures: Pictures, form: Form = RGB, *, strict: bool = False, num_workers: int = 0
) -> tuple[Pictures, tuple[Skipped, ...]]:
    """The pictures that can be read, and the others with the reason.

    The answer is kept in vitzoo's cache under a digest of the files' names, sizes and times. Of several processes one
    does the work.

    Raises:
        DataError: `strict`, and there is one that cannot be read; or the cache cannot be written.
    """
    cache = _cache_file(pictures, form)
    with _claimed(cache):
        if not cache.exists():
            found = dict(_unreadable(pictures, form, num_workers))
            with replacing(cache) as partial:
                partial.write_text(json.dumps(found), encoding="utf-8")
    reasons = {int(i): reason for i, reason in json.loads(cache.read_text(encoding="utf-8")).items()}
    skipped = tuple(Skipped(pictures.names[i], reason) for i, reason in reasons.items())
    if strict and skipped:
        raise DataError(
            f"{pictures.where}: {len(skipped)} of {len(pictures)} pictures cannot be read, the first is "
            f"{skipped[0].where}: {skipped[0].reason}"
        )
    kept = np.setdiff1d(np.arange(len(pictures)), np.fromiter(reasons, dtype=np.int64, count=len(reasons)))
    return pictures.take(kept), skipped


def _unreadable(pictures: Pictures, form: Form, num_workers: int) -> Iterator[tuple[int, str]]:
    loader = DataLoader(_Reasons(pictures, form), BATCH, num_workers=num_workers, collate_fn=list)
    for number, batch in enumerate(tracked(loader, "checking pictures")):
        yield from ((number * BATCH + i, reason) for i, reason in enumerate(batch) if reason is not None)


def _cache_file(pictures: Pictures, form: Form) -> Path:
    """By the digest of the files, which pictures of them, and what decides on them."""
    text = f"{pictures.fingerprint} {pictures.numbers.tobytes().hex()} {form} {PIL.__version__}"
    return cache_folder() / "checked" / f"{hashlib.sha256(text.encode()).hexdigest()}.json"


@contextmanager
def _claimed(cache: Path) -> Iterator[None]:
    """While another process writes the file, wait."""
    with ExitStack() as stack:
        try:
            cache.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(str(cache)))
        except OSError as error:
            reason = f"{cache.parent} cannot be written: {error.strerror}; set VITZOO_CACHE to a folder"
            raise DataError(reason) from None
        yield
