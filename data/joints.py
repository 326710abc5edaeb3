"""Where a hand's joints lie in a translated image: millimetres -> pixels of the colour image -> pixels of generated/.

docs/joints.md shows it in Python; python -m data.joints writes joints.json and skeletons.png into a results folder. Points
are continuous coordinates in the convention of the camera's cx and cy. Depth maps are cut likewise.
"""

import argparse
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from data.crops import Box, centred_box, window
from data.frames import Frame, annotation_prefix
from data.hands import read_source
from util.drawing import evenly, sheet
from util.errors import UsageError, run_command
from util.files import user_path, write_json
from util.images import ImageError, read_rgb, write_png

log = logging.getLogger(__name__)

N_JOINTS = 21
N_SHOWN = 8  # hands in skeletons.png
BONES = tuple((4 * f + i if i else 0, 4 * f + i + 1) for f in range(5) for i in range(4))  # wrist to tip, by finger
_FINGERS = ((230, 60, 60), (240, 160, 40), (60, 190, 80), (60, 140, 240), (190, 80, 220))  # RGB, thumb to little finger
NO_DEPTH = 32000  # from here on a value says that there is no hand; SynthHands writes 32001
ON_HANDS = 0.8  # of the joints must lie on the hands by a camera that is taken for theirs
LEAST_OVERLAP = 0.85  # of the depth map's hand and the colour image's, as IoU, for them to show one view


@dataclass(frozen=True)
class Camera:
    """A pinhole camera. fx, fy, cx, cy: intrinsics in pixels. shift: added to joints to bring them into its frame, mm."""

    fx: float
    fy: float
    cx: float
    cy: float
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)


# SynthHands' joints are in the depth camera's frame; the colour camera stands beside it, unturned.
SYNTHHANDS = Camera(fx=617.173, fy=617.173, cx=315.453, cy=242.259, shift=(24.7, -0.0471, 3.72))


def joint_file(image: str | os.PathLike) -> Path:
    """Where the joints of a colour image lie: <prefix>_joint_pos.txt beside it."""
    return Path(image).with_name(f"{annotation_prefix(Path(image))}_joint_pos.txt")


def read_joints(path: Path) -> np.ndarray:
    """One line of 63 numbers -> float64 (21, 3): x, y, z in mm, in the camera's frame. Raises ImageError."""
    try:
        joints = np.array(path.read_text(encoding="utf-8").split(","), np.float64).reshape(N_JOINTS, 3)
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: no {N_JOINTS} joints can be read ({error})") from error
    if not (np.isfinite(joints).all() and (joints[:, 2] > 0).all()):
        raise ImageError(f"{path}: a joint is not in front of the camera")
    return joints


def project(joints: np.ndarray, camera: Camera) -> np.ndarray:
    """(..., 3) in mm -> (..., 2): x and y in pixels of the camera's image."""
    x, y, z = np.moveaxis(np.asarray(joints, np.float64) + camera.shift, -1, 0)
    return np.stack([camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy], axis=-1)


def into_region(points: np.ndarray, region: dict) -> np.ndarray:
    """(..., 2) in pixels of a source image -> (..., 2) in pixels of its output. region: an entry of regions.json."""
    return (np.asarray(points, np.float64) - region["box"][:2]) * region["scale"]


def joints_in(frame: Frame, box: Box, camera: Camera) -> np.ndarray | None:
    """The joints in a box of a frame as read: (21, 2), x and y in its pixels; None where the frame has none beside it."""
    file = joint_file(frame.image)
    return project(read_joints(file), camera) * frame.scale - box[:2] if file.is_file() else None


def camera_of(frames: Sequence[Frame]) -> Camera | None:
    """The camera of joints beside the frames: SynthHands', if it puts them on the hands; else a pinhole in the middle of the
    images, whose focal length does. None where no frame has joints. Raises UsageError where neither does."""
    labelled = evenly([frame for frame in frames if joint_file(frame.image).is_file()], 50)
    if not labelled:
        return None
    joints = [read_joints(joint_file(frame.image)) for frame in labelled]
    masks = [read_source(replace(frame, scale=1.0)).mask for frame in labelled]

    def share(camera: Camera) -> float:
        return float(np.mean([on_hand(project(each, camera), mask) for each, mask in zip(joints, masks)]))

    if share(SYNTHHANDS) >= ON_HANDS:
        return SYNTHHANDS
    height, width = masks[0].shape
    focal_lengths = (width * np.geomspace(0.5, 4, 210)).tolist()  # 1 % apart
    cameras = [Camera(focal, focal, width / 2, height / 2) for focal in focal_lengths]
    shares = np.array([share(camera) for camera in cameras])
    if shares.max() < ON_HANDS:
        where = f"the joints beside {labelled[0].image} and others"
        raise UsageError(f"no camera is known that puts {where} on the hands: give --camera FX FY CX CY")
    camera = cameras[int(np.flatnonzero(shares >= 0.995 * shares.max()).mean())]
    told = "the joints' camera is not known: taken to have a focal length of %.0f pixels, as that puts %.0f %% of them on the hands"
    log.warning(f"{told}; test.py takes it as --camera FX FY CX CY", camera.fx, 100 * share(camera))
    return camera


def on_hand(points: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Which of the points (N, 2), in pixels, lie on a hand, bool (H, W): bool (N,)."""
    places = np.floor(points).astype(np.float32)[None]
    return cv2.remap(mask.view(np.uint8), places, None, cv2.INTER_NEAREST)[0] > 0


def load_regions(folder: str | os.PathLike) -> list[dict]:
    """The entries of a results folder's regions.json; see docs/joints.md. Raises UsageError where there is none."""
    file = Path(folder) / "regions.json"
    if not file.exists():
        raise UsageError(f"{folder} holds no {file.name}; give a results folder that test.py wrote")
    return json.loads(file.read_text(encoding="utf-8"))


def draw_skeleton(image: np.ndarray, points: np.ndarray, seen: np.ndarray | None = None) -> np.ndarray:
    """A copy of uint8 (H, W, 3) with bones between joints (21, 2). seen: bool (21,), which are drawn; None: all."""
    image, seen = image.copy(), np.ones(N_JOINTS, bool) if seen is None else seen
    pixel = np.rint((points - 0.5) * 16).astype(int).tolist()  # OpenCV's pixels have their centres at whole numbers
    for number, (start, end) in enumerate(BONES):
        if seen[start] and seen[end]:
            cv2.line(image, pixel[start], pixel[end], _FINGERS[number // 4], 1, cv2.LINE_AA, shift=4)
    for joint in np.flatnonzero(seen):
        cv2.circle(image, pixel[joint], 24, (255, 255, 255), -1, cv2.LINE_AA, shift=4)
    return image


def has_depth(depth: np.ndarray) -> np.ndarray:
    """uint16 (H, W) -> bool (H, W), True where the depth is known."""
    return (depth > 0) & (depth < NO_DEPTH)


def region_depth(image: Path, mask: np.ndarray) -> np.ndarray | None:
    """The depth of a region: uint16 (H, W), mm, 0 where unknown; cut around the hand in the image's <prefix>_depth.png.

    mask: bool (H, W), the region's hand. None where there is no such file, or its hand is another, as in SynthHands.
    """
    path = image.with_name(f"{annotation_prefix(image)}_depth.png")
    depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
    if depth is None or depth.dtype != np.uint16 or depth.ndim != 2:
        return None
    region = window(depth, centred_box(has_depth(depth), *mask.shape), beyond=0)
    region[~has_depth(region)] = 0
    hand = region > 0
    return region if (hand & mask).sum() >= LEAST_OVERLAP * (hand | mask).sum() else None


def main() -> None:
    """Map the joints of a results folder into its outputs, and draw some of them."""
    parser = argparse.ArgumentParser(prog="python -m data.joints", description=main.__doc__)
    parser.add_argument("folder", type=user_path, help="of results: results/<name>/<phase>")
    given = "(default: SynthHands' colour camera)"
    parser.add_argument("--camera", type=float, nargs=4, metavar=("FX", "FY", "CX", "CY"), help=given)
    opt = parser.parse_args()
    camera = Camera(*opt.camera) if opt.camera else SYNTHHANDS
    regions = [region for region in load_regions(opt.folder) if joint_file(region["source"]).is_file()]
    if not regions:
        raise UsageError(f"no source of {opt.folder} has a <prefix>_joint_pos.txt beside it")
    points = [into_region(project(read_joints(joint_file(each["source"])), camera), each) for each in regions]
    masks = [opt.folder / "masks" / "synthetic" / region["file"].partition("/")[2] for region in regions]
    on = [on_hand(place, read_rgb(mask)[..., 0] > 0).mean() for place, mask in zip(points, masks) if mask.is_file()]
    if on and np.mean(on) < ON_HANDS:
        said = "%.0f %% of the joints lie on the hands: they were seen by another camera; give --camera FX FY CX CY"
        log.warning(said, 100 * np.mean(on))
    joints = {each["file"]: place.round(3).tolist() for each, place in zip(regions, points)}
    write_json(opt.folder / "joints.json", joints)
    shown = evenly(list(zip(regions, points)), N_SHOWN)
    drawn = [draw_skeleton(read_rgb(opt.folder / region["file"]), place) for region, place in shown]
    write_png(opt.folder / "skeletons.png", sheet([drawn]))
    print(f"{len(joints)} hands: {opt.folder / 'joints.json'}; look at {opt.folder / 'skeletons.png'}")


if __name__ == "__main__":
    run_command(main)
