"""What a frame is, and how a data root becomes lists of frames of the two domains.

Two layouts are known, recognised by what the root holds:

    hands       DIR/SynthHands_Release/{female,male}_{noobject,object}/seq0X/cam0Y/0Z/00000000_color.png
                DIR/RealHands/<user>/color/<name>_color.png, masks in mask_refined/ or mask/
    unaligned   DIR/{trainA,trainB,testA,testB}/..., optionally valA, valB; A is synthetic, B is real;
                optional masks in DIR/<split>_masks/ under the same relative path and file stem

Where else masks may lie: data.masks.sources.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from data.listing import images_below, warn_left_out
from data.masks.realhands import usable_frames
from data.masks.sources import ON_DEPTH, MaskFile, MaskFolders, is_mask_of_another, names_of_mask, normal, plural
from data.masks.values import Ranges
from util.errors import UsageError
from util.files import printable
from util.images import ImageError, read_header

log = logging.getLogger(__name__)

DOMAINS = ("synthetic", "real")
PHASES = ("train", "val", "test")
LAYOUTS = ("hands", "unaligned")
SYNTH_FOLDER, REAL_FOLDER = "SynthHands_Release", "RealHands"
OBJECTS_ARE_HAND = (
    "%d images are of _object sequences: what a hand holds counts as hand, and is painted as skin, but where a "
    "<name>_mask.png beside the image says otherwise"
)

EXPECTED_TREE = """\
  hands:      DIR/SynthHands_Release/<gender>_noobject/seq0X/cam0Y/0Z/00000000_color.png
              DIR/RealHands/<user>/color/<name>_color.png and DIR/RealHands/<user>/mask/<name>_mask.png
  unaligned:  DIR/trainA, DIR/trainB, DIR/testA, DIR/testB (A synthetic, B real; masks in DIR/trainA_masks, ...)"""


@dataclass(frozen=True)
class Frame:
    """One image of one domain.

    relative: the image's path relative to its domain's root, with forward slashes; it names the frame in splits.json
    and in test.py's output. sequence: frames that share it show one person or one recording.
    mask_kind: where the mask is read from: "file" (the file `mask`, whose values are used as they are), "raw" (the same, to be
    cleaned when read), "key" (alpha where it varies, else every pixel that is not SynthHands' key colour), "auto" (as
    "key", else the whole image) or "none" (the whole image).
    mask_origin: where `mask` lies, for people. mask_values: which of its values are hand (data.masks.values).
    phase: the split that the data root itself puts the frame in; None leaves it to be drawn.
    scale: image and mask are scaled by it when they are read.
    """

    image: Path
    relative: str
    sequence: str
    mask_kind: str
    mask: Path | None = None
    phase: str | None = None
    mask_origin: str = ""
    mask_values: Ranges | None = None
    scale: float = 1.0


Domains = dict[str, list[Frame]]
"""{"synthetic": frames, "real": frames}"""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a data root is read: the values of the flags of the same names.

    objects: SynthHands' sequences with objects too. masks: the folder of --masks. mask_values: which values of a mask
    file are hand; None: see data.masks.values. load_scale: of images and masks. max_dataset_size: images a domain, at
    most, evenly spaced; of each phase that the root itself fixes.
    """

    objects: bool = False
    masks: Path | None = None
    mask_values: Ranges | None = None
    load_scale: float = 1.0
    max_dataset_size: int | None = None


AS_IT_IS = Reading()


def detect_layout(root: Path) -> str:
    """ "hands" or "unaligned", by the folders in the root. Raises UsageError with the trees expected."""
    there = [name for name in ("trainA", "trainB", SYNTH_FOLDER, REAL_FOLDER) if (root / name).is_dir()]
    if {"trainA", "trainB"}.issubset(there):
        return "unaligned"
    if {SYNTH_FOLDER, REAL_FOLDER}.issubset(there):
        return "hands"
    raise UsageError(
        f"--dataroot {root} must hold trainA/ and trainB/, or {SYNTH_FOLDER}/ and {REAL_FOLDER}/; it holds "
        f"{' and '.join(there) or 'none of them'}. Expected one of\n{EXPECTED_TREE}"
    )


def find_frames(
    *,
    dataroot: Path | None,
    layout: str = "auto",
    synth_root: Path | None = None,
    real_root: Path | None = None,
    reading: Reading = AS_IT_IS,
) -> Domains:
    """{"synthetic": frames, "real": frames}, each sorted by relative path.

    layout: "hands", "unaligned" or "auto". synth_root, real_root: the two trees of the hands layout, where they are not
    both in dataroot. Raises UsageError where a domain is empty.
    """
    if layout == "auto":
        layout = "hands" if synth_root or real_root else detect_layout(dataroot)
    if layout == "unaligned":
        frames = {domain: list(_unaligned_frames(dataroot, letter, reading)) for domain, letter in zip(DOMAINS, "AB")}
        places = {"synthetic": f"{dataroot}/trainA", "real": f"{dataroot}/trainB"}
    else:
        places = {
            "synthetic": synth_root or dataroot / SYNTH_FOLDER,
            "real": real_root or dataroot / REAL_FOLDER,
        }
        frames = {
            "synthetic": list(_synthetic_frames(places["synthetic"], reading)),
            "real": _real_frames(places["real"], reading),
        }
    for domain in DOMAINS:
        if not frames[domain]:
            hint = " (sequences with objects need --objects)" if domain == "synthetic" and not reading.objects else ""
            raise UsageError(f"no {domain} images in {places[domain]}{hint}. Expected one of\n{EXPECTED_TREE}")
        frames[domain].sort(key=lambda frame: frame.relative)
        frames[domain] = [as_read(frame, reading) for frame in _evenly(frames[domain], reading.max_dataset_size)]
    return frames


def as_read(frame: Frame, reading: Reading) -> Frame:
    """The frame with the flags' mask values and scale."""
    if reading.mask_values is None and reading.load_scale == 1:
        return frame
    return replace(frame, mask_values=reading.mask_values, scale=reading.load_scale)


def _evenly(frames: list[Frame], most: int | None) -> list[Frame]:
    """At most that many frames of each phase that the data root fixes, evenly spaced."""
    if most is None:
        return frames
    kept = []
    for phase in (*PHASES, None):
        some = [frame for frame in frames if frame.phase == phase]
        kept += [some[i * len(some) // most] for i in range(most)] if len(some) > most else some
    return sorted(kept, key=lambda frame: frame.relative)


def with_mask(frame: Frame, mask: MaskFile | None) -> Frame:
    """The frame with the mask file that was found for it, or as it is."""
    return replace(frame, mask_kind="file", mask=mask.path, mask_origin=mask.origin) if mask else frame


def _synthetic_frames(root: Path, reading: Reading) -> Iterator[Frame]:
    """SynthHands' colour frames. The cameras of a sequence show one performance, so they are one sequence."""
    masks = MaskFolders(root, reading.masks)
    objects = 0
    for path in images_below(root):
        relative = path.relative_to(root)
        folders = relative.parts[:-1]
        with_objects = any(part.endswith("_object") for part in folders)
        if normal(path.name).endswith("_color") and (reading.objects or not with_objects):
            objects += with_objects
            yield with_mask(Frame(path, relative.as_posix(), "/".join(folders[:2]), "key"), masks.find(path))
    if objects:
        log.warning(OBJECTS_ARE_HAND, objects)


def _real_frames(root: Path, reading: Reading) -> list[Frame]:
    masks = MaskFolders(root, reading.masks)
    usable, dropped = usable_frames(root)
    frames = []
    for real in [*usable, *(real for real in dropped if not (real.mask or real.refined))]:
        mask, given = real.refined or real.mask, masks.given(real.image)
        if mask or given:
            kind, origin = "file" if real.refined else "raw", f"{mask.parent.name}/" if mask else ""
            frame = Frame(
                real.image, real.image.relative_to(root).as_posix(), real.user, kind, mask, mask_origin=origin
            )
            frames.append(with_mask(frame, given))
    left_out = len(usable) + len(dropped) - len(frames)
    if left_out and frames:
        log.info("RealHands: %d photographs left out (dropped by preprocess_masks.py, or without a mask)", left_out)
    elif left_out:
        raise UsageError(
            f"{root} holds {plural(left_out, 'photograph')}, and none has a mask that may be used; masks go to "
            "<user>/mask/<name>_mask.png beside <user>/color/, or into any folder that --masks names (without masks, "
            "put the images into trainA/ and trainB/: they are then used whole)"
        )
    if raw := sum(frame.mask_kind == "raw" for frame in frames):
        log.info("RealHands: %d raw masks, cleaned as they are read; preprocess_masks.py does it once and for all", raw)
    return frames


def _unaligned_frames(root: Path, letter: str, reading: Reading) -> Iterator[Frame]:
    masks = MaskFolders(root, reading.masks)
    for phase in PHASES:
        folder = root / f"{phase}{letter}"
        paths = list(images_below(folder))
        names = {(path.parent, normal(path.name)) for path in paths}
        frames = [
            with_mask(
                Frame(
                    path,
                    path.relative_to(root).as_posix(),
                    path.parent.relative_to(folder).as_posix(),
                    "auto",
                    phase=phase,
                ),
                masks.find(path),
            )
            for path in paths
            if not is_mask_of_another(path, names)
        ]
        yield from _only_masked(folder, frames, expected=reading.masks is not None or masks.has_sibling(folder))


def _only_masked(folder: Path, frames: list[Frame], *, expected: bool) -> list[Frame]:
    """Where masks are expected, frames without one are left out by name: taken whole they would be wrong.

    An image with an alpha channel may have its mask there. Raises UsageError where masks are there and none fits.
    """
    bare = [frame for frame in frames if frame.mask is None] if expected else []
    bare = [frame for frame in bare if not has_alpha(frame.image)]
    if bare and len(bare) == len(frames):
        raise UsageError(
            f"none of the {len(frames)} images of {printable(folder)} has a mask of its name, though there are masks; "
            f"{printable(bare[0].image.name)} wants one named {names_of_mask(bare[0].image.name)[0]}.png"
        )
    if bare:
        reasons = [f"{printable(frame.image)}: no mask, though others of its folder have one" for frame in bare]
        warn_left_out(reasons, what=f"{len(bare)} of {len(frames)} images of {printable(folder)}")
    left_out = set(bare)
    return [frame for frame in frames if frame not in left_out]


def has_alpha(path: Path) -> bool:
    """Whether a file's header says that it has an alpha channel; False for what cannot be read."""
    try:
        return read_header(path).alpha
    except ImageError:
        return False


def annotation_prefix(image: Path) -> str:
    """What the names of an image and of the annotation files beside it begin with: 00000000 of 00000000_color.png."""
    return image.stem.removesuffix("_color")


def annotation_files(image: Path) -> list[Path]:
    """The files beside an image that annotate it: <prefix>_joint_pos.txt, <prefix>_depth.png, <prefix>.json, ...

    SynthHands' <prefix>_color_on_depth.png is none of them: it is an image of the hand, untranslated. An image of that
    kind itself has none, for they are linked with the _color image.
    """
    if image.stem.endswith(ON_DEPTH):
        return []
    prefix = annotation_prefix(image)
    siblings = (path for path in image.parent.iterdir() if path.is_file() and path != image)
    return sorted(
        path
        for path in siblings
        if path.name.startswith((f"{prefix}_", f"{prefix}.")) and not path.stem.endswith(ON_DEPTH)
    )
