"""What one hand looks like: texture, tone and fringe; and how like it is to its true pair (PSNR, SSIM).

Images are uint8 RGB (H, W, 3), masks bool (H, W). Lengths are in pixels of a 256 region, times `scale` (`hand_scale`).
"""

from collections.abc import Iterable

import cv2
import numpy as np

from data.masks import bounding_box

REGION = 256  # pixels: the region of the paper's validation and test

BANDS = (6, 12, 24)  # pixels (scaled): periods at which the three bands of L* are most sensitive
TEXTURE_MARGIN = 8.0  # pixels (scaled) inside the outline, where neither its shading nor a fringe reaches
MIN_PIXELS = 200  # (scaled by area): a hand with fewer pixels inside the margin is not measured
# A difference of Gaussians of sigmas s and 2 s passes a sine of period 2 pi s sqrt(3 / (2 ln 4)) best: 6.54 s.
SIGMA_OF_PERIOD = 1 / (2 * np.pi * np.sqrt(1.5 / np.log(4)))
ROBUST_STD = 1.4826  # times the median absolute value: the standard deviation, if it is normal

FRINGE = 2  # pixels, at every scale: the outermost two
CORE = 4  # pixels, at every scale: the colour beside the fringe is taken from here inwards
REACH = 4.0  # pixels: sigma of the mean of that colour
LEAST_WEIGHT = 0.02  # of the mean's window must lie in the core; thinner parts of the hand do not count

PEAK = 255.0


def hand_scale(masks: Iterable[np.ndarray]) -> float:
    """The scale of a set of regions, by the masks of all their hands: photographs' and renders'.

    0.5 where every hand lies in the middle 128 pixels, as in frames of that size, which are padded to regions of 256;
    else 1, as larger frames are cut and never resized.
    """

    def fits(mask: np.ndarray) -> bool:
        middle = tuple(slice(max(0, (n + 1) // 2 - REGION // 4), n // 2 + REGION // 4) for n in mask.shape)
        return np.count_nonzero(mask) == np.count_nonzero(mask[middle])

    return 0.5 if all(map(fits, masks)) else 1.0


def lab(image: np.ndarray) -> np.ndarray:
    """uint8 RGB (H, W, 3) -> CIE L*a*b* (D65) float32 (H, W, 3); L* in [0, 100], a* and b* about -100 to 100."""
    return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def distance_inside(mask: np.ndarray) -> np.ndarray:
    """How far each pixel lies from the nearest one off the hand, which may be infinitely far: float32 (H, W), 0 off it."""
    if mask.all():
        return np.full(mask.shape, np.inf, np.float32)
    return cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def masked_blur(values: np.ndarray, mask: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian means of float32 (H, W) or (H, W, C) over the pixels of the mask alone; 0 where none is near."""
    weights = mask.astype(np.float32)
    if values.ndim == 3:
        weights = np.repeat(weights[..., None], values.shape[2], axis=2)
    sums, shares = (
        cv2.GaussianBlur(each, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT) for each in (values * weights, weights)
    )
    return sums / np.maximum(shares, 1e-6)


def band_strengths(image: np.ndarray, mask: np.ndarray, *, scale: float = 1.0) -> np.ndarray | None:
    """Texture: the strength of L* bands around 6, 12 and 24 pixels (times scale) inside one hand, float64 (3,), in L*: a
    robust standard deviation, as the few sharp outlines of fingers are structure. None for a hand too small for that."""
    box = bounding_box(mask, margin=1)
    mask = mask[box]
    inside = distance_inside(mask) > TEXTURE_MARGIN * scale
    if inside.sum() < MIN_PIXELS * scale**2:
        return None
    lightness = lab(image[box])[..., 0]
    strengths = []
    for period in BANDS:
        sigma = period * scale * SIGMA_OF_PERIOD
        band = masked_blur(lightness, mask, sigma) - masked_blur(lightness, mask, 2 * sigma)
        strengths.append(ROBUST_STD * float(np.median(np.abs(band[inside]))))
    return np.array(strengths)


def mean_colour(image: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """The mean L*, a*, b* of one hand: float64 (3,). None for an empty mask."""
    if not mask.any():
        return None
    box = bounding_box(mask)
    return lab(image[box])[mask[box]].mean(axis=0, dtype=np.float64)


def fringe_chroma(image: np.ndarray, mask: np.ndarray) -> float | None:
    """How far the colour of one hand's outermost two pixels strays from the hand's own just inside, in a*b* units.

    The mean distance in a*, b* between each of these pixels and the Gaussian mean of the hand's core around it: 0 for a
    flat hand, about 4 for a clean cut-out of a shaded one. None for a hand without an outline, or too thin for a core.
    """
    box = bounding_box(mask, margin=FRINGE)
    mask = mask[box]
    distance = distance_inside(mask)
    core = distance >= CORE
    chroma = lab(image[box])[..., 1:]
    near = cv2.GaussianBlur(core.astype(np.float32), (0, 0), REACH, borderType=cv2.BORDER_CONSTANT) > LEAST_WEIGHT
    outermost = mask & (distance < FRINGE + 0.5) & near
    if not outermost.any():
        return None
    strays = chroma[outermost] - masked_blur(chroma, core, REACH)[outermost]
    return float(np.hypot(strays[:, 0], strays[:, 1]).mean())


def psnr(a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, over the pixels of the mask, which is not empty; infinite for equal images."""
    error = np.mean((a.astype(np.float64) - b)[mask] ** 2)
    return float(10.0 * np.log10(PEAK**2 / error)) if error else float("inf")


def ssim(a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004) of images (H, W) or (H, W, C), the mean over channels; at most 1.

    Gaussian window of 11 x 11 pixels, sigma 1.5, K1 = 0.01, K2 = 0.03; only windows that lie wholly inside the image and
    are centred in the mask count.
    """
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    window, inside = cv2.getGaussianKernel(11, 1.5, cv2.CV_64F), np.s_[5:-5, 5:-5]

    def means(image: np.ndarray) -> np.ndarray:
        return cv2.sepFilter2D(image, cv2.CV_64F, window, window)[inside]

    a, b = a.astype(np.float64), b.astype(np.float64)
    mean_a, mean_b = means(a), means(b)
    var_a, var_b = means(a * a) - mean_a**2, means(b * b) - mean_b**2
    covariance = means(a * b) - mean_a * mean_b
    luminance = (2.0 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2.0 * covariance + c2) / (var_a + var_b + c2)
    return float(np.mean((luminance * structure)[mask[inside]]))
