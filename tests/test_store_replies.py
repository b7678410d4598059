"""Replies: in which roles they count, which submissions a text may belong to, and deadlines."""

from __future__ import annotations

from datetime import datetime, timedelta

from conftest import START, HandClock
from store_playing import (
    BALANCE,
    Lane,
    accept_one,
    answer,
    attribute,
    claim,
    claim_one,
    events_of,
    keep_house,
    mark_refused,
    mark_sent,
    open_lane,
    question,
    receive,
    sent_question,
    time_out,
)

from app.domain.states import Outcome, Role, State
from app.store import inbox, replies
from app.store.checks import get_check
from app.store.engine import Store
from app.store.events import read_feed

HOUR = timedelta(hours=1)


# -- roles --------------------------------------------------------------------------------------------------------


def test_an_answer_is_message_record_move_and_event(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    check = accept_one(store, clock())
    claimed = claim_one(store, lane, clock())
    mark_sent(store, claimed, clock())
    message = answer(store, lane, claimed, clock.advance(seconds=8), record={"balance": 12})
    view = store.read(lambda tx: get_check(tx, check.check_id, None))
    assert (view.state, view.outcome, view.record, view.evidence, view.late) == (
        "answered", "found", {"balance": 12}, "echo", False,
    )  # fmt: skip
    assert view.answered_at == clock()
    assert [(reply.message_id, reply.role, reply.text) for reply in view.replies] == [
        (message, "answer", "Saldo Rp 1.000")
    ]
    (listed,) = store.read(lambda tx: inbox.list_messages(tx, limit=1))
    assert (listed.state, listed.role, listed.checks) == (
        "attributed",
        "answer",
        ((check.check_id, "payroll"),),
    )
    assert events_of(store, check.check_id) == ["check.answered"]
    assert b"balance" not in question(store, check.question_id).record_sealed


def test_a_double_changes_nothing_and_an_amendment_the_record(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    check = accept_one(store, clock())
    claimed = claim_one(store, lane, clock())
    mark_sent(store, claimed, clock())
    first = answer(store, lane, claimed, clock(), evidence="sole", record={"balance": 1})
    copy = receive(store, lane, clock())
    attribute(store, copy, check.question_id, Role.DOUBLE, clock())
    store.write(lambda tx: replies.double(tx, copy, first))
    assert events_of(store, check.check_id) == ["check.answered"]
    answer(store, lane, claimed, clock.advance(seconds=5), evidence="echo", record={"balance": 2})
    view = store.read(lambda tx: get_check(tx, check.check_id, None))
    assert (view.record, view.evidence, view.answered_at) == ({"balance": 2}, "echo", START)
    assert [reply.role for reply in view.replies] == ["answer", "double", "amendment"]
    assert events_of(store, check.check_id) == ["check.answered", "check.amended"]
    doubles = [m.double_of for m in store.read(lambda tx: inbox.list_messages(tx, limit=9))]
    assert doubles == [None, first, None]


def test_a_contradicted_record_is_withdrawn(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    check = accept_one(store, clock())
    claimed = claim_one(store, lane, clock())
    mark_sent(store, claimed, clock())
    answer(store, lane, claimed, clock(), evidence="sole", held=timedelta(minutes=1))
    store.write(
        lambda tx: replies.withdraw(
            tx, check.question_id, lane.name, now=clock(), by="gateway", why="contradiction"
        )
    )
    view = store.read(lambda tx: get_check(tx, check.check_id, None))
    assert (view.state, view.outcome, view.record, view.evidence, view.answered_at) == (
        "no_reply", None, None, None, None,
    )  # fmt: skip
    assert (view.error_code, view.replies) == ("contradiction", ())
    (listed,) = store.read(lambda tx: inbox.list_messages(tx, limit=1))
    assert (listed.state, listed.reason, listed.checks) == ("unmatched", "contradiction", ())
    assert events_of(store, check.check_id) == ["check.answered", "check.detached"]
    assert [event.kind for event in read_feed(store, 0, 9)][-2:] == ["message.unmatched", "check.detached"]
    assert accept_one(store, clock(), max_age=HOUR).question_id != check.question_id


def test_a_late_answer_is_taken_from_every_end(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    check = accept_one(store, clock())
    claimed = claim_one(store, lane, clock())
    mark_sent(store, claimed, clock())
    time_out(store, claimed, clock.advance(minutes=5))
    message = receive(store, lane, clock.advance(minutes=5))
    attribute(store, message, check.question_id, Role.ANSWER, clock(), "echo")
    store.write(
        lambda tx: replies.answer(
            tx, check.question_id, outcome=Outcome.FOUND, record={}, evidence="echo", late=True, now=clock(),
            by="gateway",
        )
    )  # fmt: skip
    view = store.read(lambda tx: get_check(tx, check.check_id, None))
    assert (view.state, view.late, view.error_code) == ("answered", True, None)
    assert events_of(store, check.check_id) == ["check.no_reply", "check.answered"]


# -- which submissions a text may belong to -----------------------------------------------------------------------


def candidates(
    store: Store,
    lane: Lane,
    now: datetime,
    *,
    card: int | None = None,
    body: str = "?",
    any_card: bool = False,
) -> list[replies.Asked]:
    subjects = [] if card is None else [("kpj", f"99{card:09d}")]
    return store.read(
        lambda tx: replies.asked(
            tx, sim_id=lane.sim_id, conversation="2757", subjects=subjects, any_subject=any_card, body=body, now=now
        )
    )  # fmt: skip


def test_candidates_are_the_held_and_the_named_ones(store: Store, clock: HandClock) -> None:
    lane, other = open_lane(store, clock()), open_lane(store, clock(), "xl-2")
    done = sent_question(store, lane, clock(), 1)
    answer(store, lane, done, clock(), body="first")
    held = sent_question(store, lane, clock(), 2)
    answer(store, lane, held, clock(), evidence="sole", held=timedelta(minutes=3), body="second")
    sent_question(store, other, clock(), 3)
    clock.advance(minutes=2)

    def found(**more: object) -> list[str]:
        return [one.question_id for one in candidates(store, lane, clock(), **more)]  # type: ignore[arg-type]

    assert found() == [held.question_id]
    assert found(card=1) == [done.question_id], "a text that names an asked card is about no other"
    assert found(card=3) == [held.question_id]
    assert found(any_card=True) == [done.question_id, held.question_id]
    assert found(body="first") == [done.question_id, held.question_id]
    clock.advance(minutes=1)
    assert found() == []
    (seen,) = candidates(store, lane, clock(), card=2)
    assert (seen.in_flight, seen.held, seen.state, seen.answer_text, seen.evidence) == (
        False, False, State.ANSWERED, "second", "sole",
    )  # fmt: skip


def test_a_day_later_nothing_is_a_candidate_and_the_same_text_counts_for_an_hour(
    store: Store, clock: HandClock
) -> None:
    lane = open_lane(store, clock())
    claimed = sent_question(store, lane, clock(), 1)
    answer(store, lane, claimed, clock(), body="same")
    just = timedelta(microseconds=1)
    for later, named, texted in (
        (HOUR - just, 1, 1),
        (HOUR, 1, 0),
        (24 * HOUR - just, 1, 0),
        (24 * HOUR, 0, 0),
    ):
        at = START + later
        assert len(candidates(store, lane, at, card=1)) == named
        assert len(candidates(store, lane, at, body="same")) == texted


def test_what_surely_never_went_out_is_no_candidate(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    accept_one(store, clock())
    mark_refused(store, claim_one(store, lane, clock()), clock(), retryable=False)
    assert candidates(store, lane, clock(), card=1, any_card=True) == []


# -- deadlines ----------------------------------------------------------------------------------------------------


def test_a_deadline_counts_once_the_inbox_was_read_after_it(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    claimed = sent_question(store, lane, clock())
    end = START + BALANCE.timeout
    assert store.read(lambda tx: replies.next_deadline(tx, lane.sim_id)) == end
    before = end - timedelta(microseconds=1)
    assert store.read(lambda tx: replies.due(tx, lane.sim_id, before)) == []
    (due,) = store.read(lambda tx: replies.due(tx, lane.sim_id, end))
    assert (due.question_id, due.submission_id, due.attempts, due.roles) == (
        claimed.question_id, claimed.submission_id, 1, frozenset(),
    )  # fmt: skip
    attribute(store, receive(store, lane, clock()), claimed.question_id, Role.NOTE, clock())
    (due,) = store.read(lambda tx: replies.due(tx, lane.sim_id, end))
    assert due.roles == {Role.NOTE}
    answer(store, lane, claimed, clock())
    assert store.read(lambda tx: replies.due(tx, lane.sim_id, end)) == []
    assert store.read(lambda tx: replies.next_deadline(tx, lane.sim_id)) is None


def test_a_question_asked_again_waits_for_its_time(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    claimed = sent_question(store, lane, clock())
    time_out(store, claimed, clock.advance(minutes=5), again_at=START + HOUR)
    clock.now = START + HOUR
    assert claim(store, lane, clock()) is None
    keep_house(store, clock())
    second = claim_one(store, lane, clock())
    assert (second.question_id, second.attempts) == (claimed.question_id, 2)
    mark_sent(store, second, clock())
    assert question(store, claimed.question_id).cost == 700
