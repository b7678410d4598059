"""Requests to lanes: taken once, answered once, read once, and kept no longer than somebody may wait for them."""

from __future__ import annotations

import pytest
from conftest import HandClock
from store_playing import open_lane, rows

from app.domain.errors import NotFound
from app.store import lanes, requests
from app.store import tables as t
from app.store.engine import Store


def ask(store: Store, clock: HandClock, kind: str = "ussd", lane: str = "xl-1") -> str:
    return store.write(lambda tx: requests.ask(tx, lane, kind, {"code": "*888#"}, "key", clock()))


def test_a_request_is_taken_once_and_its_answer_read_once(store: Store, clock: HandClock) -> None:
    lane, heard = open_lane(store, clock()), list[str]()
    store.listen(lambda done: heard.extend(name for tx in done for name in sorted(tx.asked | tx.touched)))
    asked = ask(store, clock)
    assert heard == ["xl-1"]
    (request,) = store.read(lambda tx: requests.open_requests(tx, lane.name))
    assert (request.id, request.kind, request.arguments, request.asked_by) == (
        asked, "ussd", {"code": "*888#"}, "key",
    )  # fmt: skip
    assert store.read(requests.lanes_asked) == ["xl-1"]
    assert [store.write(lambda tx: requests.take(tx, asked)) for _ in range(2)] == [True, False]
    assert store.read(requests.lanes_asked) == []
    assert store.write(lambda tx: requests.collect(tx, asked)).state == "taken"
    store.write(lambda tx: requests.answer(tx, asked, "done", {"text": "Pulsa Rp 5.000"}))
    assert heard[-1] == asked
    (row,) = rows(store, t.lane_requests)
    assert row.arguments == {}
    found = store.write(lambda tx: requests.collect(tx, asked))
    assert (found.state, found.answer) == ("done", {"text": "Pulsa Rp 5.000"})
    assert rows(store, t.lane_requests) == []
    with pytest.raises(NotFound):
        store.write(lambda tx: requests.collect(tx, asked))


def test_a_lane_that_is_not_there_is_asked_nothing(store: Store, clock: HandClock) -> None:
    with pytest.raises(NotFound):
        ask(store, clock, lane="xl-9")


def test_what_is_given_up_is_not_done_afterwards(store: Store, clock: HandClock) -> None:
    open_lane(store, clock())
    asked = ask(store, clock)
    found = store.write(lambda tx: requests.collect(tx, asked, give_up=True))
    assert found.state == "refused"
    assert found.answer is not None
    assert "nothing was done" in found.answer["detail"]
    assert not store.write(lambda tx: requests.take(tx, asked))


def test_what_a_dead_lane_took_is_refused(store: Store, clock: HandClock) -> None:
    open_lane(store, clock())
    taken, open_ = ask(store, clock), ask(store, clock)
    store.write(lambda tx: requests.take(tx, taken))
    store.write(lanes.strike_off)
    assert store.write(lambda tx: lanes.recover_orphans(tx, clock())) == 1
    found = store.write(lambda tx: requests.collect(tx, taken))
    assert found.state == "refused"
    assert found.answer is not None
    assert "ask again" in found.answer["detail"]
    assert store.read(lambda tx: requests.look(tx, open_)).state == "asked"


def test_old_requests_are_refused_and_then_forgotten(store: Store, clock: HandClock) -> None:
    open_lane(store, clock())
    old = ask(store, clock)
    clock.advance(seconds=61)
    new = ask(store, clock)
    assert store.write(lambda tx: requests.forget_old(tx, clock())) == 1
    assert [store.read(lambda tx, one=one: requests.look(tx, one)).state for one in (old, new)] == [  # type: ignore[misc]
        "refused",
        "asked",
    ]
    clock.advance(minutes=61)
    store.write(lambda tx: requests.forget_old(tx, clock()))
    assert rows(store, t.lane_requests) == []


def test_what_is_said_after_the_asker_went_away_is_not_kept(store: Store, clock: HandClock) -> None:
    open_lane(store, clock())
    asked = ask(store, clock)
    assert store.write(lambda tx: requests.take(tx, asked))
    assert store.write(lambda tx: requests.collect(tx, asked, give_up=True)).state == "taken"
    store.write(lambda tx: requests.answer(tx, asked, "done", {"text": "Pulsa Rp 5.000"}))
    assert rows(store, t.lane_requests) == []
