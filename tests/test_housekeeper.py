"""What no lane does: expiry, put-off questions, lanes of dead processes, SIMs that are away for good."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from lanes_playing import BALANCE, SHORT, LaneLook, Stage, card, staged
from sqlalchemy import insert, update
from store_playing import events_of

from app.domain.states import State
from app.exchange.housekeeper import ABSENT, EVERY
from app.store import lanes
from app.store import tables as t
from modem import ModemLost

OTHER = "prc_other"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path) as one:
        yield one


# -- the queue ----------------------------------------------------------------------------------------------------


def test_what_was_not_sent_in_time_expires(stage: Stage) -> None:
    stage.pull()
    one = stage.ask(card(1), expires_in=timedelta(minutes=10))
    two = stage.ask(card(2))
    stage.run(minutes=9, stride=30)
    assert stage.state(one) is State.QUEUED
    stage.run(minutes=2, stride=30)
    assert stage.state(one) is State.EXPIRED
    assert events_of(stage.store, one) == ["check.expired"]
    stage.dongles["xl-1"].plug(stage.clock.now)
    stage.answered(two)
    assert stage.asked() == [f"BALANCE#{card(2)}#"]


def test_a_late_text_answers_even_what_expired(tmp_path: Path) -> None:
    """It was asked, put off after a timeout, and expired before it was asked again."""
    with staged(tmp_path, services={BALANCE: {**SHORT, "late": timedelta(hours=1), "ask_again": 1}}) as stage:
        one = stage.ask(card(1, 93), expires_in=timedelta(minutes=10))
        stage.run(minutes=1)
        assert stage.states(one)[-1] == "queued"
        stage.run(until=stage.ended(one), minutes=10, stride=10)
        assert stage.state(one) is State.EXPIRED
        stage.text(f"Saldo JHT KPJ {card(1, 93)} per 31-10-2026 Rp 5.000.")
        stage.run(seconds=6)
        view = stage.check(one)
        assert (view.state, view.late) == (State.ANSWERED, True)
        assert len(stage.asked()) == 1


def test_what_was_put_off_comes_back_when_its_time_is_there(stage: Stage) -> None:
    stage.dongles["xl-1"].knobs.turn({"submit_errors": 1, "submit_error": 42})
    one = stage.ask(card(1))
    stage.run(seconds=9)
    assert stage.states(one) == ["queued", "submitting", "queued"]
    stage.answered(one, seconds=20)


def test_it_says_when_it_wants_to_be_called_and_forgets_old_keys_of_repeats(stage: Stage) -> None:
    now = stage.clock.now
    row = {"id": "idm", "created_at": now, "client": "payroll", "key": "k", "request_hash": b"h", "expires": now + timedelta(hours=1)}  # fmt: skip
    stage.store.write(lambda tx: tx.execute(insert(t.idempotency), row).close())
    assert stage.housekeeper.step(now) == now + EVERY
    assert len(stage.rows(t.idempotency)) == 1
    later = stage.clock.advance(hours=2)
    stage.housekeeper.step(later)
    assert not stage.rows(t.idempotency)


# -- dead owners --------------------------------------------------------------------------------------------------


def second_process(stage: Stage) -> None:
    """Another process on the same database builds a worker for the same lane, and the first is heard of no more."""
    now = stage.clock.now
    stage.store.write(lambda tx: lanes.begin_process(tx, OTHER, "second", now))
    p = t.processes.c
    stage.store.write(
        lambda tx: tx.execute(
            update(t.processes).where(p.id == stage.process_id).values(lease_until=now - timedelta(seconds=1))
        ).close()
    )


def as_second(stage: Stage) -> None:
    stage.process_id = OTHER
    spec = lanes.LaneSpec("xl-1", f"simulated://{stage.port('xl-1')}", timedelta(0), 0, 0)
    stage.workers["xl-1"] = stage.worker(spec, OTHER)


def test_a_dead_processs_lane_is_recovered_and_taken_over(tmp_path: Path, database_url: str) -> None:
    with staged(tmp_path, url=database_url) as stage:
        one, two = stage.ask(card(1)), stage.ask(card(2))
        dongle = stage.dongles["xl-1"]
        first = stage.modems

        def die(step: str) -> None:
            if step == "ctrl-z":
                stage.told = lambda step: None
                second_process(stage)
                stage.housekeeper.step(stage.clock.now)  # that of the other process
                assert stage.state(one) is State.UNCERTAIN
                assert stage.lane().state == "offline"
                first["xl-1"].close()

        stage.told = die
        stage.workers["xl-1"].step(stage.clock.now)
        as_second(stage)
        stage.answered(two, minutes=70, stride=10)
        assert stage.states(one) == ["queued", "submitting", "uncertain", "no_reply"]
        assert stage.asked() == [f"BALANCE#{card(2)}#"]
        assert dongle.plugged
        stage.judge()


def test_a_living_processs_lane_is_not_taken(stage: Stage, tmp_path: Path) -> None:
    stage.run(seconds=2)
    (before,) = stage.rows(t.lanes)
    stage.store.write(lambda tx: lanes.begin_process(tx, OTHER, "second", stage.clock.now))
    assert stage.store.write(lambda tx: lanes.take(tx, "xl-1", OTHER, stage.clock.now)) is None
    stage.housekeeper.step(stage.clock.now)
    (after,) = stage.rows(t.lanes)
    assert (after.owner, after.fence) == (before.owner, before.fence)


def test_a_lane_that_was_taken_from_it_stops_and_comes_back_when_it_can(stage: Stage) -> None:
    stage.run(seconds=2)
    second_process(stage)
    assert stage.store.write(lambda tx: lanes.recover_orphans(tx, stage.clock.now)) == 1
    fence = stage.store.write(lambda tx: lanes.take(tx, "xl-1", OTHER, stage.clock.now))
    one = stage.ask(card(1))
    stage.run(seconds=6)
    assert stage.state(one) is State.QUEUED  # the other has the row, this one the port
    with pytest.raises(ModemLost):
        stage.modems["xl-1"].hinted()
    (row,) = stage.rows(t.lanes)
    assert (row.owner, row.fence) == (OTHER, fence)
    stage.store.write(lambda tx: lanes.end_process(tx, OTHER, stage.clock.now))
    stage.answered(one, seconds=45)


# -- away for good ------------------------------------------------------------------------------------------------


def test_a_sim_away_for_good_ends_its_wait_a_quarter_of_an_hour_after_the_deadline(stage: Stage) -> None:
    one = stage.ask(card(1, 93))
    stage.turn()
    stage.pull()
    stage.run(minutes=5, stride=1)
    stage.run(seconds=ABSENT.total_seconds() - 10, stride=5)
    assert stage.state(one) is State.AWAITING_REPLY
    stage.run(seconds=30, stride=5)
    view = stage.check(one)
    assert (view.state, view.error_code) == (State.NO_REPLY, "sim_absent")
    assert events_of(stage.store, one) == ["check.no_reply"]
    stage.judge()


def test_neither_a_jump_of_the_clock_nor_a_sleep_ends_a_wait_without_a_sim(stage: Stage) -> None:
    one = stage.ask(card(1, 93))
    stage.turn()
    stage.pull()
    stage.run(minutes=1, stride=5)
    for _ in range(3):
        stage.clock.advance(days=1)
        stage.run(minutes=2, stride=10)
        assert stage.state(one) is State.AWAITING_REPLY


def test_after_the_sim_was_given_up_its_conversation_stays_held_on_it_alone(tmp_path: Path) -> None:
    looks = {"xl-1": LaneLook(), "xl-2": LaneLook()}
    with staged(tmp_path, looks=looks, names_card=False) as stage:
        stage.pull("xl-2")
        one = stage.ask(card(1))
        stage.turn()
        stage.pull()
        stage.run(until=stage.ended(one), minutes=25, stride=10)
        assert stage.state(one) is State.NO_REPLY
        two = stage.ask(card(2))
        stage.dongles["xl-1"].plug(stage.clock.now)
        stage.run(seconds=20)
        # Its reply, which names no card, lay at the service centre: it is given to nobody, and to the next card least of all.
        assert [m.reason for m in stage.messages()] == ["late_without_card"]
        assert stage.state(one) is State.NO_REPLY
        stage.answered(two, minutes=60, stride=10)
        stage.judge()
