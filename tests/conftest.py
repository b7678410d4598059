"""Fixtures that several test files share: a real database of each kind, a clock by hand."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from port_contract import ON_THE_AIR, Bench
from postgres import running_postgres
from sqlalchemy import create_engine, text

from app.store.engine import Store, open_store
from modem import PortSettings

settings.register_profile(
    "quick", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("long", max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

START = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)


class HandClock:
    """A clock that stands until it is moved."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **span: float) -> datetime:
        self.now += timedelta(**span)
        return self.now


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of a PostgreSQL server, without a database name: a missing one is a failure, not a skip."""
    with running_postgres() as address:
        yield address


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/gateway.db"
        return
    server = request.getfixturevalue("postgres_server")
    name = f"t{uuid.uuid4().hex}"
    admin = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as conn:
        conn.execute(text(f'CREATE DATABASE "{name}"'))
    yield f"{server}/{name}"
    with admin.connect() as conn:
        conn.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    admin.dispose()


@pytest.fixture
def store(database_url: str, tmp_path: Path) -> Iterator[Store]:
    """A migrated store of each kind."""
    opened = open_store(database_url, tmp_path / "gateway.keys", serving=True)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    """A migrated SQLite store, for what does not depend on the kind."""
    opened = open_store(f"sqlite:///{tmp_path}/gateway.db", tmp_path / "gateway.keys", serving=True)
    yield opened
    opened.close()


# The contract of the port on a real stick: pytest tests/test_port_contract.py --dongle PORT --number OWN

LEFT_OUT = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("a real stick")
    group.addoption(
        "--dongle", metavar="PORT", help="try the port's contract on the stick at this port, and nothing else"
    )
    group.addoption("--number", metavar="OWN", help="the number of its SIM, which is sent about ten SMS")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LEFT_OUT] = []
    if (config.getoption("--dongle") is None) != (config.getoption("--number") is None):
        raise pytest.UsageError("--dongle and --number belong together: a real stick texts to its own number")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A real stick is asked nothing but what it can do alone; the rest is said at the end."""
    if config.getoption("--dongle") is None:
        return
    alone = [item for item in items if "real_bench" in getattr(item, "fixturenames", ())]
    rest = [item for item in items if item not in alone]
    config.hook.pytest_deselected(items=rest)
    left = dict.fromkeys(
        getattr(item, "originalname", item.name) for item in rest if item.path.name == "test_port_contract.py"
    )
    config.stash[LEFT_OUT] += [name.removeprefix("test_").replace("_", " ") for name in left]
    items[:] = alone


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--dongle") is not None:
        terminalreporter.section("what this stick did not do")
        for line in config.stash[LEFT_OUT] or ["nothing was left out"]:
            terminalreporter.line(line)


@pytest.fixture
def real_bench(request: pytest.FixtureRequest) -> Iterator[Bench | None]:
    """The real stick; None where there is none."""
    port, number = request.config.getoption("--dongle"), request.config.getoption("--number")
    if port is None:
        yield None
        return
    bench = Bench(PortSettings(port), number, ON_THE_AIR)
    yield bench
    request.config.stash[LEFT_OUT] += bench.left_out
