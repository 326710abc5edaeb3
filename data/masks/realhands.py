"""RealHands on disk: photographs, raw masks, and what preprocess_masks.py adds: refined masks and masks_report.csv.

A user's folder may have any name and lie at any depth; a color/ folder makes it one.
"""

import contextlib
import csv
import re
from dataclasses import dataclass
from pathlib import Path

from data.listing import folders_below, images_below
from data.masks.sources import MaskFolders
from util.files import printable

COLOUR_FOLDER = "color"
MASK_FOLDERS = ("mask", "masks")
REFINED_FOLDER = "mask_refined"
REPORT_NAME = "masks_report.csv"
KEPT = "kept"

EXPECTED_TREE = """\
<root>/<user>/color/<name>_color.png        photographs (<name>.png, .jpg and .jpeg are read too)
<root>/<user>/mask/<name>_mask.png          raw masks (mask/ or masks/; <name>.png, .jpg, .jpeg)"""


@dataclass(frozen=True)
class RealFrame:
    """One photograph, its raw and its refined mask. user: the user's folder below the root; name: the file's stem without
    "_color". (user, name) is unique within a root."""

    image: Path
    mask: Path | None
    refined: Path | None
    user: str
    name: str


@dataclass(frozen=True)
class Verdict:
    """What became of one mask: a row of masks_report.csv.

    verdict: "kept", or what is wrong with it. source: "mask" or "chroma key", with a remark. area_before, area_after: of the
    raw and of the refined mask, as fractions of the frame. contours: after the median filter. change: 1 - IoU of the two.
    """

    verdict: str
    source: str
    area_before: float = 0.0
    area_after: float = 0.0
    contours: int = 0
    change: float = 0.0


def refined_path(frame: RealFrame) -> Path:
    """Where the frame's refined mask lies, or would lie."""
    return frame.image.parent.parent / REFINED_FOLDER / f"{frame.name}_mask.png"


def report_key(frame: RealFrame, root: Path) -> str:
    """The frame's name in masks_report.csv: its photograph's path below the root, printable."""
    return printable(frame.image.relative_to(root).as_posix())


def find_real_frames(root: Path, masks: Path | None = None) -> list[RealFrame]:
    """All photographs below the root, sorted by user and name; an unreadable or missing folder counts as empty.

    masks: a folder whose masks go before all others (--masks). Of several photographs of one name the one with "_color"
    counts, then PNG before JPEG.
    """
    folders = MaskFolders(root, masks, of_colour=MASK_FOLDERS)
    frames = []
    for folder, subfolders, _ in folders_below(root):
        if COLOUR_FOLDER in subfolders:
            user = Path(folder)
            paths = [path for path in images_below(user / COLOUR_FOLDER) if path.parent == user / COLOUR_FOLDER]
            photographs = {_name(path): path for path in sorted(paths, key=_rank)}  # the last of a name counts
            refined = {path.name: path for path in images_below(user / REFINED_FOLDER)}
            for name, image in photographs.items():
                mask, label = folders.find(image), user.relative_to(root).as_posix()
                frames.append(RealFrame(image, mask and mask.path, refined.get(f"{name}_mask.png"), label, name))
            # A user's own folders hold files, no further users.
            subfolders[:] = sorted({*subfolders} - {COLOUR_FOLDER, REFINED_FOLDER, *MASK_FOLDERS})
    return sorted(frames, key=lambda frame: (frame.user, frame.name))


def _name(photograph: Path) -> str:
    return re.sub("(?<=.)_color$", "", photograph.stem, flags=re.IGNORECASE)


def _rank(photograph: Path) -> tuple:
    png = photograph.suffix == ".png", photograph.suffix.lower() == ".png"
    return _name(photograph) != photograph.stem, *png, photograph.name


def read_report(root: Path) -> dict[str, Verdict]:
    """{report_key: Verdict} of masks_report.csv in the root; {} where there is none that can be read."""
    with contextlib.suppress(OSError, ValueError, csv.Error):
        with open(root / REPORT_NAME, encoding="utf-8", newline="") as file:
            _, *lines = csv.reader(file)
        return {
            key: Verdict(verdict, source, float(before), float(after), int(contours), float(change))
            for key, verdict, source, before, after, contours, change in lines
        }
    return {}


def usable_frames(root: Path) -> tuple[list[RealFrame], list[RealFrame]]:
    """The frames to train on, and the others: those that masks_report.csv dropped, those without a mask, and those of a
    user with refined masks that have none themselves."""
    frames, report = find_real_frames(root), read_report(root)
    refined_users = {frame.user for frame in frames if frame.refined}
    usable, unusable = [], []
    for frame in frames:
        row = report.get(report_key(frame, root))
        masked = frame.refined or (frame.mask and frame.user not in refined_users)
        (usable if masked and (row is None or row.verdict == KEPT) else unusable).append(frame)
    return usable, unusable
