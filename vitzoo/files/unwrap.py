"""The state dict inside what a training program saved: which entry is taken, and what is left."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor, strided

from vitzoo.errors import Argument, Part, WeightsError, joined
from vitzoo.files.tensor_file import some

# Of several entries the earliest is taken. Where a program keeps a running mean of the weights, its own loader takes
# the mean; where it trains one network to follow another, it evaluates the one that is followed.
WRAPPERS = (
    "state_dict_ema",  # timm/models/_helpers.py, load_state_dict(use_ema=True)
    "model_ema",  # the same; torchvision references/classification/train.py evaluates it, too
    "ema",  # facebookresearch/DiT download.py, find_model
    "state_dict",  # timm; Lightning; MMEngine, whose EMAHook puts the mean here, and the raw weights elsewhere
    "model",  # timm; MAE main_finetune.py, DeiT main.py, BEiT run_class_finetuning.py
    "teacher",  # DINO utils.py, load_pretrained_weights, of eval_knn.py --checkpoint_key
    "target_encoder",  # I-JEPA src/helper.py and MSN: the encoder that is evaluated
    "student",
    "encoder",
    "model_state_dict",  # PyTorch's tutorial on saving and loading
    "model_state",
    "net",
    "weights",
    "module",  # DeepSpeed; BEiT's model_key is 'model|module'
)
# What never holds weights, though tensors stand in it, by how the names begin.
NO_WEIGHTS = ("opt", "lr_sched", "sched", "scaler", "amp", "loss_scaler", "grad_scaler", "callbacks", "loops", "rng")
DEEPEST = 4
MOST_CHOICES = 6  # that an error names


def unwrapped(state: object, wrapper: str | None, path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The state dict inside a checkpoint, and notes on where it stood and what stood beside it.

    `wrapper` names the entry to take, "ema" or "model.encoder".

    Raises:
        WeightsError: there is none, or there are several and nothing says which.
    """
    notes: list[str] = []
    for _ in range(DEEPEST):
        if not isinstance(state, dict) or (wrapper is None and _all_tensors(state)):
            break
        name = _taken(state, wrapper, path)
        if name is None:
            break
        notes.append(f"tensors of '{name}'")
        inside = _entry(state, name)
        beside = [key for key in state if key != name and not name.startswith(f"{key}.")]
        if beside:
            notes.append(f"left aside: {some(beside)}")
        state, wrapper = inside, None
    if not isinstance(state, dict):
        raise WeightsError(
            f"{path} holds no state dict: expected names with tensors, found a {type(state).__name__}; save "
            "model.state_dict()"
        )
    tensors = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)}
    other = [key for key in state if key not in tensors]
    if not tensors or any(isinstance(state[key], Tensor) for key in other):
        raise WeightsError(
            f"{path} holds no state dict: expected a mapping from names to tensors and nothing else, found "
            f"{some(other) or 'none'}; save model.state_dict()"
        )
    if other:
        notes.append(f"left aside: {some(other)}")
    _check_plain(tensors, path)
    return {key: tensor.detach() for key, tensor in tensors.items()}, tuple(notes)


def _taken(state: dict[Any, Any], wrapper: str | None, path: Path) -> str | None:
    """The name of the entry that holds the weights; None where it is the mapping itself, or there is none."""
    if wrapper is not None:
        if not isinstance(_entry(state, wrapper), dict):
            found = list(islice(_inside(state), MOST_CHOICES))
            do = ["give ", *_choice(found)] if found else ["leave ", Argument("wrapper", wrapper), " out"]
            raise WeightsError(f"{path} has no state dict named '{wrapper}'; it holds {some(state)}; ", *do)
        return wrapper
    if name := next((name for name in WRAPPERS if isinstance(state.get(name), dict) and _tensors(state[name])), None):
        return name
    loose = sum(isinstance(value, Tensor) for value in state.values())
    found = [name for name in _inside(state, 1) if _tensors(state[name]) >= loose]
    if len(found) > 1:
        raise WeightsError(f"{path} holds {len(found)} state dicts; choose one with ", *_choice(found))
    return found[0] if found else None


def _choice(names: Iterable[str]) -> list[Part]:
    return joined((Argument("wrapper", name) for name in islice(names, MOST_CHOICES)), " or ")


def _entry(state: Mapping[Any, Any], name: str) -> Any:
    """What stands under a name, or under a path of names with dots."""
    if name in state:
        return state[name]
    first = (key for key in state if isinstance(key, str) and name.startswith(f"{key}."))
    inside = ((state[key], name.removeprefix(f"{key}.")) for key in first)
    return next((_entry(value, rest) for value, rest in inside if isinstance(value, dict)), None)


def _inside(state: Mapping[Any, Any], depth: int = DEEPEST) -> Iterator[str]:
    """The entries that hold state dicts, at most so deep, as `wrapper` names them."""
    seen: dict[tuple[int, int], int] = {}
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, dict) or key.startswith(NO_WEIGHTS):
            continue
        if _tensors(value, DEEPEST, seen):
            yield key
            if depth > 1:
                yield from (f"{key}.{name}" for name in _inside(value, depth - 1))


def _tensors(state: Mapping[Any, Any], depth: int = DEEPEST, seen: dict[tuple[int, int], int] | None = None) -> int:
    """How many tensors stand in a mapping, or in mappings in it, under names alone.

    What was counted is in `seen`: a mapping may stand in another a thousand times, and that one in a third.
    """
    seen = {} if seen is None else seen
    if (id(state), depth) not in seen:
        inside = state.items() if all(isinstance(key, str) for key in state) else ()
        within = [value for key, value in inside if isinstance(value, dict) and not key.startswith(NO_WEIGHTS)]
        own = sum(isinstance(value, Tensor) for _, value in inside)
        deeper = sum(_tensors(value, depth - 1, seen) for value in within) if depth > 1 else 0
        seen[id(state), depth] = own + deeper
    return seen[id(state), depth]


def _all_tensors(state: Mapping[Any, Any]) -> bool:
    return all(isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items())


def _check_plain(state: Mapping[str, Tensor], path: Path) -> None:
    most = path.stat().st_size
    for key, tensor in state.items():
        if tensor.layout is not strided or tensor.device.type != "cpu" or tensor.is_quantized:
            kind = "sparse, quantised, nested or without values"
            raise WeightsError(f"{path}: '{key}' is no plain tensor ({kind}); save it as one")
        if tensor.numel() * tensor.itemsize > most:
            shape = list(tensor.shape)
            raise WeightsError(f"{path}: '{key}' declares {shape}, more than the file could hold; save its clone()")
