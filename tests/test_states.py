"""The words of the state machine, against the design's table."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from app.domain.states import FINAL, MOVES, ON_AIR, OPEN, LaneState, Outcome, Role, State, may_move
from app.store.events import KINDS
from app.store.questions import EVENT_OF

ROOT = Path(__file__).parent.parent

# Design, section 4: from | from -> to | to, one line each.
TABLE = """
queued -> submitting
submitting -> awaiting_reply
awaiting_reply -> answered
submitting -> queued
submitting -> failed
submitting -> uncertain
uncertain -> awaiting_reply
submitting | uncertain | awaiting_reply -> answered
uncertain | awaiting_reply -> no_reply
uncertain | awaiting_reply -> failed
no_reply | failed | queued | cancelled | expired -> answered
answered -> answered
uncertain | awaiting_reply -> queued
answered -> no_reply
queued -> cancelled | expired
"""


def moves_of_the_table() -> set[tuple[str, str]]:
    found = set()
    for line in TABLE.strip().splitlines():
        origins, targets = line.split(" -> ")
        found |= {(origin, target) for origin in origins.split(" | ") for target in targets.split(" | ")}
    return found


def test_the_moves_are_those_of_the_design() -> None:
    assert {
        (origin.value, target.value) for origin in MOVES for target in MOVES[origin]
    } == moves_of_the_table()


@pytest.mark.parametrize("origin", State)
@pytest.mark.parametrize("target", State)
def test_every_pair_is_decided(origin: State, target: State) -> None:
    assert may_move(origin, target) is ((origin.value, target.value) in moves_of_the_table())


def test_open_and_final_part_the_states() -> None:
    assert {state.value for state in OPEN} == {"queued", "submitting", "uncertain", "awaiting_reply"}
    assert OPEN - {State.QUEUED} == ON_AIR
    assert set(State) == FINAL | OPEN
    assert not FINAL & OPEN


def test_what_is_final_never_opens_again() -> None:
    assert all(MOVES[state] <= FINAL for state in FINAL)


def test_every_state_is_reached_and_can_be_left() -> None:
    reached, waiting = set(), [State.QUEUED]
    while waiting:
        state = waiting.pop()
        if state not in reached:
            reached.add(state)
            waiting += MOVES[state]
    assert reached == set(State)
    assert all(MOVES[state] for state in State)


def test_the_words_are_those_of_the_design() -> None:
    assert set(Outcome) == {"found", "not_found", "rejected", "unavailable", "interim", "unrecognised"}
    assert set(Role) == {"answer", "interim", "note", "double", "amendment"}
    assert set(LaneState) == {
        "offline", "initializing", "locked", "searching", "registered", "sending", "paused", "failed",
    }  # fmt: skip
    assert set(KINDS) == {
        "check.answered", "check.amended", "check.detached", "check.no_reply", "check.failed", "check.uncertain",
        "check.cancelled", "check.expired", "batch.done", "message.unmatched", "lane.changed", "service.stopped",
        "service.drift",
    }  # fmt: skip
    assert len(KINDS) == len(set(KINDS))


def test_every_end_has_an_event_and_every_event_a_kind() -> None:
    assert set(EVENT_OF) == FINAL | {State.UNCERTAIN}
    assert set(EVENT_OF.values()) <= set(KINDS)


def test_every_event_that_is_written_is_of_a_known_kind() -> None:
    written = {
        node.args[1].value
        for path in (ROOT / "app").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).split(".")[-1] == "add_event"
        and len(node.args) > 1
        and isinstance(node.args[1], ast.Constant)
    }
    assert written
    assert written <= set(KINDS)
