"""Making packs (data/packs/format.py): once for all runs on the same images, whole or not at all, one builder at a time.

A pack holds every frame of a domain that a split could train on, so that runs with other splits share it. Its folder is
named after all that its bytes depend on: the code that reads images and masks, and each file's name relative to its
root, size and time of change. Hashing the contents instead would mean reading all of a data set at every start, which
packing is to avoid.

A builder works in a folder .part-*, which is renamed when it is complete, under a file lock that the system releases
with the process, however it ends. Threads, not processes, read the images: decoding does not hold Python's lock, and
threads need neither start-up nor copies, and leave nothing behind when the process is killed.
"""

import errno
import hashlib
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from data import hands, transforms
from data.frames import DOMAINS, Domains, Frame
from data.listing import file_stamp
from data.masks import ops as masks
from data.masks import refine, values
from data.packs import format as packed
from data.packs.format import FIELDS, INDEX_FILE, REGIONS_FILE, Pack, encode, is_whole
from util import exif, images
from util.errors import UsageError
from util.images import ImageError, printable
from util.locks import locked
from util.progress import progress
from util.workers import in_threads

log = logging.getLogger(__name__)

PASSES = 2  # packing costs about one pass over the images; a run of fewer is over before it pays
CODE = (exif, images, hands, masks, values, refine, transforms, packed)  # what decides a pack's bytes


def open_packs(
    frames: Domains,
    *,
    cache: bool | None,
    cache_dir: Path,
    crop_size: int,
    background: str,
    n_samples: int,
    num_workers: int,
    builder: bool = True,
) -> dict[str, Pack]:
    """{domain: Pack} of those domains that are to be read from packs, which are made where they are missing.

    frames: all of both domains, whatever the split. cache: False: none; True: both; None: those that there are, and
    those of which n_samples samples are at least PASSES passes. builder: False waits for another process to make them.
    Raises UsageError where cache_dir cannot be written or has no room.
    """
    packs = {}
    for domain in DOMAINS if cache is not False else ():
        trainable = [frame for frame in frames[domain] if frame.phase in (None, "train")]
        named = partial(pack_name, domain, trainable, background=background, crop_size=crop_size)
        folder = cache_dir / named()
        if not is_whole(folder):
            if cache is None and n_samples < PASSES * len(trainable):
                continue
            if builder:
                build_pack(
                    folder, trainable, background=background, crop_size=crop_size, num_workers=num_workers, title=domain
                )
                if named() != folder.name:
                    raise UsageError(f"{domain} images changed while they were being packed; run again")
            while not is_whole(folder):
                time.sleep(0.5)
        packs[domain] = Pack(folder, [frame.relative for frame in trainable])
        log.info("%s images are read from %s", domain, folder)
    return packs


def pack_name(domain: str, frames: list[Frame], *, background: str, crop_size: int) -> str:
    """The folder's name: the domain and 16 hexadecimal digits of a hash of all that the pack's bytes depend on."""
    reach = crop_size if background == "keep" else None  # a white pack serves every crop size
    digest = hashlib.sha256(json.dumps([background, reach, cv2.__version__]).encode())
    for module in CODE:
        digest.update(Path(module.__file__).read_bytes())
    for frame in frames:
        mask = os.path.relpath(frame.mask, frame.image.parent) if frame.mask else ""
        stamps = file_stamp(frame.image), file_stamp(frame.mask)
        row = (frame.relative, frame.mask_kind, frame.mask_values, frame.scale, mask, *stamps)
        digest.update(os.fsencode(repr(row)))
    return f"{domain}-{digest.hexdigest()[:16]}"


def build_pack(
    folder: Path, frames: list[Frame], *, background: str, crop_size: int, num_workers: int, title: str
) -> None:
    """Make the pack `folder` of the frames, unless another process has made it meanwhile, and show the progress.

    num_workers: threads that read (0: none but the main one). Raises UsageError where the folder above cannot be written
    or has no room.
    """

    def read(frame: Frame) -> tuple[list[int], bytes]:
        """As `encode`; zeros and nothing for a frame that cannot be read."""
        try:
            return encode(hands.read_hand(frame, background=background), background=background, crop_size=crop_size)
        except ImageError:
            return [0] * (len(FIELDS) - 1), b""

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_name(f".lock-{folder.name}")
        with locked(lock, what=folder, remedy="give another --cache_dir", seconds=math.inf) as alone:
            if is_whole(folder):
                return
            if alone:  # a killed builder's
                for part in folder.parent.glob(f".part-{folder.name}-*"):
                    shutil.rmtree(part, ignore_errors=True)
            _build(folder, frames, read, num_workers=num_workers, title=title)
    except OSError as error:
        raise UsageError(
            f"--cache_dir {folder.parent}: {error.strerror or error} ({error.filename or folder}); "
            "give another folder, or --no-cache to decode images at every step"
        ) from error


def _build(
    folder: Path,
    frames: list[Frame],
    read: Callable[[Frame], tuple[list[int], bytes]],
    *,
    num_workers: int,
    title: str,
) -> None:
    log.info("packing %d %s images into %s, once for all runs", len(frames), title, folder)
    index = np.zeros((len(frames), len(FIELDS)), np.int64)
    part = folder.with_name(f".part-{folder.name}-{os.getpid()}")
    part.mkdir()
    try:
        records = in_threads(read, frames, count=num_workers, name=lambda frame: printable(frame.image))
        records = progress(records, total=len(frames), desc=f"packing {title} images")
        with open(part / REGIONS_FILE, "wb") as file:
            for place, (fields, record) in enumerate(records):
                index[place] = [file.tell(), *fields]
                file.write(record)
                needed = file.tell() / (place + 1) * (len(frames) - place - 1)
                if needed > shutil.disk_usage(part).free:
                    raise OSError(errno.ENOSPC, f"no room for another {needed / 1e9:.1f} GB of {title} images")
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave a complete-looking file of zeros
        np.save(part / INDEX_FILE, index)
        if not is_whole(folder):  # damaged
            shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except OSError:
        if not is_whole(folder):  # made by another process, where nothing can be locked
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    if unreadable := int((index[:, -1] == 0).sum()):
        log.warning(
            "%d of %d %s images cannot be used; they are named when their turn comes", unreadable, len(frames), title
        )
