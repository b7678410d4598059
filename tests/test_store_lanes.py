"""Lanes: who owns one, what its budget allows, what a dead sender leaves, and windows that count only reading time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from conftest import START, HandClock
from sqlalchemy import create_engine, text
from store_playing import (
    BALANCE,
    Lane,
    accept,
    accept_one,
    answer,
    claim,
    claim_one,
    events_of,
    history,
    mark_refused,
    mark_sent,
    mark_unsure,
    open_lane,
    question,
    rows,
    sent_question,
    submission,
)

from app.domain.errors import Invalid, NotFound
from app.store import inbox, lanes, phones, sims, submissions
from app.store import tables as t
from app.store.engine import Store, Tx, open_store
from app.store.events import read_feed
from app.store.lanes import LEASE, LaneLost
from app.store.sealing import load_keys
from app.store.submissions import Claimed

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def recover(store: Store, now: datetime) -> int:
    return store.write(lambda tx: lanes.recover_orphans(tx, now))


def strike_off(store: Store) -> None:
    """Every process is dead, on both databases: no lease is left."""
    store.write(lanes.strike_off)


# -- owning -------------------------------------------------------------------------------------------------------


def test_a_fence_only_grows(store: Store, clock: HandClock) -> None:
    first = open_lane(store, clock())
    again = open_lane(store, clock())
    strike_off(store)
    recover(store, clock())
    last = open_lane(store, clock(), process="prc_two")
    assert first.fence < again.fence < last.fence
    assert first.sim_id == last.sim_id


def test_a_living_owner_keeps_its_lane(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    store.write(lambda tx: lanes.begin_process(tx, "prc_two", "host", clock()))
    assert store.write(lambda tx: lanes.take(tx, lane.name, "prc_two", clock())) is None
    assert recover(store, clock()) == 0
    strike_off(store)
    assert store.write(lambda tx: lanes.take(tx, lane.name, "prc_two", clock())) == lane.fence + 2


def test_a_lease_runs_out_unless_renewed(sqlite_store: Store, clock: HandClock) -> None:
    store = sqlite_store
    open_lane(store, clock())
    clock.advance(seconds=8)
    assert store.write(lambda tx: lanes.renew_lease(tx, "prc_one", clock()))
    clock.now = START + timedelta(seconds=8) + LEASE - SECOND
    assert not store.read(lambda tx: lanes.any_orphan(tx, clock()))
    clock.advance(seconds=1)
    assert store.read(lambda tx: lanes.any_orphan(tx, clock()))
    assert recover(store, clock()) == 1
    assert recover(store, clock()) == 0
    assert rows(store, t.lanes)[0].owner is None
    strike_off(store)
    assert not store.write(lambda tx: lanes.renew_lease(tx, "prc_one", clock()))


def test_on_postgres_leases_go_by_the_databases_clock(store: Store, clock: HandClock) -> None:
    """A host whose clock is wrong neither keeps nor takes a lane by it."""
    open_lane(store, clock())
    wrong = clock() + timedelta(days=365)
    assert store.read(lambda tx: lanes.any_orphan(tx, wrong)) is store.sqlite


def test_a_step_that_hangs_is_taken_for_dead(sqlite_store: Store, clock: HandClock) -> None:
    store = sqlite_store
    lane = open_lane(store, clock())
    store.write(lambda tx: lanes.show(tx, lane.name, lane.fence, clock(), step_started_at=clock()))
    for _ in range(181):
        store.write(lambda tx: lanes.renew_lease(tx, "prc_one", clock.advance(seconds=1)))
        if clock() - START <= timedelta(seconds=180):
            assert not store.read(lambda tx: lanes.any_orphan(tx, clock()))
    assert recover(store, clock()) == 1
    assert rows(store, t.lanes)[0].step_started_at is None


STALE: list[Callable[[Tx, Lane], object]] = [
    lambda tx, lane: lanes.lock(tx, lane.name, lane.fence),
    lambda tx, lane: lanes.budget(tx, lane.name, lane.fence, START),
    lambda tx, lane: lanes.show(tx, lane.name, lane.fence, START, state="registered"),
]


@pytest.mark.parametrize("work", STALE)
def test_a_stale_lane_is_told_so(store: Store, clock: HandClock, work: Callable[[Tx, Lane], object]) -> None:
    stale = open_lane(store, clock())
    open_lane(store, clock())
    accept_one(store, clock())
    with pytest.raises(LaneLost):
        store.write(lambda tx: work(tx, stale))
    with pytest.raises(LaneLost):
        claim(store, stale, clock())
    assert rows(store, t.submissions) == []


def test_a_lane_keeps_its_pause_and_sim_over_a_restart(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock(), per_hour=7)
    store.write(lambda tx: lanes.set_lane(tx, lane.name, now=clock(), paused=True))
    accept_one(store, clock())
    again = open_lane(store, clock(), per_hour=9)
    assert claim(store, again, clock()) is None
    (view,) = store.read(lanes.list_lanes)
    assert (view.paused, view.per_hour, view.iccid) == (True, 9, "8999 xl-1")
    store.write(lambda tx: lanes.set_lane(tx, lane.name, now=clock(), paused=False))
    assert isinstance(claim(store, again, clock()), Claimed)


def test_what_is_seen_of_a_lane_beyond_its_state(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())

    def work(tx: Tx) -> None:
        lanes.note_counts(tx, lane.name, {"SM": [9, 30]}, 2)
        lanes.note_counts(tx, lane.name, {"SM": [3, 30]}, 1)
        for rung in ("session", "power", "session"):
            lanes.count_recovery(tx, lane.name, rung)
        lanes.show(tx, lane.name, lane.fence, clock(), state="registered")

    store.write(work)
    (view,) = store.read(lanes.list_lanes)
    assert (view.calls, view.recoveries, view.storages) == (3, {"session": 2, "power": 1}, {"SM": [3, 30]})
    store.write(lambda tx: lanes.spend(tx, lane.name, SECOND, clock()))
    assert store.read(lanes.list_lanes)[0].state == "sending"
    store.write(lambda tx: lanes.sending_ended(tx, lane.name, lane.fence))
    assert store.read(lanes.list_lanes)[0].state == "registered"


def test_another_sim_in_the_same_stick_is_noticed(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())

    def connect(iccid: str) -> tuple[str, bool]:
        return store.write(
            lambda tx: lanes.connect(
                tx, lane.name, lane.fence, clock(), iccid=iccid, imsi=None, own_number=None, operator=None,
                imei=None, maker=None, model=None, firmware=None,
            )
        )  # fmt: skip

    assert connect("8999 xl-1") == (lane.sim_id, False)
    other, changed = connect("8999 other")
    assert changed
    assert other != lane.sim_id
    assert connect("8999 xl-1") == (lane.sim_id, True)


def test_a_lanes_change_of_state_is_an_event_once(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    for state in ("searching", "registered", "registered"):
        store.write(lambda tx, s=state: lanes.show(tx, lane.name, lane.fence, clock(), state=s))  # type: ignore[misc]
    seen = [(event.kind, event.lane, event.data) for event in read_feed(store, 0, 10)]
    assert seen == [
        ("lane.changed", "xl-1", {"from": "offline", "to": "searching"}),
        ("lane.changed", "xl-1", {"from": "searching", "to": "registered"}),
    ]


def test_setting_a_lane(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    view = store.write(
        lambda tx: lanes.set_lane(tx, lane.name, now=clock(), pace=SECOND, per_hour=1, per_day=2)
    )
    assert (view.pace, view.per_hour, view.per_day) == (SECOND, 1, 2)
    with pytest.raises(NotFound):
        store.write(lambda tx: lanes.set_lane(tx, "xl-9", now=clock(), paused=True))
    with pytest.raises(Invalid):
        store.write(lambda tx: lanes.set_lane(tx, lane.name, now=clock(), per_hour=-1))


def test_a_pin_is_not_offered_twice_until_it_was_right(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    offered = [store.write(lambda tx: sims.offered_pin(tx, lane.name, "0000", None)) for _ in range(2)]
    assert offered == [True, False]
    assert store.write(lambda tx: sims.offered_pin(tx, lane.name, "1111", None))
    store.write(lambda tx: sims.pin_was_right(tx, lane.name))
    assert store.write(lambda tx: sims.offered_pin(tx, lane.name, "1111", None))


def test_concat_references_count_in_the_database(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    taken = [store.write(lambda tx: lanes.next_concat_reference(tx, lane.sim_id)) for _ in range(257)]
    assert taken == [*range(1, 256), 0, 1]


# -- the budget ---------------------------------------------------------------------------------------------------


def test_pace_counts_from_one_message_to_the_next(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock(), pace=timedelta(seconds=20))
    accept(store, clock(), 1, 2)
    first = claim_one(store, lane, clock())
    answer(store, lane, first, clock.advance(seconds=1))
    assert claim(store, lane, clock()) == START + timedelta(seconds=20)
    assert claim(store, lane, START + timedelta(seconds=20) - SECOND / 10) == START + timedelta(seconds=20)
    assert isinstance(claim(store, lane, START + timedelta(seconds=20)), Claimed)


def test_pace_does_not_wait_for_a_clock_that_was_set_back(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock(), pace=timedelta(seconds=20))
    accept(store, clock(), 1, 2)
    answer(store, lane, claim_one(store, lane, clock()), clock())
    read_inbox(store, lane, clock())
    read_inbox(store, lane, clock.advance(hours=-3))
    assert isinstance(claim(store, lane, clock()), Claimed)


@pytest.mark.parametrize(("cap", "span"), [("per_hour", HOUR), ("per_day", DAY)])
def test_budgets_hold_over_every_window(store: Store, clock: HandClock, cap: str, span: timedelta) -> None:
    """In no window of this span are there more than three, and the fourth goes as soon as the first left it."""
    lane = open_lane(store, clock(), per_hour=3 * (cap == "per_hour"), per_day=3 * (cap == "per_day"))
    accept(store, clock(), *range(1, 10))
    offsets = [timedelta(0), span / 2, span / 2 + SECOND]
    for offset in offsets:
        claimed = claim_one(store, lane, START + offset)
        mark_sent(store, claimed, START + offset)
        answer(store, lane, claimed, START + offset)
    for offset in offsets:
        free = START + offset + span
        assert claim(store, lane, free - timedelta(microseconds=1)) == free
        claimed = claim_one(store, lane, free)
        answer(store, lane, claimed, free)


def test_refused_ones_cost_no_budget_and_uncertain_ones_do(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock(), per_hour=1)
    accept(store, clock(), 1, 2, 3)
    mark_refused(store, claim_one(store, lane, clock()), clock(), retryable=False)
    mark_unsure(store, claim_one(store, lane, clock()), clock())
    assert claim(store, lane, clock()) == START + HOUR


def test_the_budget_is_the_sims_and_counts_answers_to_phones(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock(), per_hour=2)
    accept(store, clock(), 1, 2)
    answer(store, lane, claim_one(store, lane, clock()), clock())

    def answer_a_phone(tx: Tx) -> None:
        phone = phones.enter(tx, "+629900000001", now=clock())
        phones.add_ask(tx, phone_id=phone, message_id="msg", sim_id=lane.sim_id, now=clock(), says="format")
        assert phones.claim_answer(tx, lane.name, lane.fence, lane.sim_id, 350, clock())

    store.write(answer_a_phone)
    moved = open_lane(store, clock(), "xl-2", iccid="8999 xl-1", per_hour=2)
    assert moved.sim_id == lane.sim_id
    assert claim(store, moved, clock()) == START + HOUR


def test_zero_is_no_cap(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    accept(store, clock(), *range(1, 101))
    for _ in range(100):
        answer(store, lane, claim_one(store, lane, clock()), clock())


# -- a dead sender ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("death", ["killed", "taken over", "went home"])
def test_what_a_dead_sender_left_is_uncertain_and_paid_once(
    store: Store, clock: HandClock, death: str
) -> None:
    """Whoever recovers the lane: another process, the one that takes its port, or any after its owner left in order."""
    lane = open_lane(store, clock())
    check = accept_one(store, clock())
    claimed = claim_one(store, lane, clock())
    if death == "killed":
        strike_off(store)
        assert recover(store, clock()) == 1
    elif death == "taken over":
        open_lane(store, clock())
    else:
        store.write(lambda tx: lanes.end_process(tx, "prc_one", clock()))
        recover(store, clock())
    recover(store, clock())
    row = question(store, check.question_id)
    assert (row.state, row.cost) == ("uncertain", 350)
    assert submission(store, claimed.submission_id).state == "uncertain"
    assert submission(store, claimed.submission_id).in_flight
    assert events_of(store, check.check_id) == ["check.uncertain"]
    again = open_lane(store, clock())
    assert claim(store, again, clock.advance(days=2)) is None


def test_a_dead_sender_leaves_what_was_sent_as_it_was(store: Store, clock: HandClock) -> None:
    claimed = sent_question(store, open_lane(store, clock()), clock())
    strike_off(store)
    recover(store, clock())
    assert history(store, claimed.question_id) == ["queued", "submitting", "awaiting_reply"]


def test_an_answer_to_a_phone_is_uncertain_too(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())

    def leave(tx: Tx) -> None:
        phone = phones.enter(tx, "+629900000001", now=clock())
        phones.add_ask(tx, phone_id=phone, message_id="msg", sim_id=lane.sim_id, now=clock(), says="format")
        phones.claim_answer(tx, lane.name, lane.fence, lane.sim_id, 350, clock())

    store.write(leave)
    strike_off(store)
    recover(store, clock())
    again = open_lane(store, clock())
    assert [row.state for row in rows(store, t.phone_asks)] == ["uncertain"]
    assert [(row.state, row.in_flight) for row in rows(store, t.submissions)] == [("uncertain", False)]
    taken = store.write(
        lambda tx: phones.claim_answer(tx, again.name, again.fence, again.sim_id, 350, clock())
    )
    assert taken is None


def test_a_late_sent_of_a_recovered_sender_settles_its_own_question(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    claimed = sent_question_left(store, lane, clock)
    mark_sent(store, claimed, clock())
    assert history(store, claimed.question_id) == ["queued", "submitting", "uncertain", "awaiting_reply"]
    assert question(store, claimed.question_id).cost == 350


@pytest.mark.parametrize("word", ["refused", "stood_down"])
def test_a_late_refusal_of_a_recovered_sender_changes_nothing(
    store: Store, clock: HandClock, word: str
) -> None:
    """It stays uncertain, in flight and paid, so that its deadline ends it."""
    lane = open_lane(store, clock())
    claimed = sent_question_left(store, lane, clock)
    before = question(store, claimed.question_id), submission(store, claimed.submission_id)
    if word == "refused":
        mark_refused(store, claimed, clock(), retryable=True)
    else:
        store.write(lambda tx: submissions.stood_down(tx, claimed, now=clock(), by="lane", why="stood_down"))
    assert (question(store, claimed.question_id), submission(store, claimed.submission_id)) == before
    assert before[0].state == "uncertain"


def sent_question_left(store: Store, lane: Lane, clock: HandClock) -> Claimed:
    """A submission whose sender was recovered while it still meant to send."""
    accept_one(store, clock())
    claimed = claim_one(store, lane, clock())
    strike_off(store)
    recover(store, clock())
    return claimed


# -- windows count reading time only ------------------------------------------------------------------------------


def read_inbox(store: Store, lane: Lane, now: datetime) -> None:
    store.write(lambda tx: lanes.inbox_read(tx, lane.sim_id, now))


def windows(store: Store, claimed: Claimed) -> tuple[timedelta, timedelta]:
    """How long after its opening the deadline and the hold end."""
    deadline = question(store, claimed.question_id).deadline
    held = submission(store, claimed.submission_id).held_until
    return deadline - claimed.opened_at, held - claimed.opened_at


@pytest.mark.parametrize(
    ("gap", "shift"),
    [
        (timedelta(seconds=5), timedelta(0)),
        (timedelta(minutes=1), timedelta(0)),
        (timedelta(minutes=1, microseconds=1), timedelta(minutes=1, microseconds=1)),
        (timedelta(days=3), timedelta(days=3)),
        (timedelta(0), timedelta(0)),
        (timedelta(microseconds=-1), timedelta(microseconds=-1)),
        (timedelta(hours=-7), timedelta(hours=-7)),
    ],
    ids=str,
)
def test_a_gap_moves_open_windows_by_itself_once(
    store: Store, clock: HandClock, gap: timedelta, shift: timedelta
) -> None:
    lane = open_lane(store, clock())
    read_inbox(store, lane, clock())
    claimed = sent_question(store, lane, clock())
    clock.now += gap
    for _ in range(3):
        read_inbox(store, lane, clock())
    assert windows(store, claimed) == (BALANCE.timeout + shift, BALANCE.late + shift)


def test_a_long_gap_leaves_as_much_time_as_there_was(store: Store, clock: HandClock) -> None:
    """Steps of a few seconds move nothing, however many; then the stick is away for an hour."""
    lane = open_lane(store, clock())
    claimed = sent_question(store, lane, clock())
    for _ in range(30):
        read_inbox(store, lane, clock.advance(seconds=5))
    assert windows(store, claimed)[0] == BALANCE.timeout
    read_inbox(store, lane, clock.advance(hours=1))
    assert windows(store, claimed)[0] == BALANCE.timeout + HOUR


def test_only_this_sims_open_windows_move(store: Store, clock: HandClock) -> None:
    lane, other = open_lane(store, clock()), open_lane(store, clock(), "xl-2")
    ended = sent_question(store, lane, clock(), 1)
    answer(store, lane, ended, clock(), held=SECOND)
    clock.advance(seconds=2)
    for place in (lane, other):
        read_inbox(store, place, clock())
    held = sent_question(store, lane, clock(), 2)
    answer(store, lane, held, clock(), held=timedelta(minutes=3))
    mine, theirs = clock(), sent_question(store, other, clock(), 3)
    read_inbox(store, lane, clock.advance(hours=1))
    assert submission(store, held.submission_id).held_until == mine + timedelta(minutes=3) + HOUR
    assert submission(store, ended.submission_id).held_until == START + SECOND
    assert windows(store, theirs) == (BALANCE.timeout, BALANCE.late)
    assert question(store, held.question_id).state == "answered"


def test_a_clock_set_back_and_forth_leaves_windows_as_they_were(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    claimed = sent_question(store, lane, clock())
    for hours in (2, -5, 3):
        read_inbox(store, lane, clock.advance(hours=hours))
    assert windows(store, claimed) == (BALANCE.timeout, BALANCE.late)


def test_a_sim_that_cannot_be_read_is_absent_since_its_deadline(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    claimed = sent_question(store, lane, clock())

    def absent(now: datetime) -> list[tuple[str, str]]:
        return store.read(lambda tx: lanes.absent_since_deadline(tx, now))

    assert absent(clock.advance(minutes=4)) == []
    assert absent(clock.advance(minutes=1)) == [(claimed.question_id, lane.sim_id)]
    read_inbox(store, lane, clock())
    assert absent(clock()) == []
    assert store.read(lambda tx: inbox.undecided(tx, lane.sim_id)) == []


def test_a_pin_is_offered_once_to_each_sim_whichever_lane_has_it(store: Store, clock: HandClock) -> None:
    one, two = open_lane(store, clock()), open_lane(store, clock(), "xl-2")

    def offered(lane: Lane, iccid: str, pin: str = "0000") -> bool:
        return store.write(lambda tx: sims.offered_pin(tx, lane.name, pin, iccid))

    first, other = "8999000000000000005", "8999000000000000999"
    assert [offered(one, first), offered(one, first), offered(two, first[:-1])] == [True, False, False]
    assert [offered(one, other), offered(two, other)] == [True, False]
    store.write(lambda tx: sims.pin_was_right(tx, one.name))
    assert [offered(one, first), offered(two, other), offered(two, first, "1111")] == [False, True, True]


def test_processes_may_start_at_the_same_moment(postgres_server: str, tmp_path: Path) -> None:
    """On one database that is empty yet, with a lane that both have."""
    admin = create_engine(f"{postgres_server}/postgres", isolation_level="AUTOCOMMIT")
    load_keys(tmp_path / "keys", may_make=True)
    for number in range(5):
        name = f"together_{number}"
        with admin.connect() as conn:
            conn.execute(text(f'CREATE DATABASE "{name}"'))
        both = threading.Barrier(2)

        def start(own: str, name: str = name, both: threading.Barrier = both) -> int:
            specs = [lanes.LaneSpec(lane, "x", timedelta(0), 0, 0) for lane in (own, "shared")]
            both.wait(10)
            store = open_store(f"{postgres_server}/{name}", tmp_path / "keys", serving=True)
            try:
                both.wait(10)
                store.write(lambda tx: lanes.register(tx, specs, START))
                both.wait(10)
                return len(store.read(lanes.list_lanes))
            finally:
                store.close()

        with ThreadPoolExecutor(2) as processes:
            assert list(processes.map(start, ("first", "second"))) == [3, 3]
        with admin.connect() as conn:
            conn.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    admin.dispose()
