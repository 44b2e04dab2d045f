"""Options that several commands share, and how their text is read."""

import json
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, cast

import typer

from vitzoo.cli.tables import Printed
from vitzoo.errors import SpecError
from vitzoo.small_files import read_small_text

if TYPE_CHECKING:
    import torch


def models(incomplete: str) -> list[str]:
    """Names of the registry that begin so; a model's weights once its name is whole."""
    from vitzoo import registry

    names = [*registry.list_models(), *(registry.list_pretrained() if "." in incomplete else ())]
    return [name for name in names if name.startswith(incomplete)]


def layouts(incomplete: str) -> list[str]:
    from vitzoo.layouts.tables import GROUPS, LAYOUTS

    return [name for name in dict.fromkeys([*GROUPS, *LAYOUTS]) if name.startswith(incomplete)]


def _recipes(incomplete: str) -> list[str]:
    from vitzoo.registry.recipes import list_recipes

    return [name for name in list_recipes() if name.startswith(incomplete)]


ANY_MODEL = "a name, an alias, hf-hub:org/repo, an address, or a checkpoint file or folder"
MANY = "models, weights, hf-hub:org/repo or addresses"

Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="a field of the spec, e.g. num_heads=6; may be repeated"),
]
Like = Annotated[
    str | None,
    typer.Option("--like", help="a model of the registry whose architecture the checkpoint has", autocompletion=models),
]
Wrapper = Annotated[
    str | None,
    typer.Option("--wrapper", help="the entry of a training checkpoint that holds the weights, e.g. state_dict_ema"),
]
Prefix = Annotated[
    str | None, typer.Option("--prefix", help="what stands before the names of the model's tensors, e.g. student.")
]
Drop = Annotated[
    list[str] | None, typer.Option("--drop", help="a tensor to leave out, * for any text; may be repeated")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text")]
Layout = Annotated[
    str | None,
    typer.Option("--layout", help="the checkpoint's layout; found out if not given", autocompletion=layouts),
]
ModelArgument = Annotated[str, typer.Argument(help=ANY_MODEL, autocompletion=models)]
ModelOption = Annotated[str, typer.Option("--model", "-m", help=ANY_MODEL, autocompletion=models)]
Names = Annotated[list[str] | None, typer.Argument(help=f"{MANY}; all if none", autocompletion=models)]
RecipeOption = Annotated[
    str, typer.Option("--recipe", "-r", help="a name (`vitzoo recipes`) or a .yaml file", autocompletion=_recipes)
]
RecipeArgument = Annotated[
    str | None,
    typer.Argument(help="show all fields of this one, as a file to start from", autocompletion=_recipes),
]
ImgSize = Annotated[
    str | None, typer.Option("--img-size", metavar="N or HxW", help="pixels; the weights' own size if not given")
]
Labels = Annotated[Path | None, typer.Option("--labels", help="a text file with one class name a line")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="float32, float16, bfloat16; as in the source if not given")]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, mps, or auto: the fastest there is")]
NumWorkers = Annotated[int, typer.Option("--num-workers", min=0, help="processes that load pictures")]
NumWorkersOrNone = Annotated[
    int | None,
    typer.Option("--num-workers", min=0, help="processes that load pictures; one a core, eight at most, if not given"),
]
Compile = Annotated[bool, typer.Option("--compile", help="torch.compile: slow to begin with, then faster")]
StrictData = Annotated[bool, typer.Option("--strict-data", help="a picture that cannot be read ends it")]
Bootstrap = Annotated[int, typer.Option(min=0, help="draws for the confidence intervals; 0 for none")]
Seed = Annotated[int, typer.Option(min=0, help="of all that is drawn")]
Predictions = Annotated[
    Path | None, typer.Option(metavar="FILE", help="truth, prediction and probabilities a picture: .parquet or .csv")
]
DATA = "a folder of class folders, .tar, a table (.csv, .tsv, .jsonl, .parquet), hfds/NAME or wds/FOLDER"
LabelColumn = Annotated[
    list[str] | None,
    typer.Option("--label-column", help="of a table; found out if not given; several may be given"),
]
ImageColumn = Annotated[
    str | None,
    typer.Option("--image-column", help="of a table: paths or bytes, or a pattern such as images/{id}.jpg"),
]
SplitColumn = Annotated[str | None, typer.Option("--split-column", help="of a table: train, val or test")]
GroupBy = Annotated[
    str | None,
    typer.Option(
        "--group-by",
        help="a table's column whose pictures stay together; for CLASS/PATIENT/PICTURE: folder, or none if the inner "
        "folder is the class",
    ),
]
KeepLabel = Annotated[
    list[str] | None,
    typer.Option("--keep-label", help="of a table: a class that is called NA, None or the like; may be repeated"),
]
WeightColumn = Annotated[str | None, typer.Option("--weight-column", help="of a table: what a picture's loss counts")]
White = Annotated[
    float | None,
    typer.Option("--white", help="the value that is white in pictures of more than 8 bits; the model's if not given"),
]
Black = Annotated[float | None, typer.Option("--black", help="the value that is black in them")]


WrittenLayout = Annotated[  # `--to` and `--from` are what these two were called once
    str,
    typer.Option(
        "--layout",
        "--to",
        help="that is written: one by its name, or vitzoo, timm, huggingface, google, big_vision, torchvision",
        autocompletion=layouts,
    ),
]
SourceLayout = Annotated[
    str | None,
    typer.Option("--source-layout", "--from", help="of SOURCE; found out if not given", autocompletion=layouts),
]
DropField = Annotated[
    list[str] | None, typer.Option("--drop", help="a field that the layout cannot hold, or a tensor; may be repeated")
]

NOBODY_READS = 141
"""128 and the number of SIGPIPE, as shells have it."""
UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}


def fields(settings: Sequence[str] | None) -> dict[str, Any]:
    """`num_heads=6` -> {"num_heads": 6}; values are JSON, or else text."""
    found = {}
    for setting in settings or ():
        name, equals, text = setting.partition("=")
        if not equals or not name:
            raise SpecError(f"--set takes FIELD=VALUE, found '{setting}'")
        try:
            found[name] = json.loads(text)
        except (ValueError, RecursionError):  # or digits or brackets without an end
            found[name] = _listed(text)
    return found


def _listed(text: str) -> Any:
    """`[low,mid]`, which is what a shell leaves of `["low","mid"]` without quotes, as a list; all else as it is."""
    if not (text.startswith("[") and text.endswith("]")) or set(text[1:-1]) & set('[]{}"'):
        return text
    return [one.strip() for one in text[1:-1].split(",")]


def size(text: str | None) -> tuple[int, int] | None:
    """`224` or `224x336`, height first."""
    if text is None:
        return None
    match = re.fullmatch("([1-9][0-9]*)(?:x([1-9][0-9]*))?", text)
    if match is None:
        raise SpecError(f"a size is a number of pixels or HEIGHTxWIDTH, such as 224 or 224x336; found '{text}'")
    return int(match[1]), int(match[2] or match[1])


def options_of(command: Any, arguments: Sequence[str]) -> dict[str, str]:
    """The option of each argument of the command that is run, by the argument's name."""
    for word in arguments:
        command = getattr(command, "commands", {}).get(word, command)
    return {one.name: max(one.opts, key=len) for one in command.params if one.param_type_name == "option"}


def prepared(command: Any) -> Any:
    """A command, or a group of them, whose help shows no type for flags, whose results order no terminal about, and
    which ends well where nobody reads on."""
    for one in getattr(command, "commands", {}).values():
        prepared(one)
    command.get_params = _flags_without_type(command.get_params)
    if command.callback is not None:
        command.callback = _run_to_the_end(command.callback)
    return command


def _flags_without_type(params: Callable[[Any], list[Any]]) -> Callable[[Any], list[Any]]:
    def found(context: Any) -> list[Any]:
        for param in (all_of_them := params(context)):
            if getattr(param, "is_flag", False):
                param.display_type_rich = lambda *_, **__: None
        return all_of_them

    return found


def _run_to_the_end(callback: Any) -> Any:
    @wraps(callback)
    def run(*args: Any, **options: Any) -> Any:
        try:
            with redirect_stdout(cast(TextIO, Printed(sys.stdout))):
                found = callback(*args, **options)
            sys.stdout.flush()
        except BrokenPipeError:
            raise typer.Exit(NOBODY_READS) from None
        return found

    return run


def with_range(model: Any, white: float | None, black: float | None) -> None:
    """Let a model read pictures with these values as white and black."""
    given = {name: value for name, value in (("white", white), ("black", black)) if value is not None}
    if given:
        model.preprocessing = model.preprocessing.replace(**given)


def usable_device(name: str) -> "torch.device":
    """The device of that name, if this machine has it; "auto" is a GPU, or else the CPU."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SpecError(f"device '{name}' cannot be used: {str(error).splitlines()[0]}") from None
    return device


def class_names(path: Path) -> tuple[str, ...]:
    """The lines of a text file."""
    try:
        return tuple(read_small_text(path).splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"the labels in {path} cannot be read: {error}") from None


def size_in_bytes(text: str | None) -> int | None:
    """`2GB`, `500MB` or a number of bytes."""
    if text is None:
        return None
    number, unit = text.strip().upper(), 1
    for name, factor in UNITS.items():
        if number.endswith(name):
            number, unit = number.removesuffix(name), factor
    try:
        size = int(float(number) * unit)
    except ValueError:
        size = 0
    if size < 1:
        raise SpecError(f"a size is a number of bytes, or a number with {', '.join(UNITS)}; found '{text}'")
    return size
