"""A verdict that an earlier session gave up waiting for: whether the next one reckons with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from lanes_playing import STATUS, Killed, LaneLook, Stage, card, staged

from app.domain.states import State
from app.exchange.opening import VERDICT_LATE
from modem import Observer, PortSettings, SerialModem

SOON = timedelta(milliseconds=300)  # in real time
HASTY = LaneLook(status_reports=False, cmgs_timeout=SOON, patience=SOON)


@pytest.fixture
def stage(tmp_path: Path, owed: list[bool]) -> Iterator[Stage]:
    def make(settings: PortSettings, observer: Observer) -> SerialModem:
        owed.append(settings.verdict_owed)
        return SerialModem(settings, observer)

    with staged(tmp_path, looks={"xl-1": HASTY}) as one:
        one.make_modem = make
        yield one


@pytest.fixture
def owed() -> list[bool]:
    """What each session was told when it was opened."""
    return []


def die_behind(stage: Stage, step: str) -> None:
    def told(done: str) -> None:
        if done == step:
            raise Killed

    stage.told = told
    with pytest.raises(Killed):
        stage.turn()
    stage.die()
    stage.boot()


def killed_while_it_waits(stage: Stage) -> None:
    stage.ask(card(1))
    die_behind(stage, "ctrl-z")


def stopped_while_it_waits(stage: Stage) -> None:
    stage.dongles["xl-1"].knobs.turn({"silence": 1, "silent_sends": True})
    one = stage.ask(card(1))
    stage.turn()
    assert stage.state(one) is State.UNCERTAIN
    stage.die()
    stage.boot()


def answered_before_it_died(stage: Stage) -> None:
    stage.answered(stage.ask(card(1)))
    stage.die()
    stage.boot()


def pulled_out_while_it_waits(stage: Stage) -> None:
    stage.dongles["xl-1"].knobs.turn({"next": {"unplug_sent": 1}})
    one = stage.ask(card(1))
    stage.turn()
    assert stage.state(one) is State.UNCERTAIN
    stage.dongles["xl-1"].plug(stage.clock.now)


def killed_long_ago(stage: Stage) -> None:
    killed_while_it_waits(stage)
    stage.clock.advance(seconds=VERDICT_LATE.total_seconds() + 1)


@pytest.mark.parametrize(
    ("happens", "expected"),
    [
        (killed_while_it_waits, True),
        (stopped_while_it_waits, True),
        (answered_before_it_died, False),
        (pulled_out_while_it_waits, False),
        (killed_long_ago, False),
    ],
)
def test_the_next_session_knows_whether_a_verdict_may_still_come(
    stage: Stage, owed: list[bool], happens: Callable[[Stage], None], expected: bool
) -> None:
    happens(stage)
    assert owed == [False]
    stage.run(until=lambda: len(owed) > 1, seconds=5)
    assert owed == [False, expected]


@pytest.mark.parametrize(
    ("happens", "then"), [(killed_while_it_waits, State.UNCERTAIN), (killed_long_ago, State.QUEUED)]
)
def test_a_refusal_that_may_be_that_of_the_sms_before_is_a_doubt(
    stage: Stage, happens: Callable[[Stage], None], then: State
) -> None:
    happens(stage)
    stage.dongles["xl-1"].knobs.turn({"submit_errors": 1, "submit_error": 331})
    two = stage.ask("0009900000101", STATUS)
    stage.run(until=lambda: len(stage.states(two)) > 2, seconds=5)
    assert stage.state(two) is then
    stage.judge()
