"""What translations must beat: renders that were given photographs' statistics, or a blur, and nothing else."""

from collections.abc import Callable

import cv2
import numpy as np

from data.hands import Hand
from util.scores.appearance import lab, masked_blur

LOW = 0.01  # of the image's side: half the width of the square of frequencies that are swapped


def colour_statistics(render: Hand, photograph: Hand) -> np.ndarray:
    """Mean and standard deviation of the photograph's L*, a*, b* on the hand (Reinhard et al. 2001)."""
    colours, others = lab(render.image), lab(photograph.image)[photograph.mask]
    own = colours[render.mask]
    moved = (colours - own.mean(0)) * (others.std(0) / np.maximum(own.std(0), 1e-3)) + others.mean(0)
    return _bytes(255 * cv2.cvtColor(moved.astype(np.float32), cv2.COLOR_LAB2RGB))


def blur(render: Hand, _: Hand) -> np.ndarray:
    """A Gaussian blur of the hand, sigma 1 pixel."""
    return _bytes(masked_blur(render.image.astype(np.float32), render.mask, 1.0))


def low_frequencies(render: Hand, photograph: Hand) -> np.ndarray:
    """The photograph's amplitudes at low frequencies, with the render's phases (Yang and Soatto 2020)."""
    height, width = render.mask.shape
    other = cv2.resize(photograph.image, (width, height), interpolation=cv2.INTER_AREA)
    own, other = (np.fft.fftshift(np.fft.fft2(image, axes=(0, 1)), axes=(0, 1)) for image in (render.image, other))
    reach, y, x = int(LOW * min(height, width)), height // 2, width // 2
    square = np.s_[y - reach : y + reach + 1, x - reach : x + reach + 1]
    own[square] = np.abs(other[square]) * np.exp(1j * np.angle(own[square]))
    return _bytes(np.fft.ifft2(np.fft.ifftshift(own, axes=(0, 1)), axes=(0, 1)).real)


def _bytes(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


BASELINES: dict[str, Callable[[Hand, Hand], np.ndarray]] = {
    "colour statistics": colour_statistics,
    "blur of 1 pixel": blur,
    "low frequencies": low_frequencies,
}
"""{name: (a render, a photograph) -> uint8 (H, W, 3), of which the hand alone counts}"""
