"""Crops, pure functions that treat an image and its mask alike: random, centred, and SilNet's."""

import math

import cv2
import numpy as np

from data.hands import Hand

Box = tuple[int, int, int, int]
"""(x, y, width, height) in pixels; it may begin before an image that is smaller, and end behind it"""


def random_hand_crop(hand: Hand, size: int, random: np.random.Generator) -> Hand:
    """A size x size crop centred on a random pixel of the eroded hand mask, as in the released code (paper, section IV.A: random crops).

    Near the border the crop is moved inside the image; an image smaller than the crop is padded with white.
    """
    inner = cv2.erode(hand.mask.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
    centres = np.flatnonzero(inner if inner.any() else hand.mask)
    y, x = divmod(int(centres[random.integers(len(centres))]), hand.mask.shape[1])
    return cut(hand, box_around(hand.mask, y, x, size, size))


def centred_box(mask: np.ndarray, height: int, width: int) -> Box:
    """The box of that size around the middle of a mask's bounding box; of the image where the mask is empty."""
    x, y, w, h = cv2.boundingRect((mask if mask.any() else np.ones_like(mask)).astype(np.uint8))
    return box_around(mask, y + h // 2, x + w // 2, height, width)


def box_around(mask: np.ndarray, y: int, x: int, height: int, width: int) -> Box:
    """The box of that size whose centre is nearest to (y, x) inside the image; centred on an image that is smaller."""
    top, left = (
        min(max(centre - size // 2, 0), side - size) if side >= size else -((size - side) // 2)
        for centre, side, size in zip((y, x), mask.shape, (height, width))
    )
    return left, top, width, height


def cut(hand: Hand, box: Box) -> Hand:
    """The box of a hand, white beyond the image."""
    return Hand(window(hand.image, box, beyond=255), window(hand.mask, box, beyond=False))


def window(pixels: np.ndarray, box: Box, *, beyond: object) -> np.ndarray:
    """The box of pixels (H, W, ...); `beyond` where it reaches beyond them, one value or one a channel."""
    left, top, width, height = box
    part = np.full((height, width, *pixels.shape[2:]), beyond, pixels.dtype)
    y, x = max(0, top), max(0, left)
    inside = pixels[y : max(0, top + height), x : max(0, left + width)]
    part[y - top : y - top + inside.shape[0], x - left : x - left + inside.shape[1]] = inside
    return part


def flip(hand: Hand) -> Hand:
    """Mirror left and right."""
    # A view, [:, ::-1], would be copied pixel by pixel later on, many times more slowly.
    return Hand(cv2.flip(hand.image, 1), cv2.flip(hand.mask.view(np.uint8), 1).view(bool))


# ------------------------------------------------------------------ SilNet

MAX_TURN = 30.0  # degrees
ZOOM = (0.6, 1.6)
LIGHTEST, GROUND = 205, 222  # a repainted hand's mean is at most the first, the background's at least the second


def silhouette_crop(hand: Hand, size: int, random: np.random.Generator) -> Hand:
    """A training crop for SilNet: size x size near the hand, turned, zoomed, recoloured, and mirrored every other time.

    SilNet judges what a generator painted, unmasked, on white. Did it know hands by their skin, it would pass over garbage
    beside the hand; did it know the ground by its whiteness, the faintest tint would count as hand. So hands get any colour
    and texture, and the ground is light, tinted, shaded and noisy.
    """
    hand = _warp(random_hand_crop(hand, math.ceil(1.5 * size), random), size, random)
    image = hand.image.astype(np.float32)
    painted = _repaint(image, random) if random.random() < 0.35 else _recolour(image, random)
    ground = _plain_ground(size, random) if random.random() < 0.7 else np.full_like(image, 255)
    alpha = cv2.GaussianBlur(hand.mask.astype(np.float32), (3, 3), 0.5)[..., None]
    image = ground + alpha * (painted - ground)
    if random.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), random.uniform(0.4, 1.5))
    if random.random() < 0.3:
        image = image + random.uniform(1, 8) * random.standard_normal(image.shape)
    hand = Hand(np.rint(np.clip(image, 0, 255)).astype(np.uint8), hand.mask)
    return flip(hand) if random.random() < 0.5 else hand


def _warp(hand: Hand, size: int, random: np.random.Generator) -> Hand:
    """The middle of a larger crop, turned up to MAX_TURN, zoomed, and shifted by up to a quarter."""
    zoom = math.exp(random.uniform(*np.log(ZOOM)))
    matrix = cv2.getRotationMatrix2D((len(hand.mask) / 2 - 0.5,) * 2, random.uniform(-MAX_TURN, MAX_TURN), zoom)
    matrix[:, 2] += (size - len(hand.mask)) / 2 + random.uniform(-size / 4, size / 4, 2)
    image = cv2.warpAffine(hand.image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=(255, 255, 255))
    mask = cv2.warpAffine(hand.mask.astype(np.float32), matrix, (size, size), flags=cv2.INTER_LINEAR)
    return Hand(image, mask > 0.5)


def _recolour(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Light, contrast and white balance of float (H, W, 3) in [0, 255], changed at random."""
    gamma = math.exp(random.uniform(-0.4, 0.4))
    gain = random.uniform(0.75, 1.1) * random.uniform(0.88, 1.0, 3)
    return 255 * (np.clip(image, 0, 255) / 255) ** gamma * gain.astype(np.float32)


def _repaint(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Another look for float (H, W, 3): a flat colour, noise of any coarseness, or the image in false colours."""
    kind = random.integers(3)
    colour = random.uniform(0, 255, 3)
    colour *= min(1.0, LIGHTEST / colour.mean())
    if kind == 0:
        texture = np.broadcast_to(colour, image.shape)
    elif kind == 1:
        grain = random.integers(1, 13)
        height, width = image.shape[:2]
        coarse = random.uniform(-1, 1, (math.ceil(height / grain) + 1, math.ceil(width / grain) + 1, 3))
        noise = cv2.resize(coarse, None, fx=float(grain), fy=float(grain), interpolation=cv2.INTER_LINEAR)
        texture = colour + random.uniform(10, 200) * noise[:height, :width]
    else:
        false = image[..., random.permutation(3)]
        texture = 0.5 * (255 - false if random.random() < 0.5 else false) + 0.5 * colour
    return np.clip(texture, 0, 255).astype(np.float32)


def _plain_ground(size: int, random: np.random.Generator) -> np.ndarray:
    """A light background, float (size, size, 3): a tint of white, softly shaded and slightly noisy."""
    tint = random.uniform(GROUND, 255, 3)
    shade = cv2.resize(random.uniform(-10, 10, (3, 3, 3)), (size, size), interpolation=cv2.INTER_CUBIC)
    noise = random.uniform(0, 5) * random.standard_normal((size, size, 3))
    return np.clip(tint + shade + noise, 0, 255).astype(np.float32)
