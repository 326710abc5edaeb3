"""From images to scores of sets: features, taken as images pass, and the distances of metrics.json."""

import hashlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from data.crops import window
from models.features.registry import FeatureNet
from util.files import write_bytes
from util.images import read_rgb
from util.scores import distances
from util.workers import progress as show_progress


class FeatureCache(dict):
    """{SHA-256 of an image's pixels: its features, float32 (D,)}, of images that come again, in one file a network."""

    def __init__(self, folder: Path, net: FeatureNet) -> None:
        network = hashlib.sha256(f"{net.sha256} {net.name}".encode()).hexdigest()
        self.path = folder / f"{net.name}-{network[:16]}.npz"
        if self.path.exists():
            with np.load(self.path) as stored:
                super().__init__(zip(map(bytes, stored["digests"]), stored["rows"]))
        self._stored = len(self)

    def save(self) -> None:
        """Write the file, if there is anything new."""
        if len(self) > self._stored:
            digests = np.frombuffer(b"".join(self), np.uint8).reshape(len(self), -1)
            packed = io.BytesIO()
            np.savez(packed, digests=digests, rows=np.stack(list(self.values())))
            write_bytes(self.path, packed.getvalue())


class Features:
    """The features of uint8 images (H, W, 3) of any sizes, added one at a time and computed in batches."""

    def __init__(self, net: FeatureNet, known: FeatureCache | None = None) -> None:
        self.net = net
        self._known = {} if known is None else known
        self._digests: list[bytes] = []  # of all images, in order
        self._waiting: dict[bytes, np.ndarray] = {}

    def add(self, image: np.ndarray) -> None:
        """Take the next image."""
        digest = hashlib.sha256(str(image.shape).encode() + image.tobytes()).digest()
        self._digests.append(digest)
        if digest not in self._known:
            self._waiting[digest] = image
        if len(self._waiting) == self.net.batch_size:
            self._compute()

    def _compute(self) -> None:
        self._known.update(zip(self._waiting, self.net(list(self._waiting.values())).cpu().numpy()))
        self._waiting.clear()

    def rows(self) -> np.ndarray:
        """The features of all images so far, in their order: float32 (N, D)."""
        if self._waiting:
            self._compute()
        return np.array([self._known[digest] for digest in self._digests], np.float32).reshape(-1, self.net.dim)


def extract_features(
    images: Iterable[np.ndarray | Path], net: FeatureNet, *, cache_dir: Path | None = None, progress: str | None = None
) -> np.ndarray:
    """Features (N, D) float32 of arrays or of image files, in their order.

    cache_dir: a folder of FeatureCache. progress: the text of a progress bar. Raises ImageError.
    """
    cache = FeatureCache(cache_dir, net) if cache_dir else None
    features = Features(net, cache)
    for image in show_progress(images, desc=progress) if progress else images:
        features.add(read_rgb(image) if isinstance(image, Path) else image)
    rows = features.rows()
    if cache is not None:
        cache.save()
    return rows


def patch_crop(image: np.ndarray, mask: np.ndarray, *, size: int = 128, seed: int | Sequence[int] = 0) -> np.ndarray:
    """A crop (size, size, 3) centred deep inside the hand: its appearance, which pose and framing hardly touch.

    The centre is drawn from the pixels at least 0.9 times as far from the hand's border, or the image's, as the deepest
    one. Pixels off the hand, and beyond the image, are white.
    """
    framed = np.pad(mask.astype(np.uint8), 1)
    depth = cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    rows, columns = np.nonzero(depth >= 0.9 * depth.max())
    pick = np.random.default_rng(seed).integers(len(rows))
    white = np.where(mask[..., None], image, np.uint8(255))
    return window(white, (columns[pick] - size // 2, rows[pick] - size // 2, size, size), beyond=255)


def score(
    real: np.ndarray, fake: np.ndarray, net: FeatureNet, *, kid_subset_size: int | None = None, kid_subsets: int = 100
) -> dict[str, float | int | str | list[float]]:
    """The scores of generated features (M, D) against real ones (N, D), under the names of metrics.json.

    `fid` (or `fd`: net.metric); `fid_ci`, its 95 % bootstrap interval; `floor`, the distance between halves of the real
    set, and `floor_n`, images in each. Raises UsageError for sets too small for what is asked.
    """
    kid_subset_size = kid_subset_size or max(2, min(len(real), len(fake)) // 10)  # a tenth, as in the released code
    mean, std = distances.kernel_distance(real, fake, subset_size=kid_subset_size, subsets=kid_subsets)
    distance = distances.frechet_distance(real, fake)
    return {
        net.metric: distance,
        f"{net.metric}_ci": list(distances.bootstrap_interval(real, fake, distance)),
        "floor": distances.floor(real),
        "floor_n": len(real) // 2,
        "kid_mean": mean,
        "kid_std": std,
        "kid_subset_size": kid_subset_size,
        "n_generated": len(fake),
        "n_real": len(real),
        "feature_net": net.name,
    }
