"""Agreement of silhouettes: answers worked out by hand."""

import numpy as np
import pytest

from util.scores.silhouettes import boundary, boundary_f


def square(top: int, left: int, side: int) -> np.ndarray:
    mask = np.zeros((40, 40), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_the_boundary_is_the_outermost_hand_and_there_is_none_where_the_picture_ends():
    edge = boundary(square(10, 10, 5))
    assert edge.sum() == 16 and edge[10, 10] and not edge[12, 12] and not edge[9, 10]
    arm = np.zeros((20, 20), bool)
    arm[10:, 8:12] = True
    edge = boundary(arm)
    assert edge[10, 8:12].all() and edge[19, 8] and edge[19, 11] and not edge[19, 9:11].any()
    assert not boundary(np.ones((20, 20), bool)).any()


def test_boundary_f_by_hand():
    a = square(10, 10, 10)
    assert boundary_f(a, a) == 1.0
    assert boundary_f(square(12, 10, 10), a, tolerance=2) == 1.0
    # Three pixels down, with tolerance 1, these of the lower square's 36 boundary pixels lie near the upper one's: of
    # its sides rows 13 to 19, and 20 just below, 2 x 8; of its top edge the two next to the sides. And so for recall.
    assert boundary_f(square(13, 10, 10), a, tolerance=1) == pytest.approx(18 / 36)
    assert boundary_f(square(30, 30, 6), a) == 0.0


def test_precision_and_recall_are_weighed_harmonically():
    """A true square, and a far one beside it: recall 1, precision 36 of 36 + 16 boundary pixels."""
    a, precision = square(5, 5, 10), 36 / 52
    both = a | square(30, 30, 5)
    assert boundary_f(both, a) == pytest.approx(2 * precision / (1 + precision)) == boundary_f(a, both)


def test_masks_without_a_boundary():
    empty, full = np.zeros((40, 40), bool), np.ones((40, 40), bool)
    assert boundary_f(empty, empty) == boundary_f(full, full) == 1.0
    assert boundary_f(empty, square(5, 5, 5)) == 0.0 == boundary_f(square(5, 5, 5), full)
