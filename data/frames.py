"""What a frame is, and how a data root or any folder of images becomes lists of frames."""

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from data import DEMO_ROOT
from data.listing import KEY, ON_DEPTH, MaskFolders, images_below, names_of_mask, normal, plural, warn_skipped
from data.mask_values import Ranges
from data.realhands import photographs
from util.drawing import evenly
from util.errors import UsageError
from util.files import printable
from util.images import FORMATS, ImageError, header_has_alpha

log = logging.getLogger(__name__)

DOMAINS = ("synthetic", "real")
PHASES = ("train", "val", "test")
SYNTH_FOLDER, REAL_FOLDER = "SynthHands_Release", "RealHands"

EXPECTED_TREE = """\
  hands:      DIR/SynthHands_Release/<gender>_noobject/seq0X/cam0Y/0Z/00000000_color.png
              DIR/RealHands/<user>/color/<name>_color.png and DIR/RealHands/<user>/mask/<name>_mask.png
  unaligned:  DIR/trainA, DIR/trainB, DIR/testA, DIR/testB (A synthetic, B real; masks in DIR/trainA_masks, ...)
  two folders of any images: --synth_root RENDERS --real_root PHOTOGRAPHS (masks in RENDERS_masks, ...)"""


def check_roots(roots: Mapping[str, Path | None]) -> None:
    """Raise UsageError unless dataroot, synth_root and real_root, those that are given, are folders; the demo's may come."""
    for flag in ("dataroot", "synth_root", "real_root"):
        if (root := roots[flag]) and root != DEMO_ROOT and not root.is_dir():
            raise UsageError(f"--{flag} {root} is not a folder. Expected one of\n{EXPECTED_TREE}")


@dataclass(frozen=True)
class Frame:
    """One image of one domain.

    relative: the image's path below its domain's root, with forward slashes; it names the frame in splits.json and in
    test.py's output. sequence: frames that share it show one person or one recording. mask: its mask's file. mask_origin:
    where that lies, for people; of a frame without one KEY (the key colour tells the mask), WHOLE (the whole image is hand),
    or "" (to be seen in the pixels). raw: the file is cleaned when it is read. phase: the split that the data root or a
    run puts the frame in; None: it is drawn. mask_values: see data.mask_values. scale: image and mask are scaled by it when they are read.
    """

    image: Path
    relative: str
    sequence: str
    mask: Path | None = None
    mask_origin: str = ""
    raw: bool = False
    phase: str | None = None
    mask_values: Ranges | None = None
    scale: float = 1.0


Domains = dict[str, list[Frame]]
"""{"synthetic": frames, "real": frames}"""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How images are found and read: the flags of the same names. max_dataset_size: of each phase that the root fixes."""

    objects: bool = False
    masks: Path | None = None
    mask_values: Ranges | None = None
    load_scale: float = 1.0
    max_dataset_size: int | None = None


def find_frames(
    *,
    dataroot: Path | None,
    layout: str = "auto",
    synth_root: Path | None = None,
    real_root: Path | None = None,
    reading: Reading = Reading(),
) -> Domains:
    """The frames of both domains, sorted by relative path. layout: "hands", "unaligned" or "auto"; synth_root, real_root:
    the two trees of the hands layout, where they are not in dataroot, or any other folders of images. Raises UsageError where
    a domain is empty."""
    if not (dataroot or synth_root and real_root):  # as in the run that ships
        raise UsageError(
            "the run has no data of its own: give --dataroot DIR, or --synth_root and --real_root, or --input DIR"
        )
    if layout == "auto":
        layout = "hands" if synth_root or real_root else _detect_layout(dataroot)
    if layout == "unaligned":
        roots = dataroot / "trainA", dataroot / "trainB"
        found = [_unaligned_frames(dataroot, letter, reading) for letter in "AB"]
    else:
        roots = synth_root or dataroot / SYNTH_FOLDER, real_root or dataroot / REAL_FOLDER
        found = _synthetic_frames(roots[0], reading), real_frames(roots[1], reading)
        found = [frames or _flat_frames(root, reading) for root, frames in zip(roots, found)]
    domains = {}
    for domain, root, frames in zip(DOMAINS, roots, found):
        if not frames:
            hint = " (sequences with objects need --objects)" if domain == "synthetic" and not reading.objects else ""
            raise UsageError(f"no {domain} images in {root}{hint}. Expected one of\n{EXPECTED_TREE}")
        frames = sorted(frames, key=lambda frame: frame.relative)
        if most := reading.max_dataset_size:
            parts = [evenly([frame for frame in frames if frame.phase == phase], most) for phase in (*PHASES, None)]
            frames = sorted(sum(parts, []), key=lambda frame: frame.relative)
        domains[domain] = frames
    return domains


def _detect_layout(root: Path) -> str:
    for layout, names in (("unaligned", ("trainA", "trainB")), ("hands", (SYNTH_FOLDER, REAL_FOLDER))):
        if all((root / name).is_dir() for name in names):
            return layout
    raise UsageError(f"--dataroot {root} holds neither layout. Expected one of\n{EXPECTED_TREE}")


def has_alpha(path: Path) -> bool:
    """Whether a file's header says that it has an alpha channel; False for what cannot be read."""
    with contextlib.suppress(ImageError):
        return header_has_alpha(path)
    return False


def _frame(
    path: Path, masks: MaskFolders, reading: Reading, sequence: str, origin: str = "", *, clean: bool = False
) -> Frame:
    """An image's frame. origin: its mask_origin where it has no mask file. clean: a raw mask is cleaned when it is read."""
    mask, origin, raw = masks.find(path) or (None, origin, False)
    details = {"raw": raw and clean, "mask_values": reading.mask_values, "scale": reading.load_scale}
    return Frame(path, path.relative_to(masks.root).as_posix(), sequence, mask, origin, **details)


def _chosen_sequences(paths: list[Path], root: Path, *, objects: bool) -> list[Path]:
    """The paths without those of SynthHands' sequences with objects, unless these are asked for."""
    bare = [path for path in paths if not any(part.endswith("_object") for part in path.relative_to(root).parts[:-1])]
    taken = "%d images show objects, which will be painted as skin unless a <name>_mask.png masks them out"
    if number := len(paths) - len(bare):
        log.warning(taken if objects else "%d images that show objects are skipped; --objects takes them", number)
    return paths if objects else bare


def _synthetic_frames(root: Path, reading: Reading) -> list[Frame]:
    """SynthHands' colour frames. The cameras of a sequence show one performance, so they are one sequence."""
    masks = MaskFolders(root, reading.masks)
    paths = [path for path in images_below(root) if normal(path.name).endswith("_color")]
    paths = _chosen_sequences(paths, root, objects=reading.objects)
    return [_frame(path, masks, reading, "/".join(path.relative_to(root).parts[:-1][:2]), KEY) for path in paths]


def real_frames(root: Path, reading: Reading = Reading()) -> list[Frame]:
    """RealHands' photographs that have a mask; those of a user with refined masks, a refined one."""
    masks = MaskFolders(root, reading.masks)
    found = [_frame(image, masks, reading, user, clean=True) for user, _, image in photographs(root)]
    frames = [frame for frame in found if frame.mask]
    skipped = len(found) - len(frames)
    if skipped and not frames:
        raise UsageError(
            f"{root} holds {plural(skipped, 'photograph')}, and none has a mask: <user>/mask/<name>_mask.png "
            "or --masks; if preprocess_masks.py dropped them (see masks_report.csv), run it with other flags and --overwrite"
        )
    if skipped:
        log.info("RealHands: %d photographs skipped (dropped by preprocess_masks.py, or without a mask)", skipped)
    if count := sum(frame.raw for frame in frames):
        log.info("RealHands: %d raw masks are cleaned as they are read; preprocess_masks.py does it once", count)
    return frames


def _unaligned_frames(root: Path, letter: str, reading: Reading) -> list[Frame]:
    """CycleGAN's layout."""
    found = {phase: _flat_frames(root / f"{phase}{letter}", reading, base=root) for phase in PHASES}
    return [replace(frame, phase=phase) for phase, frames in found.items() for frame in frames]


def _flat_frames(folder: Path, reading: Reading, base: Path | None = None) -> list[Frame]:
    """Every image below a folder. Where there are masks, images without one are left out: taken whole they would be wrong."""
    frames = frames_in_folder(folder, replace(reading, max_dataset_size=None), base=base)
    if not (reading.masks or MaskFolders(base or folder).siblings(folder)):
        return frames
    bare = [frame for frame in frames if not frame.mask and not has_alpha(frame.image)]
    if bare and len(bare) == len(frames):
        where = f"none of the {len(frames)} images of {printable(folder)}"
        raise UsageError(f"{where} has a mask of its name, though there are masks; {_wanted(bare[0])}")
    if bare:
        reasons = [f"{printable(frame.image)}: no mask, though others of its folder have one" for frame in bare]
        warn_skipped(reasons, what=f"{len(bare)} of {len(frames)} images of {printable(folder)}")
    return [frame for frame in frames if frame not in bare]


def _wanted(frame: Frame) -> str:
    return f"{printable(frame.image.name)} wants one named {names_of_mask(frame.image.name)[0]}.png"


def frames_in_folder(root: Path, reading: Reading = Reading(), *, base: Path | None = None) -> list[Frame]:
    """Every image below any folder, or the one image that `root` is (test.py --input). base: what paths are relative to (root).

    Where a folder holds *_color images, only they and *_color_on_depth images are taken; elsewhere all but *_mask and
    *_depth are. Folders of masks hold none. Raises UsageError for a file that is no image, and where --masks fits none.
    """
    base = base or (root.parent if root.is_file() else root)
    masks = MaskFolders(base, reading.masks)
    if root.is_file():
        try:
            paths, _ = [root], header_has_alpha(root)
        except ImageError as error:
            raise UsageError(f"--input {error}; give an image ({FORMATS}) or a folder") from error
    else:
        folders = groupby(images_below(root), key=lambda path: path.parent)
        paths = [path for folder, inside in folders if not masks.is_of_masks(folder) for path in _sources(list(inside))]
        paths = _chosen_sequences(paths, root, objects=reading.objects)[: reading.max_dataset_size]
    frames = []
    for path in paths:
        # In the depth camera's view all but the hand has the key colour; an image without it would be painted whole.
        origin = KEY if normal(path.name).endswith(ON_DEPTH) else ""
        frames.append(_frame(path, masks, reading, path.parent.relative_to(base).as_posix(), origin))
    if reading.masks and frames and all(frame.mask is None for frame in frames):
        none = f"none of {plural(len(frames), 'image')} of {printable(root)}"
        raise UsageError(f"--masks {printable(reading.masks)} fits {none}: {_wanted(frames[0])}")
    return frames


def _sources(paths: list[Path]) -> list[Path]:
    """Those images of a folder that are to be translated."""
    names = {path: normal(path.name) for path in paths}
    colour = any(name.endswith("_color") for name in names.values())
    endings = ("_color", ON_DEPTH) if colour else ("_mask", "_depth")
    return [path for path, name in names.items() if name.endswith(endings) == colour]


def annotation_prefix(image: Path) -> str:
    """What the names of an image and of the annotation files beside it begin with: 00000000 of 00000000_color.png."""
    return image.stem.removesuffix("_color")


def annotation_files(image: Path) -> list[Path]:
    """The files beside an image that annotate it: <prefix>_joint_pos.txt, <prefix>_depth.png, <prefix>.json, ... Not
    <prefix>_color_on_depth.png, which is the hand again, untranslated; nor has it any itself."""
    if image.stem.endswith(ON_DEPTH):
        return []
    starts = (f"{annotation_prefix(image)}_", f"{annotation_prefix(image)}.")
    return sorted(
        path
        for path in image.parent.iterdir()
        if path.is_file() and path != image and path.name.startswith(starts) and not path.stem.endswith(ON_DEPTH)
    )
