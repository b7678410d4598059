"""The health ladder: gentle first, rough in turn, ever less often, and forgotten once a modem is well."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from conftest import START
from hypothesis import given
from hypothesis import strategies as st

from app.exchange.health import CALM, FIRST_PAUSE, LONGEST_PAUSE, Ladder, Rung

SECOND = timedelta(seconds=1)


def climbed(ladder: Ladder, seconds: int, every: int = 1) -> list[tuple[int, Rung]]:
    """What trouble at each `every` seconds came to, with when."""
    found = []
    for at in range(0, seconds, every):
        rung = ladder.trouble(START + at * SECOND)
        if rung is not None:
            ladder.done(rung)
            found.append((at, rung))
    return found


def test_rungs_come_in_order_with_pauses_that_double() -> None:
    assert climbed(Ladder(), 2000) == [
        (0, Rung.AT),
        (1, Rung.SESSION),
        (60, Rung.MODEM),
        (180, Rung.POWER),
        (420, Rung.MODEM),
        (900, Rung.POWER),
        (1860, Rung.MODEM),
    ]


def test_a_day_of_trouble_is_few_measures_and_never_the_end_of_them() -> None:
    rough = [at for at, rung in climbed(Ladder(), 4 * 86400, 30) if rung in (Rung.MODEM, Rung.POWER)]
    assert len(rough) < 40
    gaps = [b - a for a, b in pairwise(rough)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == LONGEST_PAUSE.total_seconds()


def test_a_lost_session_begins_with_a_new_one() -> None:
    ladder = Ladder()
    assert ladder.trouble(START, Rung.SESSION) is Rung.SESSION
    assert ladder.trouble(START + SECOND, Rung.SESSION) is None
    assert ladder.trouble(START + FIRST_PAUSE, Rung.SESSION) is Rung.MODEM


def test_what_cannot_be_done_is_skipped_once() -> None:
    ladder = Ladder()
    ladder.trouble(START, Rung.SESSION)
    assert ladder.trouble(START + FIRST_PAUSE) is Rung.MODEM
    assert ladder.instead() is Rung.POWER
    assert ladder.instead() is None
    assert ladder.trouble(START + FIRST_PAUSE * 3) is Rung.MODEM


@pytest.mark.parametrize(("calm", "first"), [(CALM, Rung.AT), (CALM - SECOND, Rung.MODEM)])
def test_only_a_modem_that_is_well_for_a_while_begins_from_below(calm: timedelta, first: Rung) -> None:
    ladder = Ladder()
    for rung in (ladder.trouble(START), ladder.trouble(START + SECOND)):
        assert rung is not None
        ladder.done(rung)
    assert ladder.tried == "asked again, opened anew"
    well = START + timedelta(seconds=2)
    ladder.well(well)
    ladder.well(well + calm)
    assert bool(ladder.tried) is (first is Rung.MODEM)
    assert ladder.trouble(well + calm + SECOND) is first


def test_what_was_tried_is_said_in_words() -> None:
    ladder = Ladder()
    for rung in (Rung.POWER, Rung.SESSION, Rung.POWER):
        ladder.done(rung)
    assert ladder.tried == "opened anew, USB power cycled 2 times"


@given(st.lists(st.tuples(st.integers(-4000, 4000), st.sampled_from(["trouble", "well"])), max_size=60))
def test_whatever_the_clock_does_rough_measures_stay_apart(events: list[tuple[int, str]]) -> None:
    """Between two rough ones lies the pause, or a jump of the clock backwards, or a while of health."""
    ladder, now, last = Ladder(), START, None
    for seconds, what in events:
        now += seconds * SECOND
        if seconds < 0:
            last = None
        if what == "well":
            ladder.well(now)
            continue
        rung = ladder.trouble(now)
        if rung in (Rung.MODEM, Rung.POWER):
            assert last is None or now - last >= FIRST_PAUSE
            last = now
