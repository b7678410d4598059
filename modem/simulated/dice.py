"""Which faults of a simulated dongle happen, by its knobs and one generator."""

from __future__ import annotations

from collections import Counter
from random import Random

from modem.simulated.faults import RARE
from modem.simulated.knobs import Knobs


class Dice:
    """Decides whether a fault fires, and counts those that did. One generator, so that the same seed gives the same day."""

    def __init__(self, knobs: Knobs, random: Random) -> None:
        self.knobs = knobs
        self.random = random
        self.fired: Counter[str] = Counter()

    def fires(self, name: str) -> bool:
        """Whether this fault happens on this occasion: a count in `next` goes first, else the dice."""
        knobs = self.knobs
        left = knobs.next.get(name, 0)
        if left:
            knobs.next[name] = left - 1
        else:
            chance = knobs.chances.get(name, 0.0 if name in RARE else knobs.chaos)
            if not chance or self.random.random() >= chance:
                return False
        self.fired[name] += 1
        return True

    def first(self, names: tuple[str, ...]) -> str:
        """The first of these that fires, or an empty text."""
        return next((name for name in names if self.fires(name)), "")
