"""A quick look at all files of a data set before it is used: headers, ends and sizes, no decoding.

What it cannot see (damage inside, a mask without a hand) turns up when the file is first read; both are reported and
left out alike.
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from data.frames import Domains, Frame
from data.hands import MIN_SIDE
from data.listing import warn_left_out
from util import distributed
from util.errors import UsageError
from util.files import printable, write_bytes
from util.images import ImageError, read_grey, read_header
from util.workers import in_threads, progress

log = logging.getLogger(__name__)

LEFT_OUT_FILE = "left_out.txt"
THREADS = 8  # they wait for the disk, not for each other


def scan(frames: Domains, *, strict: bool) -> dict[Frame, str]:
    """{frame: what is wrong with it} for each frame of both domains that its files' headers show to be unusable.

    Raises UsageError if all frames of a domain are unusable or, if strict, where there is one.
    """
    faults: dict[Frame, str] = {}
    for domain, domain_frames in frames.items():
        reasons = in_threads(fault, domain_frames, count=THREADS, name=lambda frame: printable(frame.image))
        bar = progress(zip(domain_frames, reasons), total=len(domain_frames), desc=f"checking {domain} images")
        bad = {frame: reason for frame, reason in bar if reason}
        if bad and (strict or len(bad) == len(domain_frames)):
            outlook = "--no-strict leaves such images out" if strict else "none is left; check --dataroot"
            first = next(iter(bad.values()))
            raise UsageError(f"{len(bad)} of {len(domain_frames)} {domain} images cannot be used ({outlook}): {first}")
        if bad and distributed.rank() == 0:
            warn_left_out(list(bad.values()), what=f"{len(bad)} of {len(domain_frames)} {domain} images")
        faults |= bad
    return faults


def warn_of_sizes(frames: Domains, *, crop_size: int, batch_size: int) -> None:
    """Say where crops are larger than the images, by their headers, or a batch is larger than a domain."""
    for domain, domain_frames in frames.items():
        looked_at = domain_frames[:: max(1, len(domain_frames) // 48)]
        sides = []
        for frame in looked_at:
            with contextlib.suppress(ImageError):
                sides.append(max(read_header(frame.image).size) * frame.scale)
        if sides and max(sides) < crop_size:
            log.warning(
                "--crop_size %d is larger than the %s images (%.0f pixels at most, of %d looked at): they are padded with "
                "white; choose a smaller one",
                crop_size,
                domain,
                max(sides),
                len(sides),
            )
        count = len(domain_frames)
        if batch_size > count:
            log.warning("--batch_size %d is larger than the %d %s images: they repeat", batch_size, count, domain)


def fault(frame: Frame) -> str | None:
    """Why a frame cannot be used, by the headers of its files, beginning with the file's path; None if it can."""
    try:
        headers = {file: read_header(file) for file in (frame.image, frame.mask) if file}
        for file, header in headers.items():
            if not header.complete:
                read_grey(file)
    except ImageError as error:
        return str(error)
    image, mask = headers[frame.image], headers.get(frame.mask)
    if min(image.size) * frame.scale < MIN_SIDE:
        width, height = (round(side * frame.scale) for side in image.size)
        return f"{printable(frame.image)}: {width}x{height} pixels; at least {MIN_SIDE} a side are needed"
    if mask and mask.size not in (image.size, image.stored):  # of the latter it is turned along with the image
        return "{}: a mask of {}x{} for an image of {}x{}".format(printable(frame.mask), *mask.size, *image.size)
    return None


class LeftOut:
    """All that a run has left out so far; `strict` makes what training finds an error.

    folder: where LEFT_OUT_FILE is kept, one line a file, path first; None keeps no file.
    """

    def __init__(self, faults: dict[Frame, str], *, folder: Path | None, strict: bool) -> None:
        self.reasons = {frame.relative: reason for frame, reason in faults.items()}
        self.folder, self.strict = folder, strict
        self._write()

    def watch(self, batches: Iterator[dict]) -> Iterator[dict]:
        """The same batches without "left_out", whose news are reported: once each, whichever worker met the file.

        Raises UsageError for news if strict.
        """
        for batch in batches:
            met = {name: reason for each in batch.pop("left_out") for name, reason in each.items()}
            news = {name: reason for name, reason in met.items() if name not in self.reasons}
            if news and self.strict:
                raise UsageError(f"{next(iter(news.values()))} (--no-strict leaves such images out)")
            if news:
                self.reasons |= news
                for reason in news.values():
                    log.warning("left out: %s (%d so far)", reason, len(self.reasons))
                self._write()
            yield batch

    def _write(self) -> None:
        if self.folder and self.reasons:
            write_bytes(self.folder / LEFT_OUT_FILE, "".join(f"{each}\n" for each in self.reasons.values()).encode())
