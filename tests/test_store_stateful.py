"""Any life of the store: clients, lanes on two SIMs, crashes and time in any order, and accounts that stay right."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, TypeVar

import pytest
from conftest import START
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, insert, select
from store_playing import (
    BALANCE,
    CLIENT,
    SERVICES,
    STATUS,
    Lane,
    ask,
    claim,
    mark_refused,
    mark_sent,
    mark_unsure,
    open_lane,
    receive,
    rows,
)

from app.domain.errors import Conflict
from app.domain.states import FINAL, ON_AIR, OPEN, Outcome, Role, State, may_move
from app.store import inbox, lanes, phones, questions, replies, submissions
from app.store import tables as t
from app.store.engine import Store, Tx
from app.store.events import read_feed
from app.store.lanes import LaneLost
from app.store.questions import EVENT_OF
from app.store.replies import Asked
from app.store.submissions import Claimed

T = TypeVar("T")

SIMS = {"xl-1": "8999 one", "xl-2": "8999 two"}
ON_THE_AIR = {State.UNCERTAIN, State.AWAITING_REPLY}
SAID_BY = {"submitting": {"open"}, "uncertain": {"uncertain"}, "awaiting_reply": {"sent", "delivered"}}
ASK_AGAIN = 1
PICK = st.integers(0, 1000)
NUMBERS = st.integers(1, 2)
SERVICE = st.sampled_from([BALANCE, BALANCE, STATUS])
FIRST_ROLES = (Role.ANSWER, Role.ANSWER, Role.NOTE)
FURTHER_ROLES = (Role.DOUBLE, Role.AMENDMENT, "withdrawn")
NAMES = st.sampled_from(sorted(SIMS))
LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"


def picked(things: Sequence[T], pick: int) -> T:
    return things[pick % len(things)]


class Life(RuleBasedStateMachine):
    """Rules call the store as faces, lanes and the housekeeper do; what they were told is kept to compare with."""

    store: ClassVar[Store]

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.checks: list[str] = []
        self.phone_checks: list[str] = []
        self.places: dict[str, Lane] = {}
        self.sending: list[tuple[Lane, Claimed]] = []
        self.unsure: list[Claimed] = []
        self.answers: list[phones.DueAnswer] = []
        self.moves_at_attribution: dict[str, int] = {}
        self.store.write(_forget_everything)

    # -- clients --------------------------------------------------------------------------------------------------

    @rule(
        numbers=st.lists(NUMBERS, min_size=1, max_size=3), service=SERVICE, priority=st.sampled_from([0, 5, 9]),
        hours=st.sampled_from([0, 2]), lasts=st.sampled_from([timedelta(minutes=3), timedelta(days=7)]),
    )  # fmt: skip
    def somebody_asks(
        self, numbers: list[int], service: Any, priority: int, hours: int, lasts: timedelta
    ) -> None:
        asks = [ask(number, service) for number in numbers]
        accepted = self.store.write(
            lambda tx: questions.accept(
                tx, asks, client=CLIENT, origin="http", now=self.now, priority=priority,
                max_age=timedelta(hours=hours), expires_in=lasts,
            )
        )  # fmt: skip
        self.checks += [one.check_id for one in accepted]

    @rule(number=NUMBERS, service=SERVICE, name=NAMES)
    def somebody_texts(self, number: int, service: Any, name: str) -> None:
        lane = self.places.get(name)
        if lane is None:
            return

        def work(tx: Tx) -> str:
            (accepted,) = questions.accept(
                tx, [ask(number, service)], client="phone", origin="phone", now=self.now, priority=2
            )
            phone = phones.find(tx, "+629900000001")
            phone_id = phone.id if phone else phones.enter(tx, "+629900000001", now=self.now)
            phones.add_ask(
                tx, phone_id=phone_id, message_id="msg", sim_id=lane.sim_id, now=self.now, check_id=accepted.check_id
            )  # fmt: skip
            return accepted.check_id

        check_id = self.store.write(work)
        self.checks.append(check_id)
        self.phone_checks.append(check_id)

    @precondition(lambda self: self.checks)
    @rule(pick=PICK)
    def somebody_cancels(self, pick: int) -> None:
        check_id = picked(self.checks, pick)
        before = self.state_of_check(check_id)
        try:
            self.store.write(lambda tx: questions.cancel(tx, check_id, now=self.now, by="key", client=None))
        except Conflict:
            assert before not in (State.QUEUED, State.CANCELLED)

    # -- lanes ----------------------------------------------------------------------------------------------------

    @initialize()
    def both_ports_open(self) -> None:
        for name in SIMS:
            self.a_port_opens(name, "prc_one")

    @rule(name=NAMES, process=st.sampled_from(["prc_one", "prc_two"]))
    def a_port_opens(self, name: str, process: str) -> None:
        """Also while another thread of the same process still believes it owns the lane."""
        owners = {row.name: row.owner for row in rows(self.store, t.lanes)}
        alive = {row.id for row in rows(self.store, t.processes)}
        if owners.get(name) in alive - {process}:
            return
        self.places[name] = open_lane(self.store, self.now, name, iccid=SIMS[name], process=process)

    @rule(how=st.sampled_from(["killed", "prc_one", "prc_two"]), pick=PICK)
    def somebody_dies(self, how: str, pick: int) -> None:
        """Killed, or sent home in order; one lane is taken up again at once."""
        if how == "killed":
            self.store.write(lanes.strike_off)
        else:
            self.store.write(lambda tx: lanes.end_process(tx, how, self.now))
        self.a_port_opens(picked(sorted(SIMS), pick), "prc_two" if how == "prc_one" else "prc_one")

    @precondition(lambda self: self.places)
    @rule(pick=PICK)
    def a_lane_claims(self, pick: int) -> None:
        lane = picked(list(self.places.values()), pick)
        before = rows(self.store, t.submissions)
        try:
            claimed = claim(self.store, lane, self.now)
        except LaneLost:
            self.places = {name: place for name, place in self.places.items() if place != lane}
            return
        assert not isinstance(claimed, datetime), "there is no budget"
        if claimed is None:
            return
        self.sending.append((lane, claimed))
        conversation = next(s.conversation for s in SERVICES if s.name == claimed.service)
        for row in before:
            assert not row.in_flight or row.question_id != claimed.question_id
            if (row.sim_id, row.conversation) == (lane.sim_id, conversation):
                assert not row.in_flight
                assert row.held_until <= self.now, "another submission holds this conversation"

    @precondition(lambda self: self.sending)
    @rule(
        pick=PICK,
        word=st.sampled_from(["sent", "sent", "unsure", "refused", "refused for good", "stood down"]),
    )
    def a_modem_says(self, pick: int, word: str) -> None:
        """Late words too: the lane may have been recovered since, its question answered, timed out or asked again."""
        _, claimed = self.sending.pop(pick % len(self.sending))
        if word == "sent":
            mark_sent(self.store, claimed, self.now, reference=pick % 256)
        elif word == "unsure":
            mark_unsure(self.store, claimed, self.now)
            self.unsure.append(claimed)
        elif word == "stood down":
            self.store.write(
                lambda tx: submissions.stood_down(tx, claimed, now=self.now, by="lane", why="stood_down")
            )
        else:
            mark_refused(self.store, claimed, self.now, retryable=word == "refused")

    @precondition(lambda self: self.unsure)
    @rule(pick=PICK)
    def an_orphaned_cmgs_comes(self, pick: int) -> None:
        claimed = self.unsure.pop(pick % len(self.unsure))
        mark_sent(self.store, claimed, self.now, reference=pick % 256)

    @precondition(lambda self: self.places)
    @rule(pick=PICK, number=NUMBERS, service=SERVICE)
    def a_question_goes_out(self, pick: int, number: int, service: Any) -> None:
        self.somebody_asks([number], service, 5, 0, timedelta(days=7))
        self.a_lane_claims(pick)
        if self.sending:
            self.a_modem_says(len(self.sending) - 1, "sent")

    @precondition(lambda self: self.places)
    @rule(pick=PICK, number=NUMBERS, word=st.sampled_from(["sent", "unsure"]))
    def a_question_is_asked_again(self, pick: int, number: int, word: str) -> None:
        """By this lane or by the other, an hour after the first time came to nothing; its end is still to come."""
        before = len(self.sending)
        self.an_inbox_is_read(pick, 0)
        self.somebody_asks([number], BALANCE, 0, 0, timedelta(days=7))
        self.a_lane_claims(pick)
        if len(self.sending) > before:
            self.a_modem_says(len(self.sending) - 1, word)
            self.an_inbox_is_read(pick, 6)
            self.an_inbox_is_read(pick, 61)
            self.a_lane_claims(pick // 2)

    # -- what comes in --------------------------------------------------------------------------------------------

    def living(self, pick: int) -> Lane | None:
        """A lane that owns its row."""
        owned = {(row.name, row.fence) for row in rows(self.store, t.lanes) if row.owner}
        lanes_now = [lane for lane in self.places.values() if (lane.name, lane.fence) in owned]
        return picked(lanes_now, pick) if lanes_now else None

    @precondition(lambda self: self.places)
    @rule(pick=PICK, what=st.integers(0, 2), service=SERVICE, settle=st.sampled_from([0, 3]))
    def a_text_comes(self, pick: int, what: int, service: Any, settle: int) -> None:
        lane = self.living(pick)
        if lane is None:
            return
        found = self.store.read(
            lambda tx: replies.asked(
                tx, sim_id=lane.sim_id, conversation=service.conversation, subjects=[], any_subject=True,
                body="text", now=self.now,
            )
        )  # fmt: skip
        if not found:
            return
        asked = picked(found, pick)
        role = (FURTHER_ROLES if asked.state is State.ANSWERED else FIRST_ROLES)[what]
        message = receive(self.store, lane, self.now, "text", service.address)
        self.store.write(lambda tx: self.take_in(tx, lane, message, asked, role, settle))
        if role != "withdrawn":
            moves = rows(self.store, t.moves, t.moves.c.question_id == asked.question_id)
            self.moves_at_attribution.setdefault(asked.question_id, len(moves))

    def take_in(self, tx: Tx, lane: Lane, message: str, asked: Asked, role: str, settle: int) -> None:
        if role == "withdrawn":
            replies.withdraw(
                tx, asked.question_id, lane.name, now=self.now, by="gateway", why="contradiction"
            )
            return
        replies.attribute(
            tx, message, asked.question_id, Role(role), evidence="sole", by="gateway", now=self.now
        )
        if role in (Role.ANSWER, Role.AMENDMENT):
            replies.answer(
                tx, asked.question_id, outcome=Outcome.FOUND, record={"balance": 1}, evidence="sole",
                late=not asked.in_flight, now=self.now, by="gateway", amends=role == Role.AMENDMENT,
            )  # fmt: skip
            held = self.now + timedelta(minutes=settle)
            submissions.end_submission(tx, asked.submission_id, ended="sole", held_until=held)

    @precondition(lambda self: self.places)
    @rule(pick=PICK, status=st.sampled_from([0x00, 0x30, 0x46]))
    def a_status_report_comes(self, pick: int, status: int) -> None:
        lane = self.living(pick)
        if lane is None:
            return
        sent = [
            row for row in rows(self.store, t.submissions) if row.sim_id == lane.sim_id and row.tp_references
        ]
        if not sent:
            return
        reference = int(picked(sent, pick).tp_references)

        def work(tx: Tx) -> None:
            (kept,) = inbox.keep(
                tx, sim_id=lane.sim_id, lane=lane.name, found=[(None, "06")], removed=[], now=self.now
            )
            reported = inbox.keep_report(
                tx, kept.id, sim_id=lane.sim_id, address=picked(SERVICES, pick).address, reference=reference,
                status=status, stamp=self.now, now=self.now,
            )  # fmt: skip
            if reported is not None and status == 0x00:
                inbox.delivered(tx, reported, self.now, "network")
            if reported is not None and status == 0x46:
                inbox.undelivered(tx, reported, status, self.now, "network")

        self.store.write(work)

    @precondition(lambda self: self.places)
    @rule(pick=PICK, minutes=st.sampled_from([0, 6, 61]))
    def an_inbox_is_read(self, pick: int, minutes: int) -> None:
        """For so long, each minute; what waited to its deadline meanwhile ends (design, section 4.1, rule 6)."""
        lane = self.living(pick)
        if lane is None:
            return

        def work(tx: Tx) -> None:
            lanes.lock(tx, lane.name, lane.fence)
            for minute in range(minutes + 1):
                lanes.inbox_read(tx, lane.sim_id, self.now + timedelta(minutes=minute))
            for due in replies.due(tx, lane.sim_id, self.now + timedelta(minutes=minutes)):
                self.time_out(tx, due)

        self.store.write(work)
        self.time_passes(minutes * 60)
        if minutes > 60:
            self.the_house_is_kept(absent=False)

    def time_out(self, tx: Tx, due: replies.Due) -> None:
        submissions.end_submission(tx, due.submission_id, ended="timeout", held_until=None)
        if Role.NOTE in due.roles:
            replies.answer(
                tx, due.question_id, outcome=Outcome.UNRECOGNISED, record={}, evidence="note", late=False,
                now=self.now, by="gateway",
            )  # fmt: skip
            return
        again = not submissions.attributed(tx, due.question_id) and due.attempts <= ASK_AGAIN
        questions.move(
            tx, due.question_id, ON_THE_AIR, State.QUEUED if again else State.NO_REPLY, now=self.now,
            by="gateway", deadline=None, not_before=due.opened_at + timedelta(hours=1) if again else None,
        )  # fmt: skip

    # -- phones' answers ------------------------------------------------------------------------------------------

    @precondition(lambda self: self.places and self.phone_checks)
    @rule(pick=PICK)
    def a_lane_takes_an_answer_for_a_phone(self, pick: int) -> None:
        lane = self.living(pick)
        if lane is not None:
            due = self.store.write(
                lambda tx: phones.claim_answer(tx, lane.name, lane.fence, lane.sim_id, 350, self.now)
            )
            if due is not None:
                self.answers.append(due)

    @precondition(lambda self: self.answers)
    @rule(state=st.sampled_from(["sent", "refused", "uncertain"]))
    def a_phones_answer_ends(self, state: str) -> None:
        due = self.answers.pop()
        self.store.write(lambda tx: phones.settle_answer(tx, due, self.now, state=state, text_sent="Saldo"))

    # -- time and the house ---------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([5, 120, 120, 3600, -600, 8 * 86_400]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        for process in ("prc_one", "prc_two"):
            self.store.write(lambda tx, p=process: lanes.renew_lease(tx, p, self.now))  # type: ignore[misc]

    @rule(absent=st.booleans())
    def the_house_is_kept(self, absent: bool) -> None:
        self.store.write(lambda tx: questions.expire_due(tx, self.now))
        self.store.write(lambda tx: lanes.recover_orphans(tx, self.now))
        if absent:
            self.store.write(self.give_up_absent)

    def give_up_absent(self, tx: Tx) -> None:
        for question_id, _ in lanes.absent_since_deadline(tx, self.now):
            moved = questions.move(
                tx, question_id, ON_THE_AIR, State.NO_REPLY, now=self.now, by="housekeeper", why="sim_absent"
            )
            for submission_id in submissions.in_flight_of(tx, question_id) if moved else ():
                submissions.end_submission(tx, submission_id, ended="timeout", held_until=None)

    # -- what is always true --------------------------------------------------------------------------------------

    def state_of_check(self, check_id: str) -> State:
        c, q = t.checks.c, t.questions.c
        state, cancelled = self.store.read(
            lambda tx: tx.execute(
                select(q.state, c.cancelled_at).join_from(t.checks, t.questions, c.question_id == q.id).where(c.id == check_id)
            ).one()
        )  # fmt: skip
        return State.CANCELLED if cancelled else State(state)

    @invariant()
    def accounts_are_right(self) -> None:
        asked = rows(self.store, t.questions)
        moves: dict[str, list[Any]] = defaultdict(list)
        for row in rows(self.store, t.moves):
            moves[row.question_id].append(row)
        flights: dict[str, list[Any]] = defaultdict(list)
        for row in rows(self.store, t.submissions, t.submissions.c.kind == "question"):
            flights[row.question_id].append(row)
        for question in asked:
            _history_is_legal(question, moves[question.id])
            _somebody_ends_it(question, flights[question.id])
            _paid = [f.cost for f in flights[question.id] if f.state not in ("open", "refused")]
            assert question.cost == sum(_paid)
            told = self.moves_at_attribution.get(question.id)
            if told is not None:
                assert "queued" not in [move.to_state for move in moves[question.id][told:]]
        open_now = Counter(row.ask_index for row in asked if row.state in OPEN)
        assert max(open_now.values(), default=0) <= 1
        holding = Counter(
            (row.sim_id, row.conversation) for all_ in flights.values() for row in all_ if row.in_flight
        )
        assert max(holding.values(), default=0) <= 1

    @invariant()
    def nothing_accepted_is_lost(self) -> None:
        stored = rows(self.store, t.checks)
        assert sorted(self.checks) == [row.id for row in stored]
        assert {row.question_id for row in stored} == {row.id for row in rows(self.store, t.questions)}

    @invariant()
    def every_end_is_told_in_order_and_once(self) -> None:
        feed = read_feed(self.store, 0, 10_000)
        assert [event.seq for event in feed] == list(range(1, len(feed) + 1))
        told = Counter((event.check_id, event.kind) for event in feed)
        asked = {row.id: row for row in rows(self.store, t.questions)}
        for check in rows(self.store, t.checks):
            state = "cancelled" if check.cancelled_at else asked[check.question_id].state
            if state in FINAL and state != State.NO_REPLY:
                assert told[check.id, f"check.{state}"] >= 1
            if state == State.NO_REPLY:
                assert told[check.id, "check.no_reply"] + told[check.id, "check.detached"] >= 1
            assert told[check.id, "check.cancelled"] <= 1
            assert told[check.id, "check.expired"] <= 1
        need = Counter(row.to_state for row in rows(self.store, t.moves) if State(row.to_state) in EVENT_OF)
        kinds = Counter(event.kind for event in feed)
        # Once every check of a question is cancelled, nobody is left to be told of its late answer.
        if not any(check.cancelled_at for check in rows(self.store, t.checks)):
            answers = kinds["check.answered"] + kinds["check.amended"]
            assert answers >= need["answered"]
            assert kinds["check.no_reply"] + kinds["check.detached"] >= need["no_reply"]
            for state in ("failed", "uncertain", "expired"):
                assert kinds[f"check.{state}"] >= need[state]

    @invariant()
    def whoever_texted_is_answered(self) -> None:
        asks = {row.check_id: row for row in rows(self.store, t.phone_asks)}
        assert set(asks) == set(self.phone_checks)
        for check_id, one in asks.items():
            if self.state_of_check(check_id) in OPEN:
                assert one.state == "waiting"
            else:
                assert one.state != "waiting"


def _history_is_legal(question: Any, moves: list[Any]) -> None:
    state = State.QUEUED
    for number, move in enumerate(moves, 1):
        assert (move.seq, move.from_state) == (number, state)
        assert may_move(state, State(move.to_state))
        state = State(move.to_state)
    assert question.state == state


def _somebody_ends_it(question: Any, flights: list[Any]) -> None:
    """What is open has an end, and what is on the air a submission in flight that finds it at its deadline."""
    flying = [row for row in flights if row.in_flight]
    if question.state in ON_AIR:
        assert question.deadline is not None
        assert len(flying) == 1
        assert flying[0].state in SAID_BY[question.state]
    else:
        assert flying == []
    assert question.expires is not None
    assert all(row.held_until is not None for row in flights)


def _forget_everything(tx: Tx) -> None:
    kept = tx.execute(select(t.meta)).all()
    for table in t.metadata.sorted_tables:
        tx.execute(delete(table))
    tx.execute(insert(t.meta), [dict(row._mapping) for row in kept])


@pytest.mark.parametrize("examples", [400 if LONG else 25])
def test_any_life_keeps_the_accounts(store: Store, examples: int) -> None:
    machine = type("LifeHere", (Life,), {"store": store})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=60 if LONG else 30, deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
