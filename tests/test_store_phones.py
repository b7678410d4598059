"""People with phones: who may text us, what is due to them, and that no answer goes out twice."""

from __future__ import annotations

from datetime import timedelta

import pytest
from conftest import START, HandClock
from store_playing import (
    Lane,
    accept_one,
    answer,
    claim_one,
    keep_house,
    mark_refused,
    mark_sent,
    open_lane,
    rows,
    submission,
    time_out,
)

from app.domain.errors import NotFound
from app.store import phones, questions, replies
from app.store import tables as t
from app.store.engine import Store, Tx
from app.store.phones import ANSWERS_LIFE, DueAnswer
from app.store.questions import Accepted
from app.store.submissions import Claimed

NUMBER = "+629900000001"


def asking(store: Store, lane: Lane, clock: HandClock, number: int = 1) -> Accepted:
    """A phone's text became a check, and its answer is waited for."""
    accepted = accept_one(store, clock(), number, origin="phone", client="phone")

    def work(tx: Tx) -> None:
        known = phones.find(tx, NUMBER)
        phone = known.id if known else phones.enter(tx, NUMBER, now=clock())
        phones.add_ask(
            tx, phone_id=phone, message_id="msg", sim_id=lane.sim_id, now=clock(), check_id=accepted.check_id
        )  # fmt: skip

    store.write(work)
    return accepted


def take(store: Store, lane: Lane, clock: HandClock) -> DueAnswer | None:
    return store.write(lambda tx: phones.claim_answer(tx, lane.name, lane.fence, lane.sim_id, 350, clock()))


def take_one(store: Store, lane: Lane, clock: HandClock) -> DueAnswer:
    due = take(store, lane, clock)
    assert due is not None
    return due


def settle(store: Store, due: DueAnswer, clock: HandClock, state: str = "sent") -> None:
    store.write(
        lambda tx: phones.settle_answer(tx, due, clock(), state=state, text_sent="Saldo", references="3")
    )


def on_air(store: Store, lane: Lane, clock: HandClock) -> Claimed:
    claimed = claim_one(store, lane, clock())
    mark_sent(store, claimed, clock())
    return claimed


def states(store: Store) -> list[tuple[str, str | None]]:
    return [(row.state, row.says) for row in rows(store, t.phone_asks)]


def test_the_answer_is_due_once_it_is_there(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    check = asking(store, lane, clock)
    assert take(store, lane, clock) is None
    answer(store, lane, on_air(store, lane, clock), clock.advance(seconds=8))
    due = take_one(store, lane, clock)
    assert (due.number, due.says, due.check_id, due.opened_at) == (NUMBER, "answer", check.check_id, clock())
    assert states(store) == [("submitting", "answer")]
    assert take(store, lane, clock) is None
    settle(store, due, clock)
    assert states(store) == [("sent", "answer")]
    row = submission(store, due.submission_id)
    assert (row.kind, row.conversation, row.in_flight, row.state, row.cost) == (
        "phone", None, False, "sent", 350,
    )  # fmt: skip
    clock.advance(hours=1)
    assert take(store, lane, clock) is None


def test_an_answer_to_a_phone_holds_no_conversation(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    for number in (1, 2):
        asking(store, lane, clock, number)
        answer(store, lane, on_air(store, lane, clock), clock())
    take_one(store, lane, clock)
    take_one(store, lane, clock)
    accept_one(store, clock(), 3)
    assert claim_one(store, lane, clock()).service == "bpjstk-balance"


@pytest.mark.parametrize("end", ["no_reply", "failed", "expired", "cancelled"])
def test_none_is_said_once_and_then_the_late_answer_once(store: Store, clock: HandClock, end: str) -> None:
    lane = open_lane(store, clock())
    check = asking(store, lane, clock)
    claimed = None
    if end == "expired":
        keep_house(store, clock.advance(days=8))
    elif end == "cancelled":
        store.write(lambda tx: questions.cancel(tx, check.check_id, now=clock(), by="key", client=None))
    else:
        claimed = claim_one(store, lane, clock())
        if end == "failed":
            mark_refused(store, claimed, clock(), retryable=False)
        else:
            mark_sent(store, claimed, clock())
            time_out(store, claimed, clock.advance(minutes=5))
    due = take_one(store, lane, clock)
    assert due.says == "none"
    settle(store, due, clock)
    assert states(store) == [("sent", "none")]
    if claimed is None:
        return
    answer(store, lane, claimed, clock.advance(minutes=3))
    late = take_one(store, lane, clock)
    assert (late.says, late.ask_id) == ("late", due.ask_id)
    settle(store, late, clock)
    answer(store, lane, claimed, clock(), record={"balance": 2})
    assert take(store, lane, clock) is None
    assert states(store) == [("sent", "late")]


def test_none_that_was_not_said_yet_gives_way_to_the_late_answer(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    asking(store, lane, clock)
    claimed = on_air(store, lane, clock)
    time_out(store, claimed, clock.advance(minutes=5))
    answer(store, lane, claimed, clock.advance(minutes=1))
    settle(store, take_one(store, lane, clock), clock)
    assert states(store) == [("sent", "late")]
    assert take(store, lane, clock) is None


def test_an_answer_that_comes_while_none_is_on_its_way_is_still_said(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    asking(store, lane, clock)
    claimed = on_air(store, lane, clock)
    time_out(store, claimed, clock.advance(minutes=5))
    none = take_one(store, lane, clock)
    answer(store, lane, claimed, clock())
    settle(store, none, clock)
    assert states(store) == [("due", "late")]


def test_a_record_that_is_withdrawn_says_no_second_time(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    check = asking(store, lane, clock)
    answer(store, lane, on_air(store, lane, clock), clock(), evidence="sole")
    settle(store, take_one(store, lane, clock), clock)
    store.write(
        lambda tx: replies.withdraw(
            tx, check.question_id, lane.name, now=clock(), by="gateway", why="contradiction"
        )
    )
    assert states(store) == [("sent", "answer")]


def test_one_question_answers_every_phone_that_asked(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    first, second = asking(store, lane, clock), asking(store, lane, clock)
    assert first.question_id == second.question_id
    answer(store, lane, on_air(store, lane, clock), clock())
    assert {take_one(store, lane, clock).check_id for _ in range(2)} == {first.check_id, second.check_id}


def test_a_phone_whose_check_is_cancelled_hears_so_though_others_still_want_it(
    store: Store, clock: HandClock
) -> None:
    lane = open_lane(store, clock())
    check = asking(store, lane, clock)
    accept_one(store, clock())
    store.write(lambda tx: questions.cancel(tx, check.check_id, now=clock(), by="key", client=None))
    assert states(store) == [("due", "none")]


def test_answers_go_out_by_the_sim_that_was_asked_oldest_first(store: Store, clock: HandClock) -> None:
    lane, other = open_lane(store, clock()), open_lane(store, clock(), "xl-2")
    asked = []
    for number in (1, 2):
        asked.append(asking(store, lane, clock, number).check_id)
        answer(store, other, on_air(store, other, clock), clock.advance(seconds=1))
    assert take(store, other, clock) is None
    assert [take_one(store, lane, clock).check_id for _ in range(2)] == asked


def test_what_surely_did_not_go_out_is_due_again(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    asking(store, lane, clock)
    answer(store, lane, on_air(store, lane, clock), clock())
    due = take_one(store, lane, clock)
    store.write(lambda tx: phones.postpone_answer(tx, due, clock(), "cms_500"))
    assert (submission(store, due.submission_id).state, submission(store, due.submission_id).cost) == (
        "refused", 0,
    )  # fmt: skip
    again = take_one(store, lane, clock)
    assert again.ask_id == due.ask_id
    settle(store, again, clock, "uncertain")
    assert take(store, lane, clock) is None
    assert states(store) == [("uncertain", "answer")]


def test_a_stale_answer_is_not_sent_any_more(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    asking(store, lane, clock)
    answer(store, lane, on_air(store, lane, clock), clock())
    clock.now = START + ANSWERS_LIFE
    assert take(store, lane, clock) is None
    clock.now -= timedelta(seconds=1)
    assert take(store, lane, clock) is not None


def test_a_number_that_was_forgotten_gets_nothing(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    asking(store, lane, clock)
    answer(store, lane, on_air(store, lane, clock), clock())
    store.write(lambda tx: phones.remove(tx, NUMBER))
    assert take(store, lane, clock) is None
    assert states(store) == [("refused", "answer")]
    with pytest.raises(NotFound):
        store.write(lambda tx: phones.remove(tx, NUMBER))


def test_letting_in_and_shutting_out(store: Store, clock: HandClock) -> None:
    shut = store.write(lambda tx: phones.allow(tx, NUMBER, allowed=False, now=clock()))
    let_in = store.write(lambda tx: phones.allow(tx, NUMBER, allowed=True, now=clock(), language="en"))
    assert (shut.allowed, let_in.allowed, let_in.language) == (False, True, "en")
    assert shut.id == let_in.id
    again = store.write(lambda tx: phones.allow(tx, NUMBER, allowed=False, now=clock()))
    assert (again.allowed, again.language) == (False, "en")
    (row,) = rows(store, t.phones)
    assert b"990000000" not in row.number_sealed + row.number_index
    others = [f"+62990000001{n}" for n in range(3)]
    for number in others:
        store.write(lambda tx, n=number: phones.allow(tx, n, allowed=True, now=clock()))  # type: ignore[misc]
    page = store.read(lambda tx: phones.list_phones(tx, limit=2))
    rest = store.read(lambda tx: phones.list_phones(tx, limit=9, before=page[-1].id))
    assert [view.number for view in (*page, *rest)] == [*reversed(others), NUMBER]


def test_what_was_heard_counts_but_not_what_was_too_much(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    asking(store, lane, clock)
    phone = rows(store, t.phones)[0].id
    for says in ("format", "limit", "limit"):
        store.write(
            lambda tx, s=says: phones.add_ask(  # type: ignore[misc]
                tx, phone_id=phone, message_id="msg", sim_id=lane.sim_id, now=clock(), says=s
            )
        )
    assert store.read(lambda tx: phones.asks_since(tx, phone, START)) == 2
    assert store.read(lambda tx: phones.asks_since(tx, phone, START, "limit")) == 2
    assert store.read(lambda tx: phones.asks_since(tx, phone, START + timedelta(seconds=1))) == 0
    assert [take_one(store, lane, clock).says for _ in range(3)] == ["format", "limit", "limit"]
