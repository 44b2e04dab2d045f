"""timm's way of talking to a model, which detection, segmentation and training code relies on.

Names, arguments and return values are those of `timm.models.vision_transformer.VisionTransformer`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vitzoo.errors import SpecError
from vitzoo.model.backbone import Backbone
from vitzoo.model.head import HEADS, LAST
from vitzoo.model.init import init_weights
from vitzoo.model.pool import POOLS
from vitzoo.model.position import Place, RelPosTable
from vitzoo.model.resample import resample_patch_kernel, resample_rel_pos, resample_table
from vitzoo.spec import FinalNorm, Head, Pool, Size


class TimmDialect(Backbone):
    """What timm's VisionTransformer offers besides forward, forward_features and forward_head."""

    @property
    def num_features(self) -> int:
        return self.spec.hidden_dim

    embed_dim = num_features

    @property
    def head_hidden_size(self) -> int:
        """Width of `forward_head(x, pre_logits=True)`."""
        return self.spec.pooled_dim

    @property
    def num_classes(self) -> int:
        """0 without a classifier, also where the head is a projection, whose width timm calls num_classes."""
        return self.spec.num_classes

    @property
    def num_prefix_tokens(self) -> int:
        return self.spec.num_prefix_tokens

    @property
    def default_cfg(self) -> dict[str, Any]:
        return self.pretrained_cfg

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """What `timm.data.resolve_data_config` reads."""
        heads = [f"head.{name}" for name, _ in self.head.named_children() if name in LAST]
        return {
            "input_size": (self.spec.in_chans, *(self.preprocessing.img_size or self.spec.img_size)),
            "num_classes": self.spec.num_classes,
            "mean": self.preprocessing.mean,
            "std": self.preprocessing.std,
            "interpolation": self.preprocessing.interpolation.value,
            "crop_pct": self.preprocessing.crop_pct,
            "crop_mode": self.preprocessing.crop_mode.value,
            "first_conv": "patch_embed.proj",
            "classifier": heads[0] if len(heads) == 1 else tuple(heads),
        }

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """One entry a block, which `FeatureGetterNet` reads: where it is, its channels, its stride."""
        info = {"num_chs": self.spec.hidden_dim, "reduction": max(self.spec.patch_size)}
        return [{"module": f"blocks.{number}", **info} for number in range(self.spec.depth)]

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
        output_dict: bool = False,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Any:
        """The outputs of some blocks: (final tokens, [features]), or the list alone if `intermediates_only`.

        `indices` are block numbers (negative from the end), or how many of the last blocks. Features are
        (batch, hidden_dim, rows, columns) with output_fmt "NCHW" or (batch, patches, hidden_dim) with "NLC"; with
        `return_prefix_tokens` each is a pair with the prefix tokens. `norm` applies the final norm to each.
        `output_dict` names the parts: "image_intermediates", "image_intermediates_prefix", "image_features".

        `attn_mask`, broadcast to (batch, heads, tokens, tokens), is True where a token (row) may see another, or a
        number that is added to the attention's logits. `is_causal` lets a token see itself and those before it.
        """
        if output_fmt not in ("NCHW", "NLC"):
            raise SpecError(f"output_fmt '{output_fmt}' is unknown; use 'NCHW' or 'NLC'")
        wanted = self._block_numbers(indices)
        x, grid = self.embed(x)
        places = _masked(self.places(grid, x), x, attn_mask, is_causal)
        taken = []
        for number, (block, place) in enumerate(zip(self.blocks, places, strict=True)):
            if stop_early and number > wanted[-1]:
                break
            x = self.run_block(block, x, place)
            if number in wanted:
                taken.append(self.final_norm(x) if norm else x)
        prefix = self.num_prefix_tokens
        features = [tokens[:, prefix:] for tokens in taken]
        prefixes = [tokens[:, :prefix] for tokens in taken] if return_prefix_tokens else []
        if output_fmt == "NCHW":
            shape = (self.spec.hidden_dim, *grid)
            features = [f.transpose(1, 2).reshape(len(f), *shape).contiguous() for f in features]
        if output_dict:
            named = {"image_intermediates": features, "image_intermediates_prefix": prefixes if prefix else None}
            found = {key: value for key, value in named.items() if value}
            return found if intermediates_only else found | {"image_features": self.final_norm(x)}
        outputs = list(zip(features, prefixes, strict=True)) if return_prefix_tokens else features
        return outputs if intermediates_only else (self.final_norm(x), outputs)

    def get_intermediate_layers(
        self,
        x: Tensor,
        n: int | Sequence[int] = 1,
        reshape: bool = False,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        attn_mask: Tensor | None = None,
    ) -> list[Any]:
        """DINO's interface: the outputs of the last `n` blocks, or of the blocks whose numbers `n` holds."""
        return self.forward_intermediates(  # type: ignore[no-any-return]
            x,
            n,
            return_prefix_tokens,
            norm,
            output_fmt="NCHW" if reshape else "NLC",
            intermediates_only=True,
            attn_mask=attn_mask,
        )

    def attention(self, x: Tensor, blocks: int | Sequence[int] | None = None) -> dict[int, Tensor]:
        """How much each token attends to each other one: block number -> (batch, heads, tokens, tokens).

        `blocks` are block numbers (negative from the end), or how many of the last ones; all of them if not given.
        Weights are computed in these blocks alone, and blocks after the last of them are not run. A row holds what one
        token takes from all; rows add up to 1, and to 1 - lambda in differential attention. Prefix tokens come first.
        """
        wanted = self._block_numbers(blocks)
        x, grid = self.embed(x)
        found: dict[int, Tensor] = {}
        own: Any = self.blocks
        for number, (block, place) in enumerate(zip(own, self.places(grid, x), strict=True)):
            if number in wanted:
                q, k, _, bias = block.attn.parts(block.before_attention(x), place)
                found[number] = block.attn.weights(q, k, bias)
            if number == wanted[-1]:
                break
            x = self.run_block(block, x, place)
        return found

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Cut the blocks after the last of `indices`, and the final norm or pool and head; returns the block numbers.

        The spec follows: a pruned model is saved and loaded like any other.
        """
        wanted = self._block_numbers(indices)
        old, depth = self.spec, wanted[-1] + 1
        changes: dict[str, Any] = {
            "depth": depth,
            "drop_path_rate": old.drop_path_rate * (depth - 1) / max(old.depth - 1, 1),
        }
        if isinstance(old.num_kv_heads, tuple):
            changes["num_kv_heads"] = old.num_kv_heads[:depth]
        if prune_norm or (prune_head and old.final_norm is FinalNorm.POOLED):
            changes["final_norm"] = FinalNorm.NONE
            self.norm = nn.Identity()
        if prune_head:
            changes |= {"num_classes": 0, "pool": Pool.NONE, "head": Head.LINEAR}
        self.spec = spec = old.replace(**changes)
        if prune_head:
            self.pool, self.head, self._labels = POOLS[spec.pool](spec), HEADS[spec.head](spec), None
        self.blocks = self.blocks[:depth]
        if self.rope is not None:
            self.rope.keep(depth)
        return wanted

    def _block_numbers(self, indices: int | Sequence[int] | None) -> list[int]:
        depth = self.spec.depth
        if indices is None:
            return list(range(depth))
        chosen = list(range(depth - indices, depth)) if isinstance(indices, int) else list(indices)
        if not chosen or not all(-depth <= i < depth for i in chosen) or (isinstance(indices, int) and indices > depth):
            raise SpecError(f"block indices {indices} are out of range; the model has blocks 0 to {depth - 1}")
        return sorted(i % depth for i in chosen)

    def get_classifier(self) -> nn.Module | tuple[nn.Module, ...]:
        """The last linear layer, the projection too; a pair for a distilled head."""
        found = tuple(module for name, module in self.head.named_children() if name in LAST)
        return found[0] if len(found) == 1 else found

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new, zero classifier for `num_classes` (0 for none), and another pool if one is named.

        It takes the place of a projection, too.
        """
        head = Head.LINEAR if self.spec.head is Head.PROJECTION else self.spec.head
        changes = {"num_classes": num_classes, "head": head} | ({"pool": global_pool} if global_pool else {})
        spec = self.spec.replace(**changes)
        if spec.final_norm is FinalNorm.POOLED and spec.pooled_dim != self.spec.pooled_dim:
            raise SpecError(
                f"the final norm is {self.spec.pooled_dim} wide and does not fit pool '{spec.pool}'; leave the pool"
            )
        like = next(self.parameters())
        new = HEADS[spec.head](spec)
        init_weights(new)
        kept = {key: value for key, value in self.head.state_dict().items() if key.startswith("pre_logits")}
        new.load_state_dict({**new.state_dict(), **kept})
        self.head = new.to(like.device, like.dtype)
        if spec.pool is not self.spec.pool:
            pool = POOLS[spec.pool](spec)
            init_weights(pool)
            self.pool = pool.to(like.device, like.dtype)
        self.spec = spec
        self.about = self.about.headless()

    @torch.no_grad()
    def set_input_size(self, img_size: Size | int | None = None, patch_size: Size | int | None = None) -> None:
        """Resample the patch kernel and the position table for other sizes, by the policy of the weights."""
        given = {"img_size": img_size, "patch_size": patch_size}
        spec = self.spec.replace(**{name: size for name, size in given.items() if size is not None})
        if spec.patch_size != self.spec.patch_size:
            proj = self.patch_embed.proj
            proj.weight = nn.Parameter(resample_patch_kernel(proj.weight, spec.patch_size))
            proj.kernel_size = proj.stride = spec.patch_size
            self.patch_embed.patch_size = spec.patch_size
        if self.pos_embed is not None and spec.grid != self.spec.grid:
            table = self.pos_embed.grid
            self.pos_embed.grid = nn.Parameter(
                resample_table(table, spec.grid, self.resample), requires_grad=table.requires_grad
            )
        for module in self.modules():
            if isinstance(module, RelPosTable):
                module.grid = nn.Parameter(resample_rel_pos(module.grid, spec.grid, self.resample))
        self.spec = spec
        if img_size is not None:
            self.preprocessing = self.preprocessing.replace(img_size=None)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass: less memory for about a third more time."""
        self.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """Parameters that optimisers leave without weight decay, besides norms and biases."""
        names = {
            "cls_token",
            "dist_token",
            "reg_tokens",
            "pos_embed.grid",
            "pos_embed.prefix",
            "rope.freqs",
            "pool.probe",
        }
        tables = {name for name, _ in self.named_parameters() if ".rel_pos." in f".{name}"}
        return names & dict(self.named_parameters()).keys() | tables

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns that give each parameter its depth, for layer-wise learning rates."""
        last = r"^norm" if self.spec.final_norm is not FinalNorm.NONE else r"^pool"
        return {
            "stem": r"^cls_token|^dist_token|^reg_tokens|^pos_embed|^patch_embed|^norm_pre|^rope|^rel_pos",
            "blocks": r"^blocks\.(\d+)" if coarse else [(r"^blocks\.(\d+)", None), (last, (99999,))],
        }


def _masked(places: list[Place], x: Tensor, mask: Tensor | None, is_causal: bool) -> list[Place]:
    """`places` with a mask of the caller's beside their own bias."""
    if is_causal and mask is not None:
        raise SpecError("attn_mask and is_causal exclude each other; give one of them")
    if is_causal:
        mask = x.new_ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
    if mask is None:
        return places
    if mask.dtype is torch.bool:
        mask = torch.zeros_like(mask, dtype=x.dtype).masked_fill(~mask, float("-inf"))
    return [place._replace(bias=mask if place.bias is None else place.bias + mask) for place in places]
