"""The demo's joints as points of the picture, for the synthetic and for the real-look frames alike."""

from pathlib import Path

import numpy as np

from data import joints
from data.demo import CAMERA
from data.frames import Frame, annotation_prefix


def joint_file(frame: Frame, domain: str) -> Path:
    """The frame's file of joints: beside a synthetic image, in <user>/joints/ for a real one."""
    if domain == "synthetic":
        return joints.joint_file(frame.image)
    return frame.image.parent.parent / "joints" / f"{annotation_prefix(frame.image)}_joint_pos.txt"


def project(positions: np.ndarray) -> np.ndarray:
    """(..., 3) in mm -> (..., 2): x and y in pixels of the demo's camera; a pixel's centre lies at +0.5."""
    return joints.project(positions, joints.Camera(CAMERA.fx, CAMERA.fy, CAMERA.cx, CAMERA.cy))
