"""The Vision Transformer against timm's, an independent implementation, and against properties of its own."""

import math

import pytest
import torch

from models import VITS
from models.networks.vit import VisionTransformer, sine_positions


def reference(**kwargs) -> torch.nn.Module:
    vision_transformer = pytest.importorskip("timm.models.vision_transformer", reason="timm is not installed")
    model = vision_transformer.VisionTransformer(patch_size=16, **kwargs).eval()
    with torch.no_grad():  # timm starts biases and positions near zero; a copy that forgot them would go unnoticed
        for parameter in model.parameters():
            if parameter.dim() < 2 or parameter.shape[0] == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def images(side: int) -> torch.Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize(
    ("name", "width", "heads", "parameters"),
    [("tiny", 192, 3, 5_717_416), ("small", 384, 6, 22_050_664), ("base", 768, 12, 86_567_656)],
)
@torch.inference_mode()
def test_parameters_and_logits_equal_timms(name, width, heads, parameters) -> None:
    with torch.device("meta"):  # no initialisation that the copy would overwrite
        ours = VisionTransformer(**VITS[name], img_size=224, num_classes=1000)
    assert sum(parameter.numel() for parameter in ours.parameters()) == parameters
    theirs = reference(embed_dim=width, depth=12, num_heads=heads, img_size=224, num_classes=1000)
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    expected = theirs(images(224))
    assert expected.std() > 0.05  # the comparison is of something
    assert (ours.eval()(images(224)) - expected).abs().max() < 1e-4


def test_sine_positions_by_hand() -> None:
    """Width 4, one wavelength: sin and cos of the row, then of the column."""
    angles = [(row, column) for row in range(3) for column in range(3)]
    wanted = [[math.sin(r), math.cos(r), math.sin(c), math.cos(c)] for r, c in angles]
    torch.testing.assert_close(sine_positions(3, 4), torch.tensor(wanted))
    assert sine_positions(5, 6).shape == (25, 6)
    assert len(sine_positions(14, 192).unique(dim=0)) == 196


@pytest.mark.parametrize("name", VITS)
def test_attention_looks_somewhere_from_the_first_step_on(name: str) -> None:
    """The class token's attention of the first block: neither even over all patches nor on one of them alone."""
    torch.manual_seed(0)
    model = VisionTransformer(**VITS[name], img_size=96, num_classes=3)
    block = model.blocks[0]
    with torch.no_grad():
        patches = model.patch_embed(torch.rand(4, 3, 96, 96) * 2 - 1).flatten(2).transpose(1, 2)
        tokens = block.norm1(torch.cat([model.cls_token.expand(4, -1, -1), patches], 1) + model.pos_embed)
        query, key, _ = block.attn["qkv"](tokens).unflatten(-1, (3, block.heads, -1)).permute(2, 0, 3, 1, 4)
        shares = (query[:, :, :1] @ key.transpose(-1, -2) / key.shape[-1] ** 0.5).softmax(-1)
    effective = shares.square().sum(-1).reciprocal().mean().item()  # patches that share it: 37 if even, 1 if on one
    assert 2 < effective < 30


def test_first_logits_are_small_and_every_parameter_learns() -> None:
    torch.manual_seed(0)
    model = VisionTransformer(width=48, depth=2, heads=3, img_size=64, num_classes=3)
    logits = model(images(64))
    assert logits.abs().max() < 1  # training starts near the loss of chance
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 2])).backward()
    assert [name for name, parameter in model.named_parameters() if not parameter.grad.abs().sum() > 0] == []
