"""What is written outside the hand: a translation put back over its source, or on a ground of its own."""

import numpy as np

from data.masks.ops import SYNTHETIC_KEY
from data.regions import Region


def compose(hand: np.ndarray, region: Region, background: str) -> np.ndarray:
    """Put a hand, uint8 (H, W, 3), over the background that its region is to be written with.

    region: read with its source (HandRegions(keep_source=True)), of the same size.
    background: "keep": the source's own pixels, to the last bit, with its alpha channel and its 16 bits; "white";
    "key": SynthHands' key colour; "transparent": RGBA, with nothing but the hand.
    Returns uint8, or uint16 for "keep" of a 16-bit source: (H, W, 3), or (H, W, 4) with alpha.
    """
    inside = region.mask[..., None]
    if background == "keep":
        source = region.source
        if source.dtype == np.uint16:
            hand = hand.astype(np.uint16) * 257
        return np.concatenate([np.where(inside, hand, source[..., :3]), source[..., 3:]], axis=-1)
    if background == "transparent":
        return np.concatenate([np.where(inside, hand, np.uint8(255)), inside.astype(np.uint8) * np.uint8(255)], axis=-1)
    ground = np.uint8(255) if background == "white" else np.array(SYNTHETIC_KEY, np.uint8)
    return np.where(inside, hand, ground)
