"""What the user says about a data set beyond where it is."""

from typing import NamedTuple

FOLDER, NO_GROUPS = "folder", "none"
"""Values of `group_by` for pictures in folders within folders."""


class Columns(NamedTuple):
    """Which columns of a table say what; those that are not given are found by their contents where they can be."""

    label_column: tuple[str, ...] = ()
    """What a picture shows; of several columns, the value of each."""
    image_column: str | None = None
    """Paths of pictures, or their bytes."""
    split_column: str | None = None
    """train, val or test."""
    group_by: str | None = None
    """What pictures have in common that have to stay on one side of a split, such as the patient. For folders within
    folders: "folder" for the folder around a picture, "none" if that is the class."""
    weight_column: str | None = None
    """What the loss of a picture counts."""
    keep_labels: tuple[str, ...] = ()
    """Names of classes that would be taken for no label at all, such as NA and None."""


ANY = Columns()
