"""Successive halving (Karnin et al. 2013; Jamieson and Talwalkar 2016), whole rungs at a time.

A rung is closed once every trial that is in it has its score, so that the outcome depends neither on the number of workers
nor on who is quicker.
"""

import math
from collections.abc import Mapping, Sequence


def rungs(count: int, *, steps: int, reduction: int) -> list[int]:
    """The steps at which each rung is judged, after stage one's `steps`, until one of `count` trials is left."""
    steps_of_rungs = []
    while count > 1:
        count = math.ceil(count / reduction)
        steps *= reduction
        steps_of_rungs.append(steps)
    return steps_of_rungs


def survivors(scores: Mapping[int, float], *, reduction: int) -> list[int]:
    """The trials that go on, best first: one in `reduction`, rounded up; lower scores are better, ties go to lower numbers."""
    ranked = sorted(scores, key=lambda trial: (scores[trial], trial))
    return ranked[: math.ceil(len(scores) / reduction)]


def differing(settings: Sequence[Mapping[str, object]]) -> list[str]:
    """The flags that are not the same in all settings, in the order of the first."""
    first = settings[0] if settings else {}
    return [flag for flag in first if any(each[flag] != first[flag] for each in settings)]
