"""A process that dies at each durable step in turn, and at each look at the clock between them; the ledger judges."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from lanes_playing import BALANCE, SHORT, STATUS, Killed, LaneLook, Stage, card, staged
from store_playing import events_of

from app.domain.states import State
from app.simulation import member_of

JKN = "0009900000094"  # answered in three parts, out of order
QUESTIONS = 3
SHORTER = {BALANCE: SHORT, STATUS: SHORT}


def questions(stage: Stage) -> list[str]:
    """A plain one, one whose reply does not name the card, one whose reply comes in parts."""
    return [stage.ask(card(1)), stage.ask(JKN, STATUS), stage.ask(card(2, 97))]


def play(stage: Stage, checks: list[str]) -> int:
    """Run to the end, starting again after each death; how many there were."""
    deaths, told = 0, stage.told
    while True:
        try:
            stage.told = told
            stage.run(until=lambda: stage.ended(*checks)() and not stage.network.due, minutes=10)
        except Killed:
            deaths += 1
            stage.die()
            stage.boot()
        else:
            stage.told = lambda step: None
            stage.run(seconds=6)
            return deaths


def judge(stage: Stage, checks: list[str]) -> None:
    """Nothing twice, nothing lost: what went on the air is answered with its own record, what did not is `no_reply`."""
    stage.judge()
    stage.all_kept()
    assert not stage.dongles["xl-1"].sim.storage.slots
    for check_id, text in zip(checks, [f"BALANCE#{card(1)}#", f"STATUS BPKS{JKN}#", f"BALANCE#{card(2, 97)}#"], strict=True):  # fmt: skip
        view = stage.check(check_id)
        kinds = Counter(events_of(stage.store, check_id))
        if text in stage.asked():
            assert view.state is State.ANSWERED, view
            assert view.record
            if view.service == STATUS:
                assert view.record["name"] == member_of(JKN)["name"]
            assert [reply.role for reply in view.replies] == ["answer"]
            assert kinds["check.answered"] == 1
        else:
            assert (view.state, view.replies) == (State.NO_REPLY, ())
            assert kinds["check.no_reply"] == 1
        assert kinds["check.uncertain"] == stage.states(check_id).count("uncertain") <= 1


class Death:
    """Kills at the `nth` step of a kind."""

    def __init__(self, kind: str, nth: int) -> None:
        self.kind = kind
        self.left = nth

    def __call__(self, step: str) -> None:
        if step == self.kind:
            self.left -= 1
            if self.left == 0:
                raise Killed


@pytest.mark.parametrize("kind", ["cmgs", "pdu", "ctrl-z", "cmgd", "commit", "clock"])
def test_death_at_every_step_loses_and_repeats_nothing(tmp_path: Path, kind: str) -> None:
    nth = 0
    while True:
        nth += 1
        (folder := tmp_path / f"{kind}{nth}").mkdir()
        with staged(folder, services=SHORTER) as stage:
            checks = questions(stage)
            stage.told = Death(kind, nth)
            deaths = play(stage, checks)
            judge(stage, checks)
        if not deaths:
            break
    assert nth > QUESTIONS


@pytest.mark.parametrize("seed", range(8))
def test_many_deaths_lose_and_repeat_nothing(tmp_path: Path, seed: int) -> None:
    dice = Random(seed)

    def maybe(step: str) -> None:
        if dice.random() < 0.08:
            raise Killed

    looks = {"xl-1": LaneLook(status_reports=seed % 2 == 0)}
    with staged(tmp_path, looks=looks, services=SHORTER) as stage:
        checks = questions(stage)
        stage.told = maybe
        assert play(stage, checks)
        judge(stage, checks)
