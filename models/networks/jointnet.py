"""JointNet: finds a hand's joints whatever its skin looks like. Frozen, it tells whether a translation shows its source's pose."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from data.joints import N_JOINTS
from models.networks.layers import fold_norms
from models.networks.silnet import SilNet

WEIGHTS = Path(__file__).parents[1] / "pretrained" / "jointnet.pt"
SIDE = 64  # of the crops that it has learnt from


class JointNet(SilNet):
    """Crops (N, 3, H, W) in [-1, 1] of a hand on white -> heat maps of 21 joints (N, 21, h, w), near 1 at a joint, else near 0.

    It has learnt from renders that were painted anew at random, in crops of SIDE pixels (util/studies/jointnet.py); crops of
    twice that or more are reduced first. Heat maps have half the resolution of what it sees. 1,087,125 parameters.
    """

    def __init__(self) -> None:
        super().__init__(in_channels=12, out_channels=N_JOINTS, base=24, levels=4)

    def forward(self, image: Tensor) -> Tensor:
        seen = F.avg_pool2d(image, max(1, round(min(image.shape[-2:]) / SIDE)))
        height, width = (side // 2 * 2 for side in seen.shape[-2:])
        return super().forward(F.pixel_unshuffle(seen[..., :height, :width], 2))


def load_jointnet() -> JointNet:
    """The JointNet that comes with the project, frozen."""
    with torch.device("meta"):  # no initial weights, which would draw from the run's random numbers
        net = JointNet()
    net.load_state_dict(torch.load(WEIGHTS, weights_only=True, map_location="cpu"), assign=True)
    net = net.float().eval().requires_grad_(False)
    fold_norms(net)
    return net
