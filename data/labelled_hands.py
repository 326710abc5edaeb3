"""Hands with a class (synthetic, real or generated) on backgrounds, for util/studies/classification.py.

A hand's source is the path of its file below its folder, without the suffix. A generated hand has the source of the
synthetic hand that it was translated from, and goes where that goes, to training or to testing.
"""

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data.listing import images_below, warn_skipped
from data.pasting import AS_IT_IS, Background, mask_of_crop, paste_hand, random_placement
from data.samples import shuffled_index
from data.splits import Split, shuffled
from util.errors import UsageError
from util.images import ImageError, read_mask, read_rgb, to_tensor
from util.workers import in_threads, progress

log = logging.getLogger(__name__)

KINDS = ("synthetic", "real", "generated")
PARTS = ("train", "test")


class HandFile(NamedTuple):
    """An image file of a hand, and the file of its mask; without one, the hand is what is not plain background."""

    image: Path
    mask: Path | None


Pool = dict[str, dict[str, HandFile]]  # kind -> source -> file


class Sample(NamedTuple):
    """One labelled hand: its file, what it is (of KINDS), and its class's number."""

    file: HandFile
    kind: str
    label: int


def find_hands(folder: Path, kind: str) -> dict[str, HandFile]:
    """{source: file} of every hand below the folder, with its mask of those that test.py writes in masks/ beside it."""
    masks = folder.parent / "masks" / ("real" if kind == "real" else "synthetic")
    hands = {}
    for path in images_below(folder):
        relative = path.relative_to(folder)
        annotation = relative.stem.endswith(("_depth", "_color_on_depth", "_mask"))
        if not annotation and not {"mask", "masks", "mask_refined"} & set(relative.parts[:-1]):
            mask = masks / relative
            hands[relative.with_suffix("").as_posix()] = HandFile(path, mask if mask.is_file() else None)
    return hands


def pools_of_split(folder: Path, split: Split) -> dict[str, Pool]:
    """{"train": Pool, "test": Pool} of results/NAME/all, divided as the run's split says."""
    parts = {part: {} for part in PARTS}
    for kind in KINDS:
        files = find_hands(folder / kind, kind)
        for part in PARTS:
            names = split["real" if kind == "real" else "synthetic"][part]
            # test.py keeps the suffix, a.jpg.png, where two sources differ in nothing else.
            known = {*names, *(PurePosixPath(name).with_suffix("").as_posix() for name in names)}
            parts[part][kind] = {source: file for source, file in files.items() if source in known}
    return parts


def pools_of_folders(folders: dict[str, Path], *, seed: int, test_share: float) -> dict[str, Pool]:
    """{"train": Pool, "test": Pool} of three folders, by kind, divided by source. Raises UsageError on an empty one."""
    pool = {kind: find_hands(folders[kind], kind) for kind in KINDS}
    for kind, flag in zip(KINDS, ("--synth_dir", "--real_dir", "--gen_dir")):
        if not pool[kind]:
            raise UsageError(f"{flag} {folders[kind]} holds no image")
    return divide(pool, seed=seed, test_share=test_share)


def divide(pool: Pool, *, seed: int, test_share: float) -> dict[str, Pool]:
    """Draw sources for testing, `test_share` of them: of real hands, and of synthetic with generated ones."""
    parts = {part: {} for part in PARTS}
    for name, kinds in (("rendered", ("synthetic", "generated")), ("real", ("real",))):
        sources = shuffled(set().union(*(pool[kind] for kind in kinds)), f"{seed}-{name}")
        testing = set(sources[: round(len(sources) * test_share)])
        for part, kind in itertools.product(PARTS, kinds):
            files = pool[kind].items()
            parts[part][kind] = {source: file for source, file in files if (source in testing) == (part == "test")}
    return parts


def draw_balanced(pool: Pool, *, per_class: int, seed: int) -> dict[str, list[HandFile]]:
    """As many usable hands of each kind, at most `per_class`, drawn at random: {kind: files}.

    Synthetic and generated hands come from the same sources where they can: they differ in look, not in shape. Files that
    cannot be pasted are named in warnings and replaced. Raises UsageError where a kind has none left.
    """
    both = pool["synthetic"].keys() & pool["generated"].keys()
    chosen = {}
    for kind in KINDS:
        names = set(pool[kind])
        first = names if kind == "real" else both
        order = shuffled(first, f"{seed}-first") + shuffled(names - first, f"{seed}-{kind}")
        files, faults = [pool[kind][name] for name in order], []
        chosen[kind] = []
        checked = in_threads(find_fault, files, count=4)
        checked = progress(checked, total=min(per_class, len(files)), desc=f"checking {kind} hands")
        for file, fault in zip(files, checked):
            (faults if fault else chosen[kind]).append(fault or file)
            if len(chosen[kind]) == per_class:
                break
        if faults:
            warn_skipped(faults, what=f"{len(faults)} {kind} hands")
        if not chosen[kind]:
            raise UsageError(
                f"there is no usable {kind} hand to train or to test with ({[*faults, 'no file'][0]}); hands must have masks or lie "
                "on exactly white, as test.py writes them, or on SynthHands' key colour (--name, --synth_dir, --real_dir, --gen_dir)"
            )
    count = min(len(files) for files in chosen.values())
    return {kind: files[:count] for kind, files in chosen.items()}


def read_hand_file(file: HandFile) -> tuple[np.ndarray, np.ndarray]:
    """Image, uint8 RGB (H, W, 3), and mask, bool (H, W). Raises ImageError where the hand cannot be pasted."""
    image = read_rgb(file.image)
    mask = read_mask(file.mask) if file.mask else mask_of_crop(image)
    if mask.shape != image.shape[:2]:
        raise ImageError(f"{file.mask}: not of the size of {file.image}")
    if mask.all() or not mask.any():
        raise ImageError(f"{file.image}: no hand, or no white or key-coloured background around it")
    return image, mask


def find_fault(file: HandFile) -> str | None:
    """Why the hand cannot be pasted on a background; None if it can."""
    try:
        read_hand_file(file)
    except ImageError as error:
        return str(error)
    return None


class HandsOnBackgrounds(Dataset):
    """Labelled hands on random backgrounds: {"image": (3, S, S) in [-1, 1], "label": int64, "hand_path": str}.

    Item k is a pure function of (seed, k). Training: an endless stream, the samples in a new random order in each pass, with
    new backgrounds and placements. Testing: item k is sample k, centred.
    """

    def __init__(self, samples: Sequence[Sample], *, background: Background, seed: int, train: bool) -> None:
        self.samples, self.background, self.seed, self.train = list(samples), background, seed, train

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, k: int) -> dict[str, Tensor | str]:
        rng, sample = self.draw(k)
        placement = random_placement(rng) if self.train else AS_IT_IS
        background = self.background(rng)
        image, mask = read_hand_file(sample.file)
        pasted = paste_hand(image, mask, background, placement=placement)
        return {"image": to_tensor(pasted), "label": torch.tensor(sample.label), "hand_path": str(sample.file.image)}

    def draw(self, k: int) -> tuple[np.random.Generator, Sample]:
        """Item k's random generator and sample."""
        rng = np.random.default_rng((self.seed, PARTS.index("train" if self.train else "test"), k))
        place = shuffled_index(k, len(self.samples), (self.seed, len(PARTS))) if self.train else k
        return rng, self.samples[place]
