"""The images of any folder, or one image, for translating them without a data set (test.py --input)."""

import logging
from itertools import groupby
from pathlib import Path

from data.frames import AS_IT_IS, OBJECTS_ARE_HAND, Frame, Reading, as_read, with_mask
from data.listing import images_below
from data.masks.sources import ON_DEPTH, MaskFolders, names_of_mask, normal, plural
from util.errors import UsageError
from util.files import printable
from util.images import FORMATS, ImageError, read_header

log = logging.getLogger(__name__)

NOT_SOURCES = ("_mask", "_depth")


def frames_in_folder(root: Path, reading: Reading = AS_IT_IS) -> list[Frame]:
    """Every image below any folder, or the one image that `root` is.

    Where a folder holds *_color images, only they and *_color_on_depth images are sources; elsewhere all but *_mask and
    *_depth are. Folders of masks (<folder>_masks/ beside <folder>/) hold none, and SynthHands' sequences with objects
    are left out unless asked for. Masks are found by data.masks.sources. Raises UsageError for a file that is no image, and where
    --masks fits none of the images.
    """
    frames = [_single(root, reading)] if root.is_file() else _below(root, reading)
    if reading.masks and frames and all(frame.mask is None for frame in frames):
        image = frames[0].image.name
        raise UsageError(
            f"--masks {printable(reading.masks)} fits none of {plural(len(frames), 'image')} of {printable(root)}: "
            f"{printable(image)} wants one named {names_of_mask(image)[0]}.png"
        )
    return frames


def _below(root: Path, reading: Reading) -> list[Frame]:
    masks = MaskFolders(root, reading.masks)
    frames, objects = [], 0
    for folder, paths in groupby(images_below(root), key=lambda path: path.parent):
        if any(masks.is_of_masks(each) for each in (folder, *folder.parents) if each.is_relative_to(root)):
            continue
        found = [_frame(path, root, masks) for path in sources(list(paths))]
        with_objects = any(part.endswith("_object") for part in folder.relative_to(root).parts)
        objects += len(found) * with_objects
        if reading.objects or not with_objects:
            frames += found
    if objects and reading.objects:
        log.warning(OBJECTS_ARE_HAND, objects)
    elif objects:
        log.warning(
            "%d images of _object sequences are left out: what a hand holds would be painted as skin; "
            "--objects takes them",
            objects,
        )
    if reading.max_dataset_size:
        frames = frames[: reading.max_dataset_size]
    return [as_read(frame, reading) for frame in frames]


def sources(paths: list[Path]) -> list[Path]:
    """Those images of a folder that are to be translated."""
    colour = [path for path in paths if normal(path.name).endswith("_color")]
    if colour:
        return [path for path in paths if normal(path.name).endswith(("_color", ON_DEPTH))]
    return [path for path in paths if not normal(path.name).endswith(NOT_SOURCES)]


def _frame(path: Path, root: Path, masks: MaskFolders) -> Frame:
    relative = path.relative_to(root)
    # In the depth camera's view everything off the hand has the key colour; without it, the view would be painted whole.
    kind = "key" if normal(path.name).endswith(ON_DEPTH) else "auto"
    return with_mask(Frame(path, relative.as_posix(), relative.parent.as_posix(), kind), masks.find(path))


def _single(path: Path, reading: Reading) -> Frame:
    try:
        read_header(path)
    except ImageError as error:
        raise UsageError(f"--input {error}; give an image ({FORMATS}) or a folder") from error
    return as_read(_frame(path, path.parent, MaskFolders(path.parent, reading.masks)), reading)
