"""Submissions: the claim, what holds a conversation, how each ends, and words that come too late."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from conftest import HandClock
from sqlalchemy import update
from store_playing import (
    BALANCE,
    STATUS,
    Lane,
    accept,
    accept_one,
    answer,
    attribute,
    claim,
    claim_one,
    events_of,
    history,
    keep_house,
    mark_refused,
    mark_sent,
    mark_unsure,
    open_lane,
    question,
    receive,
    sent_question,
    submission,
    time_out,
)

from app.domain.errors import Invalid
from app.domain.states import Role
from app.store import submissions
from app.store import tables as t
from app.store.engine import Store
from app.store.submissions import Claimed, Servable

HOUR = timedelta(hours=1)


# -- the claim ----------------------------------------------------------------------------------------------------


def test_a_claim_is_a_journal(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    check = accept_one(store, clock())
    claimed = claim_one(store, lane, clock.advance(seconds=9))
    assert (claimed.text, claimed.address, claimed.attempts) == ("ASK#99000000001#", "2757", 1)
    asked = question(store, check.question_id)
    assert (asked.state, asked.lane, asked.fence, asked.submitted_at, asked.deadline) == (
        "submitting", lane.name, lane.fence, clock(), clock() + BALANCE.timeout,
    )  # fmt: skip
    row = submission(store, claimed.submission_id)
    assert (row.kind, row.question_id, row.sim_id, row.conversation, row.state) == (
        "question", check.question_id, lane.sim_id, "2757", "open",
    )  # fmt: skip
    assert (row.opened_at, row.held_until, row.in_flight) == (clock(), clock() + BALANCE.late, True)
    assert b"9900000" not in row.text_sealed + row.address_sealed


def test_one_submission_at_a_time_in_a_conversation_of_a_sim(store: Store, clock: HandClock) -> None:
    one, two = open_lane(store, clock()), open_lane(store, clock(), "xl-2")
    accept(store, clock(), 1, 2, 3)
    accept_one(store, clock(), 4, service=STATUS)
    assert claim_one(store, one, clock()).service == BALANCE.name
    assert claim_one(store, one, clock()).service == STATUS.name
    assert claim(store, one, clock()) is None
    assert claim_one(store, two, clock()).service == BALANCE.name
    assert claim(store, two, clock()) is None


def test_services_that_share_a_sender_share_the_conversation(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    other = Servable("bpjstk-register", "2757", "2757", BALANCE.timeout, BALANCE.late, 350, BALANCE.text)
    accept_one(store, clock(), 1)
    accept_one(store, clock(), 1, service=other)
    assert isinstance(claim(store, lane, clock(), [BALANCE, other]), Claimed)
    assert claim(store, lane, clock(), [BALANCE, other]) is None


def test_an_ended_submission_holds_until_its_time(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    claimed = sent_question(store, lane, clock())
    accept_one(store, clock(), 2)
    answer(store, lane, claimed, clock(), evidence="sole", held=timedelta(minutes=3))
    release = clock() + timedelta(minutes=3)
    assert store.read(lambda tx: submissions.next_release(tx, lane.sim_id, clock())) == release
    assert claim(store, lane, release - timedelta(microseconds=1)) is None
    assert isinstance(claim(store, lane, release), Claimed)


def test_a_submission_in_flight_holds_beyond_its_time(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    sent_question(store, lane, clock())
    accept_one(store, clock(), 2)
    assert claim(store, lane, clock.advance(hours=5)) is None


def test_only_services_that_this_sim_may_serve(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    accept_one(store, clock(), 1)
    assert claim(store, lane, clock(), [STATUS]) is None
    assert claim(store, lane, clock(), []) is None


def test_a_question_that_wants_a_sim_goes_to_it_only(store: Store, clock: HandClock) -> None:
    one, two = open_lane(store, clock()), open_lane(store, clock(), "xl-2")
    first, second = accept(store, clock(), 1, 2)
    q = t.questions.c
    store.write(
        lambda tx: tx.execute(
            update(t.questions).where(q.id == first.question_id).values(wanted_sim=two.sim_id)
        )
    )
    assert claim_one(store, one, clock()).question_id == second.question_id
    assert claim(store, one, clock.advance(days=1)) is None
    assert claim_one(store, two, clock()).question_id == first.question_id


def test_a_text_that_cannot_be_made_is_a_fault_of_that_question_only(store: Store, clock: HandClock) -> None:
    def refuse(_: object) -> str:
        raise Invalid("The service's file changed. Ask again.")

    lane = open_lane(store, clock())
    accept_one(store, clock())
    changed = Servable(BALANCE.name, "2757", "2757", BALANCE.timeout, BALANCE.late, 350, refuse)
    claimed = claim(store, lane, clock(), [changed])
    assert isinstance(claimed, Claimed)
    assert claimed.fault is not None
    assert claimed.fault.code == "invalid"


def test_lanes_side_by_side_never_take_the_same(store: Store, clock: HandClock) -> None:
    places = [open_lane(store, clock(), f"xl-{n}") for n in range(8)]
    accept(store, clock(), *range(1, 101))
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(lambda lane: claim(store, lane, clock(), [BALANCE]), places))
    taken = [one.question_id for one in claimed if isinstance(one, Claimed)]
    assert len(taken) == len(set(taken)) == 8


# -- how a submission ends ----------------------------------------------------------------------------------------


def test_sent_is_paid_once(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    accept_one(store, clock())
    claimed = claim_one(store, lane, clock())
    for _ in range(2):
        mark_sent(store, claimed, clock())
    row = submission(store, claimed.submission_id)
    assert (row.state, row.tp_references, row.in_flight) == ("sent", "7", True)
    assert question(store, claimed.question_id).cost == 350
    assert history(store, claimed.question_id) == ["queued", "submitting", "awaiting_reply"]


def test_refused_for_good_costs_nothing_and_holds_nothing(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    accept(store, clock(), 1, 2)
    claimed = claim_one(store, lane, clock())
    mark_refused(store, claimed, clock(), retryable=False)
    row = submission(store, claimed.submission_id)
    assert (row.state, row.in_flight, row.ended, row.cost) == ("refused", False, "refused", 0)
    assert question(store, claimed.question_id).state == "failed"
    assert isinstance(claim(store, lane, clock()), Claimed)


def test_standing_down_is_no_attempt(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    check = accept_one(store, clock())
    claimed = claim_one(store, lane, clock())
    store.write(lambda tx: submissions.stood_down(tx, claimed, now=clock(), by="lane", why="stood_down"))
    row = question(store, check.question_id)
    assert (row.state, row.attempts, row.not_before, row.cost) == ("queued", 0, None, 0)
    assert claim_one(store, lane, clock()).question_id == check.question_id


def test_silence_is_uncertain_paid_and_never_sent_again(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    check = accept_one(store, clock())
    claimed = claim_one(store, lane, clock())
    mark_unsure(store, claimed, clock())
    row = question(store, check.question_id)
    assert (row.state, row.cost, row.deadline) == ("uncertain", 350, clock() + BALANCE.timeout)
    assert submission(store, claimed.submission_id).in_flight
    assert events_of(store, check.check_id) == ["check.uncertain"]
    assert claim(store, lane, clock.advance(days=1)) is None
    mark_sent(store, claimed, clock())
    assert history(store, check.question_id) == ["queued", "submitting", "uncertain", "awaiting_reply"]
    assert question(store, check.question_id).cost == 350


def test_a_reply_before_its_cmgs_is_the_answer_and_is_paid(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    check = accept_one(store, clock())
    claimed = claim_one(store, lane, clock())
    answer(store, lane, claimed, clock())
    mark_sent(store, claimed, clock())
    assert history(store, check.question_id) == ["queued", "submitting", "answered"]
    row = submission(store, claimed.submission_id)
    assert (row.state, row.in_flight, row.tp_references) == ("sent", False, "7")
    assert question(store, check.question_id).cost == 350


@pytest.mark.parametrize("how", ["refused", "stood_down"])
def test_a_question_with_a_message_never_goes_back_to_the_queue(
    store: Store, clock: HandClock, how: str
) -> None:
    lane = open_lane(store, clock())
    check = accept_one(store, clock())
    claimed = claim_one(store, lane, clock())
    attribute(store, receive(store, lane, clock()), check.question_id, Role.NOTE, clock())
    if how == "refused":
        mark_refused(store, claimed, clock(), retryable=True)
    else:
        store.write(lambda tx: submissions.stood_down(tx, claimed, now=clock(), by="lane", why="stood_down"))
    assert history(store, check.question_id) == ["queued", "submitting", "failed"]


# -- words that come too late, of a submission whose question went on ---------------------------------------------


def asked_again(store: Store, clock: HandClock) -> tuple[Lane, Claimed, Lane, Claimed]:
    """A question that one lane left uncertain, that timed out, and that another lane is submitting now."""
    one, two = open_lane(store, clock()), open_lane(store, clock(), "xl-2")
    check = accept_one(store, clock())
    first = claim_one(store, one, clock())
    mark_unsure(store, first, clock())
    time_out(store, first, clock.advance(minutes=5), again_at=clock() + HOUR)
    keep_house(store, clock.advance(hours=1))
    second = claim_one(store, two, clock())
    assert second.question_id == first.question_id == check.question_id
    return one, first, two, second


def test_a_late_cmgs_of_an_earlier_submission_says_nothing_of_the_new_one(
    store: Store, clock: HandClock
) -> None:
    _, first, _, second = asked_again(store, clock)
    mark_sent(store, first, clock())
    assert submission(store, first.submission_id).state == "sent"
    assert question(store, first.question_id).state == "submitting"
    mark_refused(store, second, clock(), retryable=True)
    assert question(store, first.question_id).state == "queued"
    assert question(store, first.question_id).cost == 350


def test_a_late_silence_of_an_earlier_submission_says_nothing_of_the_new_one(
    store: Store, clock: HandClock
) -> None:
    _, first, _, second = asked_again(store, clock)
    mark_unsure(store, first, clock())
    assert question(store, second.question_id).state == "submitting"


def test_an_answer_to_the_first_takes_the_second_out_of_flight(store: Store, clock: HandClock) -> None:
    """Its hold stays until `late`: the second SMS may still cause a text."""
    one, first, two, second = asked_again(store, clock)
    mark_sent(store, second, clock())
    answer(store, one, first, clock.advance(seconds=30))
    row = submission(store, second.submission_id)
    assert (row.in_flight, row.held_until) == (False, second.opened_at + BALANCE.late)
    accept_one(store, clock(), 2)
    assert claim(store, two, clock()) is None
    assert isinstance(claim(store, two, second.opened_at + BALANCE.late), Claimed)


def test_an_answer_while_asked_again_leaves_the_queue(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    claimed = sent_question(store, lane, clock())
    time_out(store, claimed, clock.advance(minutes=5), again_at=clock() + HOUR)
    answer(store, lane, claimed, clock.advance(minutes=5))
    clock.advance(hours=2)
    keep_house(store, clock())
    assert claim(store, lane, clock()) is None
    assert history(store, claimed.question_id) == [
        "queued", "submitting", "awaiting_reply", "queued", "answered",
    ]  # fmt: skip
