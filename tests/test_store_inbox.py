"""The inbox: kept before anything else, parts, status reports, and the feed of what happened."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from conftest import START, HandClock
from store_playing import (
    Lane,
    accept_one,
    answer,
    claim,
    claim_one,
    events_of,
    history,
    keep_house,
    mark_sent,
    mark_unsure,
    open_lane,
    question,
    receive,
    rows,
    sent_question,
    submission,
    time_out,
)

from app.store import inbox, questions, submissions
from app.store import tables as t
from app.store.engine import Store, Tx
from app.store.events import read_feed
from app.store.inbox import Kept, Reported
from app.store.submissions import Claimed

HOUR = timedelta(hours=1)
PDU, OTHER = "0791AA", "0791BB"


def keep(
    store: Store, lane: Lane, now: datetime, *found: tuple[str | None, str], removed: Sequence[str] = ()
) -> list[Kept]:
    return store.write(
        lambda tx: inbox.keep(
            tx, sim_id=lane.sim_id, lane=lane.name, found=found, removed=list(removed), now=now
        )
    )


# -- keeping ------------------------------------------------------------------------------------------------------


def test_the_same_pdu_in_the_same_slot_is_the_same(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    (first,) = keep(store, lane, clock(), ("SM:1", PDU))
    (again,) = keep(store, lane, clock.advance(days=2), ("SM:1", PDU))
    assert again == first
    (row,) = rows(store, t.tpdus)
    assert row.received_at == START
    assert PDU.encode() not in row.raw_sealed


def test_the_same_pdu_in_another_slot_is_another(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    kept = keep(store, lane, clock(), ("SM:1", PDU), ("SM:2", PDU), ("ME:1", PDU))
    assert len({one.id for one in kept}) == 3


def test_another_pdu_in_the_same_slot_is_another(store: Store, clock: HandClock) -> None:
    """It also says that the first lies there no more: if its bytes come back there, that is a new text."""
    lane = open_lane(store, clock())
    ids = [keep(store, lane, clock(), ("SM:1", pdu))[0].id for pdu in (PDU, OTHER, PDU)]
    assert len(set(ids)) == 3


def test_a_slot_used_again_after_its_removal_was_confirmed(store: Store, clock: HandClock) -> None:
    """Two "tidak ditemukan" in a row, byte for byte the same, are two answers."""
    lane = open_lane(store, clock())
    (first,) = keep(store, lane, clock(), ("SM:1", PDU))
    (second,) = keep(store, lane, clock(), ("SM:1", PDU), removed=[first.id])
    (third,) = keep(store, lane, clock(), ("SM:1", PDU))
    assert first.id != second.id
    assert third == second


def test_a_slot_that_a_whole_reading_found_empty(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    first, stays, unread = keep(store, lane, clock(), ("SM:1", PDU), ("SM:2", PDU), ("ME:1", PDU))
    store.write(lambda tx: inbox.only_in(tx, lane.sim_id, {"SM"}, ["SM:2"]))
    again, same, also = keep(store, lane, clock(), ("SM:1", PDU), ("SM:2", PDU), ("ME:1", PDU))
    assert again.id != first.id
    assert (same, also) == (stays, unread)  # the stick's own memory was not read


def test_what_came_without_a_slot_is_always_new(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    kept = keep(store, lane, clock(), (None, PDU), (None, PDU))
    assert kept[0].id != kept[1].id


def test_slots_are_the_sims_own(store: Store, clock: HandClock) -> None:
    one, two = open_lane(store, clock()), open_lane(store, clock(), "xl-2")
    first, second = keep(store, one, clock(), ("SM:1", PDU)), keep(store, two, clock(), ("SM:1", PDU))
    assert first[0].id != second[0].id
    store.write(lambda tx: inbox.only_in(tx, one.sim_id, {"SM"}, []))
    assert keep(store, two, clock(), ("SM:1", PDU)) == second


def test_whoever_stored_it_another_process_can_decide_it(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    kept = keep(store, lane, clock(), ("SM:1", PDU), ("SM:2", OTHER))
    taken = open_lane(store, clock(), "xl-2", iccid="8999 xl-1")
    waiting = store.read(lambda tx: inbox.undecided(tx, taken.sim_id))
    assert [(row[0], row[1]) for row in waiting] == [(kept[0].id, PDU), (kept[1].id, OTHER)]
    store.write(lambda tx: inbox.add_outgoing(tx, kept[0].id, clock()))
    assert [row[0] for row in store.read(lambda tx: inbox.undecided(tx, lane.sim_id))] == [kept[1].id]
    assert not store.write(lambda tx: inbox.is_undecided(tx, kept[0].id))
    assert store.write(lambda tx: inbox.is_undecided(tx, kept[1].id))


def test_what_cannot_be_read_is_listed_as_such(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    broken, foreign = keep(store, lane, clock(), ("SM:1", "FF"), ("ME:1", PDU))

    def decide(tx: Tx) -> None:
        inbox.add_undecodable(
            tx, broken.id, error="too short", received_at=clock(), sim_id=lane.sim_id, lane=lane.name, now=clock()
        )  # fmt: skip
        inbox.add_foreign(tx, foreign.id, sim_id=lane.sim_id, lane=lane.name, now=clock())

    store.write(decide)
    listed = store.read(lambda tx: inbox.list_messages(tx, limit=10))
    assert [(m.state, m.reason) for m in listed] == [
        ("foreign", "foreign_memory"), ("undecodable", "undecodable"),
    ]  # fmt: skip
    assert store.read(lambda tx: inbox.undecided(tx, lane.sim_id)) == []


# -- parts --------------------------------------------------------------------------------------------------------


def first_part(store: Store, lane: Lane, now: datetime, concat: tuple[int, int, int, int], pdu: str) -> str:
    """A part that begins a message, from 2757; the message."""
    (kept,) = keep(store, lane, now, (None, pdu))
    return store.write(
        lambda tx: inbox.add_message(
            tx, kept.id, sim_id=lane.sim_id, lane=lane.name, sender="2757", body="one", stamp=now,
            received_at=now, now=now, concat=concat,
        )
    )  # fmt: skip


def here(
    store: Store,
    lane: Lane,
    now: datetime,
    concat: tuple[int, int, int, int],
    *,
    sender: str = "2757",
    stamp: datetime | None = START,
) -> list[str]:
    """The messages that a part may join."""
    found = store.read(lambda tx: inbox.parts_here(tx, lane.sim_id, sender, concat, stamp, now))
    return [part.message_id for part in found]


def test_parts_join_by_sim_sender_reference_width_total_and_time(store: Store, clock: HandClock) -> None:
    lane, other = open_lane(store, clock()), open_lane(store, clock(), "xl-2")
    message = first_part(store, lane, clock(), (9, 8, 2, 1), PDU)
    wanted = (9, 8, 2, 2)
    assert here(store, lane, clock(), wanted) == [message]
    assert here(store, lane, clock(), wanted, sender="+2757") == [message]
    assert here(store, other, clock(), wanted) == []
    assert here(store, lane, clock(), wanted, sender="2758") == []
    for unlike in ((8, 8, 2, 2), (9, 16, 2, 2), (9, 8, 3, 2)):
        assert here(store, lane, clock(), unlike) == []
    ten = timedelta(minutes=10)
    for stamp, joins in ((START + ten, True), (START - ten, True), (START + ten * 1.001, False)):
        assert bool(here(store, lane, clock(), wanted, stamp=stamp)) is joins


def test_a_message_is_received_when_its_last_part_is_here(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    message = first_part(store, lane, clock(), (9, 8, 2, 1), PDU)
    (kept,) = keep(store, lane, clock(), (None, OTHER))
    (before,) = rows(store, t.messages)
    assert (before.state, before.parts, before.parts_total) == ("partial", 1, 2)
    store.write(
        lambda tx: inbox.add_part(
            tx, kept.id, message, sender="2757", stamp=clock(), concat=(9, 8, 2, 2), body="one two", parts=2,
            now=clock.advance(minutes=1),
        )
    )  # fmt: skip
    (view,) = store.read(lambda tx: inbox.list_messages(tx, limit=10))
    assert (view.state, view.text, view.parts, view.received_at) == ("received", "one two", 2, clock())
    assert here(store, lane, clock(), (9, 8, 2, 2)) == []
    assert store.read(lambda tx: inbox.undecided(tx, lane.sim_id)) == []


# -- status reports -----------------------------------------------------------------------------------------------


def report(
    store: Store,
    lane: Lane,
    now: datetime,
    *,
    reference: int = 7,
    status: int = 0,
    address: str = "2757",
) -> Reported | None:
    """A status report came and was kept; the submission it belongs to."""
    (kept,) = keep(store, lane, now, (None, f"{now.timestamp()} {reference} {status}"))
    return store.write(
        lambda tx: inbox.keep_report(
            tx, kept.id, sim_id=lane.sim_id, address=address, reference=reference, status=status, stamp=now, now=now
        )
    )  # fmt: skip


def test_a_report_goes_by_sim_address_reference_and_time(store: Store, clock: HandClock) -> None:
    lane, other = open_lane(store, clock()), open_lane(store, clock(), "xl-2")
    claimed = sent_question(store, lane, clock(), reference=7)
    mine = Reported(claimed.submission_id, claimed.question_id, True)
    assert report(store, lane, clock()) == mine
    assert report(store, lane, clock(), address="+2757") == mine
    assert report(store, lane, clock(), reference=8) is None
    assert report(store, lane, clock(), address="2758") is None
    assert report(store, other, clock()) is None
    assert report(store, lane, clock.advance(hours=24)) is None


def test_the_newest_of_a_reference_that_was_used_again(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    answer(store, lane, sent_question(store, lane, clock(), 1, reference=7), clock())
    second = sent_question(store, lane, clock.advance(hours=2), 2, reference=7)
    found = report(store, lane, clock())
    assert found is not None
    assert found.submission_id == second.submission_id


def test_a_report_settles_the_only_uncertain_one(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    check = accept_one(store, clock())
    claimed = claim_one(store, lane, clock())
    mark_unsure(store, claimed, clock())
    found = report(store, lane, clock(), reference=99)
    assert found == Reported(claimed.submission_id, claimed.question_id, True), (
        "it was submitted after we asked"
    )
    store.write(lambda tx: inbox.delivered(tx, found, clock(), "network"))
    assert history(store, check.question_id) == ["queued", "submitting", "uncertain", "awaiting_reply"]
    assert submission(store, claimed.submission_id).state == "delivered"
    assert question(store, check.question_id).cost == 350


def test_a_report_of_the_part_that_went_says_nothing_of_the_part_in_doubt(
    store: Store, clock: HandClock
) -> None:
    lane = open_lane(store, clock())
    check = accept_one(store, clock())
    claimed = claim_one(store, lane, clock())
    store.write(
        lambda tx: submissions.maybe_sent(
            tx,
            claimed.submission_id,
            claimed.question_id,
            now=clock(),
            by="lane",
            why="silence",
            references=[7],
        )
    )
    found = report(store, lane, clock(), reference=7)
    assert found == Reported(claimed.submission_id, claimed.question_id, True)
    store.write(lambda tx: inbox.delivered(tx, found, clock(), "network"))
    assert history(store, check.question_id) == ["queued", "submitting", "uncertain"]
    assert submission(store, claimed.submission_id).state == "uncertain"
    assert report(store, lane, clock(), reference=8) is None


def test_a_report_before_its_cmgs_is_taken_once(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    assert report(store, lane, clock(), reference=7) is None  # of somebody else, before
    accept_one(store, clock())
    claimed = claim_one(store, lane, clock.advance(seconds=1))
    assert report(store, lane, clock(), reference=7, status=0x30) is None
    assert report(store, lane, clock(), reference=8, status=0) is None
    mark_sent(store, claimed, clock(), reference=7)

    def early() -> int | None:
        return store.write(
            lambda tx: inbox.early_report(tx, lane.sim_id, claimed.submission_id, [7], claimed.opened_at)
        )

    assert [early(), early()] == [0x30, None]


def test_undelivered_for_good_fails_the_question_and_keeps_the_hold(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    check = accept_one(store, clock())
    claimed = claim_one(store, lane, clock())
    mark_sent(store, claimed, clock())
    found = report(store, lane, clock(), status=0x46)
    assert found is not None
    store.write(lambda tx: inbox.undelivered(tx, found, 0x46, clock(), "network"))
    row = question(store, check.question_id)
    assert (row.state, row.error_code, row.error_blame, row.cost) == ("failed", "undelivered", "network", 350)
    held = submission(store, claimed.submission_id)
    assert (held.state, held.in_flight, held.ended) == ("undelivered", False, "undelivered")
    assert events_of(store, check.check_id) == ["check.failed"]
    accept_one(store, clock(), 2)
    assert claim(store, lane, START + HOUR - timedelta(seconds=1)) is None
    assert isinstance(claim(store, lane, START + HOUR), Claimed)


@pytest.mark.parametrize("status", [0x00, 0x46])
def test_a_late_report_of_an_earlier_submission_says_nothing_of_the_new_one(
    store: Store, clock: HandClock, status: int
) -> None:
    lane = open_lane(store, clock())
    first = sent_question(store, lane, clock())
    time_out(store, first, clock.advance(minutes=5), again_at=START + HOUR)
    keep_house(store, clock.advance(hours=1))
    second = claim_one(store, lane, clock())
    mark_unsure(store, second, clock())
    found = report(store, lane, clock(), status=status)
    assert found is not None
    assert found.submission_id == first.submission_id
    if status == 0:
        store.write(lambda tx: inbox.delivered(tx, found, clock(), "network"))
    else:
        store.write(lambda tx: inbox.undelivered(tx, found, status, clock(), "network"))
    assert question(store, first.question_id).state == "uncertain"
    assert submission(store, second.submission_id).in_flight
    assert submission(store, first.submission_id).ended == "timeout"


def test_a_report_after_the_answer_changes_no_answer(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    claimed = sent_question(store, lane, clock())
    answer(store, lane, claimed, clock(), held=timedelta(minutes=1))
    found = report(store, lane, clock())
    assert found is not None
    store.write(lambda tx: inbox.undelivered(tx, found, 0x46, clock(), "network"))
    assert question(store, claimed.question_id).state == "answered"
    assert submission(store, claimed.submission_id).ended == "echo"


# -- the feed -----------------------------------------------------------------------------------------------------


def test_numbers_have_no_holes_with_writers_and_readers_side_by_side(store: Store, clock: HandClock) -> None:
    """Two writers, whose every third transaction comes to nothing, and two readers who begin at once."""
    rounds, each = 20, 3

    def writer(number: int) -> None:
        for turn in range(rounds):

            def work(tx: Tx, turn: int = turn) -> None:
                for _ in range(each):
                    questions.add_event(tx, "lane.changed", clock(), lane=f"{number}-{turn}")
                if turn % 3 == 2:
                    raise RuntimeError("this one comes to nothing")

            if turn % 3 == 2:
                with pytest.raises(RuntimeError):
                    store.write(work)
            else:
                store.write(work)

    total = 2 * each * sum(turn % 3 != 2 for turn in range(rounds))

    def reader(_: int) -> list[tuple[int, str]]:
        seen: list[tuple[int, str]] = []
        while len(seen) < total:
            seen += [(e.seq, e.id) for e in read_feed(store, seen[-1][0] if seen else 0, 7)]
        return seen

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(reader, number) for number in range(2)]
        for writing in [pool.submit(writer, number) for number in range(2)]:
            writing.result(20)
        one, other = [reading.result(20) for reading in readers]
    assert [seq for seq, _ in one] == list(range(1, total + 1))
    assert one == other
    assert len({event_id for _, event_id in one}) == total


def test_an_event_holds_no_number_and_no_text(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    message = receive(store, lane, clock(), "Saldo 99000000001", sender="+629900000001")
    store.write(
        lambda tx: inbox.unmatched(tx, message, lane.name, clock(), reason="unsolicited", candidates=0)
    )
    (event,) = read_feed(store, 0, 10)
    assert (event.kind, event.lane, event.data) == (
        "message.unmatched", lane.name, {"message": message, "reason": "unsolicited"},
    )  # fmt: skip
    (stored,) = rows(store, t.messages)
    assert b"9900000000" not in stored.sender_sealed + stored.text_sealed
