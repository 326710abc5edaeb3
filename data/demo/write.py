"""Writing the demo data set: which frames there are, what each file holds, and a pool of processes that writes them.

Every frame is a pure function of SEED and its own path, so files can be written in any order, by any number of
processes, or again after an interruption, and a synthetic frame's true real-look partner needs nothing on disk.
"""

import functools
import hashlib
import json
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from data.demo.paint import LOOKS, Paint, make_paint, make_subject
from data.demo.render import BACKGROUND_DEPTH, Geometry, draw_frame, shade_synthetic
from data.demo.skeleton import make_person
from data.demo.skin import shade_real
from data.demo.surface import Skin, build_skin
from data.demo.webcam import record, spoil_mask
from util.errors import UsageError
from util.files import write_bytes
from util.images import write_png
from util.workers import in_processes, progress

SEED = 20210315
FORMAT = 1
SYNTH, REAL = "SynthHands_Release", "RealHands"
GENDERS, SEQUENCES, CAMERAS = ("female", "male"), 3, 2
FRAMES_PER_CAMERA = 50  # 2 x 3 x 2 x 50 = 600 synthetic frames
FRAMES_PER_USER = 86  # 7 x 86 = 602 real-look frames
# The look that each synthetic sequence stands for: its flat albedo, and its true pairs' skin.
_SEQUENCE_LOOKS = {("female", 1): 0, ("female", 2): 3, ("female", 3): 6, ("male", 1): 1, ("male", 2): 2, ("male", 3): 5}
_NOTICE = "a procedural stand-in, rendered by this project; no photographs"
_FRAME = re.compile(r"(female|male)_noobject/seq(0[1-9])/cam(0[1-9])/01/(\d{8})_color\.png")
_FILE_KINDS = {
    SYNTH: ("{path}_color.png", "{path}_depth.png", "{path}_joint_pos.txt"),
    REAL: ("{user}/color/{stem}_color.png", "{user}/mask/{stem}_mask.png", "{user}/joints/{stem}_joint_pos.txt"),
}
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Frame:
    """One frame. domain: SYNTH or REAL. files: its files' paths relative to the demo's root, the colour image first."""

    domain: str
    files: tuple[str, ...]


def _frame(domain: str, path: str) -> Frame:
    user, _, stem = path.partition("/")
    names = (kind.format(path=path, user=user, stem=stem) for kind in _FILE_KINDS[domain])
    return Frame(domain, tuple(f"{domain}/{name}" for name in names))


def plan_frames(*, frames_per_camera: int = FRAMES_PER_CAMERA, frames_per_user: int = FRAMES_PER_USER) -> list[Frame]:
    """All frames of the demo, one person's next to each other."""
    frames = [
        _frame(SYNTH, f"{gender}_noobject/seq{sequence:02d}/cam{camera:02d}/01/{number:08d}")
        for gender in GENDERS
        for sequence in range(1, SEQUENCES + 1)
        for camera in range(1, CAMERAS + 1)
        for number in range(frames_per_camera)
    ]
    return frames + [
        _frame(REAL, f"user{user:02d}/image_{number:05d}")
        for user in range(1, len(LOOKS) + 1)
        for number in range(frames_per_user)
    ]


def _rng(*what: str | int) -> np.random.Generator:
    digest = hashlib.sha256("/".join(map(str, (SEED, *what))).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


@functools.lru_cache(maxsize=8)
def _sequence_skin(gender: str, sequence: int) -> Skin:
    rng = _rng("person", gender, sequence)
    slender = rng.uniform(1.04, 1.12) if gender == "female" else rng.uniform(0.95, 1.04)
    size = rng.uniform(0.88, 0.95) if gender == "female" else rng.uniform(0.97, 1.05)
    return build_skin(make_person(rng, size=size, slender=slender))


@functools.lru_cache(maxsize=8)
def _sequence_paint(gender: str, sequence: int) -> Paint:
    look = LOOKS[_SEQUENCE_LOOKS[gender, sequence]]
    return make_paint(_sequence_skin(gender, sequence).person, look, _rng("paint", gender, sequence))


@functools.lru_cache(maxsize=2)
def _subject(index: int) -> tuple[Skin, Paint]:
    rng = _rng("subject", index)
    skin = build_skin(make_subject(index, rng))
    return skin, make_paint(skin.person, LOOKS[index], rng)


def synthetic_geometry(relative_path: str) -> Geometry:
    """What a synthetic frame shows. relative_path: posix, below SynthHands_Release, ending in _color.png.

    Raises ValueError where it is not the path of a demo frame.
    """
    match = _FRAME.fullmatch(relative_path)
    gender, sequence, camera, number = match.groups() if match else ("", 0, 0, 0)
    if not (match and int(sequence) <= SEQUENCES and int(camera) <= CAMERAS and int(number) < FRAMES_PER_CAMERA):
        raise ValueError(
            f"{relative_path!r} is no frame of the demo; one is 'female_noobject/seq01/cam01/01/00000000_color.png'"
        )
    return draw_frame(_sequence_skin(gender, int(sequence)), _rng(relative_path, "pose"), long_arm=False)


def _who(relative_path: str) -> tuple[str, int]:
    gender, sequence = _FRAME.fullmatch(relative_path).group(1, 2)
    return gender, int(sequence)


def true_pair(relative_path: str) -> tuple[np.ndarray, np.ndarray]:
    """The real-look picture of a synthetic frame: same hand, pose and camera, skin of the subject its tone stands for.

    relative_path: as in synthetic_geometry. Returns uint8 RGB (H, W, 3), white off the hand, and the hand's mask
    (H, W) bool, which equals the synthetic frame's. It is the picture before the webcam's blur and noise, which no
    translation could foretell. Raises ValueError where relative_path is not the path of a demo frame.
    """
    geometry = synthetic_geometry(relative_path)
    shaded = shade_real(geometry, _sequence_paint(*_who(relative_path)), _rng(relative_path, "true pair"))
    image = np.full(shaded.shape, 255, np.uint8)
    image[geometry.mask] = (shaded[geometry.mask] * 255 + 0.5).astype(np.uint8)
    return image, geometry.mask


def _png16(values: np.ndarray) -> bytes:
    return cv2.imencode(".png", values)[1].tobytes()


def _joint_line(joints: np.ndarray) -> bytes:
    return (",".join(f"{value:.3f}" for value in joints.ravel()) + "\n").encode()


def _make_synthetic(frame: Frame) -> dict[str, np.ndarray | bytes]:
    path = frame.files[0].removeprefix(SYNTH + "/")
    geometry = synthetic_geometry(path)
    look = LOOKS[_SEQUENCE_LOOKS[_who(path)]]
    albedo = (0.5 * np.array(look.back) + 0.5 * np.array(look.palm)) / 255
    depth = np.where(geometry.mask, np.rint(geometry.depth), BACKGROUND_DEPTH).astype(np.uint16)
    contents = (shade_synthetic(geometry, albedo, _rng(path, "light")), _png16(depth), _joint_line(geometry.joints))
    return dict(zip(frame.files, contents))


def real_geometry(relative_path: str) -> tuple[Geometry, Paint, np.random.Generator]:
    """What a real-look frame shows, its subject's paint, and the generator that its light and webcam go on with.

    relative_path: posix, below RealHands, of the colour image.
    """
    skin, paint = _subject(int(relative_path[4:6]) - 1)
    rng = _rng(REAL, relative_path)
    return draw_frame(skin, rng, long_arm=True), paint, rng


def _make_real(frame: Frame) -> dict[str, np.ndarray | bytes]:
    geometry, paint, rng = real_geometry(frame.files[0].removeprefix(REAL + "/"))
    picture = record(shade_real(geometry, paint, rng), geometry.mask, rng)
    return dict(zip(frame.files, (picture, spoil_mask(geometry.mask, rng), _joint_line(geometry.joints))))


def _write_frames(root: str, frames: list[Frame]) -> int:
    for frame in frames:
        contents = (_make_synthetic if frame.domain == SYNTH else _make_real)(frame)
        for name, content in contents.items():
            target = Path(root, name)
            if not target.exists():
                (write_bytes if isinstance(content, bytes) else write_png)(target, content)
    return len(frames)


def _read_marker(root: Path) -> dict | None:
    try:
        marker = json.loads(Path(root, "demo.json").read_text())
        counts = {key: int(marker["counts"][key]) for key in ("frames_per_camera", "frames_per_user")}
        return {**marker, "counts": counts} if marker["format"] == FORMAT and marker["seed"] == SEED else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_demo(root: Path) -> bool:
    """Whether root holds a demo that was written to its end by this version."""
    return _read_marker(Path(root)) is not None


def _refuse_foreign_files(root: Path, planned: set[str]) -> None:
    for domain in (SYNTH, REAL):
        for folder, _, names in os.walk(root / domain):
            for name in names:
                path = Path(folder, name)
                if name.startswith(".part-"):  # left by a writer that was killed
                    path.unlink(missing_ok=True)
                elif path.relative_to(root).as_posix() not in planned:
                    raise UsageError(
                        f"{root} holds files that are not the demo's ({path.relative_to(root)}); "
                        "give another folder for the demo, or your data's own with --dataroot"
                    )


def ensure_demo(
    root: Path,
    *,
    num_workers: int = 2,
    frames_per_camera: int | None = None,
    frames_per_user: int | None = None,
) -> None:
    """Write the demo data set below root, or what is missing of it; does nothing where it is complete.

    Files that are there are kept, so an interrupted run goes on where it stopped. root/demo.json comes last; where it
    is there, its counts hold. num_workers: processes (0 or 1: none but this one). frames_per_camera (at most
    FRAMES_PER_CAMERA), frames_per_user: a smaller demo, for tests. Raises UsageError where root holds other hands.
    """
    root = Path(root)
    marker = _read_marker(root)
    counts = {
        "frames_per_camera": frames_per_camera or FRAMES_PER_CAMERA,
        "frames_per_user": frames_per_user or FRAMES_PER_USER,
    }
    if marker:
        counts = marker["counts"]
    frames = plan_frames(**counts)
    missing = [frame for frame in frames if not all((root / name).exists() for name in frame.files)]
    if marker and not missing:
        return
    _refuse_foreign_files(root, {name for frame in frames for name in frame.files})
    _logger.info("writing the demo hands to %s: %s", root, _NOTICE)
    # Real-look frames take longest; begun first, they leave short ends for the last processes.
    missing.sort(key=lambda frame: frame.domain != REAL)
    chunks = [missing[i : i + 8] for i in range(0, len(missing), 8)]
    with progress(total=len(missing), desc="drawing demo hands") as bar:
        if num_workers <= 1:
            for chunk in chunks:
                bar.update(_write_frames(str(root), chunk))
        elif chunks:
            tasks = ((str(root), chunk) for chunk in chunks)
            processes = min(num_workers, len(chunks))
            for count in in_processes(_write_frames, tasks, count=processes, name=lambda task: task[1][0].files[0]):
                bar.update(count)
    sizes = {domain: sum(frame.domain == domain for frame in frames) for domain in (SYNTH, REAL)}
    text = json.dumps({"format": FORMAT, "seed": SEED, "counts": {**sizes, **counts}, "what": _NOTICE}, indent=1)
    write_bytes(root / "demo.json", (text + "\n").encode())
