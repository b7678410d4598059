"""The feed: numbered without holes, never backwards, each event once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from app.store.engine import Store
from app.store.events import CHUNK, EventView, read_feed
from app.store.questions import add_event

NOW = datetime(2026, 11, 23, 2, 3, tzinfo=UTC)


def write(store: Store, count: int, kind: str = "lane.changed", at: datetime = NOW) -> None:
    def work(tx: object) -> None:
        for number in range(count):
            add_event(tx, kind, at, lane=f"lane-{number}", data={"to": "offline"})  # type: ignore[arg-type]

    store.write(work)


def test_an_empty_feed(store: Store) -> None:
    assert read_feed(store, 0, 10) == []
    assert read_feed(store, 7, 10) == []


def test_events_come_in_order_and_once(store: Store) -> None:
    write(store, 3)
    first = read_feed(store, 0, 2)
    assert [(event.seq, event.lane) for event in first] == [(1, "lane-0"), (2, "lane-1")]
    write(store, 1, "batch.done")
    rest = read_feed(store, 2, 10)
    assert [(event.seq, event.kind) for event in rest] == [(3, "lane.changed"), (4, "batch.done")]
    assert rest[1] == EventView(4, rest[1].id, "batch.done", NOW, None, None, "lane-0", {"to": "offline"})
    assert read_feed(store, 4, 10) == []


def test_an_event_that_commits_late_gets_a_later_number(store: Store) -> None:
    write(store, 1, at=NOW)
    assert [event.seq for event in read_feed(store, 0, 10)] == [1]
    write(store, 1, "batch.done", at=NOW - timedelta(minutes=1))
    assert [(event.seq, event.kind) for event in read_feed(store, 1, 10)] == [(2, "batch.done")]


def test_kinds(store: Store) -> None:
    write(store, 2)
    write(store, 1, "batch.done")
    write(store, 1, "service.drift")
    assert [event.seq for event in read_feed(store, 0, 10, ("batch.done", "service.drift"))] == [3, 4]


def test_more_than_one_chunk_is_numbered_at_once(store: Store) -> None:
    write(store, CHUNK + 5)
    assert [event.seq for event in read_feed(store, CHUNK, 100)] == list(range(CHUNK + 1, CHUNK + 6))


def test_readers_side_by_side_see_the_same_numbers(store: Store) -> None:
    def reader(_: int) -> list[EventView]:
        seen: list[EventView] = []
        while len(seen) < 200:
            seen += read_feed(store, seen[-1].seq if seen else 0, 50)
        return seen

    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(reader, number) for number in range(4)]
        writers = [pool.submit(write, store, 10) for _ in range(20)]
        for writer in writers:
            writer.result(20)
        seen = [one.result(20) for one in readers]
    assert [event.seq for event in seen[0]] == list(range(1, 201))
    assert len({event.id for event in seen[0]}) == 200
    assert all(other == seen[0] for other in seen)
