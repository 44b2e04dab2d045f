"""Which parameters are trained, and at which learning rate and weight decay each."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from timm.models import group_parameters
from torch import nn

from vitzoo.errors import TrainingError
from vitzoo.publish.dialect import ViT
from vitzoo.registry.recipes import Recipe

Group = dict[str, Any]


def freeze(model: ViT, trainable: str) -> None:
    """Leave only what `trainable` names with a gradient; "full" and "lora" keep those that there are.

    Raises:
        TrainingError: more blocks than the model has.
    """
    if trainable in ("full", "lora"):
        return
    kept = ["head.fc"]
    if trainable != "head":
        blocks, depth = int(trainable.removeprefix("last-")), model.spec.depth
        if blocks > depth:
            raise TrainingError(f"trainable '{trainable}' names {blocks} blocks, the model has {depth}")
        kept = ["head.", "pool.", "norm.", *(f"blocks.{i}." for i in range(depth - blocks, depth))]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and name.startswith(tuple(kept)))


def layer_numbers(model: ViT) -> dict[str, int]:
    """Each parameter's layer: 0 for patches, tokens and positions, then the blocks, depth + 1 for the head.

    The final norm goes with the last block: as timm's `norm` does, while its `fc_norm` goes with the head.
    """
    numbers: dict[str, int] = group_parameters(model, model.group_matcher(), reverse=True)
    return numbers


def param_groups(model: ViT, recipe: Recipe) -> list[Group]:
    """Groups for an optimiser, each with a real `lr`: the recipe's times layer_decay for each layer below the head.

    Vectors (norms, biases, layer scale), tokens and position tables have no weight decay. With muon, the matrices of
    the blocks are its own, and all else is left to AdamW (`use_fallback`).
    """
    layers, exempt = layer_numbers(model), model.no_weight_decay()
    last, muon = model.spec.depth + 1, recipe.optimizer == "muon"
    groups: dict[tuple[int, bool, bool], Group] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decays = parameter.ndim > 1 and name not in exempt
        fallback = muon and not (name.startswith("blocks.") and parameter.ndim == 2 and decays)
        peak = recipe.fallback_lr or recipe.lr if fallback else recipe.lr
        group = groups.setdefault(
            (layers[name], decays, fallback),
            {
                "params": [],
                "names": [],
                "layer": layers[name],
                "lr": peak * recipe.layer_decay ** (last - layers[name]),
                "weight_decay": recipe.weight_decay if decays else 0.0,
                # With Nesterov's momentum timm would turn AdamW into NAdamW.
                **({"use_fallback": True, "nesterov": False} if fallback else {}),
            },
        )
        group["params"].append(parameter)
        group["names"].append(name)
    found = [group for _, group in sorted(groups.items())]
    check_groups(model, found)
    return found


def check_groups(model: nn.Module, groups: Sequence[Group]) -> None:
    """A TrainingError names each trainable parameter that is not in exactly one group, and strangers in the groups."""
    counts = Counter(id(parameter) for group in groups for parameter in group["params"])
    trained = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    wrong = [f"{name} is in {counts[key]} groups" for key, name in trained.items() if counts[key] != 1]
    strangers = len(counts.keys() - trained.keys())
    if strangers:
        wrong.append(f"{strangers} parameters of the groups are not trainable parameters of the model")
    if not trained:
        wrong.append("no parameter is trainable")
    if wrong:
        raise TrainingError(f"optimiser groups: {'; '.join(wrong[:8])}; expected each trainable parameter in one group")
