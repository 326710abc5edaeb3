"""The pictures shown during training: source | translated | cycle, one row a hand."""

import numpy as np

from data.frames import DOMAINS, Domains
from data.hands import Hand
from data.regions import TEST_CROP, HandRegions
from models.hgan import HGAN
from models.translation import translator_of
from util.drawing import sheet, spread
from util.images import ImageError

ROWS = 4


def display_hands(frames: Domains, *, background: str, crop: int = TEST_CROP) -> dict[str, list[Hand]]:
    """Up to four hands of each domain, evenly spread over its frames: the same ones at every step of a run.

    crop: the side of their regions in pixels.
    """
    chosen = {}
    for domain in DOMAINS:
        regions = HandRegions(frames[domain], crop=crop, background=background)
        hands = [
            regions[place] for place in spread(len(regions), 2 * ROWS)
        ]  # twice as many as shown: some may be unreadable
        hands = [hand for hand in hands if not isinstance(hand, ImageError)]
        chosen[domain] = (hands[::2] if len(hands) > ROWS else hands)[:ROWS]
    return chosen


def display_grids(model: HGAN, hands: dict[str, list[Hand]], *, crop_to_hand: bool) -> dict[str, np.ndarray]:
    """{name: uint8 (H, W, 3) picture} for each direction."""
    pictures = {}
    for source, there, back in (("synthetic", "StoR", "RtoS"), ("real", "RtoS", "StoR")):
        columns = [[hand.image for hand in hands[source]]]
        for direction in (there, back):
            inputs = [Hand(image, hand.mask) for image, hand in zip(columns[-1], hands[source])]
            columns.append(translator_of(model, direction=direction, crop_to_hand=crop_to_hand).images(inputs))
        if hands[source]:
            pictures[f"{source}_translated_cycle"] = sheet(list(zip(*columns)), columns=(source, "translated", "cycle"))
    return pictures
