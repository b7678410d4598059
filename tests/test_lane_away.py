"""A lane that loses its stick, its row, its SIM or its time, against the simulated dongle."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from lanes_playing import Stage, card, make_sim, staged

from app.domain.states import State
from app.store import lanes
from modem import encode_deliver


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path) as one:
        yield one


# -- unplugged ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["cmgs", "pdu", "ctrl-z"])
def test_pulled_out_before_ctrl_z_it_is_sent_once_after_all(stage: Stage, step: str) -> None:
    dongle = stage.dongles["xl-1"]

    def pull(told: str) -> None:
        if told == step and not stage.check(one).history[1:]:
            dongle.unplug(stage.clock.now, timedelta(seconds=20))

    stage.run(seconds=1)
    one = stage.ask(card(1))
    stage.told = pull
    stage.answered(one, minutes=7) if step != "ctrl-z" else stage.run(until=stage.ended(one), minutes=30)
    if step == "ctrl-z":
        # Whether the stick took the last byte cannot be told from here.
        assert stage.states(one) == ["queued", "submitting", "uncertain", "no_reply"]
        assert stage.asked() == []
    else:
        assert stage.states(one)[:4] == ["queued", "submitting", "queued", "submitting"]
        assert len(stage.asked()) == 1
    stage.judge()


def test_pulled_out_after_ctrl_z_it_is_uncertain_until_its_reply_comes(stage: Stage) -> None:
    dongle = stage.dongles["xl-1"]
    stage.network.on_entry = lambda entry: (
        dongle.unplug(stage.clock.now, timedelta(minutes=2)) if entry.kind == "submitted" else None
    )
    one = stage.ask(card(1))
    stage.turn()
    assert stage.state(one) is State.UNCERTAIN
    stage.answered(one, minutes=3)
    assert len(stage.asked()) == 1
    stage.judge()


def test_a_stick_that_is_back_works_within_two_seconds(stage: Stage) -> None:
    stage.answered(stage.ask(card(1)))
    dongle = stage.dongles["xl-1"]
    for away in (0.5, 5.0, 40.0):
        stage.pull()
        stage.run(seconds=away)
        assert stage.lane().state == "offline"
        assert "plug the stick in" in str(stage.lane().reason)
        one = stage.ask(card(round(away * 10) + 2))
        dongle.plug(stage.clock.now)
        assert stage.run(until=lambda one=one: stage.state(one) is not State.QUEUED, seconds=2)  # type: ignore[misc]
        stage.answered(one)
    stage.judge()


# -- ownership ----------------------------------------------------------------------------------------------------


def test_nothing_goes_out_when_the_lease_is_lost_at_the_prompt(stage: Stage) -> None:
    answers = [True, False]
    stage.may_send = lambda: answers.pop(0) if answers else False
    stage.turn()
    one = stage.ask(card(1))
    answers[:] = [True, False]
    stage.run(seconds=30)
    assert stage.states(one) == ["queued", "submitting", "queued"]
    assert stage.asked() == []
    stage.may_send = lambda: True
    view = stage.answered(one)
    assert (view.attempts, len(stage.asked())) == (1, 1)
    stage.judge()


def test_a_lane_whose_row_was_taken_stops_and_its_question_is_uncertain(stage: Stage) -> None:
    """Its process hung: another one recovered the lane. What it may have sent is not sent again."""
    one = stage.ask(card(1))

    def hang(told: str) -> None:
        if told == "ctrl-z":
            stage.told = lambda step: None
            later = stage.clock.advance(minutes=4)
            assert stage.store.write(lambda tx: lanes.recover_orphans(tx, later)) == 1

    stage.told = hang
    stage.renews = False
    stage.workers["xl-1"].step(stage.clock.now)
    assert stage.states(one)[:3] == ["queued", "submitting", "uncertain"]
    stage.renews = True
    stage.answered(one)
    assert len(stage.asked()) == 1
    stage.judge()


# -- swapped SIMs -------------------------------------------------------------------------------------------------


def swap(stage: Stage, sim: object) -> None:
    dongle = stage.dongles["xl-1"]
    stage.pull()
    dongle.sim = sim  # type: ignore[assignment]
    dongle.plug(stage.clock.now)


def test_another_sim_in_the_stick_has_its_own_windows(stage: Stage) -> None:
    first, other = stage.dongles["xl-1"].sim, make_sim(7)
    one = stage.ask(card(1))
    stage.turn()
    swap(stage, other)
    two = stage.ask(card(2))
    view = stage.answered(two)
    assert stage.state(one) is State.AWAITING_REPLY
    assert stage.lane().own_number == other.own_number
    swap(stage, first)
    stage.answered(one)
    assert view.record is not None
    assert view.record["kpj"] == card(2)
    stage.judge()


def test_texts_of_the_stick_itself_under_another_sim_are_nobodys(stage: Stage) -> None:
    one = stage.ask(card(1))
    stage.turn()
    dongle = stage.dongles["xl-1"]
    stage.pull()
    dongle.me.put(encode_deliver("2757", f"Saldo JHT KPJ {card(2)} Rp 5.000", stage.clock.now), 0)
    swap(stage, make_sim(7))
    two = stage.ask(card(2))
    stage.run(seconds=5)
    assert [(m.state, m.reason) for m in stage.messages()] == [("foreign", "foreign_memory")]
    assert stage.state(two) is State.AWAITING_REPLY
    assert stage.state(one) is State.AWAITING_REPLY
    assert not dongle.me.slots
    stage.answered(two)


def test_texts_of_the_stick_itself_under_the_same_sim_are_read(stage: Stage) -> None:
    one = stage.ask(card(1))
    stage.turn()
    dongle = stage.dongles["xl-1"]
    stage.pull()
    dongle.me.put(encode_deliver("2757", f"Saldo JHT KPJ {card(1)} Rp 5.000", stage.clock.now), 0)
    dongle.plug(stage.clock.now)
    stage.run(seconds=3)
    assert stage.state(one) is State.ANSWERED


# -- clocks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "jump", [timedelta(hours=1), timedelta(days=3), timedelta(hours=-1), timedelta(days=-3)]
)
def test_a_clock_that_jumps_ends_no_wait(stage: Stage, jump: timedelta) -> None:
    one = stage.ask(card(1, 93))  # never answered
    stage.run(minutes=4)
    stage.clock.now += jump
    stage.run(seconds=50)
    assert stage.state(one) is State.AWAITING_REPLY
    stage.run(seconds=20)
    assert stage.state(one) is State.NO_REPLY  # after five minutes of reading, all the same
    two = stage.ask(card(2))
    stage.run(minutes=61, stride=30, until=lambda: stage.state(two) is not State.QUEUED)
    stage.answered(two, minutes=1)
    stage.judge()


def test_an_hour_of_sleep_is_no_waiting(stage: Stage) -> None:
    one = stage.ask(card(1))
    stage.turn()
    stage.clock.advance(hours=1)
    view = stage.answered(one, minutes=1)
    assert not view.late


def test_while_its_stick_is_away_a_question_waits_on(stage: Stage) -> None:
    one, silent = stage.ask(card(1)), stage.ask(card(2, 93), "bpjstk-balance")
    stage.turn()
    dongle = stage.dongles["xl-1"]
    stage.pull()
    stage.run(minutes=18, stride=5)
    assert stage.state(one) is State.AWAITING_REPLY
    dongle.plug(stage.clock.now)
    assert not stage.answered(one).late
    assert stage.run(until=stage.ended(silent), minutes=6)


@pytest.mark.parametrize("hours", [1, 30, 24 * 10])
def test_an_answer_that_waited_while_the_gateway_was_off_is_its_question_s(stage: Stage, hours: int) -> None:
    one = stage.ask(card(1))
    stage.turn()
    assert stage.state(one) is State.AWAITING_REPLY
    stage.die()
    stage.clock.advance(hours=hours)
    stage.network.step(stage.clock.now)
    stage.boot()
    view = stage.answered(one)
    assert (view.outcome, view.late) == ("found", False)
    stage.judge()


def test_a_stick_that_is_away_for_good_ends_the_wait_and_a_reply_is_late(stage: Stage) -> None:
    one = stage.ask(card(1))
    stage.turn()
    dongle = stage.dongles["xl-1"]
    stage.pull()
    assert stage.run(until=stage.ended(one), stride=5, minutes=21)
    view = stage.check(one)
    assert (view.state, view.error_code, view.error_blame) == (State.NO_REPLY, "sim_absent", "sim")
    assert "Plug its modem in again" in str(view.error_detail)
    dongle.plug(stage.clock.now)
    stage.run(seconds=5)
    view = stage.check(one)
    assert (view.state, view.late, view.error_code) == (State.ANSWERED, True, None)
    stage.judge()
