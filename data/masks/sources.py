"""Where an image's mask comes from: one rule for training, testing, --input and preprocess_masks, in both layouts.

The first of these that there is:

1. a file in the folder of --masks, under the image's relative path or its name
2. <name>_mask.* beside the image
3. a file in the sibling folder <folder>_masks/; of a folder color/, in mask_refined/, mask/ or masks/ beside it
4. the image's alpha channel, where it varies
5. the key colour (14, 255, 14), where the image has it
6. none: the whole image is taken

Of 1 to 3 this module finds the files. data.hands reads the pixels, which alone tell 4 and 5; data.masks.values says
which values of a mask file are hand. Names match whatever their case, their suffix, their Unicode form and their
endings _color and _mask: trainA_masks/Hand1_mask.PNG is the mask of trainA/hand1_color.jpg.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from data.listing import images_below, is_hidden
from util.images import IMAGE_SUFFIXES

ALPHA, KEY, WHOLE = "alpha", "the key colour", "none"
OF_COLOUR_FOLDER = ("mask_refined", "mask", "masks")  # RealHands' own names, the best first
ON_DEPTH = "_color_on_depth"


@dataclass(frozen=True)
class MaskFile:
    """A mask's file, and in a few words for people where it lies: "trainA_masks/"."""

    path: Path
    origin: str


@dataclass
class MaskFolders:
    """Finds the mask files of the images below `root`; folders are listed once each.

    explicit: the folder of --masks, or one file; None where none was given. of_colour: the folders of masks beside a
    folder color/, the best first.
    """

    root: Path
    explicit: Path | None = None
    of_colour: tuple[str, ...] = OF_COLOUR_FOLDER
    _indices: dict[Path, dict[str, Path]] = field(default_factory=dict)
    _known_beside: dict[Path, dict[str, Path]] = field(default_factory=dict)
    _known_siblings: dict[Path, list[tuple[Path, Path]]] = field(default_factory=dict)

    def find(self, image: Path) -> MaskFile | None:
        """The mask file of an image below the root, by steps 1 to 3 of the rule; None where there is none."""
        if mask := self.given(image):
            return mask
        beside = self._beside(image.parent)
        if beside:
            mask = next((beside[name] for name in names_of_mask(image.name, beside=True) if name in beside), None)
            if mask and mask != image:
                return MaskFile(mask, "<name>_mask files beside them")
        for start, folder in self._siblings(image.parent):
            mask = look_up(self._index(folder), image.relative_to(start))
            if mask:
                return MaskFile(mask, f"{folder.name}/")
        return None

    def has_sibling(self, folder: Path) -> bool:
        """Whether a folder of masks stands beside the folder, or beside one above it up to the root."""
        return bool(self._siblings(folder))

    def is_of_masks(self, folder: Path) -> bool:
        """Whether a folder below the root holds masks alone: renders_masks/ beside renders/, or that of --masks."""
        if folder == self.explicit:
            return True
        name = folder.name.removesuffix("_masks")
        return name != folder.name and folder.with_name(name).is_dir()

    def given(self, image: Path) -> MaskFile | None:
        """The mask file that --masks names for an image, by step 1 of the rule alone."""
        if self.explicit is None:
            return None
        index = self._index(self.explicit)
        mask = look_up(index, image.relative_to(self.root)) or look_up(index, PurePath(image.name))
        mask = self.explicit if self.explicit.is_file() else mask
        return mask and MaskFile(mask, f"--masks {self.explicit.name}")

    def _siblings(self, parent: Path) -> list[tuple[Path, Path]]:
        """(folder, its folder of masks) for an image's own folder and each one above it up to the root."""
        if parent not in self._known_siblings:
            places, folder = [], parent
            while folder.name:
                names = [f"{folder.name}_masks", *(self.of_colour if folder.name.casefold() == "color" else ())]
                places += [(folder, folder.with_name(name)) for name in names if self._index(folder.with_name(name))]
                if folder == self.root:
                    break
                folder = folder.parent
            self._known_siblings[parent] = places
        return self._known_siblings[parent]

    def _index(self, folder: Path) -> dict[str, Path]:
        if folder not in self._indices:
            self._indices[folder] = index_by_name(folder, images_below(folder)) if folder.is_dir() else {}
        return self._indices[folder]

    def _beside(self, folder: Path) -> dict[str, Path]:
        """The <name>_mask files of a folder itself. Names are enough: a data set's folders hold thousands of files."""
        if folder not in self._known_beside:
            masks = (Path(folder, name) for name in os.listdir(folder) if "_mask." in name.casefold())
            masks = (path for path in masks if path.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(path.name))
            self._known_beside[folder] = index_by_name(folder, masks)
        return self._known_beside[folder]


def look_up(index: dict[str, Path], relative: PurePath) -> Path | None:
    """The mask, in an index by relative paths, of the image of that relative path."""
    return next((index[name] for name in names_of_mask(relative.as_posix()) if name in index), None)


def index_by_name(folder: Path, files: Iterable[Path]) -> dict[str, Path]:
    """{normal form of a file's path below the folder, without its suffix: the file}; PNG wins over other formats."""
    index: dict[str, Path] = {}
    for path in sorted(files, key=lambda path: path.suffix.lower() == ".png"):
        index[normal(path.relative_to(folder).as_posix())] = path
    return index


def normal(path: str) -> str:
    """A file's path without its suffix, in one Unicode form (NFC) and one case: how names are compared."""
    head, dot, suffix = path.rpartition(".")
    stem = head if dot and "/" not in suffix and not head.endswith("/") and head else path
    return unicodedata.normalize("NFC", stem).casefold()


def names_of_mask(image: str, *, beside: bool = False) -> list[str]:
    """The names, in normal form, that the mask of an image may have, the best first.

    beside: in the image's own folder, where a mask's name must end in _mask. SynthHands' _color_on_depth images show
    the hand from another camera, so that the mask of the _color image is not theirs.
    """
    stem = normal(image)
    names = [f"{stem}_mask"] if beside else [stem, f"{stem}_mask"]
    if stem.endswith("_color"):
        bare = stem.removesuffix("_color")
        names += [f"{bare}_mask"] if beside else [f"{bare}_mask", bare]
    return names


def is_mask_of_another(image: Path, names: set[tuple[Path, str]]) -> bool:
    """Whether a file is the <name>_mask of another image of its folder; names: (folder, name in normal form) of all."""
    stem = normal(image.name)
    bare = stem.removesuffix("_mask")
    return bare != stem and not names.isdisjoint({(image.parent, bare), (image.parent, f"{bare}_color")})


def sentence(counts: Counter, *, what: str = "masks") -> str:
    """One line of how many masks are from where: "masks: 480 from alpha, 20 from renders_masks/; 3 images have none:
    taken whole". counts: {origin: how many}."""
    held = [f"{count} from {origin}" for origin, count in counts.most_common() if origin != WHOLE and count]
    none = counts[WHOLE]
    if not held:
        return f"{what}: none; {plural(none, 'image')} taken whole" if none else f"{what}: none"
    missing = f"; {plural(none, 'image has', 'images have')} none: taken whole" if none else ""
    return f"{what}: {', '.join(held)}{missing}"


def plural(count: int, one: str, many: str | None = None) -> str:
    """ "1 image", "2 images"."""
    return f"{count} {one if count == 1 else many or one + 's'}"
