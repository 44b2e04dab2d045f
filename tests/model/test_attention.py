"""The weights of the attention, as the model gives them, against what its blocks do with them."""

import pytest
import tiny
import torch
from signatures import signatures
from torch import Tensor, nn

from vitzoo import ViT
from vitzoo.errors import SpecError
from vitzoo.model.attention import Attention, DiffAttention
from vitzoo.spec import About, Resample


def filled(name: str) -> ViT:
    """A model without zeros and constants, in fp64: a large logit makes much of rounding."""
    model = ViT(signatures()[name], About(resample=Resample.TIMM)).init_weights(0)
    return tiny.disturb(model, 0.2).eval().double()


def mixed(attn: Attention, weights: Tensor, v: Tensor) -> Tensor:
    """The attention's output from its weights and its values."""
    x = weights @ v
    if isinstance(attn, DiffAttention):
        x = attn.sub_norm(x) * (1 - attn.init)
    return attn.proj(attn.norm(x.transpose(1, 2).flatten(2)))  # type: ignore[no-any-return]


@pytest.mark.proves(
    claim="weights of the attention", against="what each block's attention gives", tolerance="1e-6 of the largest value"
)
@pytest.mark.parametrize("name", signatures())
@torch.no_grad()
def test_weights_times_values_are_the_blocks_output(name: str) -> None:
    model = filled(name)
    seen: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def note(number: int, attn: nn.Module, given: tuple[Tensor, object], out: Tensor) -> None:
        seen[number] = (*given, out)  # type: ignore[assignment]

    for number, block in enumerate(model.blocks):
        block.attn.register_forward_hook(lambda *args, number=number: note(number, *args))
    x = torch.randn(2, model.spec.in_chans, 40, 56, dtype=torch.float64)
    model(x)
    noted = dict(seen)
    found = model.attention(x)
    assert list(found) == [0, 1]
    tokens = model.spec.num_prefix_tokens + 35
    for number, weights in found.items():
        attn, (given, place, out) = model.blocks[number].attn, noted[number]
        assert weights.shape == (2, 4, tokens, tokens)
        values = attn.parts(given, place)[2]
        tolerance = 1e-6 * max(1.0, float(out.abs().max()))
        torch.testing.assert_close(mixed(attn, weights, values), out, atol=tolerance, rtol=0)
        assert (mixed(attn, weights.mT, values) - out).abs().max() > 1e-3


def test_chosen_blocks_alone() -> None:
    model = filled("vit_b16.google_in21k")
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    whole = model.attention(x)
    assert torch.equal(model.attention(x, [-1])[1], whole[1])
    model.blocks[1] = nn.Identity()  # a block after the last that was chosen is not run
    first = model.attention(x, [0])
    assert list(first) == [0]
    assert torch.equal(first[0], whole[0])
    torch.testing.assert_close(first[0].sum(-1), torch.ones(1, 4, 17, dtype=torch.float64))
    with pytest.raises(SpecError, match=r"block indices .* out of range; the model has blocks 0 to 1"):
        model.attention(x, [2])
