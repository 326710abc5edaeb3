"""What a frame is, and how a data root becomes lists of frames of the two domains.

Two layouts are known, recognised by what the root holds:

    hands       DIR/SynthHands_Release/{female,male}_{noobject,object}/seq0X/cam0Y/0Z/00000000_color.png
                DIR/RealHands/<user>/color/<name>_color.png, masks in mask_refined/ or mask/
    unaligned   DIR/{trainA,trainB,testA,testB}/..., optionally valA, valB; A is synthetic, B is real;
                optional masks in DIR/<split>_masks/ under the same relative path and file stem
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data.masks.realhands import usable_frames
from util.errors import UsageError
from util.images import IMAGE_SUFFIXES, printable

log = logging.getLogger(__name__)

DOMAINS = ("synthetic", "real")
PHASES = ("train", "val", "test")
LAYOUTS = ("hands", "unaligned")
SYNTH_FOLDER, REAL_FOLDER = "SynthHands_Release", "RealHands"

EXPECTED_TREE = """\
  hands:      DIR/SynthHands_Release/<gender>_noobject/seq0X/cam0Y/0Z/00000000_color.png
              DIR/RealHands/<user>/color/<name>_color.png and DIR/RealHands/<user>/mask/<name>_mask.png
  unaligned:  DIR/trainA, DIR/trainB, DIR/testA, DIR/testB (A synthetic, B real; masks in DIR/trainA_masks, ...)"""


@dataclass(frozen=True)
class Frame:
    """One image of one domain.

    relative: the image's path relative to its domain's root, with forward slashes; it names the frame in splits.json
    and in test.py's output. sequence: frames that share it show one person or one recording.
    mask_kind: how the mask is had: "key" (every pixel that is not SynthHands' key colour), "file" (mask, binary
    already), "raw" (mask, to be cleaned when read), "none" (the whole image is hand) or "auto" (key where the image has
    the key colour, else none).
    phase: the split that the data root itself puts the frame in; None leaves it to be drawn.
    """

    image: Path
    relative: str
    sequence: str
    mask_kind: str
    mask: Path | None = None
    phase: str | None = None


def detect_layout(root: Path) -> str:
    """ "hands" or "unaligned", by the folders in the root. Raises UsageError with the trees expected."""
    if (root / "trainA").is_dir() and (root / "trainB").is_dir():
        return "unaligned"
    if (root / SYNTH_FOLDER).is_dir() and (root / REAL_FOLDER).is_dir():
        return "hands"
    raise UsageError(
        f"--dataroot {root} holds neither {SYNTH_FOLDER}/ and {REAL_FOLDER}/ nor trainA/ and trainB/. "
        f"Expected one of\n{EXPECTED_TREE}"
    )


def find_frames(
    *,
    dataroot: Path | None,
    layout: str = "auto",
    synth_root: Path | None = None,
    real_root: Path | None = None,
    objects: bool = False,
) -> dict[str, list[Frame]]:
    """{"synthetic": frames, "real": frames}, each sorted by relative path.

    layout: "hands", "unaligned" or "auto". synth_root, real_root: the two trees of the hands layout, where they are not
    both in dataroot. objects: SynthHands' sequences with objects too. Raises UsageError where a domain is empty.
    """
    if layout == "auto":
        layout = "hands" if synth_root or real_root else detect_layout(dataroot)
    if layout == "unaligned":
        frames = {domain: list(_unaligned_frames(dataroot, letter)) for domain, letter in zip(DOMAINS, "AB")}
        places = {"synthetic": f"{dataroot}/trainA", "real": f"{dataroot}/trainB"}
    else:
        roots = domain_roots(dataroot=dataroot, layout=layout, synth_root=synth_root, real_root=real_root)
        frames = {
            "synthetic": list(_synthetic_frames(roots["synthetic"], objects=objects)),
            "real": _real_frames(roots["real"]),
        }
        places = roots
    for domain in DOMAINS:
        if not frames[domain]:
            hint = " (sequences with objects need --objects)" if domain == "synthetic" and not objects else ""
            raise UsageError(f"no {domain} images in {places[domain]}{hint}. Expected one of\n{EXPECTED_TREE}")
        frames[domain].sort(key=lambda frame: frame.relative)
    return frames


def domain_roots(
    *, dataroot: Path | None, layout: str, synth_root: Path | None = None, real_root: Path | None = None
) -> dict[str, Path]:
    """The folder that each domain's relative paths start from."""
    if layout == "unaligned":
        return dict.fromkeys(DOMAINS, dataroot)
    return {
        "synthetic": synth_root or dataroot / SYNTH_FOLDER,
        "real": real_root or dataroot / REAL_FOLDER,
    }


def images_below(folder: Path) -> Iterator[Path]:
    """Every image file below a folder, sorted; links to folders are followed, but no folder is entered twice.

    Folders that cannot be read, and links that lead nowhere, are named in warnings.
    """
    entered = set()
    for parent, subfolders, names in os.walk(folder, followlinks=True, onerror=_warn_unreadable):
        real = os.path.realpath(parent)
        if real in entered:  # a link back to where we came from
            subfolders.clear()
            continue
        entered.add(real)
        subfolders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if path.suffix.lower() not in IMAGE_SUFFIXES or name.startswith(".part-"):
                continue
            if os.path.isfile(path):
                yield path
            else:
                log.warning(
                    "left out: %s: %s", printable(path), "a link that leads nowhere" if path.is_symlink() else "no file"
                )


def _warn_unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # optional folders may be missing
        log.warning("left out: %s: a folder that cannot be read (%s)", printable(error.filename), error.strerror)


def _synthetic_frames(root: Path, *, objects: bool) -> Iterator[Frame]:
    """SynthHands' colour frames. The cameras of a sequence show one performance, so they are one sequence."""
    for path in images_below(root):
        relative = path.relative_to(root)
        if not path.stem.endswith("_color"):
            continue
        if not objects and any(part.endswith("_object") for part in relative.parts[:-1]):
            continue
        yield Frame(path, relative.as_posix(), "/".join(relative.parts[:-1][:2]), "key")


def _real_frames(root: Path) -> list[Frame]:
    found, dropped = usable_frames(root)
    if dropped:
        log.info("RealHands: %d photographs left out (dropped by preprocess_masks.py, or without a mask)", dropped)
    raw = sum(not frame.refined for frame in found)
    if raw:
        log.info("RealHands: %d raw masks, cleaned as they are read; preprocess_masks.py does it once and for all", raw)
    return [
        Frame(
            frame.image,
            frame.image.relative_to(root).as_posix(),
            frame.user,
            "file" if frame.refined else "raw",
            frame.refined or frame.mask,
        )
        for frame in found
    ]


def _unaligned_frames(root: Path, letter: str) -> Iterator[Frame]:
    for phase in PHASES:
        folder = root / f"{phase}{letter}"
        masks = _files_by_stem(root / f"{phase}{letter}_masks")
        for path in images_below(folder):
            stem = path.relative_to(folder).with_suffix("").as_posix()
            mask = masks.get(stem) or masks.get(f"{stem}_mask")
            relative = path.relative_to(root).as_posix()
            sequence = path.parent.relative_to(folder).as_posix()
            yield Frame(path, relative, sequence, "file" if mask else "none", mask, phase)


def _files_by_stem(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in images_below(folder)}


def frames_in_folder(root: Path) -> list[Frame]:
    """Every image below any folder, for translating it without a data set.

    Where a folder holds *_color images, only they are sources; elsewhere all but *_mask and *_depth are. A sibling
    <name>_mask file is the mask; without one it is told by SynthHands' key colour, or else the whole image is hand.
    """
    by_folder: dict[Path, list[Path]] = {}
    for path in images_below(root):
        by_folder.setdefault(path.parent, []).append(path)
    frames = []
    for paths in by_folder.values():
        colour = [path for path in paths if path.stem.endswith("_color")]
        sources = colour or [path for path in paths if not path.stem.endswith(("_mask", "_depth"))]
        masks = {path.stem: path for path in paths if path.stem.endswith("_mask")}
        for path in sources:
            mask = masks.get(f"{annotation_prefix(path)}_mask")
            relative = path.relative_to(root)
            kind = "file" if mask else "auto"
            frames.append(Frame(path, relative.as_posix(), relative.parent.as_posix(), kind, mask))
    return frames


def annotation_prefix(image: Path) -> str:
    """What the names of an image and of the annotation files beside it begin with: 00000000 of 00000000_color.png."""
    return image.stem.removesuffix("_color")


def annotation_files(image: Path) -> list[Path]:
    """The files beside an image that annotate it: <prefix>_joint_pos.txt, <prefix>_depth.png, <prefix>.json, ..."""
    prefix = annotation_prefix(image)
    siblings = (path for path in image.parent.iterdir() if path.is_file() and path != image)
    return sorted(path for path in siblings if path.name.startswith((f"{prefix}_", f"{prefix}.")))
