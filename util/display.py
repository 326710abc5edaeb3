"""The pictures that training shows: source | translated | cycle, one row a hand."""

import numpy as np
import torch

from data.frames import DOMAINS, Frame
from data.hands import Hand
from data.regions import HandRegions, stack
from models.hgan import HGAN
from util.images import ImageError, tile, to_uint8

ROWS = 4


def display_hands(frames: dict[str, list[Frame]], *, background: str) -> dict[str, list[Hand]]:
    """Up to four hands of each domain, evenly spread over its frames: the same ones at every step of a run."""
    chosen = {}
    for domain in DOMAINS:
        regions = HandRegions(frames[domain], background=background)
        places = np.linspace(0, len(regions) - 1, min(2 * ROWS, len(regions))).round().astype(int)
        hands = [regions[place] for place in places]  # twice as many as shown, as some may be unreadable
        chosen[domain] = [hand for hand in hands if not isinstance(hand, ImageError)][::2][:ROWS]
    return chosen


def display_grids(model: HGAN, hands: dict[str, list[Hand]], device: torch.device) -> dict[str, np.ndarray]:
    """{name: uint8 (H, W, 3) picture} for each direction."""
    pictures = {}
    for source, there, back in (("synthetic", "StoR", "RtoS"), ("real", "RtoS", "StoR")):
        if not hands[source]:
            continue
        images, masks = stack(hands[source], device)
        translated = model.translate(images, masks, direction=there)
        cycle = model.translate(translated, masks, direction=back)
        columns = [to_uint8(part) for part in (images, translated, cycle)]
        pictures[f"{source} | translated | cycle"] = tile([list(row) for row in zip(*columns)])
    return pictures
