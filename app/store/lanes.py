"""Lanes, SIMs and processes: who owns a lane (a fence that only grows), what its budget allows, how long its inbox was not read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    and_,
    bindparam,
    delete,
    insert,
    or_,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from app.domain.errors import Invalid, NotFound
from app.domain.states import LaneState
from app.store import tables as t
from app.store.engine import Tx, change, new_id
from app.store.questions import add_event
from app.store.requests import refuse_taken
from app.store.sims import known_sim, was_another
from app.store.submissions import SENDER_DIED, maybe_sent

LEASE = timedelta(seconds=10)  # design, section 4.2
FORGOTTEN = timedelta(days=1)  # a process whose lease ran out so long ago is struck off
HUNG_STEP = timedelta(
    seconds=180
)  # a step that has not returned for so long is taken for dead (design, section 4.2)
UNREAD = timedelta(
    minutes=1
)  # a longer gap between two reads of an inbox does not count as waiting (design, section 4)

_l = t.lanes.c
_s = t.submissions.c


class LaneLost(Exception):
    """This lane's row belongs to somebody else by now: stop before the next byte."""


@dataclass(frozen=True, slots=True)
class LaneSpec:
    """A lane as the settings have it."""

    name: str
    port: str
    pace: timedelta
    per_hour: int
    per_day: int


@dataclass(frozen=True, slots=True)
class Budget:
    """A lane's row, locked: may it send now, and if not, from when."""

    sim_id: str | None
    paused: bool
    next_send_at: datetime | None
    pace: timedelta


@dataclass(frozen=True, slots=True)
class LaneView:
    name: str
    port: str
    state: str
    reason: str | None
    operator: str | None
    iccid: str | None
    own_number: str | None
    active_until: str | None
    credit: int | None
    maker: str | None
    model: str | None
    imei: str | None
    signal: int | None
    registration: str | None
    usb_path: str | None
    storages: Mapping[str, Sequence[int]]
    recoveries: Mapping[str, int]
    calls: int
    paused: bool
    pace: timedelta
    per_hour: int
    per_day: int
    last_sent_at: datetime | None
    last_heard_at: datetime | None
    next_send_at: datetime | None


# -- processes and ownership --------------------------------------------------------------------------------------


def begin_process(tx: Tx, process_id: str, host: str, now: datetime) -> None:
    """Enter a process with its first lease."""
    now = database_now(tx, now)
    tx.execute(
        insert(t.processes),
        {"id": process_id, "created_at": now, "host": host, "started_at": now, "lease_until": now + LEASE},
    )


def renew_lease(tx: Tx, process_id: str, now: datetime) -> bool:
    """Another LEASE from now; False if the process was struck off."""
    p = t.processes.c
    until = database_now(tx, now) + LEASE
    return bool(tx.execute(update(t.processes).where(p.id == process_id).values(lease_until=until)).rowcount)


def end_process(tx: Tx, process_id: str, now: datetime) -> None:
    """Give back its lanes, with what they left in the air recovered, and strike it off."""
    for row in tx.execute(select(t.lanes).where(_l.owner == process_id).with_for_update()).all():
        _free(tx, row, "the gateway is not running", now)
    tx.execute(delete(t.processes).where(t.processes.c.id == process_id))


def database_now(tx: Tx, now: datetime) -> datetime:
    """On PostgreSQL the database's clock, which all hosts share; else `now`."""
    if not tx.postgres:
        return now
    return tx.execute(select(text("clock_timestamp()"))).scalar_one()  # type: ignore[no-any-return]


def register(tx: Tx, specs: Sequence[LaneSpec], now: datetime) -> None:
    """Enter the settings' lanes; one that is there keeps its SIM, its pause and its history. Other processes may do so at once."""
    dialect = postgresql if tx.postgres else sqlite
    for spec in sorted(specs, key=lambda spec: spec.name):  # each process locks them in the same order
        values = {
            "port": spec.port,
            "pace": spec.pace // t.MICROSECOND,
            "per_hour": spec.per_hour,
            "per_day": spec.per_day,
        }
        tx.execute(
            dialect.insert(t.lanes)
            .values(
                name=spec.name,
                created_at=now,
                state=LaneState.OFFLINE.value,
                fence=0,
                paused=False,
                calls=0,
                **values,
            )
            .on_conflict_do_update(index_elements=["name"], set_=values)
        )


def take(tx: Tx, lane: str, process_id: str, now: datetime) -> int | None:
    """Own the lane, raising its fence: who has the port takes it. None while a living process holds it."""
    row = tx.execute(select(t.lanes).where(_l.name == lane).with_for_update()).one()
    if row.owner not in (None, process_id) and _lives(tx, row, now):
        return None
    _recover(tx, row, now)
    fence = row.fence + 2
    tx.execute(
        update(t.lanes).where(_l.name == lane).values(owner=process_id, fence=fence, step_started_at=None)
    )
    return int(fence)


def give_back(tx: Tx, lane: str, fence: int) -> None:
    """Own it no more: its port is not open here, so whoever has the stick may take it."""
    tx.execute(update(t.lanes).where(_l.name == lane, _l.fence == fence).values(owner=None))


def recover_orphans(tx: Tx, now: datetime) -> int:
    """Recover every lane whose owner's lease ran out or whose step hangs; how many."""
    orphans = tx.execute(select(t.lanes).where(_l.owner.is_not(None)).with_for_update(skip_locked=True)).all()
    count = 0
    for row in orphans:
        if not _lives(tx, row, now):
            _free(tx, row, "the process that held this lane is gone", now)
            count += 1
    tx.execute(delete(t.processes).where(t.processes.c.lease_until < database_now(tx, now) - FORGOTTEN))
    return count


def _free(tx: Tx, row: Any, reason: str, now: datetime) -> None:
    """Recover what the lane left in the air, then let anybody take it, under a new fence."""
    _recover(tx, row, now)
    change(
        tx, t.lanes, row.name, owner=None, fence=row.fence + 1, step_started_at=None,
        state=LaneState.OFFLINE.value, reason=reason,
    )  # fmt: skip


def any_orphan(tx: Tx, now: datetime) -> bool:
    """True if `recover_orphans` would find one: asked without a writing transaction."""
    return any(
        not _lives(tx, row, now) for row in tx.execute(select(t.lanes).where(_l.owner.is_not(None))).all()
    )


def _lives(tx: Tx, row: Any, now: datetime) -> bool:
    lease = tx.execute(select(t.processes.c.lease_until).where(t.processes.c.id == row.owner)).scalar()
    now = database_now(tx, now)
    hangs = row.step_started_at is not None and now - row.step_started_at > HUNG_STEP
    return lease is not None and lease > now and not hangs


def strike_off(tx: Tx) -> None:
    """On SQLite the lock file says that nobody else serves: whoever is entered is dead."""
    tx.execute(delete(t.processes))


def _recover(tx: Tx, row: Any, now: datetime) -> None:
    """What a dead sender left in the air becomes uncertain: never sent again blindly; what it was asked is refused."""
    refuse_taken(tx, row.name)
    left = tx.execute(
        select(t.submissions).where(_s.lane == row.name, text("state = 'open'"), _s.fence <= row.fence)
    )
    for submission in left.all():
        if submission.kind == "question":
            maybe_sent(
                tx,
                submission.id,
                submission.question_id,
                now=now,
                by="recovery",
                why=SENDER_DIED,
            )
        else:
            tx.execute(
                update(t.submissions)
                .where(_s.id == submission.id)
                .values(state="uncertain", in_flight=False, error_code=SENDER_DIED)
            )
            a = t.phone_asks.c
            tx.execute(
                update(t.phone_asks)
                .where(a.id == submission.phone_ask_id, a.state == "submitting")
                .values(state="uncertain")
            )


def recover_own(tx: Tx, lane: str, fence: int, now: datetime) -> None:
    """What this lane itself may have claimed without knowing becomes uncertain, too. LaneLost."""
    lock(tx, lane, fence)
    _recover(tx, tx.execute(select(t.lanes).where(_l.name == lane)).one(), now)
    sending_ended(tx, lane, fence)


# -- a lane's own transactions ------------------------------------------------------------------------------------

_OWN = select(_l.fence, _l.sim_id, _l.paused, _l.next_send_at, _l.pace, _l.per_hour, _l.per_day).where(
    _l.name == bindparam("lane")
)
_OWN_LOCKED = _OWN.with_for_update()


def lock(tx: Tx, lane: str, fence: int) -> Any:
    """Lock the lane's own row; LaneLost if the fence has grown."""
    row = tx.execute(_OWN_LOCKED if tx.postgres else _OWN, {"lane": lane}).one_or_none()
    if row is None or row.fence != fence:
        raise LaneLost(lane)
    return row


def budget(tx: Tx, lane: str, fence: int, now: datetime) -> Budget:
    """Lock the row and say from when it may send; counts what this SIM sent in the last hour and 24 hours."""
    row = lock(tx, lane, fence)
    next_at = row.next_send_at
    if next_at is not None and next_at > now + timedelta(microseconds=row.pace):
        next_at = None  # the clock was set back since
    for cap, span in ((row.per_hour, timedelta(hours=1)), (row.per_day, timedelta(days=1))):
        if cap and row.sim_id:
            oldest = tx.execute(
                select(_s.opened_at)
                .where(_s.sim_id == row.sim_id, _s.opened_at > now - span, _s.state != "refused")
                .order_by(_s.opened_at.desc())
                .offset(cap - 1)
                .limit(1)
            ).scalar()
            if oldest is not None:
                next_at = max(next_at or now, oldest + span)
    waits = next_at if next_at and next_at > now else None
    return Budget(row.sim_id, row.paused, waits, timedelta(microseconds=row.pace))


def spend(tx: Tx, lane: str, pace: timedelta, now: datetime, longer: timedelta = timedelta(0)) -> None:
    """One message is about to go out: the pace counts from here, and so does the time after which the step is taken for hung.

    longer: what it may take beyond an SMS of one part; its step begins so much later for those who watch.
    """
    change(tx, t.lanes, lane, last_sent_at=now, next_send_at=now + pace, step_started_at=now + longer)


_SENDING_ENDED = (
    update(t.lanes)
    .where(_l.name == bindparam("lane"), _l.fence == bindparam("own"))
    .values(step_started_at=None)
)


def sending_ended(tx: Tx, lane: str, fence: int) -> None:
    """The modem gave its word, whatever it was: the step is not hung. Of a lane that is another's by now nothing changes."""
    tx.put(_SENDING_ENDED, {"lane": lane, "own": fence})


def show(tx: Tx, lane: str, fence: int, now: datetime, **values: Any) -> None:
    """Write what a lane looks like from outside (state, reason, signal, …); an event where its state changed."""
    lock(tx, lane, fence)
    before = tx.execute(select(_l.state).where(_l.name == lane)).scalar_one()
    tx.execute(update(t.lanes).where(_l.name == lane).values(**values))
    state = values.get("state", before)
    if state != before:
        add_event(tx, "lane.changed", now, lane=lane, data={"from": before, "to": state})


def note_counts(tx: Tx, lane: str, storages: Mapping[str, Sequence[int]], calls: int) -> None:
    """How full each storage is, as [used, total], and how many calls came in and were hung up since the last time."""
    tx.execute(update(t.lanes).where(_l.name == lane).values(storages=dict(storages), calls=_l.calls + calls))


def count_recovery(tx: Tx, lane: str, rung: str) -> None:
    """Something was done to heal this lane's modem."""
    done = dict(tx.execute(select(_l.recoveries).where(_l.name == lane).with_for_update()).scalar() or {})
    change(tx, t.lanes, lane, recoveries={**done, rung: done.get(rung, 0) + 1})


def owned_by_another(tx: Tx, lane: str, process_id: str, now: datetime) -> bool:
    """Does a living process other than this one hold the lane?"""
    row = tx.execute(select(t.lanes).where(_l.name == lane)).one()
    return row.owner not in (None, process_id) and _lives(tx, row, now)


def ever_opened(tx: Tx, lane: str) -> bool:
    """Did a modem answer on this lane at any time?"""
    return tx.execute(select(_l.sim_id).where(_l.name == lane)).scalar() is not None


def connect(
    tx: Tx,
    lane: str,
    fence: int,
    now: datetime,
    *,
    iccid: str,
    imsi: str | None,
    own_number: str | None,
    operator: str | None,
    imei: str | None,
    maker: str | None,
    model: str | None,
    firmware: str | None,
    port: str | None = None,
    usb_path: str | None = None,
) -> tuple[str, bool]:
    """Enter the SIM that this lane found in its modem, and where that is. Its id, and whether the stick's own memory may hold
    what came to another SIM: it has another one than last time, or is another stick."""
    lock(tx, lane, fence)
    index = tx.index("iccid", iccid)
    m = t.sims.c
    sim_id, known_as = known_sim(tx, iccid, imsi)
    foreign = was_another(tx, lane, sim_id, imei, usb_path)
    values: dict[str, Any] = {
        "imsi_index": tx.index("imsi", imsi) if imsi else None,
        "own_number_sealed": tx.seal("sims.own_number", own_number) if own_number else None,
        "operator": operator,
    }
    if sim_id is None:
        sim_id = new_id("sim", now)
        tx.execute(
            insert(t.sims),
            {
                "id": sim_id,
                "created_at": now,
                "iccid_index": index,
                "iccid_sealed": tx.seal("sims.iccid", iccid),
                "concat_reference": 0,
                "last_read_at": now,
                **values,
            },
        )
    else:
        if known_as.startswith("imsi ") and not iccid.startswith("imsi "):
            values |= {"iccid_index": index, "iccid_sealed": tx.seal("sims.iccid", iccid)}
        tx.execute(update(t.sims).where(m.id == sim_id).values(**values))
    tx.execute(
        update(t.lanes)
        .where(_l.name == lane)
        .values(
            sim_id=sim_id,
            imei=imei,
            maker=maker,
            model=model,
            firmware=firmware,
            usb_path=usb_path,
            **({} if port is None else {"port": port}),
        )
    )
    return str(sim_id), foreign


def inbox_read(tx: Tx, sim_id: str, now: datetime) -> None:
    """This SIM's inbox was read whole just now. A gap of over a minute since the last time, or a clock set back, moves its
    open deadlines and holds by the difference: windows count only time in which the inbox was being read."""
    m = t.sims.c
    last = tx.execute(select(m.last_read_at).where(m.id == sim_id)).scalar()
    tx.execute(update(t.sims).where(m.id == sim_id).values(last_read_at=now))
    if last is None:
        return
    gap = now - last
    if timedelta(0) <= gap <= UNREAD:
        return
    shift = gap // t.MICROSECOND
    held = and_(_s.sim_id == sim_id, or_(text("in_flight"), _s.held_until > min(last, now)))
    moved = [
        row.question_id
        for row in tx.execute(select(_s.question_id).where(held, text("in_flight")))
        if row.question_id
    ]
    tx.execute(
        update(t.submissions)
        .where(held, _s.held_until.is_not(None))
        .values(held_until=_later(_s.held_until, shift))
    )
    q = t.questions.c
    if moved:
        tx.execute(
            update(t.questions)
            .where(
                q.id.in_(moved),
                q.deadline.is_not(None),
                q.state.in_(["submitting", "uncertain", "awaiting_reply"]),
            )
            .values(deadline=_later(q.deadline, shift))
        )


def _later(column: Any, microseconds: int) -> Any:
    """The column's integer moved on; typed as plain integer so that no time type touches the arithmetic."""
    return type_coerce(column, BigInteger) + bindparam(None, microseconds, type_=BigInteger())


def next_concat_reference(tx: Tx, sim_id: str) -> int:
    """A concatenation reference of its own for each long text, counted in the database so that it survives restarts."""
    m = t.sims.c
    tx.execute(update(t.sims).where(m.id == sim_id).values(concat_reference=(m.concat_reference + 1) % 256))
    return int(tx.execute(select(m.concat_reference).where(m.id == sim_id)).scalar_one())


# -- for faces ----------------------------------------------------------------------------------------------------


def list_lanes(tx: Tx) -> list[LaneView]:
    """All lanes by name."""
    m = t.sims.c
    rows = tx.execute(
        select(t.lanes, m.operator, m.iccid_sealed, m.own_number_sealed, m.active_until, m.credit)
        .select_from(t.lanes.outerjoin(t.sims, _l.sim_id == m.id))
        .order_by(_l.name)
    )
    return [
        LaneView(
            name=row.name, port=row.port, state=_shown_state(row),
            reason=row.reason, operator=row.operator,
            iccid=row.iccid_sealed and tx.unseal("sims.iccid", row.iccid_sealed),
            own_number=row.own_number_sealed and tx.unseal("sims.own_number", row.own_number_sealed),
            active_until=row.active_until, credit=row.credit, maker=row.maker, model=row.model, imei=row.imei,
            signal=row.signal, registration=row.registration, usb_path=row.usb_path, storages=row.storages or {},
            recoveries=row.recoveries or {}, calls=row.calls, paused=row.paused,
            pace=timedelta(microseconds=row.pace), per_hour=row.per_hour, per_day=row.per_day,
            last_sent_at=row.last_sent_at, last_heard_at=row.last_heard_at, next_send_at=row.next_send_at,
        )
        for row in rows
    ]  # fmt: skip


def _shown_state(row: Any) -> str:
    """A pause, and a submit under way, are noted elsewhere in the row: they cost no commit of their own."""
    if row.state != LaneState.REGISTERED.value:
        return str(row.state)
    if row.step_started_at is not None:
        return LaneState.SENDING.value
    return (LaneState.PAUSED if row.paused else LaneState.REGISTERED).value


def set_lane(
    tx: Tx,
    name: str,
    *,
    now: datetime,
    paused: bool | None = None,
    pace: timedelta | None = None,
    per_hour: int | None = None,
    per_day: int | None = None,
) -> LaneView:
    """Pause, resume or change the budget of a lane (until the next start, where the settings hold again). NotFound, Invalid."""
    if (pace is not None and pace < timedelta(0)) or any(
        cap is not None and cap < 0 for cap in (per_hour, per_day)
    ):
        raise Invalid("pace, per_hour and per_day cannot be negative; 0 means no limit.")
    values: dict[str, Any] = {
        key: value
        for key, value in (
            ("paused", paused),
            ("pace", None if pace is None else pace // t.MICROSECOND),
            ("per_hour", per_hour),
            ("per_day", per_day),
        )
        if value is not None
    }
    if pace is not None:
        values["next_send_at"] = None
    if values and not tx.execute(update(t.lanes).where(_l.name == name).values(**values)).rowcount:
        raise NotFound(f"There is no lane {name!r}. `bpjs-sms lanes` and GET /v1/lanes list them.")
    tx.queued = True
    found = [lane for lane in list_lanes(tx) if lane.name == name]
    if not found:
        raise NotFound(f"There is no lane {name!r}. `bpjs-sms lanes` and GET /v1/lanes list them.")
    return found[0]


def absent_since_deadline(tx: Tx, read_before: datetime, limit: int = 200) -> list[tuple[str, str]]:
    """Questions on the air past their deadline whose SIM's inbox was last read before it, or is not read any more, as where
    a stick went away before its lane could end what was due: (question, sim)."""
    q, m = t.questions.c, t.sims.c
    rows = tx.execute(
        select(q.id, _s.sim_id)
        .join_from(t.questions, t.submissions, and_(_s.question_id == q.id, text("in_flight")))
        .join(t.sims, _s.sim_id == m.id)
        .where(
            text("questions.state IN ('submitting', 'uncertain', 'awaiting_reply')"),
            q.deadline <= read_before,
            or_(m.last_read_at.is_(None), m.last_read_at < q.deadline, m.last_read_at < read_before - UNREAD),
        )
        .limit(limit)
    )
    return [(row.id, row.sim_id) for row in rows]
