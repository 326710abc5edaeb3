"""RealHands on disk: which photographs there are, where their masks lie, and which of them are fit to train on.

    <root>/<user>/color/<name>_color.png       the photograph (or <name>.png, .jpg, .jpeg)
    <root>/<user>/mask/<name>_mask.png         its raw mask (mask/ or masks/; <name>.png, .jpg, .jpeg)
    <root>/<user>/mask_refined/<name>_mask.png what preprocess_masks.py made of it
    <root>/masks_report.csv                    what preprocess_masks.py says of each photograph

A user's folder may have any name and lie at any depth; what makes it one is the color/ folder in it.
"""

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from data.listing import folders_below, images_below
from data.masks.sources import MaskFolders
from util.files import as_utf8

COLOUR_FOLDER = "color"
MASK_FOLDERS = ("mask", "masks")
REFINED_FOLDER = "mask_refined"
REPORT_NAME = "masks_report.csv"
KEPT = "kept"

EXPECTED_TREE = """\
<real_root>/<user>/color/<name>_color.png   photographs (<name>.png, .jpg and .jpeg are read too)
<real_root>/<user>/mask/<name>_mask.png     raw masks (mask/ or masks/; <name>.png, .jpg, .jpeg)"""


@dataclass(frozen=True)
class RealFrame:
    """One photograph of RealHands and what lies beside it.

    user: the user's folder relative to the root, with forward slashes ("." if the root itself holds color/).
    name: the file's stem without "_color"; (user, name) is unique within a root.
    mask: the raw mask, None where there is none. refined: the refined mask, None where there is none.
    """

    image: Path
    mask: Path | None
    refined: Path | None
    user: str
    name: str


def refined_path(frame: RealFrame) -> Path:
    """Where the frame's refined mask lies, or would lie."""
    return frame.image.parent.parent / REFINED_FOLDER / f"{frame.name}_mask.png"


def report_key(frame: RealFrame, root: Path) -> str:
    """The frame's name in masks_report.csv: its photograph's path relative to the root, with forward slashes.

    Bytes of a file name that are not UTF-8 are written as backslash escapes, so that the report is always UTF-8 text.
    """
    return as_utf8(frame.image.relative_to(root).as_posix())


def find_real_frames(root: Path, masks: Path | None = None) -> list[RealFrame]:
    """All photographs below the root, sorted by user and name; an unreadable or missing folder counts as empty.

    masks: a folder whose masks go before all others (--masks). Masks are found by the rule of data.masks.sources.

    Of several photographs of one name (a.png and a_color.png) the one with "_color" counts, then PNG before JPEG. A
    broken link counts as no file. Links to folders are followed, but no folder is entered twice.
    """
    folders = MaskFolders(root, masks, of_colour=MASK_FOLDERS)
    frames = []
    for folder, subfolders, _ in folders_below(root):
        if COLOUR_FOLDER in subfolders:
            user = Path(folder)
            refined = {path.name: path for path in _files(user / REFINED_FOLDER)}
            for name, image in _by_name(user / COLOUR_FOLDER).items():
                mask, refined_mask = folders.find(image), refined.get(f"{name}_mask.png")
                label = user.relative_to(root).as_posix()
                frames.append(RealFrame(image, mask and mask.path, refined_mask, label, name))
            # A user's own folders hold files, no further users.
            subfolders[:] = sorted({*subfolders} - {COLOUR_FOLDER, REFINED_FOLDER, *MASK_FOLDERS})
    return sorted(frames, key=lambda frame: (frame.user, frame.name))


def _by_name(folder: Path) -> dict[str, Path]:
    """{name: path} of a folder's photographs; the preferred file of a name is the last one written."""
    names = {path: re.sub("(?<=.)_color$", "", path.stem, flags=re.IGNORECASE) for path in _files(folder)}

    def rank(path: Path) -> tuple:
        return names[path] != path.stem, path.suffix == ".png", path.suffix.lower() == ".png", path.name

    return {names[path]: path for path in sorted(names, key=rank)}


def _files(folder: Path) -> list[Path]:
    """The image files of the folder itself; none if it cannot be read."""
    return [path for path in images_below(folder) if path.parent == folder]


def read_report(root: Path) -> dict[str, str]:
    """{report_key: verdict} of masks_report.csv in the root; "kept", or why the frame was dropped.

    Empty where there is no report. A report that is damaged yields the rows that can be read.
    """
    try:
        text = (root / REPORT_NAME).read_text(encoding="utf-8", errors="replace")
        rows = list(csv.DictReader(io.StringIO(text.replace("\0", ""), newline="")))
    except (OSError, csv.Error):
        return {}
    return {row["file"]: row["verdict"] for row in rows if row.get("file") and row.get("verdict")}


def usable_frames(root: Path) -> tuple[list[RealFrame], list[RealFrame]]:
    """The frames to train on, and those that are left out.

    Left out are frames that masks_report.csv dropped, frames of a refined user (any file in mask_refined/)
    without a refined mask, and frames without a mask of any kind. The other frames of a user that was never refined
    keep their raw masks.
    """
    frames = find_real_frames(root)
    verdicts = read_report(root)
    refined_users = {frame.user for frame in frames if frame.refined}
    usable, left_out = [], []
    for frame in frames:
        kept = verdicts.get(report_key(frame, root), KEPT) == KEPT
        masked = frame.refined or (frame.mask and frame.user not in refined_users)
        (usable if kept and masked else left_out).append(frame)
    return usable, left_out
