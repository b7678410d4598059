"""A bounded run of the foreign world: hours in which everything goes wrong that may, judged by the truth of each text."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from foreign_world import foreign_world
from foreign_world_audit import audit, table
from foreign_world_watch import Counted
from foreign_world_words import HURRIED, Temper


def play(folder: Path, temper: Temper, seed: int, evidence: str = "any") -> Counted:
    """One world to its end, with each sort of trouble at least once; prints what it counted."""
    with foreign_world(folder, temper=temper, seed=seed, lanes=2, evidence=evidence) as world:
        world.run(timedelta(minutes=10))
        world.stage.dongles["lane-1"].turn(world.stage.world.now, silence=1)
        world.phone(world.stage.world.now, "lane-2")
        world.run(timedelta(minutes=5))
        world.swap(world.stage.world.now)
        world.run(timedelta(minutes=5))
        world.kill()
        world.run(timedelta(minutes=10))
        world.rest()
        audit(world)
        print(table(world))
        return world.counted


@pytest.mark.parametrize(("seed", "evidence"), [(1, "any"), (2, "any"), (3, "echo")])
def test_in_an_hour_where_everything_goes_wrong_every_text_goes_by_the_rules(
    tmp_path: Path, seed: int, evidence: str
) -> None:
    counted = play(tmp_path, HURRIED, seed, evidence)
    assert not counted.findings, "\n".join(counted.findings[:5])
    for happened in ("kills", "SIMs swapped", "asked by phone", "records"):
        assert counted.tally[happened], happened
    assert counted.tally["decisions compared"] > 20
    assert sum(counted.answers.values()) > 10
    assert evidence == "any" or not [n for (_, by), n in counted.answers.items() if by == "sole"]
