"""Which question a received text answers, on what evidence, or why on none.

The rules were chosen by simulation: they give a text to a question only if it names the question's card, or if no
other question could have caused it. What is left stays unmatched and waits for a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal

from app.domain.identifiers import Found, Kind, find, fits
from app.domain.reading import Reading
from app.domain.services import Service
from app.domain.states import Outcome

SAME_TEXT_FOR: Final = timedelta(hours=1)
"""So long the same found text may be a copy of the first (rule 3)."""
CENTRE_SLACK: Final = timedelta(minutes=5)
"""A submission so much later than a text's service-centre time did not cause it (rule 3); one that lies ahead of now was made
before our clock was set back, and no stamp says anything about it."""
NEGATIVE_SETTLES: Final = 3
"""A negative answer is followed by a second text more often; its settle is so many times longer."""


class Reason(StrEnum):
    """Why a text stays unmatched."""

    NAMES_ANOTHER = "names_another"
    AMBIGUOUS = "ambiguous"
    NO_CARD = "no_card"
    UNSOLICITED = "unsolicited"
    LATE_WITHOUT_CARD = "late_without_card"
    CONTRADICTION = "contradiction"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A submission that may have caused the text: of this SIM and conversation, in the last 24 hours.

    `held`: in flight, or its hold lasts until after now. `evidence`, `answered_at`, `answer_text` and `outcome` are
    those of its question's answer, if it has one.
    """

    submission_id: str
    question_id: str
    service: str
    subject: str
    subject_kind: str
    opened_at: datetime
    in_flight: bool
    held: bool
    answered: bool = False
    evidence: str | None = None
    answered_at: datetime | None = None
    answer_text: str | None = None
    outcome: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a text.

    `unmatched` attributes it to nobody; with a `question_id` it then only says whose hold ends (`late_without_card`)
    or whose record is taken back, its earlier message becoming unmatched too (`withdraw`). `end_hold_after`, counted
    from now, replaces the hold of `submission_id`; None leaves it. An `answer` of a text that its service cannot read
    is `unrecognised`.
    """

    kind: Literal["answer", "interim", "note", "double", "amendment", "unmatched"]
    question_id: str | None = None
    submission_id: str | None = None
    evidence: Literal["echo", "sole"] | None = None
    reason: Reason | None = None
    late: bool = False
    withdraw: bool = False
    end_hold_after: timedelta | None = None
    candidates: int = 0


def hold_after(
    ended: Literal["echo", "sole", "note", "no_reply", "late_without_card", "refused"],
    service: Service,
    *,
    opened_at: datetime,
    now: datetime,
    outcome: Outcome | None = None,
) -> timedelta:
    """How much longer a submission holds its conversation, counted from now.

    `note`: its question ended at the timeout with a note. `no_reply`: it ended without any, or its record was
    withdrawn. `refused`: surely nothing went out.
    """
    match ended:
        case "echo" | "refused":
            return timedelta()
        case "sole":
            settle = service.timing.settle
            return settle if outcome is Outcome.FOUND else NEGATIVE_SETTLES * settle
        case "note" | "late_without_card":
            return service.timing.settle
        case "no_reply":
            if service.echo == "always":
                return timedelta()
            return max(timedelta(), opened_at + service.timing.late - now)


def decide(
    readings: Mapping[str, Reading],
    text: str,
    stamped: datetime | None,
    candidates: Sequence[Candidate],
    services: Mapping[str, Service],
    now: datetime,
) -> Decision:
    """Attribute one text: rules 1 to 5 of the design's section 4.1.

    `readings` and `services` hold, by name, the services of the text's conversation, those of the candidates among
    them. `stamped` is the service-centre time by our clock, None if it may not be used. The order of the candidates
    does not matter. Each candidate is judged by numbers of its own subject's kind: one that the text fits goes by
    rule 1, one that it contradicts is out, and for one of another kind the text names no card.
    """
    ordered = sorted(candidates, key=lambda c: (c.opened_at, c.submission_id))
    fitting: list[Candidate] = []
    silent: list[Candidate] = []
    numbers = {
        about: _numbers(readings, text, *about) for about in {(c.service, c.subject_kind) for c in ordered}
    }
    for candidate in ordered:
        named = numbers[candidate.service, candidate.subject_kind]
        if not named:
            silent.append(candidate)
        elif any(fits(found.value, candidate.subject) for found in named):
            fitting.append(candidate)
    if fitting:
        return _by_name(readings, text, fitting, services, now)
    contradicted = len(silent) < len(ordered)
    if contradicted and not silent:
        return Decision("unmatched", reason=Reason.NAMES_ANOTHER, candidates=len(ordered))
    decision = _without_name(readings, text, stamped, silent, services, now)
    names_another = contradicted or (not ordered and _names_somebody(readings, text, services))
    if names_another and decision.reason in (Reason.UNSOLICITED, Reason.NO_CARD):
        return replace(decision, reason=Reason.NAMES_ANOTHER)
    return decision


def _numbers(readings: Mapping[str, Reading], text: str, service: str, kind: str) -> list[Found]:
    names = readings[service].names if service in readings else find(text)
    return [found for found in names if Kind(kind) in found.kinds]


def _names_somebody(readings: Mapping[str, Reading], text: str, services: Mapping[str, Service]) -> bool:
    return any(
        _numbers(readings, text, name, service.subject_field.kind) for name, service in services.items()
    )


def _answers(readings: Mapping[str, Reading], candidate: Candidate) -> bool:
    return candidate.service in readings and readings[candidate.service].answers


def _outcome(readings: Mapping[str, Reading], candidate: Candidate) -> Outcome:
    return readings[candidate.service].outcome if candidate.service in readings else Outcome.UNRECOGNISED


def _by_name(
    readings: Mapping[str, Reading],
    text: str,
    fitting: list[Candidate],
    services: Mapping[str, Service],
    now: datetime,
) -> Decision:
    """Rule 1. A second text about an answered card amends it if it is read; an interim or unread one is a note, and so is
    `unavailable` after an answer, since it says nothing about the card."""
    cards = {(c.subject_kind, c.subject) for c in fitting}
    if len(cards) > 1:
        cards = {(c.subject_kind, c.subject) for c in fitting if c.held}
    if len(cards) != 1:
        return Decision("unmatched", reason=Reason.AMBIGUOUS, candidates=len(fitting))
    (card,) = cards
    mine = [c for c in fitting if (c.subject_kind, c.subject) == card]
    waiting = [c for c in mine if not c.answered]
    # Of several services' questions about one card, one that reads the text comes first; within a service, the newest.
    chosen = max(
        waiting or mine,
        key=lambda c: (_outcome(readings, c) is not Outcome.UNRECOGNISED, c.opened_at, c.submission_id),
    )
    if _outcome(readings, chosen) is Outcome.UNRECOGNISED:
        # What it cannot read and another service gave word for word is that answer once more.
        others = [c for c in mine if c.answered and c.service != chosen.service]
        again = [c for c in others if (c.answer_text or "").strip() == text.strip()]
        chosen = max(again, key=lambda c: (c.opened_at, c.submission_id), default=chosen)
    decision = Decision(
        "note",
        chosen.question_id,
        chosen.submission_id,
        "echo",
        late=not any(c.in_flight for c in mine if c.question_id == chosen.question_id),
        candidates=len(fitting),
    )
    outcome = _outcome(readings, chosen)
    done = _hold(services, chosen, "echo", now, outcome)
    if not chosen.answered:
        if outcome is Outcome.INTERIM:
            return replace(decision, kind="interim")
        return replace(decision, kind="answer", end_hold_after=done)
    decision = replace(decision, late=False)
    if chosen.answer_text is not None and text.strip() == chosen.answer_text.strip():
        return replace(decision, kind="double")
    if not _answers(readings, chosen) or (outcome is Outcome.UNAVAILABLE and chosen.outcome in _SAID):
        return decision
    return replace(decision, kind="amendment", end_hold_after=done)


_SAID: Final = frozenset({Outcome.FOUND, Outcome.NOT_FOUND, Outcome.REJECTED})


def _without_name(
    readings: Mapping[str, Reading],
    text: str,
    stamped: datetime | None,
    silent: list[Candidate],
    services: Mapping[str, Service],
    now: datetime,
) -> Decision:
    """Rules 2 to 5, for candidates whose own kind of number the text does not hold."""
    open_to = [c for c in silent if c.service in services and not services[c.service].needs_echo]
    if not open_to and (len(silent) > 0 or (services and all(s.needs_echo for s in services.values()))):
        return Decision("unmatched", reason=Reason.NO_CARD, candidates=len(silent))
    possible = [
        c
        for c in open_to
        if ((c.held and not (c.answered and c.evidence == "echo")) or _given(c, text, now))
        and not (stamped is not None and stamped + CENTRE_SLACK < c.opened_at <= now)
    ]
    questions = {c.question_id for c in possible}
    if len(questions) != 1:
        reason = Reason.AMBIGUOUS if questions else Reason.UNSOLICITED
        return Decision("unmatched", reason=reason, candidates=len(questions))
    # One question may have been submitted twice; what is in flight counts, then what is newest.
    chosen = max(possible, key=lambda c: (c.in_flight, c.opened_at, c.submission_id))
    if chosen.answered:
        return _second_text(readings, text, chosen, services, now)
    decision = Decision("note", chosen.question_id, chosen.submission_id, "sole", candidates=1)
    outcome = _outcome(readings, chosen)
    if chosen.in_flight:
        if outcome is Outcome.INTERIM:
            return replace(decision, kind="interim")
        if not _answers(readings, chosen):
            return decision
        return replace(decision, kind="answer", end_hold_after=_hold(services, chosen, "sole", now, outcome))
    # An advertisement must not end the hold of a question whose answer may still come.
    ends = _hold(services, chosen, "late_without_card", now, outcome) if _answers(readings, chosen) else None
    return Decision(
        "unmatched",
        chosen.question_id,
        chosen.submission_id,
        reason=Reason.LATE_WITHOUT_CARD,
        late=True,
        end_hold_after=ends,
        candidates=1,
    )


def _second_text(
    readings: Mapping[str, Reading],
    text: str,
    chosen: Candidate,
    services: Mapping[str, Service],
    now: datetime,
) -> Decision:
    """Rule 5 for an answered question. What a person attached is not taken back by a text without a card."""
    decision = Decision("note", chosen.question_id, chosen.submission_id, "sole", candidates=1)
    if chosen.answer_text is not None and text.strip() == chosen.answer_text.strip():
        return replace(decision, kind="double")
    if not _answers(readings, chosen):
        return decision
    if chosen.evidence == "person":
        return Decision("unmatched", reason=Reason.CONTRADICTION, candidates=1)
    return replace(
        decision,
        kind="unmatched",
        evidence=None,
        reason=Reason.CONTRADICTION,
        withdraw=True,
        end_hold_after=_hold(services, chosen, "no_reply", now, None),
    )


def _given(candidate: Candidate, text: str, now: datetime) -> bool:
    """True if the candidate was given this same found text within the last hour."""
    return (
        candidate.answered
        and candidate.outcome == Outcome.FOUND
        and candidate.answer_text is not None
        and candidate.answer_text.strip() == text.strip()
        and candidate.answered_at is not None
        and now - candidate.answered_at <= SAME_TEXT_FOR
    )


def _hold(
    services: Mapping[str, Service],
    chosen: Candidate,
    ended: Literal["echo", "sole", "no_reply", "late_without_card"],
    now: datetime,
    outcome: Outcome | None,
) -> timedelta | None:
    if chosen.service not in services:
        return timedelta() if ended == "echo" else None
    return hold_after(ended, services[chosen.service], opened_at=chosen.opened_at, now=now, outcome=outcome)
