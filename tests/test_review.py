"""What a review against the five promises found, each played until it showed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from conftest import HandClock
from lanes_playing import BALANCE, SHORT, STATUS, Stage, card, make_sim, staged
from sqlalchemy import select, text, update
from store_playing import (
    accept_one,
    claim_one,
    history,
    mark_unsure,
    open_lane,
    question,
    sent_question,
)
from test_attribution import SOME, A, answered, asked, decided
from test_phone import INVITED, SITI, inbox, let_in

from app.domain.errors import Unavailable
from app.domain.services import Catalogue
from app.domain.states import State
from app.exchange.housekeeper import ABSENT, Housekeeper
from app.exchange.reception import settle_report
from app.runtime import Lease, utc_now
from app.store import inbox as tpdus
from app.store import lanes
from app.store import tables as t
from app.store.engine import Store
from modem import encode_deliver

JKN = "0009900000001"


@contextmanager
def written_by_another(stage: Stage) -> Iterator[None]:
    """Another program holds the database's one right to write: nothing can be written meanwhile, and that is said at once."""
    stage.store.write(lambda tx: tx.execute(text("PRAGMA busy_timeout=0")).close())
    other = sqlite3.connect(stage.folder / "gateway.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


def one_step_unwritten(stage: Stage, step: str, nth: int = 1) -> None:
    """The lane's step in which its modem is at `step` finds the database gone from there on; it is back right after."""
    left = nth

    def told(now: str) -> None:
        nonlocal left
        left -= now == step
        if now == step and left == 0:
            holder.__enter__()

    holder = written_by_another(stage)
    stage.told = told
    while left > 0:
        stage.listen("xl-1")
        stage.workers["xl-1"].step(stage.clock.now)
        stage.network.step(stage.clock.now)
    stage.told = lambda step: None
    holder.__exit__(None, None, None)


# -- the database goes away when the SMS is out already ---------------------------------------------------------------


def test_what_became_of_a_message_is_written_when_the_database_is_back(tmp_path: Path) -> None:
    with staged(tmp_path, services={BALANCE: SHORT, STATUS: SHORT}) as stage:
        one = stage.ask(card(1, 93))  # never answered
        one_step_unwritten(stage, "ctrl-z")
        two = stage.ask(JKN, STATUS)
        stage.answered(two)
        stage.run(until=stage.ended(one), minutes=30, stride=1)
        assert stage.states(one) == ["queued", "submitting", "awaiting_reply", "no_reply"]
        assert stage.check(one).cost == 350
        stage.judge()


def test_a_refusal_that_could_not_be_written_is_no_uncertainty(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        stage.dongles["xl-1"].knobs.turn({"submit_errors": 1, "submit_error": 42})
        one = stage.ask(card(1))
        one_step_unwritten(stage, "ctrl-z")
        stage.answered(one)
        assert stage.states(one)[:4] == ["queued", "submitting", "queued", "submitting"]
        stage.judge()


def test_a_claim_that_was_written_though_it_seemed_not_is_not_stuck(tmp_path: Path) -> None:
    """On PostgreSQL a connection may break between the commit and its word."""
    with staged(tmp_path, services={BALANCE: SHORT, STATUS: SHORT}) as stage:
        stage.run(seconds=1)
        one = stage.ask(card(1, 93))

        def told(step: str) -> None:
            if step == "commit" and stage.state(one) is State.SUBMITTING:
                stage.told = lambda step: None
                raise Unavailable("the word of the commit was lost")

        stage.told = told
        stage.workers["xl-1"].step(stage.clock.now)
        assert stage.state(one) is State.SUBMITTING
        two = stage.ask(JKN, STATUS)
        stage.answered(two)
        stage.run(until=stage.ended(one), minutes=30, stride=1)
        assert stage.states(one) == ["queued", "submitting", "uncertain", "no_reply"]
        stage.judge()


def test_a_phones_answer_is_told_although_the_database_went_away(tmp_path: Path) -> None:
    with staged(tmp_path, phone=INVITED) as stage:
        let_in(stage, SITI)
        stage.run(seconds=1)
        stage.text("halo", sender=SITI)
        one_step_unwritten(stage, "ctrl-z")
        stage.run(seconds=20)
        assert len(inbox(stage)) == 1
        (ask,) = stage.rows(t.phone_asks)
        assert ask.state == "sent"


def test_a_phones_answer_whose_service_is_gone_keeps_no_lane_from_working(tmp_path: Path) -> None:
    with staged(tmp_path, phone=INVITED) as stage:
        let_in(stage, SITI)
        stage.run(seconds=1)
        stage.store.write(lambda tx: lanes.set_lane(tx, "xl-1", now=stage.clock.now, paused=True))
        stage.text(f"SALDO {card(9)}", sender=SITI)
        stage.run(seconds=6)
        stage.die()
        stage.catalogue = Catalogue([one for one in stage.catalogue if one.name != BALANCE])
        stage.boot()
        stage.store.write(lambda tx: lanes.set_lane(tx, "xl-1", now=stage.clock.now, paused=False))
        stage.run(hours=25, stride=600)
        (ask,) = stage.rows(t.phone_asks)
        assert ask.state == "refused"
        assert not inbox(stage)
        stage.answered(stage.ask(JKN, STATUS))


# -- away for good ----------------------------------------------------------------------------------------------------


def test_a_sim_that_went_away_right_after_the_deadline_is_given_up_too(
    store: Store, clock: HandClock
) -> None:
    lane = open_lane(store, clock.now)
    claimed = sent_question(store, lane, clock.now)
    for _ in range(11):
        clock.advance(seconds=30)
        store.write(lambda tx: lanes.inbox_read(tx, lane.sim_id, clock.now))
    # The stick is gone before its lane could end what was due.
    keeper = Housekeeper(store, lambda: clock.now.timestamp())
    for _ in range(4):
        keeper.step(clock.now)
        clock.advance(seconds=ABSENT.total_seconds() / 2)
    assert question(store, claimed.question_id).state == "no_reply"


def test_giving_a_sim_up_leaves_alone_what_is_still_being_sent(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock.now)
    accept_one(store, clock.now)
    claimed = claim_one(store, lane, clock.now)
    clock.advance(minutes=6)
    seconds = 0.0
    keeper = Housekeeper(store, lambda: seconds)
    store.write(lambda tx: lanes.renew_lease(tx, "prc_one", clock.now + timedelta(hours=1)))
    store.write(
        lambda tx: tx.execute(update(t.lanes).values(step_started_at=None)).close()
    )  # the lane lives, as far as its row says
    for seconds in (0.0, ABSENT.total_seconds() + 1):  # noqa: B007
        keeper.step(clock.now)
    mark_unsure(store, claimed, clock.now)
    assert history(store, claimed.question_id)[-1] == "uncertain"
    seconds += 2 * ABSENT.total_seconds() + 2
    keeper.step(clock.now)
    assert question(store, claimed.question_id).state == "no_reply"


def test_a_process_that_slept_for_days_may_send_again(store: Store) -> None:
    now = utc_now()
    store.write(lambda tx: lanes.begin_process(tx, "prc_one", "host", now - timedelta(days=3)))
    p = t.processes.c
    store.write(  # PostgreSQL's own clock gave it a lease until today
        lambda tx: tx.execute(update(t.processes).values(lease_until=now - timedelta(days=2))).close()
    )
    lease = Lease(store, "prc_one")
    store.write(lambda tx: lanes.recover_orphans(tx, now))
    assert store.read(lambda tx: tx.execute(select(p.id)).all()) == []
    lease.renew()
    ((until,),) = store.read(lambda tx: tx.execute(select(p.lease_until)).all())
    assert until > now


# -- whose text it is -------------------------------------------------------------------------------------------------


def test_a_double_of_another_services_answer_about_the_same_card_answers_nothing() -> None:
    text_of_first = f"Saldo KPJ {A} Rp 5.000"
    other = SOME.model_copy(
        update={
            "name": "other",
            "replies": tuple(r for r in SOME.replies if r.outcome != "found"),
        }
    )
    first = answered(text_of_first, "echo", ago=90)
    second = asked("q2", A, ago=20, service=other)
    decision = decided(text_of_first, first, second, one=SOME, two=other)
    assert (decision.kind, decision.question_id) == ("double", "q1")


def test_the_same_unread_text_for_a_card_asked_again_is_its_own_answer() -> None:
    unread = f"Halo {A} selamat pagi"
    decision = decided(unread, answered(unread, "echo", ago=90), asked("q2", A, ago=20))
    assert (decision.kind, decision.question_id) == ("answer", "q2")


def test_only_what_lay_in_the_stick_when_it_opened_is_foreign(tmp_path: Path) -> None:
    """A slot that changed between reading and removing makes the lane read everything again: what came since is its own."""
    with staged(tmp_path) as stage:
        dongle = stage.dongles["xl-1"]
        stage.run(seconds=2)
        dongle.unplug(stage.clock.now)
        dongle.sim = make_sim(7)
        dongle.me.put(encode_deliver("2757", "lay here before", stage.clock.now), 0)
        one = stage.ask(card(1, 93))
        dongle.plug(stage.clock.now)
        own = encode_deliver("2757", f"Saldo JHT KPJ {card(1, 93)} per 31-10-2026 Rp 5.000.", stage.clock.now)

        def told(step: str) -> None:
            # The first text is kept, and its slot holds another one by now.
            if step == "commit" and stage.messages("foreign"):
                stage.told = lambda step: None
                dongle.me.slots.clear()
                dongle.me.put(own, 0)

        stage.told = told
        stage.run(seconds=20)
        assert [m.state for m in stage.messages()] == ["foreign", "attributed"]
        assert stage.state(one) is State.ANSWERED


def test_a_report_that_may_be_anothers_fails_no_question(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    accept_one(store, clock())
    claimed = claim_one(store, lane, clock())
    mark_unsure(store, claimed, clock())
    likely = tpdus.Reported(claimed.submission_id, claimed.question_id, certain=False)
    store.write(lambda tx: settle_report(tx, likely, 0x46, clock()))
    assert question(store, claimed.question_id).state == "uncertain"
    store.write(lambda tx: settle_report(tx, likely, 0x00, clock()))
    assert question(store, claimed.question_id).state == "awaiting_reply"


def test_a_clock_that_was_never_set_teaches_nothing(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    stamp = clock() + timedelta(seconds=3)
    ahead = store.write(lambda tx: tpdus.learn_centre(tx, lane.sim_id, stamp, clock()))
    assert ahead == timedelta(seconds=3)
    years_ago = clock() - timedelta(days=2000)
    assert store.write(lambda tx: tpdus.learn_centre(tx, lane.sim_id, stamp, years_ago)) == ahead
