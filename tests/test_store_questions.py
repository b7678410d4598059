"""Questions and checks: accepting, joining, cancelling, expiring, who is asked when, and how a submission ends."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from conftest import HandClock
from store_playing import (
    CLIENT,
    STATUS,
    Lane,
    accept,
    accept_one,
    answer,
    ask,
    claim,
    claim_one,
    events_of,
    history,
    keep_house,
    mark_refused,
    mark_sent,
    open_lane,
    question,
    rows,
    sent_question,
    time_out,
)

from app.domain.errors import Conflict, NotFound
from app.domain.states import Outcome, State
from app.store import questions
from app.store import tables as t
from app.store.checks import get_check, list_checks
from app.store.engine import Store
from app.store.submissions import REFUSALS

WEEK = timedelta(days=7)
HOUR = timedelta(hours=1)


def cancel(store: Store, check_id: str, clock: HandClock, client: str | None = CLIENT) -> None:
    store.write(lambda tx: questions.cancel(tx, check_id, now=clock(), by="key", client=client))


# -- accepting ----------------------------------------------------------------------------------------------------


def test_an_accepted_check_is_queued_with_an_end(store: Store, clock: HandClock) -> None:
    accepted = accept_one(store, clock(), references=["payroll-7"])
    assert accepted.state is State.QUEUED
    assert not accepted.shared
    view = store.read(lambda tx: get_check(tx, accepted.check_id, CLIENT))
    assert (view.state, view.reference, view.fields) == ("queued", "payroll-7", {"number": "99000000001"})
    assert view.expires == clock() + WEEK
    assert (view.attempts, view.cost, view.history, view.shared) == (0, 0, (), False)


def test_nothing_readable_is_in_the_rows(store: Store, clock: HandClock) -> None:
    accept_one(store, clock(), 42)
    (row,) = rows(store, t.questions)
    assert b"9900000004" not in b"".join(value for value in row if isinstance(value, bytes))
    assert "9900000004" not in repr(row)


def test_the_same_asked_twice_is_one_question(store: Store, clock: HandClock) -> None:
    first = accept_one(store, clock(), priority=5)
    second = accept_one(store, clock.advance(hours=2), priority=1, client="clinic")
    assert second.question_id == first.question_id
    assert second.shared
    row = question(store, first.question_id)
    assert (row.priority, row.expires) == (1, clock() + WEEK)
    assert store.read(lambda tx: get_check(tx, second.check_id, "clinic")).shared
    assert not store.read(lambda tx: get_check(tx, first.check_id, CLIENT)).shared


def test_joining_never_lowers_nor_shortens(store: Store, clock: HandClock) -> None:
    first = accept_one(store, clock(), priority=1)
    accept_one(store, clock(), priority=9, expires_in=HOUR)
    row = question(store, first.question_id)
    assert (row.priority, row.expires) == (1, clock() + WEEK)


def test_what_differs_is_asked_apart(store: Store, clock: HandClock) -> None:
    one, two = accept(store, clock(), 1, 2)
    other_service = accept_one(store, clock(), 1, service=STATUS)
    assert len({one.question_id, two.question_id, other_service.question_id}) == 3


def test_the_same_within_one_call_is_one_question(store: Store, clock: HandClock) -> None:
    accepted = accept(store, clock(), 1, 2, 1)
    assert [one.shared for one in accepted] == [False, False, True]
    assert accepted[0].question_id == accepted[2].question_id
    assert len(rows(store, t.checks)) == 3


def test_a_question_on_the_air_is_joined(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    claimed = sent_question(store, lane, clock())
    joined = accept_one(store, clock.advance(minutes=1))
    assert (joined.question_id, joined.state) == (claimed.question_id, State.AWAITING_REPLY)
    answer(store, lane, claimed, clock())
    assert events_of(store, joined.check_id) == ["check.answered"]


@pytest.mark.parametrize("end", ["answered", "no_reply", "failed", "cancelled", "expired"])
def test_what_is_over_is_asked_anew(store: Store, clock: HandClock, end: str) -> None:
    lane = open_lane(store, clock())
    first = accept_one(store, clock())
    if end == "cancelled":
        cancel(store, first.check_id, clock)
    elif end == "expired":
        clock.advance(days=8)
        keep_house(store, clock())
    else:
        claimed = claim_one(store, lane, clock())
        if end == "failed":
            mark_refused(store, claimed, clock(), retryable=False)
        else:
            mark_sent(store, claimed, clock())
        if end == "answered":
            answer(store, lane, claimed, clock())
        if end == "no_reply":
            time_out(store, claimed, clock())
    assert question(store, first.question_id).state == end
    again = accept_one(store, clock())
    assert not again.shared
    assert again.question_id != first.question_id


def test_many_who_ask_the_same_at_once_share_one_question(store: Store, clock: HandClock) -> None:
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(accept, store, clock(), *range(1, 6), priority=n % 10) for n in range(16)]
        accepted = [future.result(20) for future in futures]
    assert len(rows(store, t.questions)) == 5
    assert len(rows(store, t.checks)) == 80
    assert {row.priority for row in rows(store, t.questions)} == {0}
    for place in range(5):
        assert len({call[place].question_id for call in accepted}) == 1


def test_max_age_reuses_a_fresh_answer_and_its_event_follows_at_once(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    claimed = sent_question(store, lane, clock())
    answer(store, lane, claimed, clock.advance(minutes=1))
    reused = accept_one(store, clock.advance(minutes=30), max_age=HOUR)
    assert (reused.question_id, reused.state, reused.shared) == (claimed.question_id, State.ANSWERED, True)
    assert events_of(store, reused.check_id) == ["check.answered"]
    assert store.read(lambda tx: get_check(tx, reused.check_id, CLIENT)).record == {"balance": 1000}
    stale = accept_one(store, clock.advance(minutes=31), max_age=HOUR)
    assert stale.question_id != claimed.question_id


def test_without_max_age_nothing_answered_is_reused(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    claimed = sent_question(store, lane, clock())
    answer(store, lane, claimed, clock())
    assert accept_one(store, clock()).question_id != claimed.question_id


@pytest.mark.parametrize(
    ("outcome", "reused"),
    [
        (Outcome.FOUND, True),
        (Outcome.NOT_FOUND, True),
        (Outcome.REJECTED, False),
        (Outcome.UNAVAILABLE, False),
        (Outcome.UNRECOGNISED, False),
    ],
)
def test_only_what_says_something_of_the_card_is_reused(
    sqlite_store: Store, clock: HandClock, outcome: Outcome, reused: bool
) -> None:
    lane = open_lane(sqlite_store, clock())
    claimed = sent_question(sqlite_store, lane, clock())
    answer(sqlite_store, lane, claimed, clock(), outcome=outcome)
    again = accept_one(sqlite_store, clock(), max_age=HOUR)
    assert (again.question_id == claimed.question_id) is reused


def test_the_newest_of_two_fresh_answers_is_reused(sqlite_store: Store, clock: HandClock) -> None:
    lane = open_lane(sqlite_store, clock())
    for _ in range(2):
        claimed = sent_question(sqlite_store, lane, clock.advance(minutes=1))
        answer(sqlite_store, lane, claimed, clock())
    assert accept_one(sqlite_store, clock(), max_age=HOUR).question_id == claimed.question_id


# -- cancelling ---------------------------------------------------------------------------------------------------


def test_a_cancelled_question_is_not_asked(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    check = accept_one(store, clock())
    cancel(store, check.check_id, clock)
    assert history(store, check.question_id) == ["queued", "cancelled"]
    assert events_of(store, check.check_id) == ["check.cancelled"]
    assert claim(store, lane, clock()) is None


def test_a_question_that_another_wants_goes_on(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    mine, theirs = accept_one(store, clock()), accept_one(store, clock(), client="clinic")
    cancel(store, mine.check_id, clock)
    assert events_of(store, mine.check_id) == ["check.cancelled"]
    assert events_of(store, theirs.check_id) == []
    claimed = claim_one(store, lane, clock())
    mark_sent(store, claimed, clock())
    answer(store, lane, claimed, clock())
    assert events_of(store, mine.check_id) == ["check.cancelled"]
    assert events_of(store, theirs.check_id) == ["check.answered"]
    views = {view.id: view for view in store.read(lambda tx: list_checks(tx, client=None, limit=10))}
    assert (views[mine.check_id].state, views[theirs.check_id].state) == ("cancelled", "answered")


def test_the_last_who_cancels_ends_the_question(store: Store, clock: HandClock) -> None:
    both = [accept_one(store, clock()) for _ in range(2)]
    for check in both:
        cancel(store, check.check_id, clock)
        cancel(store, check.check_id, clock)  # again: nothing new
    assert history(store, both[0].question_id) == ["queued", "cancelled"]
    assert [events_of(store, check.check_id) for check in both] == [["check.cancelled"]] * 2


def test_what_may_be_on_the_air_cannot_be_cancelled(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    check = accept_one(store, clock())
    claim_one(store, lane, clock())
    with pytest.raises(Conflict):
        cancel(store, check.check_id, clock)
    assert history(store, check.question_id) == ["queued", "submitting"]


def test_nobody_cancels_for_another(store: Store, clock: HandClock) -> None:
    check = accept_one(store, clock())
    for check_id, client in ((check.check_id, "clinic"), ("chk_none", CLIENT)):
        with pytest.raises(NotFound):
            cancel(store, check_id, clock, client)
    cancel(store, check.check_id, clock, None)
    assert question(store, check.question_id).state == "cancelled"


def test_cancelling_while_others_join_loses_nobody(store: Store, clock: HandClock) -> None:
    """Whoever was accepted has a question that is queued, unless it was theirs that was cancelled."""
    with ThreadPoolExecutor(8) as pool:
        for number in range(1, 9):
            first = accept_one(store, clock(), number)
            joining = [pool.submit(accept_one, store, clock(), number) for _ in range(3)]
            cancelling = pool.submit(cancel, store, first.check_id, clock)
            cancelling.result(20)
            for future in joining:
                assert question(store, future.result(20).question_id).state == "queued"


# -- expiring and putting off -------------------------------------------------------------------------------------


def test_what_was_not_sent_in_time_expires(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    short, long = accept_one(store, clock(), 1, expires_in=HOUR), accept_one(store, clock(), 2)
    on_air = claim_one(store, lane, clock())
    assert on_air.question_id == short.question_id
    other = accept_one(store, clock(), 3, expires_in=HOUR)
    clock.advance(minutes=59)
    assert not store.read(lambda tx: questions.anything_due(tx, clock()))
    assert keep_house(store, clock()) == 0
    clock.advance(minutes=1)
    assert store.read(lambda tx: questions.anything_due(tx, clock()))
    keep_house(store, clock())
    states = [question(store, one.question_id).state for one in (short, long, other)]
    assert states == ["submitting", "queued", "expired"]
    assert events_of(store, other.check_id) == ["check.expired"]


def test_a_question_put_off_waits_and_expires_all_the_same(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    check = accept_one(store, clock(), expires_in=timedelta(seconds=5))
    mark_refused(store, claim_one(store, lane, clock()), clock(), retryable=True)
    clock.advance(seconds=5)
    keep_house(store, clock())
    assert history(store, check.question_id) == ["queued", "submitting", "queued", "expired"]


def test_refusals_put_off_longer_each_time_then_fail(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    check = accept_one(store, clock())
    pauses = []
    for attempt in range(1, REFUSALS + 1):
        claimed = claim_one(store, lane, clock())
        assert claimed.attempts == attempt
        mark_refused(store, claimed, clock(), retryable=True)
        row = question(store, check.question_id)
        if attempt < REFUSALS:
            assert (row.state, row.deadline, row.lane) == ("queued", None, None)
            pauses.append(row.not_before - clock())
            clock.now = row.not_before - timedelta(microseconds=1)
            keep_house(store, clock())
            assert claim(store, lane, clock()) is None
            clock.now = row.not_before
            keep_house(store, clock())
    assert pauses == sorted(set(pauses))
    assert (row.state, row.error_code, row.error_blame, row.cost) == ("failed", "cms_500", "modem", 0)
    assert events_of(store, check.check_id) == ["check.failed"]
    assert history(store, check.question_id) == [
        "queued",
        *["submitting", "queued"] * 4,
        "submitting",
        "failed",
    ]


def test_a_joined_question_stays_put_off(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    accept_one(store, clock())
    mark_refused(store, claim_one(store, lane, clock()), clock(), retryable=True)
    assert accept_one(store, clock(), priority=0).shared
    assert claim(store, lane, clock()) is None


# -- who is asked when --------------------------------------------------------------------------------------------


def drain(store: Store, lane: Lane, clock: HandClock, count: int) -> list[str]:
    """Claim, send and answer so many, at once."""
    taken = []
    for _ in range(count):
        claimed = claim_one(store, lane, clock.advance(seconds=1))
        mark_sent(store, claimed, clock())
        answer(store, lane, claimed, clock())
        taken.append(claimed.question_id)
    return taken


def test_in_order_of_asking_and_smaller_priority_first(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    numbers = {1: 5, 2: 5, 3: 9, 4: 0, 5: 5, 6: 0}
    ids = {n: accept_one(store, clock(), n, priority=p).question_id for n, p in numbers.items()}
    assert drain(store, lane, clock, 6) == [ids[n] for n in (4, 6, 1, 2, 5, 3)]


def test_a_large_batch_starves_nobody(store: Store, clock: HandClock) -> None:
    """2,000 rows in two chunks, some asked; then 10 rows and single checks: those are done within twice their number."""
    lane = open_lane(store, clock())
    large: list[str] = []
    for chunk in range(2):
        numbers = range(1000 * chunk + 1, 1000 * chunk + 1001)
        made = accept(store, clock(), *numbers, origin="batch", batch_id="bat_large", place=1000 * chunk)
        large += [one.question_id for one in made]
    assert drain(store, lane, clock, 20) == large[:20]
    small = [one.question_id for one in accept(store, clock(), *range(5001, 5011), batch_id="bat_small")]
    single = accept_one(store, clock(), 6001).question_id
    taken = drain(store, lane, clock, 22)
    assert single in taken[:3]
    assert set(small) <= set(taken[:21])
    assert [one for one in taken if one in small] == small
    assert [one for one in taken if one in large] == large[20 : 20 + 11]
    later = accept_one(store, clock(), 6002).question_id
    assert later in drain(store, lane, clock, 2)


def test_the_second_chunk_of_a_batch_stands_behind_its_first(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    first = accept(store, clock(), *range(1, 6), batch_id="bat_one", place=0)
    second = accept(store, clock(), *range(6, 11), batch_id="bat_one", place=5)
    assert drain(store, lane, clock, 10) == [one.question_id for one in first + second]


def test_priority_goes_across_services(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    accept_one(store, clock(), 1)
    urgent = accept_one(store, clock(), 2, service=STATUS, priority=1)
    assert claim_one(store, lane, clock()).question_id == urgent.question_id


def test_a_raised_priority_moves_a_queued_question_ahead(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    accept(store, clock(), 1, 2, 3)
    wanted = accept_one(store, clock(), 3, priority=0)
    assert claim_one(store, lane, clock()).question_id == wanted.question_id


def test_checks_are_listed_by_what_they_show(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    claimed = sent_question(store, lane, clock(), 1)
    waiting = accept_one(store, clock(), 2)
    gone = accept_one(store, clock(), 2)
    cancel(store, gone.check_id, clock)
    answer(store, lane, claimed, clock())

    def listed(*states: str) -> list[str]:
        return [v.id for v in store.read(lambda tx: list_checks(tx, client=CLIENT, limit=9, states=states))]

    assert listed("queued") == [waiting.check_id]
    assert listed("cancelled") == [gone.check_id]
    assert len(listed("answered", "cancelled")) == 2
    assert listed("failed") == []
    assert ask(1).key != ask(2).key
