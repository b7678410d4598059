"""What no lane does: expiry, put-off questions, lanes of dead processes, SIMs that are away for good, keys of repeats, and
requests of other processes that a lane must be woken for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from app.domain.states import State
from app.store import clients, lanes, questions, requests, submissions
from app.store.engine import Store, Tx

EVERY = timedelta(seconds=1)
SWEEP_EVERY = timedelta(minutes=10)  # old idempotency keys: they live for a day
ABSENT = timedelta(
    minutes=15
)  # a SIM that cannot be read so long after a deadline is away for good (design, section 4)


class Housekeeper:
    """One for each process; `monotonic` counts seconds and never jumps; `wake` is told lanes of which something is asked."""

    def __init__(
        self, store: Store, monotonic: Callable[[], float], wake: Callable[[str], None] = lambda lane: None
    ) -> None:
        self._store = store
        self._monotonic = monotonic
        self._wake = wake
        self._missed: dict[str, float] = {}
        self._swept_at: datetime | None = None

    def step(self, now: datetime) -> datetime:
        """One round; when to be called next."""
        if self._store.read(lambda tx: questions.anything_due(tx, now)):
            self._store.write(lambda tx: questions.expire_due(tx, now))
        if self._store.read(lambda tx: lanes.any_orphan(tx, now)):
            self._store.write(lambda tx: lanes.recover_orphans(tx, now))
        if asked := self._store.read(requests.lanes_asked):
            self._store.write(lambda tx: requests.forget_old(tx, now))
            for lane in asked:
                self._wake(lane)
        self._absent(now)
        if self._swept_at is None or now - self._swept_at >= SWEEP_EVERY:
            self._swept_at = now
            self._store.write(lambda tx: (clients.forget_expired(tx, now), requests.forget_old(tx, now)))
        return now + EVERY

    def _absent(self, now: datetime) -> None:
        """Time counts from when we first saw it: neither a jump of the clock nor our own sleep ends a question."""
        overdue = self._store.read(lambda tx: lanes.absent_since_deadline(tx, now))
        seen = self._monotonic()
        self._missed = {question: self._missed.get(question, seen) for question, _ in overdue}
        for question_id, _ in overdue:
            if seen - self._missed[question_id] < ABSENT.total_seconds():
                continue
            self._store.write(lambda tx, q=question_id: _give_up(tx, q, now))  # type: ignore[misc]


def _give_up(tx: Tx, question_id: str, now: datetime) -> None:
    """The hold stays with the SIM: what it received meanwhile may still lie in it."""
    moved = questions.move(
        tx, question_id, {State.UNCERTAIN, State.AWAITING_REPLY}, State.NO_REPLY, now=now, by="housekeeper",
        why="sim_absent", error_code="sim_absent", error_blame="sim",
        error_detail="The SIM that asked could not be read any more, so a reply may lie unread on it. Plug its modem in again.",
    )  # fmt: skip
    # Where it did not move it is still being sent, or has ended: its flight is another's business.
    for submission_id in submissions.in_flight_of(tx, question_id) if moved else ():
        submissions.end_submission(tx, submission_id, ended="timeout", held_until=None)
