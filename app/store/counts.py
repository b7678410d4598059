"""How much there is of what: the numbers behind the metrics."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from app.store import tables as t
from app.store.engine import Tx


@dataclass(frozen=True, slots=True)
class Counts:
    """Questions by (service, state, outcome), messages by (lane, state)."""

    questions: dict[tuple[str, str, str | None], int]
    messages: dict[tuple[str, str], int]


def count_all(tx: Tx) -> Counts:
    """Counted, never kept: reads the two tables whole, so callers keep the result for a moment."""
    q, m = t.questions.c, t.messages.c
    questions = tx.execute(
        select(q.service, q.state, q.outcome, func.count()).group_by(q.service, q.state, q.outcome)
    )
    messages = tx.execute(select(m.lane, m.state, func.count()).group_by(m.lane, m.state))
    return Counts(
        {(service, state, outcome): count for service, state, outcome, count in questions},
        {(lane, state): count for lane, state, count in messages},
    )
