"""Low-rank adapters (LoRA, https://arxiv.org/abs/2106.09685) through peft: injected, saved as peft does, merged."""

from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model

from vitzoo.errors import TrainingError
from vitzoo.files.atomic import replacing_folder
from vitzoo.model.layers import Linear
from vitzoo.publish.dialect import ViT
from vitzoo.registry.recipes import Recipe


def add_lora(model: ViT, recipe: Recipe, base: str) -> PeftModel:
    """Put adapters into `model` itself, leaving only them and the classifier with a gradient.

    `base` names the model for those who read the adapter's configuration.

    Raises:
        TrainingError: no linear layer of the blocks has one of the recipe's names.
    """
    names = {
        name.rpartition(".")[2]
        for block in model.blocks
        for name, module in block.named_modules()
        if isinstance(module, Linear)
    }
    if unknown := sorted(set(recipe.lora_targets) - names):
        there = ", ".join(sorted(names))
        raise TrainingError(f"lora_targets {', '.join(unknown)} are not there; the blocks have {there}")
    config = LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=rf"blocks\.\d+\..*\b({'|'.join(recipe.lora_targets)})",
        modules_to_save=[f"head.{name}" for name, _ in model.head.named_children() if name.startswith("fc")],
    )
    adapted = get_peft_model(model, config)
    adapted.peft_config["default"].base_model_name_or_path = base  # peft itself asks transformers' models alone
    return adapted


def save_adapter(adapted: PeftModel, folder: Path) -> None:
    """Write `adapter_model.safetensors` and `adapter_config.json`, which `PeftModel.from_pretrained` reads."""
    with replacing_folder(folder) as partial:
        adapted.save_pretrained(str(partial), save_embedding_layers=False)


def merge(adapted: PeftModel) -> ViT:
    """Add the updates to the weights that they belong to: the plain model again."""
    model: ViT = adapted.merge_and_unload()
    return model
