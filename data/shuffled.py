"""Seeded orders: a list shuffled once, or every pass over a set in a new order, any place of which can be looked up."""

import random
from collections.abc import Iterable

import numpy as np


class Shuffled:
    """Place k of the endless concatenation of shuffles of range(count), a pure function of (seed, k)."""

    def __init__(self, count: int, *, seed: tuple[int, ...]) -> None:
        self.count, self.seed = count, seed
        self._round, self._order = -1, np.empty(0, np.int64)

    def __getitem__(self, k: int) -> int:
        round_, place = divmod(k, self.count)
        if self._round != round_:
            self._round = round_
            self._order = np.random.default_rng((*self.seed, round_)).permutation(self.count)
        return int(self._order[place])


def shuffled(names: Iterable[str], seed: str) -> list[str]:
    """The names in an order that depends on them and the seed alone."""
    order = sorted(names)
    random.Random(seed).shuffle(order)
    return order
