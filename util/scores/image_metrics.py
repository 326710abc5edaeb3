"""PSNR and SSIM between two images of the same scene, such as a translation and its true pair."""

import cv2
import numpy as np

PEAK = 255.0
SIGMA = 1.5  # pixels
RADIUS = 5  # pixels: the window is 11 x 11
C1, C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2


def psnr(a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of uint8 images (H, W) or (H, W, C); infinite where they are equal.

    mask: bool (H, W), not empty; only pixels where it is True count.
    """
    error = np.mean((a.astype(np.float64) - b)[mask] ** 2)
    return float(10.0 * np.log10(PEAK**2 / error)) if error else float("inf")


def ssim(a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004) of uint8 images (H, W) or (H, W, C), the mean over channels; at most 1.

    Gaussian window of 11 x 11 pixels, sigma 1.5, K1 = 0.01, K2 = 0.03; only windows wholly inside the image count.
    mask: bool (H, W); only windows centred where it is True count.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    mean_a, mean_b = _windowed(a), _windowed(b)
    var_a = _windowed(a * a) - mean_a**2
    var_b = _windowed(b * b) - mean_b**2
    covariance = _windowed(a * b) - mean_a * mean_b
    luminance = (2.0 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    structure = (2.0 * covariance + C2) / (var_a + var_b + C2)
    return float(np.mean((luminance * structure)[mask[RADIUS:-RADIUS, RADIUS:-RADIUS]]))


def _windowed(image: np.ndarray) -> np.ndarray:
    """Gaussian-weighted means over all windows inside the image: (H, W, ...) -> (H - 10, W - 10, ...)."""
    window = cv2.getGaussianKernel(2 * RADIUS + 1, SIGMA, cv2.CV_64F)
    return cv2.sepFilter2D(image, cv2.CV_64F, window, window)[RADIUS:-RADIUS, RADIUS:-RADIUS]
