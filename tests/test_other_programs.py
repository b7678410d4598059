"""Other people's programs take the simulated dongle for a real one: each program, on each personality, in each action."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest
from other_programs import PROGRAMS, Gammu
from program_seats import Absent, daemon, run
from programs import ACTIONS, PERSONALITIES, REMARKS, Cell, as_text, column, seated, table, versions

from modem.simulated import Network


class Missing(Gammu):
    """A program that is not there."""

    @contextmanager
    def running(self) -> Iterator[None]:
        with daemon(["no-such-program"], self.seat.folder):
            yield


def test_every_program_can_do_everything_with_every_dongle(tmp_path: Path) -> None:
    """One test, so that a run on several processes makes the table once: all at the same time, most of it waits."""
    cells = table(tmp_path)
    shown = as_text(cells)
    print(shown)
    names = [(one.program, one.personality, one.action) for one in cells]
    programs = [program.name for program in PROGRAMS]
    assert names == list(product(programs, PERSONALITIES, ACTIONS))
    assert [one for one in cells if not one.good] == [], shown
    anywhere = {(program, "*", action) for program, _, action in names}
    assert set(REMARKS) <= anywhere.union(names)


def test_a_cell_without_a_word_of_program_or_dongle_is_a_failure_and_shown_as_one() -> None:
    full = Cell("gammu", "etsi", "short", said="OK", noted="submitted #1")
    empty = Cell("gammu", "etsi", "long", said="OK")
    assert (full.good, empty.good) == (True, False)
    shown = as_text([full, empty])
    assert "FAILED" in shown
    assert "1 of 2 cells" in shown


def test_a_program_that_is_not_installed_fails_every_cell(tmp_path: Path) -> None:
    network = Network(1)
    network.step(datetime(2026, 11, 24, 2, tzinfo=UTC))
    _, seats = seated(tmp_path, network)
    row = column(Missing, seats[0][1])
    assert [one.action for one in row] == list(ACTIONS)
    assert all("no-such-program is not installed" in one.fault and not one.good for one in row)
    with pytest.raises(Absent, match="not installed"):
        run(["no-such-program"], tmp_path)


def test_every_program_says_its_version(tmp_path: Path) -> None:
    said = versions()
    assert set(said) == {program.name for program in PROGRAMS}
    assert all(any(char.isdigit() for char in one) for one in said.values()), said
