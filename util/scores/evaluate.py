"""From images to scores: the same steps serve validation in training and test.py.

images -> extract_features (real side: cached_features) -> score -> the entries of metrics.json
"""

import hashlib
import io
import logging
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from data.transforms import window
from models.features.registry import FeatureNet
from util.files import write_bytes
from util.images import read_rgb
from util.scores import distances as metrics
from util.workers import progress as show_progress

log = logging.getLogger(__name__)


def pixels(image: np.ndarray | Path) -> np.ndarray:
    """An image, or what its file holds: uint8 RGB (H, W, 3). Raises ImageError."""
    return read_rgb(image) if isinstance(image, Path) else image


def extract_features(
    images: Iterable[np.ndarray | Path], net: FeatureNet, *, batch_size: int = 32, progress: str | None = None
) -> np.ndarray:
    """Features (N, D) float32 of uint8 RGB arrays (H, W, 3) or of image files, whose sizes may differ, in their order.

    Images are taken as they come, a batch at a time, so a generator that translates on the fly needs no memory for the
    set. progress: the text of a progress bar; none without it.
    """
    rows, remaining = [], map(pixels, show_progress(images, desc=progress) if progress else images)
    while batch := list(islice(remaining, batch_size)):
        rows.append(net(batch).cpu().numpy())
    return np.concatenate(rows) if rows else np.empty((0, net.dim), np.float32)


def cached_features(
    images: Iterable[np.ndarray | Path],
    net: FeatureNet,
    cache_dir: str | Path,
    *,
    progress: str | None = None,
) -> np.ndarray:
    """extract_features with its result cached in `cache_dir`.

    The key is a SHA-256 over the decoded pixels, in their order, the network's weights and its preprocessing: files
    that moved are found again, and images that changed are not. images must be iterable twice, once
    for the key and once for the features.
    """
    digest = hashlib.sha256(f"{net.sha256} {net.preprocessing}".encode())
    for image in map(pixels, images):
        digest.update(f"{image.dtype} {image.shape}".encode())
        digest.update(np.ascontiguousarray(image))
    path = Path(cache_dir) / f"{net.name}-{digest.hexdigest()[:32]}.npy"
    if path.exists():
        try:
            return np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            log.warning("%s is damaged; its features are computed again", path)
    features = extract_features(images, net, progress=progress)
    packed = io.BytesIO()
    np.save(packed, features)
    write_bytes(path, packed.getvalue())
    return features


def patch_crop(image: np.ndarray, mask: np.ndarray, *, size: int = 128, seed: int | Sequence[int] = 0) -> np.ndarray:
    """A crop (size, size, 3) centred deep inside the hand: its appearance, which pose and framing hardly touch.

    The centre is drawn from the hand's pixels that lie at least 0.9 times as far from the hand's border as its deepest
    one; the image's border counts as the hand's. A translation and its source, with one mask and one seed, give the same
    crop. Pixels off the hand, and beyond the image where the crop leaves it,
    are white, for real and generated images alike, so backgrounds never enter the score.
    """
    framed = np.pad(mask.astype(np.uint8), 1)
    depth = cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    rows, columns = np.nonzero(depth >= 0.9 * depth.max())
    pick = np.random.default_rng(seed).integers(len(rows))
    white = np.where(mask[..., None], image, np.uint8(255))
    return window(white, rows[pick] - size // 2, columns[pick] - size // 2, size, size, beyond=255)


def score(
    real: np.ndarray,
    fake: np.ndarray,
    net: FeatureNet,
    *,
    kid_subset_size: int | None = None,
    kid_subsets: int = 100,
) -> dict[str, float | int | str | list[float]]:
    """The scores of generated features (M, D) against real ones (N, D), under the names of metrics.json.

    `fid` (or `fd`: net.metric), `kid_mean`, `kid_std`, `kid_subset_size`, `n_generated`, `n_real`, `feature_net`,
    `fid_ci` (the 95 % bootstrap interval, [low, high]), `floor` (the distance between halves of the real set) and
    `floor_n` (images in each half). KID's draws are torch-fidelity's (its seed 2020, real first).
    Raises UsageError for sets too small for what is asked.
    """
    kid_subset_size = kid_subset_size or max(2, min(len(real), len(fake)) // 10)  # a tenth, as in the paper
    mean, std = metrics.kernel_distance(real, fake, subset_size=kid_subset_size, subsets=kid_subsets)
    distance = metrics.frechet_distance(real, fake)
    return {
        net.metric: distance,
        f"{net.metric}_ci": list(metrics.bootstrap_interval(real, fake, distance)),
        "floor": metrics.floor(real),
        "floor_n": len(real) // 2,
        "kid_mean": mean,
        "kid_std": std,
        "kid_subset_size": kid_subset_size,
        "n_generated": len(fake),
        "n_real": len(real),
        "feature_net": net.name,
    }
