"""What configuration files of other libraries may hold: sizes, ranges, types and depth, checked before they are read.

Only what readers look at by name is described. Arguments of classes are checked where their rules are read, and by
`ViTSpec` in the end; of all else the depth and the size of numbers are bounded.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from vitzoo.errors import WeightsError, shown

DEEPEST = 20  # levels; those of transformers have five
LARGEST = 2**63  # of any number
MOST_SIDE = 100_000  # pixels, as of a spec
MOST_OUTPUTS = 10_000_000
LONGEST = 1_000  # characters of a name
MOST_SHOWN = 4


def _optional(check: Callable[[Any], bool], expected: str) -> AfterValidator:
    """A value that passes the check, or null, which says nothing."""

    def validate(value: Any) -> Any:
        if value is not None and not check(value):
            raise ValueError(f"expected {expected}")
        return value

    return AfterValidator(validate)


def _whole(value: Any, most: int = MOST_SIDE, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST


def _reals(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(map(_real, value))


def _sides(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(_whole(side, least=1) for side in value)


def _input(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(_whole(side, least=1) for side in value)


def _box(value: Any) -> bool:
    """A size of transformers' processors: one length, two, or lengths by name."""
    if isinstance(value, dict):
        return bool(value) and all(side is None or _whole(side, least=1) for side in value.values())
    return _whole(value, least=1) or _sides(value)


def _numbered(value: Any) -> bool:
    """Texts by number, each number once."""
    if not isinstance(value, dict) or not all(key.isascii() and key.isdigit() and len(key) < 9 for key in value):
        return False
    return len({int(key) for key in value}) == len(value) and all(isinstance(name, str) for name in value.values())


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


Text = Annotated[Any, _optional(_text, f"a text of at most {LONGEST} characters")]
Texts = Annotated[Any, _optional(lambda v: _texts(v) and len(v) > 0, "a list of texts")]
Flag = Annotated[Any, _optional(lambda v: isinstance(v, bool), "true or false")]
Number = Annotated[Any, _optional(_real, "a number")]
Numbers = Annotated[Any, _optional(lambda v: _real(v) or _reals(v), "a number, or a list of them")]
Count = Annotated[Any, _optional(lambda v: _whole(v, MOST_OUTPUTS), f"a whole number of at most {MOST_OUTPUTS:,}")]
Side = Annotated[Any, _optional(lambda v: _whole(v, least=1), f"a whole number from 1 to {MOST_SIDE:,}")]
Sides = Annotated[Any, _optional(lambda v: _whole(v, least=1) or _sides(v), f"one or two lengths up to {MOST_SIDE:,}")]
Box = Annotated[Any, _optional(_box, f"lengths up to {MOST_SIDE:,}, by name if there are several")]
Object = Annotated[Any, _optional(lambda v: isinstance(v, dict), "an object")]
Names = Annotated[Any, _optional(lambda v: _texts(v) or _numbered(v), "a list of texts, or texts by number")]
Numbered = Annotated[Any, _optional(_numbered, "texts by number, each number once")]
Input = Annotated[Any, _optional(_input, "channels, height and width")]


class Border(BaseModel):
    """A file; keys that no reader looks at by name may be there, too."""

    model_config = ConfigDict(extra="allow")

    @classmethod
    def checked(cls, data: Mapping[str, Any], where: Path | str) -> Mapping[str, Any]:
        """The data as they are, if they are what this says.

        Raises:
            WeightsError: they are not; with each wrong field, what was expected and what was found.
        """
        if (wrong := _unbounded(data)) is not None:
            raise WeightsError(f"{where}: {wrong}; mend the file or move it away")
        try:
            cls.model_validate(data)
        except ValidationError as error:
            lines = [_line(one) for one in error.errors()[:MOST_SHOWN]]
            raise WeightsError(f"{where}: {'; '.join(lines)}; mend it or move it away") from None
        return data


class TimmWeights(Border):
    """timm's description of weights."""

    input_size: Input = None
    mean: Numbers = None
    std: Numbers = None
    interpolation: Text = None
    crop_pct: Number = None
    crop_mode: Text = None
    fixed_input_size: Flag = None
    num_classes: Count = None
    label_names: Names = None


class TimmArguments(Border):
    """Arguments of a class of timm that say how pictures are prepared."""

    img_size: Sides = None
    dynamic_img_size: Flag = None


class Ours(Border):
    """What vitzoo adds for itself."""

    head: Text = None


class Timm(TimmWeights):
    """timm's config.json; what it says of the weights may stand at its top."""

    architecture: Text
    architectures: Texts = None
    model_args: TimmArguments | None = None
    pretrained_cfg: TimmWeights | None = None
    vitzoo: Ours | None = None


class HuggingFace(Border):
    """transformers' config.json."""

    model_type: Text
    architectures: Texts = None
    image_size: Sides = None
    vision_config: Object = None
    id2label: Numbered = None
    num_labels: Count = None
    projection_dim: Count = None


class Processor(Border):
    """transformers' preprocessor_config.json."""

    image_processor_type: Text = None
    feature_extractor_type: Text = None
    size: Box = None
    crop_size: Box = None
    resample: Count = None
    image_mean: Numbers = None
    image_std: Numbers = None
    rescale_factor: Number = None
    do_resize: Flag = None
    do_rescale: Flag = None
    do_normalize: Flag = None
    do_center_crop: Flag = None
    default_to_square: Flag = None
    patch_size: Side = None
    max_num_patches: Side = None


class OpenClipTower(Border):
    """open_clip's tower of pictures."""

    timm_model_name: Text = None
    timm_pool: Text = None
    act_kwargs: Object = None
    norm_kwargs: Object = None
    image_size: Sides = None


class OpenClipModel(Border):
    """open_clip's model."""

    embed_dim: Side = None
    quick_gelu: Flag = None
    vision_cfg: OpenClipTower | None = None


class OpenClip(Border):
    """open_clip_config.json."""

    model_cfg: OpenClipModel | None = None
    preprocess_cfg: Object = None


def _unbounded(data: Any) -> str | None:
    """What is deeper or larger than any configuration, in words."""
    level, depth = [data], 0
    while level:
        if depth > DEEPEST:
            return f"it has more than {DEEPEST} levels"
        wild = [one for one in level if isinstance(one, int | float) and not abs(one) <= LARGEST]
        if wild:
            return f"{shown(wild[0])} is no number of a configuration"
        below = [one for one in level if isinstance(one, dict | list)]
        level = [inner for one in below for inner in (one.values() if isinstance(one, dict) else one)]
        depth += 1
    return None


def _line(error: Any) -> str:
    field = ".".join(map(str, error["loc"]))
    if error["type"] == "missing":
        return f"{field} is missing"
    message = error["msg"].removeprefix("Value error, ")
    return f"{field}: {message}, found {shown(error['input'])}"
