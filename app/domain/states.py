"""How far an exchange got (state), what the service said (outcome), and which moves are legal."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Of a question; a check shows its question's unless it was itself cancelled."""

    QUEUED = "queued"
    SUBMITTING = "submitting"
    UNCERTAIN = "uncertain"
    AWAITING_REPLY = "awaiting_reply"
    ANSWERED = "answered"
    NO_REPLY = "no_reply"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Outcome(StrEnum):
    """What the service said."""

    FOUND = "found"
    NOT_FOUND = "not_found"
    REJECTED = "rejected"
    UNAVAILABLE = "unavailable"
    INTERIM = "interim"
    UNRECOGNISED = "unrecognised"


class Role(StrEnum):
    """Of a message that was attributed to a question."""

    ANSWER = "answer"
    INTERIM = "interim"
    NOTE = "note"
    DOUBLE = "double"
    AMENDMENT = "amendment"


class LaneState(StrEnum):
    OFFLINE = "offline"
    INITIALIZING = "initializing"
    LOCKED = "locked"
    SEARCHING = "searching"
    REGISTERED = "registered"
    SENDING = "sending"
    PAUSED = "paused"
    FAILED = "failed"


OPEN = frozenset({State.QUEUED, State.SUBMITTING, State.UNCERTAIN, State.AWAITING_REPLY})
ON_AIR = frozenset({State.SUBMITTING, State.UNCERTAIN, State.AWAITING_REPLY})
FINAL = frozenset(State) - OPEN

MOVES: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.SUBMITTING, State.CANCELLED, State.EXPIRED, State.ANSWERED}),
    State.SUBMITTING: frozenset(
        {State.QUEUED, State.FAILED, State.UNCERTAIN, State.AWAITING_REPLY, State.ANSWERED}
    ),
    State.UNCERTAIN: frozenset(
        {State.AWAITING_REPLY, State.ANSWERED, State.NO_REPLY, State.FAILED, State.QUEUED}
    ),
    State.AWAITING_REPLY: frozenset({State.ANSWERED, State.NO_REPLY, State.FAILED, State.QUEUED}),
    State.ANSWERED: frozenset({State.ANSWERED, State.NO_REPLY}),
    State.NO_REPLY: frozenset({State.ANSWERED}),
    State.FAILED: frozenset({State.ANSWERED}),
    State.CANCELLED: frozenset({State.ANSWERED}),
    State.EXPIRED: frozenset({State.ANSWERED}),
}
"""The table of moves (design, section 4); everything else is a fault of ours."""


def may_move(origin: State, target: State) -> bool:
    """True if the table allows it."""
    return target in MOVES[origin]
