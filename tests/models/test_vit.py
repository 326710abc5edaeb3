"""The Vision Transformer: its size, and what its initial weights are for."""

import math

import pytest
import torch

from models import VITS
from models.networks.vit import create_vit, sine_positions


@pytest.mark.parametrize(("name", "parameters"), [("tiny", 5_717_416), ("small", 22_050_664), ("base", 86_567_656)])
def test_parameters_as_published(name, parameters) -> None:
    with torch.device("meta"):
        net = create_vit(name, img_size=224, num_classes=1000)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters


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
    model = create_vit(name, img_size=96, num_classes=3)
    block, seen = model.encoder.layers[0], []
    block.ln_1.register_forward_hook(lambda _, __, tokens: seen.append(tokens))
    with torch.no_grad():
        model(torch.rand(4, 3, 96, 96) * 2 - 1)
        shares = block.self_attention(*seen * 3, average_attn_weights=False)[1][:, :, 0]
    effective = shares.square().sum(-1).reciprocal().mean().item()  # patches that share it: 37 if even, 1 if on one
    assert 2 < effective < 30


def test_first_logits_are_small_and_every_parameter_learns(monkeypatch) -> None:
    monkeypatch.setitem(VITS, "tiny", {"width": 48, "depth": 2, "heads": 3})
    torch.manual_seed(0)
    model = create_vit("tiny", img_size=64, num_classes=3)
    logits = model(torch.rand(2, 3, 64, 64) * 2 - 1)
    assert 0 < logits.abs().max() < 1  # training starts near the loss of chance
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 2])).backward()
    assert [name for name, parameter in model.named_parameters() if not parameter.grad.abs().sum() > 0] == []
