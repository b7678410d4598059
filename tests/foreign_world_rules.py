"""Which question a text answers, read from the design's section 4.1 by somebody who had not seen the gateway's own reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from foreign_world_words import Said, could_be

OLD = timedelta(minutes=5)
DAY = timedelta(hours=24)
HOUR = timedelta(hours=1)
SETTLE = timedelta(seconds=60)
LATE = timedelta(hours=1)
READ = ("found", "not_found", "rejected", "unavailable", "unrecognised")


@dataclass(slots=True)
class Asked:
    """A submission and its question, as they stand; changed by each decision."""

    submission: str
    question: str
    service: str
    card: str
    opened: datetime
    in_flight: bool
    held_until: datetime | None
    answered: bool
    evidence: str | None
    answered_at: datetime | None
    text: str | None

    def held(self, now: datetime) -> bool:
        return self.in_flight or (self.held_until is not None and self.held_until > now)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`role` of a reply to `question`, or None with the reason it is unmatched; `by_stamp`: the centre's clock decided.

    A `contradiction` also names the question whose record it takes back.
    """

    role: str | None
    question: str | None
    reason: str = ""
    evidence: str = ""
    by_stamp: bool = False


@dataclass(frozen=True, slots=True)
class Clocked:
    """What the texts of this SIM told of its centre: how far its clock is ahead, and how late the last ones came."""

    ahead: timedelta
    delays: tuple[timedelta, ...]


def judge(
    said: Said,
    stamp: datetime | None,
    asked: Sequence[Asked],
    needs_echo: Mapping[str, bool],
    now: datetime,
    clock: Clocked,
) -> Verdict:
    """The verdict of 4.1 on one text; `asked` is everything of this SIM and conversation, and is changed accordingly."""
    here = [one for one in asked if one.opened > now - DAY]
    kinds = {len(one.card) for one in here}
    own = [name for name in said.names if len(name) in kinds]
    fits = [one for one in here if any(could_be(name, one.card) for name in own)]
    if fits:
        return _named(said, fits, here, now)
    # A number of one service's kind says nothing to a question about another kind.
    here = [one for one in here if not any(len(name) == len(one.card) for name in own)]
    if own and not here:
        return Verdict(None, None, "names_another")
    here = [one for one in here if not needs_echo[one.service]]
    if not here and any(needs_echo.values()):
        return Verdict(None, None, "no_card")
    return _bare(said, stamp, here, now, clock)


def _named(said: Said, fits: list[Asked], here: list[Asked], now: datetime) -> Verdict:
    if len({one.card for one in fits}) > 1:
        fits = [one for one in fits if one.held(now)]
        if len({one.card for one in fits}) != 1:
            return Verdict(None, None, "ambiguous")
    open_ones = [one for one in fits if not one.answered]
    pool = open_ones or fits
    chosen = max(pool, key=lambda one: (one.service in said.says, one.opened))
    outcome = said.says.get(chosen.service)
    if open_ones:
        if outcome == "interim":
            return Verdict("interim", chosen.question, evidence="echo")
        _answered(chosen, here, said.text, "echo", now, now)
        return Verdict("answer", chosen.question, evidence="echo")
    if chosen.text == said.text:
        return Verdict("double", chosen.question, evidence="echo")
    if outcome in (None, "interim", "unavailable"):
        return Verdict("note", chosen.question, evidence="echo")
    _answered(chosen, here, said.text, "echo", now, now)
    return Verdict("amendment", chosen.question, evidence="echo")


def _bare(said: Said, stamp: datetime | None, here: list[Asked], now: datetime, clock: Clocked) -> Verdict:
    same = [
        one
        for one in here
        if one.answered
        and one.text == said.text
        and said.says.get(one.service) == "found"
        and one.answered_at is not None
        and one.answered_at > now - HOUR
    ]
    candidates = [one for one in here if one.held(now) and not (one.answered and one.evidence == "echo")]
    candidates += [one for one in same if one not in candidates]
    by_stamp = False
    if stamp is not None and sum(delay > OLD for delay in clock.delays) < 3:
        # What lies ahead of now was asked before the host's clock was set back: no stamp can say that it was too late.
        young = [one for one in candidates if not stamp - clock.ahead + OLD < one.opened <= now]
        by_stamp = len(young) != len(candidates)
        candidates = young
    if len({one.question for one in candidates}) != 1:
        return Verdict(None, None, "ambiguous" if candidates else "unsolicited", by_stamp=by_stamp)
    one = candidates[-1]
    outcome = said.says.get(one.service)
    if one.in_flight and not one.answered:
        if outcome == "interim":
            return Verdict("interim", one.question, evidence="sole", by_stamp=by_stamp)
        if outcome not in READ:
            return Verdict("note", one.question, evidence="sole", by_stamp=by_stamp)
        settle = SETTLE * (1 if outcome == "found" else 3)
        _answered(one, here, said.text, "sole", now, now + settle)
        return Verdict("answer", one.question, evidence="sole", by_stamp=by_stamp)
    if not one.answered:
        if outcome in READ:
            one.held_until = now + SETTLE
        return Verdict(None, None, "late_without_card", by_stamp=by_stamp)
    if one.text == said.text:
        return Verdict("double", one.question, by_stamp=by_stamp)
    if outcome in (None, "interim"):
        return Verdict("note", one.question, by_stamp=by_stamp)
    one.answered, one.text, one.evidence, one.held_until = False, None, None, one.opened + LATE
    return Verdict(None, one.question, "contradiction", by_stamp=by_stamp)


def _answered(
    one: Asked, here: list[Asked], text: str, evidence: str, now: datetime, held_until: datetime
) -> None:
    for other in here:
        if other.question == one.question:
            other.answered, other.evidence, other.text = True, evidence, text
            other.answered_at, other.in_flight = now, False
    one.held_until = held_until
