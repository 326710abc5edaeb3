"""Which files of a folder are images to use, and where an image's mask comes from: one rule for all commands and layouts.

docs/data.md, "Where masks come from", has the rule. Files of its steps 1 to 3 are found here; data.hands reads 4 and 5
from the pixels.
"""

import logging
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from util.files import printable
from util.images import FORMATS, IMAGE_SUFFIXES

log = logging.getLogger(__name__)

MOST_NAMED = 20  # skipped files that are named one by one
# Folders that systems, editors and network drives write; their images are copies or thumbnails.
SYSTEM_FOLDERS = frozenset({"@eadir", "__macosx", "__pycache__", "lost+found", "$recycle.bin", "#recycle"})
NOT_READ = re.compile(
    r"\.(heic|heif|avif|gif|jp2|jxl|raw|dng|cr[23]|nef|arw|exr|hdr|psd|mp4|mov|avi|mkv|webm|np[yz]|zip)$"
)


def is_hidden(name: str) -> bool:
    """Whether the system or an editor keeps a file or folder of that name: ._a.png, .ipynb_checkpoints, @eaDir, ..."""
    return name.startswith(".") or name.casefold() in SYSTEM_FOLDERS


def images_below(folder: Path) -> Iterator[Path]:
    """Every image file below a folder, its own first, sorted by name, without what is_hidden; links are followed once. Warns
    of folders that cannot be read, and of files that are not."""
    entered, others = set(), Counter()
    for parent, subfolders, names in os.walk(folder, followlinks=True, onerror=_warn_unreadable):
        real = os.path.realpath(parent)
        if real in entered:  # a link to a folder above
            subfolders.clear()
            continue
        entered.add(real)
        subfolders[:] = sorted(name for name in subfolders if not is_hidden(name))
        for path in (Path(parent, name) for name in sorted(names) if not is_hidden(name)):
            suffix = path.suffix.lower()
            if NOT_READ.match(suffix):
                others[suffix] += 1
            elif suffix in IMAGE_SUFFIXES and os.path.isfile(path):
                yield path
            elif suffix in IMAGE_SUFFIXES:
                log.warning("skipped: %s: no file, or a link that leads nowhere", printable(path))
    if others:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
        log.warning("%s: files that are not read: %s (%s are)", printable(folder), kinds, FORMATS)


def warn_skipped(reasons: list[str], *, what: str) -> None:
    """Name the first files that are skipped and count all. what: "3 of 10 real images"."""
    for reason in reasons[:MOST_NAMED]:
        log.warning("skipped: %s", reason)
    more = f", the first {MOST_NAMED} above" if len(reasons) > MOST_NAMED else ""
    log.warning("%s skipped%s", what, more)


def _warn_unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # optional folders may be missing
        log.warning("skipped: %s: a folder that cannot be read (%s)", printable(error.filename), error.strerror)


# ------------------------------------------------------------------ masks

ALPHA, KEY, WHOLE = "alpha", "the key colour", "none"
COLOUR_FOLDER, RAW_FOLDERS = "color", ("mask", "masks")  # RealHands' own names
# What preprocess_masks.py writes beside color/, and the end of the name of what it writes beside any other folder.
REFINED_FOLDER, REFINED_MASKS = "mask_refined", "_masks_refined"
ON_DEPTH = "_color_on_depth"


class MaskFile(NamedTuple):
    """A mask's file, and where it lies, in a few words: "trainA_masks/". raw: it is one of RealHands' own."""

    path: Path
    origin: str
    raw: bool = False


class MaskFolders:
    """Finds the mask files of the images below `root`; each folder is listed once.

    explicit: the folder of --masks, or one file. refined: whether a folder of refined masks takes the place of the raw masks
    beside it; images without a file there, which preprocess_masks.py dropped, then have no mask.
    """

    def __init__(self, root: Path, explicit: Path | None = None, *, refined: bool = True) -> None:
        self.root, self.explicit, self.refined = root, explicit, refined
        self._index = cache(lambda folder: _by_name(folder, images_below(folder)) if folder.is_dir() else {})
        self._beside, self._siblings = cache(_masks_beside), cache(self.siblings)

    def find(self, image: Path) -> MaskFile | None:
        """The mask file of an image below the root; None where there is none."""
        if given := self.given(image):
            return given
        mask = _first(self._beside(image.parent), names_of_mask(image.name, beside=True))
        if mask and mask != image:
            return MaskFile(mask, "<name>_mask files beside them")
        for start, folder in self._siblings(image.parent):
            if mask := _first(self._index(folder), names_of_mask(image.relative_to(start).as_posix())):
                return MaskFile(mask, f"{folder.name}/", raw=folder.name in RAW_FOLDERS)
        return None

    def given(self, image: Path) -> MaskFile | None:
        """The mask file that --masks names for an image."""
        if self.explicit is None:
            return None
        names = [*names_of_mask(image.relative_to(self.root).as_posix()), *names_of_mask(image.name)]
        mask = self.explicit if self.explicit.is_file() else _first(self._index(self.explicit), names)
        return mask and MaskFile(mask, f"--masks {self.explicit.name}")

    def is_of_masks(self, folder: Path) -> bool:
        """Whether a folder below the root, or one above it, holds masks alone: renders_masks/ beside renders/, or --masks."""
        names = {each: each.name.removesuffix("_refined").removesuffix("_masks") for each in self._up(folder)}
        return self.explicit in names or any(
            name not in ("", each.name) and each.with_name(name).is_dir() for each, name in names.items()
        )

    def siblings(self, parent: Path) -> list[tuple[Path, Path]]:
        """(folder, its folder of masks) for an image's own folder and each one above it up to the root."""
        places = []
        for folder in filter(lambda each: each.name, self._up(parent)):
            of_colour = folder.name.casefold() == COLOUR_FOLDER
            refined = [f"{folder.name}{REFINED_MASKS}", *([REFINED_FOLDER] if of_colour else [])]
            raw = [f"{folder.name}_masks", *(RAW_FOLDERS if of_colour else ())]
            found = [each for each in map(folder.with_name, refined) if self.refined and each.is_dir()]
            found = found or [each for each in map(folder.with_name, raw) if self._index(each)]
            places += [(folder, each) for each in found]
        return places

    def _up(self, folder: Path) -> list[Path]:
        return [each for each in (folder, *folder.parents) if each.is_relative_to(self.root)]


def _masks_beside(folder: Path) -> dict[str, Path]:
    """The <name>_mask files of a folder itself. Names are enough: a data set's folders hold thousands of files."""
    masks = (Path(folder, name) for name in os.listdir(folder) if "_mask." in name.casefold() and not is_hidden(name))
    return _by_name(folder, (path for path in masks if path.suffix.lower() in IMAGE_SUFFIXES))


def _by_name(folder: Path, files: Iterable[Path]) -> dict[str, Path]:
    """{normal form of a file's path below the folder, without its suffix: the file}; PNG wins over other formats."""
    files = sorted(files, key=lambda path: path.suffix.lower() == ".png")
    return {normal(path.relative_to(folder).as_posix()): path for path in files}


def _first(index: dict[str, Path], names: list[str]) -> Path | None:
    return next((index[name] for name in names if name in index), None)


def normal(path: str) -> str:
    """A file's path without its suffix, in one Unicode form (NFC) and one case: how names are compared."""
    return unicodedata.normalize("NFC", os.path.splitext(path)[0]).casefold()


def names_of_mask(image: str, *, beside: bool = False) -> list[str]:
    """The names, in normal form, that the mask of an image may have, the best first. beside: in the image's own folder,
    where they must end in _mask."""
    stems = list(dict.fromkeys([normal(image), normal(image).removesuffix("_color")]))
    masks = [f"{each}_mask" for each in stems]
    return masks if beside else [stems[0], *masks, *stems[1:]]


def sentence(counts: Counter, *, what: str = "masks") -> str:
    """{origin: how many} -> "masks: 480 from alpha, 20 from renders_masks/; 3 images have none: taken whole"."""
    held = [f"{count} from {origin}" for origin, count in counts.most_common() if origin != WHOLE and count]
    bare = plural(counts[WHOLE], "image has", "images have") + " none:" if held else plural(counts[WHOLE], "image")
    return f"{what}: {', '.join(held) or 'none'}" + (f"; {bare} taken whole" if counts[WHOLE] else "")


def plural(count: int, one: str, many: str | None = None) -> str:
    """ "1 image", "2 images"."""
    return f"{count} {one if count == 1 else many or one + 's'}"
