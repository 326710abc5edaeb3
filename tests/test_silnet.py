"""SilNet: the network, its training, and what it measures."""

import pytest
import torch

from models.silnet import SilNet


def test_parameters_as_published():
    assert sum(p.numel() for p in SilNet().parameters()) == 1_864_129


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(32, 32), (37, 50), (9, 8)])
def test_any_size_and_any_number_of_channels(levels, size):
    net = SilNet(in_channels=4, out_channels=5, base=2, levels=levels).eval()
    out = net(torch.rand(2, 4, *size))
    assert out.shape == (2, 5, *size) and out.dtype == torch.float32


def test_a_logit_depends_on_its_surroundings_alone():
    """Not on the image's size, so that what is learnt on crops holds on whole frames."""
    torch.manual_seed(0)
    net = SilNet(base=4).eval()
    frame = torch.rand(1, 3, 120, 120)
    with torch.inference_mode():
        whole, crop = net(frame), net(frame[..., 20:100, 20:100])
    assert torch.allclose(whole[..., 50:70, 50:70], crop[..., 30:50, 30:50], atol=1e-6)
    assert not torch.allclose(whole[..., 20:22, 50:70], crop[..., 0:2, 30:50], atol=1e-6)


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        SilNet(levels=0)
