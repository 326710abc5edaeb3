"""PSNR and SSIM between two images of the same scene, such as a translation and its true pair."""

import cv2
import numpy as np

PEAK = 255.0
SIGMA = 1.5  # pixels
RADIUS = 5  # pixels: the window is 11 x 11
C1, C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2


def psnr(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB of uint8 images (H, W) or (H, W, C); infinite where they are equal.

    mask: bool (H, W); only pixels where it is True count. Raises ValueError for shapes that differ or an empty mask.
    """
    a, b, mask = _pair(a, b, mask)
    error = np.mean((a - b)[mask] ** 2)
    return float(10.0 * np.log10(PEAK**2 / error)) if error else float("inf")


def ssim(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Structural similarity (Wang et al. 2004) of uint8 images (H, W) or (H, W, C), the mean over channels; at most 1.

    Gaussian window of 11 x 11 pixels, sigma 1.5, K1 = 0.01, K2 = 0.03; only windows wholly inside the image count.
    mask: bool (H, W); only windows centred where it is True count. Raises ValueError for shapes that differ, images
    smaller than the window, or a mask that leaves no window.
    """
    a, b, mask = _pair(a, b, mask)
    if min(a.shape[:2]) <= 2 * RADIUS:
        raise ValueError(f"SSIM needs at least {2 * RADIUS + 1} pixels a side, not {a.shape[1]}x{a.shape[0]}")
    mean_a, mean_b = _windowed(a), _windowed(b)
    var_a = _windowed(a * a) - mean_a**2
    var_b = _windowed(b * b) - mean_b**2
    covariance = _windowed(a * b) - mean_a * mean_b
    luminance = (2.0 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    structure = (2.0 * covariance + C2) / (var_a + var_b + C2)
    inside = mask[RADIUS:-RADIUS, RADIUS:-RADIUS]
    if not inside.any():
        raise ValueError("the mask leaves no SSIM window: it is empty but for the image's border")
    return float(np.mean((luminance * structure)[inside]))


def _windowed(image: np.ndarray) -> np.ndarray:
    """Gaussian-weighted means over all windows inside the image: (H, W, C) -> (H - 10, W - 10, C)."""
    window = cv2.getGaussianKernel(2 * RADIUS + 1, SIGMA, cv2.CV_64F)
    means = cv2.sepFilter2D(image, cv2.CV_64F, window, window).reshape(image.shape)  # OpenCV drops a single channel
    return means[RADIUS:-RADIUS, RADIUS:-RADIUS]


def _pair(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both images in float64 (H, W, C) and a mask (H, W)."""
    if a.shape != b.shape or a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ValueError(f"two uint8 images of one shape are compared, not {a.dtype} {a.shape} and {b.dtype} {b.shape}")
    if mask is None:
        mask = np.ones(a.shape[:2], bool)
    if mask.shape != a.shape[:2] or not mask.any():
        raise ValueError(f"the mask is empty or its shape {mask.shape} is not the images' {a.shape[:2]}")
    channels = (*a.shape[:2], -1)
    return a.astype(np.float64).reshape(channels), b.astype(np.float64).reshape(channels), mask.astype(bool)
