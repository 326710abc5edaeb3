"""A procedural demo data set of hands in the published folder layouts: a stand-in for development, no photographs.

SynthHands_Release/ has plain shading on the key colour, with depth; RealHands/ painted skin before a green screen, with
raw noisy masks. Joints lie beside every colour image, in CAMERA's frame. A frame is a pure function of its path.
"""

import functools
import logging
import shutil
import zlib
from pathlib import Path

import numpy as np

from data.demo.hand import Skin, build_skin, draw_person
from data.demo.render import CAMERA, SIDE, Geometry, draw_frame, shade_synthetic
from data.demo.skin import SKINS, paint_skin, record, shade_real, spoil_mask
from data.frames import REAL_FOLDER, SYNTH_FOLDER
from data.joints import joint_file
from util.errors import UsageError
from util.files import read_json, write_bytes, write_json
from util.images import write_png
from util.workers import in_processes, progress

__all__ = ["CAMERA", "SIDE", "ensure_demo", "frame_names", "is_demo", "true_pair"]

VERSION = 2  # raised with every change of pixels
BACKGROUND_DEPTH = 32001
PEOPLE = {f"user0{number + 1}": number for number in range(len(SKINS))} | {  # whose skin, of SKINS
    f"{gender}_noobject/seq0{i + 1}": number
    for gender, numbers in (("female", (0, 3, 6)), ("male", (1, 2, 5)))
    for i, number in enumerate(numbers)
}
log = logging.getLogger(__name__)


def frame_names(*, frames_per_camera: int = 50, frames_per_user: int = 86) -> list[str]:
    """The colour images of all frames (600 and 602), relative to the demo's root, one person's next to each other."""
    synthetic, users = (sorted(who for who in PEOPLE if ("/" in who) == kind) for kind in (True, False))
    cameras = [f"{SYNTH_FOLDER}/{who}/cam0{camera}/01" for who in synthetic for camera in (1, 2)]
    names = [f"{camera}/{number:08d}_color.png" for camera in cameras for number in range(frames_per_camera)]
    return names + [
        f"{REAL_FOLDER}/{who}/color/image_{number:05d}_color.png" for who in users for number in range(frames_per_user)
    ]


def _rng(what: str) -> np.random.Generator:
    return np.random.default_rng((20210315, zlib.crc32(what.encode())))


@functools.lru_cache(maxsize=4)
def _person(who: str) -> tuple[Skin, list[np.ndarray]]:
    rng = _rng(who)
    person = draw_person(rng)
    return build_skin(person), [paint_skin(person, PEOPLE[who], rng, palm=palm) for palm in (True, False)]


def _who(path: str) -> str:
    return "/".join(path.split("/")[: 1 if path.startswith("user") else 2])


def draw_geometry(path: str) -> tuple[Geometry, np.random.Generator]:
    """What a frame shows, and the generator that its light and camera go on with; path: posix, below its domain's root."""
    rng = _rng(path)
    return draw_frame(_person(_who(path))[0], rng, long_arm=path.startswith("user")), rng


def true_pair(path: str) -> tuple[np.ndarray, np.ndarray]:
    """The real-look picture of a synthetic frame: same hand, pose and camera, skin of the subject its tone stands for.

    path: of its colour image, posix, below SYNTH_FOLDER. Returns uint8 RGB (H, W, 3), white off the hand, before the webcam's
    blur and noise, which no translation could foretell; and the hand's mask, bool (H, W), the synthetic frame's.
    """
    geometry, _ = draw_geometry(path)
    shaded = shade_real(geometry, *_person(_who(path))[1], _rng(f"{path} true pair"))
    return np.where(geometry.mask[..., None], shaded * 255 + 0.5, 255).astype(np.uint8), geometry.mask


def _write_frame(root: Path, name: str) -> None:
    """Write a frame's three files, unless they are there; the joints come last."""
    image, path = root / name, name.split("/", 1)[1]
    if joint_file(image).exists():
        return
    geometry, rng = draw_geometry(path)
    if name.startswith(REAL_FOLDER):
        picture = record(shade_real(geometry, *_person(_who(path))[1], rng), geometry.mask, rng)
        write_png(image.parent.parent / "mask" / image.name.replace("color", "mask"), spoil_mask(geometry.mask, rng))
    else:
        picture = shade_synthetic(geometry, np.mean(SKINS[PEOPLE[_who(path)]], 0) / 255, rng)
        depth = np.where(geometry.mask, np.rint(geometry.depth), BACKGROUND_DEPTH)
        write_png(image.with_name(image.name.replace("color", "depth")), depth.astype(np.uint16))
    write_png(image, picture)
    write_bytes(joint_file(image), (",".join(f"{value:.3f}" for value in geometry.joints.ravel()) + "\n").encode())


def is_demo(root: Path) -> bool:
    """Whether root holds the whole demo of this version."""
    try:
        return read_json(root / "demo.json")["version"] == VERSION
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or it is not ours
        return False


def ensure_demo(root: Path, *, num_workers: int = 2, frames_per_camera: int = 50, frames_per_user: int = 86) -> None:
    """Write the demo data set to root, unless it is there. Raises UsageError where root holds something else.

    It is drawn beside root, in a folder that is renamed at the end; what an interrupted run left there is used.
    frames_per_camera, frames_per_user: fewer for tests.
    """
    if is_demo(root):
        return
    if root.exists() and any(root.iterdir()):
        raise UsageError(f"{root} holds files, but not the demo: delete it, or give your own data with --dataroot")
    notice = "a procedural stand-in, rendered by this project; no photographs"
    log.info("writing the demo hands to %s: %s", root, notice)
    part = root.with_name(f".{root.name}.part{VERSION}")
    tasks = [(part, name) for name in frame_names(frames_per_camera=frames_per_camera, frames_per_user=frames_per_user)]
    written = in_processes(_write_frame, tasks, count=num_workers)
    for _ in progress(written, total=len(tasks), desc="drawing demo hands"):
        pass
    write_json(part / "demo.json", {"version": VERSION, "what": notice})
    try:
        part.rename(root)
    except OSError:  # another process was first
        if not is_demo(root):
            raise
        shutil.rmtree(part)
