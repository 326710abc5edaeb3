"""Making packs (data/packs/format.py): once for all runs on the same images, whole or not at all, one builder at a time.

A pack holds every frame of a domain that a split could train on, so that runs with other splits share it. Its folder is
named after all that its bytes depend on: the code that reads images and masks, and each file's name relative to its
root, size and time of change. Hashing the contents instead would mean reading all of a data set at every start, which
packing is to avoid.

A builder works in a folder .part-*, which is renamed when it is complete, under a file lock that the system releases
with the process, however it ends. Threads, not processes, read the images: decoding does not hold Python's lock, and
threads need neither start-up nor copies, and leave nothing behind when the process is killed.
"""

import collections
import contextlib
import hashlib
import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from data import hands, transforms
from data.frames import DOMAINS, Frame
from data.listing import file_stamp
from data.masks import ops as masks
from data.masks import refine, values
from data.packs import format as packed
from data.packs.format import FIELDS, INDEX_FILE, PACK_FILE, REGIONS_FILE, Pack, describe, encode, is_whole
from util import exif, images
from util.errors import UsageError
from util.images import ImageError, write_bytes
from util.locks import try_lock, wait_for_lock
from util.progress import progress
from util.workers import before_workers

log = logging.getLogger(__name__)

PASSES = 2  # packing costs about one pass over the images; a run of fewer is over before it pays
PROBED = 24  # frames that the size is estimated from
CODE = (exif, images, hands, masks, values, refine, transforms, packed)  # what decides a pack's bytes


def open_packs(
    frames: dict[str, list[Frame]],
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

    num_workers: threads (0: one). Raises UsageError where the folder above cannot be written or has no room.
    """
    read = partial(_read_record, background=background, crop_size=crop_size)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder) as alone:
            if alone:
                remove_leftovers(folder)
            if is_whole(folder):
                return
            check_room(folder.parent, frames, read, title=title)
            if folder.exists():
                log.warning("%s is damaged and is made anew", folder)
                shutil.rmtree(folder)
            _build(folder, frames, read, num_workers=num_workers, title=title, background=background)
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
    background: str,
) -> None:
    part = folder.with_name(f".part-{folder.name}-{secrets.token_hex(8)}")
    part.mkdir()
    try:
        index = np.zeros((len(frames), len(FIELDS)), np.int64)
        bar = progress(total=len(frames), desc=f"packing {title} images")
        with open(part / REGIONS_FILE, "wb") as file, bar:
            for place, (fields, record) in enumerate(_in_order(read, frames, num_workers)):
                index[place] = [file.tell(), *fields]
                file.write(record)
                bar.update()
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave a complete-looking file of zeros
        np.save(part / INDEX_FILE, index)
        write_bytes(part / PACK_FILE, describe(part, images=len(frames), background=background))
        try:
            part.rename(folder)
        except OSError:
            if not is_whole(folder):
                raise
        unreadable = int((index[:, -1] == 0).sum())
        if unreadable:
            log.warning(
                "%d of %d %s images cannot be used; they are named when their turn comes",
                unreadable,
                len(frames),
                title,
            )
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _read_record(frame: Frame, *, background: str, crop_size: int) -> tuple[list[int], bytes]:
    """As `encode`; zeros and nothing for a frame that cannot be read."""
    try:
        return encode(hands.read_hand(frame, background=background), background=background, crop_size=crop_size)
    except ImageError:
        return [0] * (len(FIELDS) - 1), b""


def _in_order(read: Callable, frames: Iterable[Frame], num_workers: int) -> Iterator[tuple[list[int], bytes]]:
    """read(frame) of each, in order; a few of them in memory at a time."""
    before_workers(0)  # these threads are the parallelism
    pool = ThreadPoolExecutor(max(1, num_workers))
    try:
        under_way = collections.deque()
        for frame in frames:
            under_way.append(pool.submit(read, frame))
            if len(under_way) > 4 * max(1, num_workers):
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def check_room(cache_dir: Path, frames: list[Frame], read: Callable, *, title: str) -> None:
    """Say how large the pack will be, by some of its frames. Raises UsageError where there is no room for it."""
    probed = frames[:: max(1, len(frames) // PROBED)]
    needed = sum(len(read(frame)[1]) for frame in probed) * len(frames) / len(probed) * 1.05
    free = shutil.disk_usage(cache_dir).free
    if needed > free:
        raise UsageError(
            f"packing {len(frames):,} {title} images takes about {size(needed)}, and {cache_dir} has {size(free)} "
            "free; give a roomier folder with --cache_dir, or --no-cache to decode images at every step"
        )
    others = [path.stat().st_size for path in cache_dir.glob("*-*/" + REGIONS_FILE)]
    held = f"; other packs there: {len(others)}, {size(sum(others))}" if others else ""
    log.info(
        "packing %s %s images, once for all runs: about %s in %s, of %s free%s",
        f"{len(frames):,}",
        title,
        size(needed),
        cache_dir,
        size(free),
        held,
    )


def size(n_bytes: float) -> str:
    """12.3 GB, 840 MB."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{max(1, round(n_bytes / 1e6))} MB"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold the right to make the pack `folder`, waiting for it; False: nobody can, as the file system has no locks."""
    with open(_lock_file(folder), "a") as file:  # closing it releases the lock
        state = try_lock(file.fileno())
        if state is False:
            log.info("another run is packing these images; waiting for it")
            wait_for_lock(file.fileno())
        yield state is not None


def remove_leftovers(folder: Path) -> None:
    """Remove what killed builders left beside `folder`, whose lock is held; builders at work are left alone."""
    for part in folder.parent.glob(".part-*"):
        owner = part.with_name(part.name.removeprefix(".part-").rpartition("-")[0])
        if owner == folder:
            shutil.rmtree(part, ignore_errors=True)
            continue
        with open(_lock_file(owner), "a") as file:
            if try_lock(file.fileno()):
                shutil.rmtree(part, ignore_errors=True)


def _lock_file(folder: Path) -> Path:
    return folder.with_name(f".lock-{folder.name}")
