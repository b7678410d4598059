"""Other people's programs take the simulated dongle for a real one: each program, on each personality, in each action."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from other_programs import PROGRAMS, Gammu
from program_seats import Absent, daemon, run
from programs import ACTIONS, PERSONALITIES, REMARKS, Cell, as_text, column, seated, table, versions

from modem.simulated import Network

ROWS = [(program.name, personality) for program in PROGRAMS for personality in PERSONALITIES]


class Missing(Gammu):
    """A program that is not there."""

    @contextmanager
    def running(self) -> Iterator[None]:
        with daemon(["no-such-program"], self.seat.folder):
            yield


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Cell]:
    """The whole table, made once: everything runs at the same time, most of it waits."""
    return table(tmp_path_factory.mktemp("programs"))


@pytest.mark.parametrize(("program", "personality"), ROWS, ids=[f"{one}-{other}" for one, other in ROWS])
def test_a_program_can_do_everything_with_a_dongle(
    cells: list[Cell], program: str, personality: str, record_property: Callable[[str, object], None]
) -> None:
    row = [one for one in cells if (one.program, one.personality) == (program, personality)]
    assert [one.action for one in row] == list(ACTIONS)
    for one in row:
        record_property(one.action, f"{one.said} | {one.noted}")
    assert not [f"{one.action}: {one.fault or 'nothing said or noted'}" for one in row if not one.good]


def test_the_table_has_every_cell_and_its_remarks_are_of_cells(cells: list[Cell]) -> None:
    assert len(cells) == len(PROGRAMS) * len(PERSONALITIES) * len(ACTIONS)
    names = {(one.program, one.personality, one.action) for one in cells}
    anywhere = {(program, "*", action) for program, _, action in names}
    assert set(REMARKS) <= names | anywhere
    print(as_text(cells))


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
