"""What the masks of a data set are, by a sample of its files, before the data set is used.

Every file is judged again, by the same rule, when it is read. Looking first lets a command refuse masks of several
classes at once, say where masks come from, and know whether there are any at all.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np

from data.frames import Frame, has_alpha
from data.hands import read_source
from data.masks.ops import SYNTHETIC_KEY
from data.masks.sources import KEY, WHOLE, plural, sentence
from data.masks.values import covers, is_grey, is_soft, read_values, refusal
from util.errors import UsageError
from util.images import ImageError

log = logging.getLogger(__name__)

SAMPLE = 48  # files looked at, evenly spaced
THREADS = 8
NEAR_KEY = 110.0  # distance in RGB within which a colour is the key's, mixed or compressed
FRINGED = 0.3  # of an outline's pixels near the key colour: more than a green glint


def survey(frames: list[Frame], *, what: str) -> tuple[list[Frame], Counter]:
    """Look at a sample of the frames: (the frames, with mask_kind "none" where there is no mask; {origin: count}).

    what: the images in a word, for messages: "synthetic". Counts are of all frames; where not all were looked at, those
    of alpha and key colour are as the sample has it. Raises UsageError for mask files of more than two values, and where
    the key colour is expected and no image has it.
    """
    check_values([frame for frame in frames if frame.mask is not None], what=what)
    bare = [frame for frame in frames if frame.mask is None]
    origins = Counter(frame.mask_origin for frame in frames if frame.mask is not None)
    looked_at = sample([frame for frame in bare if frame.mask_kind in ("key", "auto")])
    seen, faults, fringed = Counter(), [], 0
    for origin, fringe, fault in in_threads(_look, looked_at):
        if fault:
            faults.append(fault)
        else:
            seen[origin] += 1
            fringed += fringe > FRINGED
    if looked_at and len(faults) == len(looked_at) and looked_at[0].mask_kind == "key":
        raise UsageError(f"none of {plural(len(faults), f'{what} image')} looked at can be used: {faults[0]}")
    if fringed:
        log.warning(
            "%s: %d of %d images looked at have a fringe of the key colour around the hand, which counts as hand; were "
            "they resized or saved as JPEG? Masks of their own may lie beside them or in --masks DIR",
            what,
            fringed,
            len(looked_at),
        )
    for origin, count in seen.items():
        origins[origin] += round(count * len(bare) / max(1, len(looked_at) - len(faults)))
    origins[WHOLE] += sum(frame.mask_kind == "none" for frame in bare)
    if not set(seen) - {WHOLE} and not any(in_threads(has_alpha, [frame.image for frame in bare])):
        frames = [replace(f, mask_kind="none") if f.mask is None and f.mask_kind == "auto" else f for f in frames]
    return frames, origins


def log_origins(origins: dict[str, Counter]) -> None:
    """Log one line a domain of where masks are from, or one sentence where there are none. origins: {domain: counts}."""
    if all(set(+counts) <= {WHOLE} for counts in origins.values()):
        log.info("no image has a mask: images are taken whole")
        return
    for domain, counts in origins.items():
        log.info("%s", sentence(counts, what=f"{domain} masks"))


def check_values(frames: list[Frame], *, what: str) -> None:
    """Raise UsageError where the mask files hold more values than hand and background, and --mask_values is not given,
    or where they hold none of its values."""
    looked_at = sample(frames)
    held = [values for values in in_threads(_values, looked_at) if values is not None]
    together = np.unique(np.concatenate(held)) if held else np.zeros(0, int)
    chosen = next((frame.mask_values for frame in frames), None)
    if chosen is None and len(together) > 2:
        reason = refusal(together, coloured=together[-1] > 65535)
        raise UsageError(f"{looked_at[0].mask.parent} ({what}): in {plural(len(held), 'file')} looked at, {reason}")
    if chosen is not None and held and not any(covers(chosen, value) for value in together.tolist()):
        shown = ", ".join(map(str, together[:20].tolist()))
        raise UsageError(f"--mask_values: none of these values is in the {what} masks looked at, which hold {shown}")


def sample(frames: list) -> list:
    """At most SAMPLE of them, evenly spaced."""
    return [frames[i * len(frames) // SAMPLE] for i in range(SAMPLE)] if len(frames) > SAMPLE else frames


def in_threads(work: Callable, items: Iterable) -> list:
    """[work(item) for each]: decoding and disks do not hold Python's lock."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, items))


def fringe(rgb: np.ndarray, mask: np.ndarray) -> float:
    """The share of a keyed hand's outline, uint8 (H, W, 3) and bool (H, W), whose colour is near the key's."""
    outline = mask & (cv2.dilate((~mask).view(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    if not outline.any():
        return 0.0
    distance = np.linalg.norm(rgb[outline].astype(np.float32) - SYNTHETIC_KEY, axis=-1)
    return float((distance < NEAR_KEY).mean())


def _values(frame: Frame) -> np.ndarray | None:
    """The values of a mask file that may be classes; None for grey levels, where --mask_values is given for black and
    white, too, and for what cannot be read."""
    try:
        mask = read_values(frame.mask)
    except ImageError:
        return None
    grey = mask.lossy or is_soft(mask) or (frame.mask_kind == "raw" and is_grey(mask))
    held = np.unique(mask.values)
    return None if grey or (frame.mask_values and mask.top in held and len(held) <= 2) else held


def _look(frame: Frame) -> tuple[str, float, str | None]:
    """(origin, fringe, why the frame cannot be used or None)."""
    try:
        source = read_source(frame)
    except ImageError as error:
        return "", 0.0, str(error)
    return source.origin, fringe(source.pixels[..., :3], source.mask) if source.origin == KEY else 0.0, None
