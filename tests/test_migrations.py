"""A released database, with rows in it, is brought up to this version, and keeps them."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from sqlalchemy import create_engine, text

from app.store import lanes
from app.store.engine import alembic_config, open_store

OLD_LANE = (
    "INSERT INTO lanes (name, created_at, port, state, fence, paused, pace, per_hour, per_day, signal) "
    "VALUES ('xl-1', 1, '/dev/ttyUSB2', 'offline', 4, TRUE, 20000000, 60, 200, 17)"
)
OLD_REQUEST = (
    "INSERT INTO lane_requests (id, created_at, lane, kind, arguments, asked_by, state) "
    "VALUES ('req_1', 1, 'xl-1', 'restart', '{}', 'key', 'asked')"
)


def test_the_first_release_becomes_this_one(database_url: str, tmp_path: Path) -> None:
    engine = create_engine(database_url)
    config = alembic_config()
    with engine.begin() as conn:
        config.attributes["connection"] = conn
        command.upgrade(config, "0001")
        conn.execute(text(OLD_LANE))
        conn.execute(text(OLD_REQUEST))
    engine.dispose()
    store = open_store(database_url, tmp_path / "k", serving=True)
    (lane,) = store.read(lanes.list_lanes)
    assert (lane.name, lane.port, lane.paused, lane.signal) == ("xl-1", "/dev/ttyUSB2", True, 17)
    assert (lane.calls, lane.recoveries, lane.storages) == (0, {}, {})
    store.write(lambda tx: lanes.count_recovery(tx, "xl-1", "session"))
    assert store.read(lanes.list_lanes)[0].recoveries == {"session": 1}
    store.close()


def test_it_can_be_taken_back(database_url: str, tmp_path: Path) -> None:
    open_store(database_url, tmp_path / "k", serving=True).close()
    engine = create_engine(database_url)
    config = alembic_config()
    with engine.begin() as conn:
        conn.execute(text(OLD_LANE))
        config.attributes["connection"] = conn
        command.downgrade(config, "0001")
        assert conn.execute(text("SELECT name, fence FROM lanes")).all() == [("xl-1", 4)]
    engine.dispose()
