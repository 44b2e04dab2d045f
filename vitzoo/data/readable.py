"""Which pictures cannot be read: each is decoded once, as training would, and the answer is kept for the next time."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
from PIL import Image, ImageFile, features
from torch.utils.data import DataLoader, Dataset

from vitzoo.data.pictures import Pictures
from vitzoo.data.places import Skipped
from vitzoo.data.progress import tracked
from vitzoo.data.saying import Remark, say, summed
from vitzoo.errors import DataError, ImageError
from vitzoo.files.atomic import replacing
from vitzoo.images.load import formats as known_formats
from vitzoo.images.ranges import RGB, Form, Note
from vitzoo.small_files import read_small
from vitzoo.sources.cache import cache_folder, locked
from vitzoo.spec.base import Frozen
from vitzoo.version import __version__

BATCH = 64
LARGEST = 1 << 30  # bytes of the answer: a reason for each of some million pictures
LONGEST = 200  # characters of why it cannot be read


class Checked(NamedTuple):
    """The pictures that can be read, the others with the reason, and what was taken for granted of the first."""

    pictures: Pictures
    skipped: tuple[Skipped, ...]
    remarks: tuple[Remark, ...]


class Look(NamedTuple):
    """What became of one picture."""

    reason: str | None
    """Why it cannot be used, or None."""
    passing: bool
    """Whether that is of the disk and not of the picture, and may be otherwise the next time."""
    notes: tuple[Note, ...]


class Kept(Frozen):
    """The answer, as the cache keeps it."""

    reasons: Mapping[int, str]
    """Why a picture cannot be used, by its number."""
    remarks: tuple[Remark, ...]


class _Looks(Dataset[Look]):
    def __init__(self, pictures: Pictures, form: Form) -> None:
        self.pictures, self.form = pictures, form

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, i: int) -> Look:
        try:
            return Look(None, False, self.pictures.read(i, self.form).notes)
        except (ImageError, OSError) as error:
            cause = error if isinstance(error, OSError) else error.__context__
            return Look(str(error), isinstance(cause, OSError) and cause.errno is not None, ())


def readable(pictures: Pictures, form: Form = RGB, *, strict: bool = False, num_workers: int = 0) -> Checked:
    """Look at each picture once.

    The answer is kept in vitzoo's cache under a digest of the files' names, sizes and times, and of all that decides
    on them; not where the disk failed. Of several processes one does the work.

    Raises:
        DataError: `strict`, and there is one that cannot be read; or the cache cannot be written.
    """
    cache = _cache_file(pictures, form)
    with _claimed(cache):
        found = _kept(cache, len(pictures))
        if found is None:
            found, passing = _looked_at(pictures, form, num_workers)
            if not passing:
                with replacing(cache) as partial:
                    partial.write_text(found.model_dump_json(), encoding="utf-8")
    skipped = tuple(Skipped(pictures.names[i], reason) for i, reason in found.reasons.items())
    if strict and skipped:
        raise DataError(
            f"{pictures.where}: {len(skipped)} of {len(pictures)} pictures cannot be read, the first is "
            f"{skipped[0].where}: {skipped[0].reason}"
        )
    kept = np.setdiff1d(np.arange(len(pictures)), np.fromiter(found.reasons, np.int64, len(found.reasons)))
    return Checked(pictures.take(kept), skipped, found.remarks)


def _kept(cache: Path, count: int) -> Kept | None:
    """The answer of an earlier time; None if there is none. A damaged one is said to be, and is no answer."""
    try:
        found = Kept.model_validate_json(read_small(cache, LARGEST))
        if all(0 <= i < count for i in found.reasons):
            return found
        why = f"it has other pictures than {count}"
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())[:LONGEST]
    say(f"{cache} is damaged, so the pictures are checked anew: {why}")
    return None


def _looked_at(pictures: Pictures, form: Form, num_workers: int) -> tuple[Kept, bool]:
    """The answer, and whether it may be another one the next time."""
    loader = DataLoader(_Looks(pictures, form), BATCH, num_workers=num_workers, collate_fn=list)
    looks = [look for batch in tracked(loader, "checking pictures") for look in batch]
    notes = ((pictures.names[i], note) for i, look in enumerate(looks) for note in look.notes)
    reasons = {i: look.reason for i, look in enumerate(looks) if look.reason is not None}
    return Kept(reasons=reasons, remarks=summed(notes)), any(look.passing for look in looks)


def _cache_file(pictures: Pictures, form: Form) -> Path:
    """By the digest of the files, which pictures of them, and what decides on them."""
    pillow = (PIL.__version__, ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS)
    parts = (known_formats(), *(features.version(part) for part in ("jpg", "libtiff", "webp", "avif", "jpg_2000")))
    key = (pictures.fingerprint, pictures.numbers.tobytes().hex(), tuple(form), pillow, parts, __version__)
    return cache_folder() / "checked" / f"{hashlib.sha256(repr(key).encode()).hexdigest()}.json"


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
