"""The demo's joints as points of the picture: 21 a hand, for the synthetic and for the real-look frames alike."""

from pathlib import Path

import numpy as np

from data.demo import CAMERA, JOINT_NAMES
from data.frames import Frame, annotation_prefix
from util.images import ImageError

N_JOINTS = len(JOINT_NAMES)
BONES = tuple((4 * f + i if i else 0, 4 * f + i + 1) for f in range(5) for i in range(4))  # wrist to tip, by finger


def joint_file(frame: Frame, domain: str) -> Path:
    """Where the frame's joints lie: beside a synthetic image, in <user>/joints/ for a real one."""
    folder = frame.image.parent if domain == "synthetic" else frame.image.parent.parent / "joints"
    return folder / f"{annotation_prefix(frame.image)}_joint_pos.txt"


def read_joints(path: Path) -> np.ndarray:
    """One line of 63 numbers -> float64 (21, 3): x, y, z in mm, in the camera's frame. Raises ImageError."""
    try:
        joints = np.array(path.read_text(encoding="utf-8").split(","), np.float64).reshape(N_JOINTS, 3)
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: no {N_JOINTS} joints can be read ({error})") from error
    if not (np.isfinite(joints).all() and (joints[:, 2] > 0).all()):
        raise ImageError(f"{path}: a joint is not before the camera")
    return joints


def project(joints: np.ndarray) -> np.ndarray:
    """(..., 3) in mm -> (..., 2): x and y in pixels of the demo's camera; a pixel's centre lies at +0.5."""
    x, y, z = np.moveaxis(np.asarray(joints, np.float64), -1, 0)
    return np.stack([CAMERA.fx * x / z + CAMERA.cx, CAMERA.fy * y / z + CAMERA.cy], axis=-1)
