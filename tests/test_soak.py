"""A part of the day that `python tests/soak.py --hours 24 --seed 1` plays whole: one lane, and faults of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from lanes_playing import staged
from soak import FAULTS, HIDE, play, soaking, violations

HIDDEN = tuple(sorted(HIDE))
TOLD = tuple(sorted(FAULTS.keys() - HIDE))


@pytest.mark.parametrize(
    ("seed", "faults"), [(1, HIDDEN), (2, TOLD[::3])], ids=["results hidden", "a third of the others"]
)
def test_what_driver_and_lane_say_is_what_the_ledger_says(
    tmp_path: Path, seed: int, faults: tuple[str, ...]
) -> None:
    with soaking(tmp_path, seed) as soak:
        play(soak, len(faults), faults, rest=12)
        assert violations(soak) == []
        assert len(soak.results) >= len(faults) / 2
        struck = [name for name in faults if soak.fired[name]]
        assert len(struck) > len(faults) * 2 / 3  # some wait for an occasion that this hour does not bring


def test_a_lane_rests_while_its_network_is_searched(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        stage.run(seconds=20)
        stage.dongles["xl-1"].turn(stage.clock.now, registration=2)
        for _ in range(30):
            now = stage.clock.advance(seconds=2)
            assert stage.workers["xl-1"].step(now) > now
