"""Training crops for SilNet: hands turned, scaled and repainted, before backgrounds that are nearly white.

What SilNet should call hand decides what it can be used for. It judges what a generator painted, unmasked, on an image
whose background was set to white. A network that had learnt the look of skin would pass over garbage beside the hand,
and would lose a hand whose colours a young generator has spoilt; one that thresholds whiteness would take the faintest
tint of the background for hand. So hands are repainted in any colour and texture while the background stays plain and
light, though tinted, shaded and noisy: SilNet learns to see whatever is painted on a light ground, and the ground.
"""

import math

import cv2
import numpy as np

from data.hands import Hand
from data.transforms import random_hand_crop

MAX_TURN = 30.0  # degrees
ZOOM = (0.6, 1.6)
LIGHTEST = 205  # a repainted hand stays darker than this on average; the background's mean stays above GROUND
GROUND = 222


def silhouette_crop(hand: Hand, size: int, random: np.random.Generator, *, background: str = "white") -> Hand:
    """A size x size crop near the hand, turned, scaled and recoloured; the training crop of SilNet.

    background: "white", where what is outside the mask is white and made nearly so; or "keep", where the photograph's
    own background stays and hand and background change colour together.
    """
    hand = warp(random_hand_crop(hand, math.ceil(1.5 * size), random), size, random)
    image = hand.image.astype(np.float32)
    if background == "keep":
        image = recolour(image, random)
    else:
        painted = repaint(image, random) if random.random() < 0.35 else recolour(image, random)
        ground = plain_ground(size, random) if random.random() < 0.7 else np.full_like(image, 255)
        alpha = cv2.GaussianBlur(hand.mask.astype(np.float32), (3, 3), 0.5)[..., None]
        image = ground + alpha * (painted - ground)
    return Hand(camera(image, random), hand.mask)


def warp(hand: Hand, size: int, random: np.random.Generator) -> Hand:
    """The middle of a larger crop, turned up to 30 degrees, zoomed 0.6 to 1.6 times and shifted up to a quarter."""
    zoom = math.exp(random.uniform(*np.log(ZOOM)))
    matrix = cv2.getRotationMatrix2D((len(hand.mask) / 2 - 0.5,) * 2, random.uniform(-MAX_TURN, MAX_TURN), zoom)
    matrix[:, 2] += (size - len(hand.mask)) / 2 + random.uniform(-size / 4, size / 4, 2)
    image = cv2.warpAffine(hand.image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=(255, 255, 255))
    mask = cv2.warpAffine(hand.mask.astype(np.float32), matrix, (size, size), flags=cv2.INTER_LINEAR)
    return Hand(image, mask > 0.5)


def recolour(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Light, contrast and white balance of float (H, W, 3) in [0, 255], changed at random."""
    gamma = math.exp(random.uniform(-0.4, 0.4))
    gain = random.uniform(0.75, 1.1) * random.uniform(0.88, 1.0, 3)
    return 255 * (np.clip(image, 0, 255) / 255) ** gamma * gain.astype(np.float32)


def repaint(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Another look for float (H, W, 3): a flat colour, noise of any coarseness, or the image in false colours."""
    height, width = image.shape[:2]
    kind = random.integers(3)
    colour = random.uniform(0, 255, 3)
    colour *= min(1.0, LIGHTEST / colour.mean())
    if kind == 0:
        texture = np.broadcast_to(colour, image.shape)
    elif kind == 1:
        grain = random.integers(1, 13)
        coarse = random.uniform(-1, 1, (math.ceil(height / grain) + 1, math.ceil(width / grain) + 1, 3))
        noise = cv2.resize(coarse, None, fx=float(grain), fy=float(grain), interpolation=cv2.INTER_LINEAR)
        texture = colour + random.uniform(10, 200) * noise[:height, :width]
    else:
        false = image[..., random.permutation(3)]
        texture = 0.5 * (255 - false if random.random() < 0.5 else false) + 0.5 * colour
    return np.clip(texture, 0, 255).astype(np.float32)


def plain_ground(size: int, random: np.random.Generator) -> np.ndarray:
    """A light background, float (size, size, 3): a tint of white, softly shaded and slightly noisy."""
    tint = random.uniform(GROUND, 255, 3)
    shade = cv2.resize(random.uniform(-10, 10, (3, 3, 3)), (size, size), interpolation=cv2.INTER_CUBIC)
    noise = random.uniform(0, 5) * random.standard_normal((size, size, 3))
    return np.clip(tint + shade + noise, 0, 255).astype(np.float32)


def camera(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Blur and noise of the whole float image, each now and then; back to uint8."""
    if random.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), random.uniform(0.4, 1.5))
    if random.random() < 0.3:
        image = image + random.uniform(1, 8) * random.standard_normal(image.shape)
    return np.rint(np.clip(image, 0, 255)).astype(np.uint8)
