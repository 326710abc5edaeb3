"""What the training step adds to the paper, as pure functions, and Tones, which holds statistics; models/hgan.py calls them. With --paper, all is off.

The options in models/config.py give the reason for each. Figures are measured on photographs of hands, with mshgan4 at batch 1.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.networks.layers import mean_2x2
from util import distributed

# extend_colors: what generators see
BAND, FADE = 8, 4  # pixels: the band's width, and half the width of its transition to the background
LEVELS = 5  # cells of 2, 4, ... 32 pixels; where none holds a part of the hand, the hand's mean colour is used


def extend_colors(images: Tensor, masks: Tensor) -> Tensor:
    """Extend the colours of hands, masks (N, 1, H, W) in {0, 1}, beyond their outlines in images (N, 3, H, W) in [-1, 1].

    Each pixel beside a hand takes the mean of the nearest hand pixels, over larger cells the farther away it lies; past
    BAND pixels the image fades into its own background, which stays, so that instance normalisation, which sees it, does not
    remove the difference between light and dark skin. Hands stay unchanged, and no gradient flows through the band.
    """
    with torch.no_grad():
        cells = [torch.cat([images * masks, masks], dim=1)]  # colour times cover, and cover
        for _ in range(LEVELS):
            cells.append(mean_2x2(cells[-1]))
        ground = _mean_colour(cells[0].mean((2, 3), keepdim=True))
        for level in reversed(cells[1:]):
            ground = F.interpolate(ground, size=level.shape[-2:], mode="bilinear")
            ground = torch.where(level[:, 3:] > 0, _mean_colour(level), ground)
        ground = F.interpolate(ground, size=images.shape[-2:], mode="bilinear")
        near = F.max_pool2d(masks, 2 * BAND + 1, stride=1, padding=BAND)
        near = F.avg_pool2d(near, 2 * FADE + 1, stride=1, padding=FADE, count_include_pad=False)
        ground = torch.lerp(images, ground.clamp(-1, 1), near)
    return torch.where(masks > 0.5, images, ground)


def _mean_colour(cells: Tensor) -> Tensor:
    return cells[:, :3] / cells[:, 3:].clamp(min=1e-6)


def show_overlap(images: Tensor, overlap: Tensor | None) -> Tensor:
    """Make images of both hands of N pairs, (2 N, 3, H, W), white where the hands do not overlap: bool (N, 1, H, W).

    Real and fake hands then have the same outlines. overlap None (without common_mask): returns the images.
    """
    return images if overlap is None else torch.where(overlap, images.unflatten(0, (2, -1)), 1.0).flatten(0, 1)


# lambda_joints: JointNet's heat maps of translations, compared with those of their sources
NEAR = 20.0  # times that pixels at a joint count


def joint_loss(maps: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of heat maps (N, 21, S, S), in which pixels at the target's joints count NEAR times as much."""
    return ((maps - target).square() * (1 + NEAR * target.clamp(0, 1))).mean()


# match_tone: the mean colour of a translated hand
AXES = ((1, 1, 1), (1, -1, 0), (1, 1, -2))  # of RGB, orthogonal: brightness, red less green, yellow less blue
MEMORY = 2000  # steps: the statistics are plain means so far, and later running means with this time constant
FARTHEST = 2  # standard deviations from the mean; a hand that is farther off is taken to be this far


class Tones(nn.Module):
    """Maps a hand's mean colour to the other domain, by both domains' means and covariances.

    `see` takes the statistics from training crops; before it, the maps have no meaning.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("axes", torch.tensor(AXES, dtype=torch.float32), persistent=False)
        self.register_buffer("seen", torch.zeros(()))  # steps
        # Of synthetic and real hands: the mean of v v^T, where v = (1, R, G, B).
        self.register_buffer("moments", torch.zeros(2, 4, 4))

    @torch.no_grad()
    def see(self, synthetic: Tensor, real: Tensor) -> None:
        """Update the statistics with a batch's mean colours (N, 3)."""
        colours = F.pad(torch.stack([synthetic, real]), (1, 0), value=1.0)
        news = distributed.average(colours.mT @ colours / colours.shape[1])
        finite = torch.isfinite(news).all()  # what is not would stay in them
        self.seen += finite
        self.moments.lerp_(torch.where(finite, news, self.moments), (1 / self.seen).clamp(min=1 / MEMORY, max=1))

    def forward(self, colours: Tensor, *, to_real: bool) -> Tensor:
        """Mean colours (N, 3) in [-1, 1] -> the other domain's, which may lie a little outside, as in training.

        Along each of AXES a hand stays as many standard deviations from the mean; a deviation counts as 0.01 at least.
        """
        means, covariances = self._statistics(to_real)
        means, variances = means @ self.axes.T, (self.axes @ covariances @ self.axes.T).diagonal(dim1=1, dim2=2)
        spreads = variances.clamp(min=1e-4).sqrt()
        deviations = ((colours @ self.axes.T - means[0]) / spreads[0]).clamp(-FARTHEST, FARTHEST)
        tones = deviations * spreads[1] + means[1]
        return tones @ (self.axes / self.axes.square().sum(1, keepdim=True))  # the inverse of AXES, transposed

    def matcher(self, *, to_real: bool) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """Returns the function that sets the mean colours of painted hands, for trained generators.

        It takes painted and images (N, 3, H, W), and masks (N, 1, H, W) in {0, 1}, and shifts each painted hand to the colour
        that its hand in images maps to. The map gives colours the other domain's mean and covariance, and moves them least
        of all linear maps that do (Monge and Kantorovich's map of Gaussians). In renders redness goes with brightness
        otherwise than in photographs, so with spreads alone a* varies only .7 times as much as in these.
        """
        means, covariances = self._statistics(to_real)
        # A few hands have no spread along some direction.
        here, there = covariances.double() + 1e-5 * torch.eye(3, device=covariances.device)
        root = _root(here)
        whiten = root.inverse()
        turn = (whiten @ _root(root @ there @ root) @ whiten).float()
        whiten = whiten.float()

        def match(painted: Tensor, images: Tensor, masks: Tensor) -> Tensor:
            off = mean_colours(images, masks) - means[0]
            off = off * (FARTHEST / (off @ whiten).norm(dim=1, keepdim=True)).clamp(max=1)
            return set_colours(painted, masks, off @ turn + means[1])

        return match

    def _statistics(self, to_real: bool) -> tuple[Tensor, Tensor]:
        """The means (2, 3) and covariances (2, 3, 3) of the hands' own domain and of the other."""
        moments = self.moments if to_real else self.moments.flip(0)
        means = moments[:, 0, 1:]
        return means, moments[:, 1:, 1:] - means[:, :, None] * means[:, None]


def _root(matrix: Tensor) -> Tensor:
    """The square root of a symmetric positive matrix (n, n)."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.sqrt() @ vectors.mT


def mean_colours(images: Tensor, masks: Tensor) -> Tensor:
    """The mean colours (N, 3) of the hands, masks (N, 1, H, W) in {0, 1}, in images (N, 3, H, W)."""
    return (images * masks).sum((2, 3)) / masks.sum((2, 3)).clamp(min=1)


def set_colours(images: Tensor, masks: Tensor, colours: Tensor) -> Tensor:
    """Shift each image by one colour so that its hand gets the mean colour (N, 3). Clipping to [-1, 1] may leave it a little off."""
    return (images + (colours - mean_colours(images, masks))[..., None, None]).clamp(-1, 1)


# mean_of_views: what trained generators see
ENLARGED = 9, 8  # a second view's size to the first's
KEPT = 0.15  # the weight of the images themselves


def mean_of_views(paint: Callable[[Tensor], Tensor], images: Tensor, *, masked: bool) -> Tensor:
    """The mean of what `paint` makes of two views: images (N, 3, H, W), and their mirror images enlarged by an eighth.

    What these do not share comes from the view, not from the hand: noise, and the phase of a generator's strides. masked:
    hands keep their shape, so the images themselves are mixed in with the weight KEPT.
    """
    size = images.shape[-2:]
    large = F.interpolate(images.flip(-1), [side * ENLARGED[0] // ENLARGED[1] for side in size], mode="bilinear")
    painted = (paint(images) + F.interpolate(paint(large), size, mode="bilinear").flip(-1)) / 2
    return torch.lerp(painted, images, KEPT) if masked else painted
