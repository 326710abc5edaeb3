"""Checks of a data set before it is used, and a run's account of the images that it skips.

check_masks decodes a sample; check_images reads the headers of all files. Damage inside and empty masks are found when a
file is read; such files are skipped, too.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from data.frames import Domains, Frame, evenly, has_alpha
from data.hands import read_source, too_small
from data.listing import warn_skipped
from data.masks.ops import SYNTHETIC_KEY
from data.masks.sources import KEY, WHOLE, plural, sentence
from data.masks.values import classes_of, covers, refusal
from util.errors import UsageError
from util.files import printable, write_bytes
from util.images import ImageError, read_header
from util.workers import in_threads, progress

log = logging.getLogger(__name__)

SKIPPED_FILE = "skipped.txt"
THREADS = 8  # they wait for the disk, not for each other
SAMPLE = 48  # files that check_masks looks at, evenly spaced
NEAR_KEY = 110.0  # distance in RGB within which a colour is the key's, mixed or compressed
FRINGED = 0.3  # of an outline's pixels near the key colour: more than a green glint
ADVICE = (
    "of the key colour around the hand, which counts as hand; were they resized or saved as JPEG? "
    "Masks of their own may lie beside them or in --masks DIR"
)


def check_masks(frames: Domains) -> Domains:
    """The frames, with mask_kind "none" where a domain has no masks at all; logs where masks are from.

    Raises UsageError for masks of more than two values, for --mask_values that none holds, and for a lost key colour.
    """
    checked, origins = {}, {}
    for domain, part in frames.items():
        _check_values([frame for frame in part if frame.mask], domain)
        bare = [frame for frame in part if not frame.mask]
        results = list(in_threads(_look, evenly(bare, SAMPLE), count=THREADS))
        read = [result for result in results if not isinstance(result, ImageError)]
        seen, fringed = Counter(origin for origin, _ in read), sum(fringe for _, fringe in read)
        if results and not seen and bare[0].mask_kind == "key":
            raise UsageError(f"none of {plural(len(results), f'{domain} image')} looked at can be used: {results[0]}")
        if fringed:
            log.warning("%s: %d of %d images looked at have a fringe %s", domain, fringed, len(results), ADVICE)
        origins[domain] = Counter(frame.mask_origin for frame in part if frame.mask)
        for origin, count in seen.items():  # extrapolated from the sample
            origins[domain][origin] += round(count * len(bare) / seen.total())
        if not set(seen) - {WHOLE} and not any(in_threads(has_alpha, [each.image for each in bare], count=THREADS)):
            part = [replace(each, mask_kind="none") if each.mask_kind == "auto" else each for each in part]
        checked[domain] = part
    if all(set(+counts) <= {WHOLE} for counts in origins.values()):
        log.info("no image has a mask: images are taken whole")
    else:
        for domain, counts in origins.items():
            log.info("%s", sentence(counts, what=f"{domain} masks"))
    return checked


def _look(frame: Frame) -> tuple[str, bool] | ImageError:
    """(where the mask is from, whether much of a keyed hand's outline has nearly the key colour)."""
    try:
        source = read_source(frame)
    except ImageError as error:
        return error
    outline = source.mask & (cv2.dilate((~source.mask).view(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    if source.origin != KEY or not outline.any():
        return source.origin, False
    distance = np.linalg.norm(source.pixels[..., :3][outline].astype(np.float32) - SYNTHETIC_KEY, axis=-1)
    return source.origin, bool((distance < NEAR_KEY).mean() > FRINGED)


def _check_values(frames: list[Frame], domain: str) -> None:
    """Refuse mask files that hold more classes than hand and background, or none of --mask_values."""
    sample = evenly(frames, SAMPLE)
    classes = in_threads(
        lambda frame: classes_of(frame.mask, frame.mask_values, raw=frame.mask_kind == "raw"), sample, count=THREADS
    )
    held = [values for values in classes if values is not None]
    if not held:
        return
    together, chosen = np.unique(np.concatenate(held)), frames[0].mask_values
    if chosen is None and len(together) > 2:
        reason = refusal(together)
        raise UsageError(f"{sample[0].mask.parent} ({domain}): in {plural(len(held), 'file')} looked at, {reason}")
    if chosen is not None and not any(covers(chosen, value) for value in together.tolist()):
        shown = ", ".join(map(str, together[:20].tolist()))
        raise UsageError(f"--mask_values: none of these values is in the {domain} masks looked at, which hold {shown}")


def check_images(frames: Domains, *, crop_size: int, batch_size: int) -> dict[Frame, str]:
    """{frame: what is wrong with it} for each frame that its files' headers show to be unusable. Raises UsageError if all
    frames of a domain are."""
    bad: dict[Frame, str] = {}
    for domain, part in frames.items():
        results = in_threads(invalid, part, count=THREADS, name=lambda frame: printable(frame.image))
        bar = progress(zip(part, results), total=len(part), desc=f"checking {domain} images")
        reasons = {frame: reason for frame, reason in bar if reason}
        if len(reasons) == len(part):
            raise UsageError(f"none of {len(part)} {domain} images can be used; check --dataroot: {reasons[part[0]]}")
        if reasons:
            warn_skipped(list(reasons.values()), what=f"{len(reasons)} of {len(part)} {domain} images")
        usable = evenly([frame for frame in part if frame not in reasons], SAMPLE)
        largest = max(max(read_header(frame.image).size) * frame.scale for frame in usable)
        if largest < crop_size:
            log.warning("--crop_size %d: the %s images (%d pixels) are padded with white", crop_size, domain, largest)
        if batch_size > len(part):
            log.warning("--batch_size %d is larger than the %d %s images: they repeat", batch_size, len(part), domain)
        bad |= reasons
    return bad


def invalid(frame: Frame) -> str | None:
    """Why a frame cannot be used, by the headers of its files, beginning with the file's path; None if it can."""
    try:
        image, mask = read_header(frame.image), frame.mask and read_header(frame.mask)
    except ImageError as error:
        return str(error)
    if reason := too_small([round(side * frame.scale) for side in image.size[::-1]]):
        return f"{printable(frame.image)}: {reason}"
    if mask and mask.size not in (image.size, image.stored):  # of the latter it is turned along with the image
        return "{}: a mask of {}x{} for an image of {}x{}".format(printable(frame.mask), *mask.size, *image.size)
    return None


class SkippedImages:
    """All that a run has skipped so far. folder: where SKIPPED_FILE is kept, one line a file, path first; None: nowhere."""

    def __init__(self, invalid: dict[Frame, str], *, folder: Path | None) -> None:
        self.reasons, self.folder = {frame.relative: reason for frame, reason in invalid.items()}, folder
        self._write()

    def watch(self, batches: Iterator[dict]) -> Iterator[dict]:
        """The same batches without "skipped", whose news are reported: once each, whichever worker met the file."""
        for batch in batches:
            met = {name: reason for each in batch.pop("skipped") for name, reason in each.items()}
            if news := {name: reason for name, reason in met.items() if name not in self.reasons}:
                self.reasons |= news
                for reason in news.values():
                    log.warning("skipped: %s (%d so far)", reason, len(self.reasons))
                self._write()
            yield batch

    def _write(self) -> None:
        if self.folder and self.reasons:
            write_bytes(self.folder / SKIPPED_FILE, "".join(f"{each}\n" for each in self.reasons.values()).encode())
