"""Every table (design, section 4.3). Times are aware UTC, stored as microseconds; `…_sealed` is AES-GCM, `…_index` a keyed HMAC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Dialect, Index, Integer, LargeBinary, MetaData, text
from sqlalchemy.types import JSON, TypeDecorator
from sqlmodel import Field, SQLModel

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class UtcTime(TypeDecorator[datetime]):
    """Aware UTC, kept as whole microseconds since 1970, the same and as comparable on both databases."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else (value - EPOCH) // MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else EPOCH + timedelta(microseconds=value)


BigKey = BigInteger().with_variant(Integer(), "sqlite")

SQLModel.metadata.naming_convention = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
metadata: MetaData = SQLModel.metadata


def where(condition: str) -> dict[str, Any]:
    """A partial index's condition for both databases."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


def _id() -> Any:
    return Field(primary_key=True)


def _time(**more: Any) -> Any:
    return Field(sa_type=UtcTime, **more)


def _sealed(**more: Any) -> Any:
    return Field(sa_type=LargeBinary, **more)


class Question(SQLModel, table=True):
    __tablename__ = "questions"
    id: str = _id()
    created_at: datetime = _time()
    service: str
    ask_index: bytes = _sealed()
    subject_index: bytes = _sealed()
    fields_sealed: bytes = _sealed()
    conversation: str
    state: str
    outcome: str | None = None
    priority: int
    rank: int = Field(sa_type=BigInteger)
    not_before: datetime | None = _time(default=None)
    expires: datetime = _time()
    wanted_sim: str | None = None
    attempts: int = 0
    lane: str | None = None
    fence: int | None = Field(default=None, sa_type=BigInteger)
    submitted_at: datetime | None = _time(default=None)
    deadline: datetime | None = _time(default=None)
    answered_at: datetime | None = _time(default=None)
    late: bool = False
    record_sealed: bytes | None = _sealed(default=None)
    evidence: str | None = None
    cost: int = 0
    error_code: str | None = None
    error_blame: str | None = None
    error_detail: str | None = None
    __table_args__ = (
        Index(
            "ix_ready",
            "service",
            "priority",
            "rank",
            "id",
            **where("state = 'queued' AND not_before IS NULL AND wanted_sim IS NULL"),
        ),
        Index(
            "ix_wanted",
            "wanted_sim",
            "service",
            "priority",
            "rank",
            "id",
            **where("state = 'queued' AND not_before IS NULL AND wanted_sim IS NOT NULL"),
        ),
        Index("ix_deferred", "not_before", **where("state = 'queued' AND not_before IS NOT NULL")),
        Index(
            "uq_open",
            "ask_index",
            unique=True,
            **where("state IN ('queued', 'submitting', 'uncertain', 'awaiting_reply')"),
        ),
        Index("ix_deadline", "deadline", **where("state IN ('submitting', 'uncertain', 'awaiting_reply')")),
        Index("ix_expires", "expires", **where("state = 'queued'")),
        Index("ix_answered", "ask_index", "answered_at", **where("state = 'answered'")),
        Index("ix_subject", "subject_index", "id"),
    )


class Check(SQLModel, table=True):
    __tablename__ = "checks"
    id: str = _id()
    created_at: datetime = _time()
    question_id: str
    client: str
    reference: str | None = None
    origin: str
    batch_id: str | None = None
    max_age: int = 0
    cancelled_at: datetime | None = _time(default=None)
    __table_args__ = (
        Index("ix_checks_question", "question_id"),
        Index("ix_checks_batch", "batch_id", "id"),
        Index("ix_checks_client", "client", "id"),
    )


class Move(SQLModel, table=True):
    __tablename__ = "moves"
    question_id: str = _id()
    seq: int = _id()
    from_state: str | None = None
    to_state: str
    at: datetime = _time()
    by: str
    why: str | None = None


class Submission(SQLModel, table=True):
    __tablename__ = "submissions"
    id: str = _id()
    created_at: datetime = _time()
    kind: str
    question_id: str | None = None
    phone_ask_id: str | None = None
    sim_id: str
    conversation: str | None = None
    lane: str
    fence: int = Field(sa_type=BigInteger)
    address_sealed: bytes = _sealed()
    address_index: bytes = _sealed()
    text_sealed: bytes = _sealed()
    parts: int = 1
    tp_references: str | None = None
    state: str
    opened_at: datetime = _time()
    closed_at: datetime | None = _time(default=None)
    in_flight: bool
    held_until: datetime | None = _time(default=None)
    ended: str | None = None
    error_code: str | None = None
    cost: int = 0
    __table_args__ = (
        Index("uq_flight", "sim_id", "conversation", unique=True, **where("in_flight")),
        Index("ix_held", "sim_id", "conversation", "held_until"),
        Index("ix_conversed", "sim_id", "conversation", "opened_at"),
        Index("ix_submissions_question", "question_id"),
        Index("ix_submissions_sim", "sim_id", "opened_at"),
        Index("ix_submissions_open", "lane", **where("state IN ('open', 'uncertain')")),
        Index("ix_submissions_address", "sim_id", "address_index", "opened_at"),
    )


class Sim(SQLModel, table=True):
    __tablename__ = "sims"
    id: str = _id()
    created_at: datetime = _time()
    iccid_index: bytes = _sealed(unique=True)
    iccid_sealed: bytes = _sealed()
    imsi_index: bytes | None = _sealed(default=None)
    own_number_sealed: bytes | None = _sealed(default=None)
    operator: str | None = None
    concat_reference: int = 0
    last_read_at: datetime | None = _time(default=None)
    centre_ahead: int | None = Field(default=None, sa_type=BigInteger)
    credit: int | None = None
    credit_at: datetime | None = _time(default=None)
    active_until: str | None = None
    pin_tried: bytes | None = _sealed(default=None)


class Process(SQLModel, table=True):
    __tablename__ = "processes"
    id: str = _id()
    created_at: datetime = _time()
    host: str
    started_at: datetime = _time()
    lease_until: datetime = _time()


class Lane(SQLModel, table=True):
    __tablename__ = "lanes"
    name: str = _id()
    created_at: datetime = _time()
    port: str
    sim_id: str | None = None
    state: str
    reason: str | None = None
    owner: str | None = None
    fence: int = Field(default=0, sa_type=BigInteger)
    step_started_at: datetime | None = _time(default=None)
    paused: bool = False
    pace: int
    per_hour: int
    per_day: int
    last_sent_at: datetime | None = _time(default=None)
    last_heard_at: datetime | None = _time(default=None)
    imei: str | None = None
    maker: str | None = None
    model: str | None = None
    firmware: str | None = None
    usb_path: str | None = None
    signal: int | None = None
    registration: str | None = None
    next_send_at: datetime | None = _time(default=None)
    pin_tried: bytes | None = _sealed(default=None)
    recoveries: dict[str, int] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    storages: dict[str, list[int]] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    calls: int = Field(default=0, sa_type=BigInteger)


class LaneRequest(SQLModel, table=True):
    __tablename__ = "lane_requests"
    id: str = _id()
    created_at: datetime = _time()
    lane: str
    kind: str
    arguments: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    asked_by: str
    state: str
    answer: dict[str, Any] | None = Field(default=None, sa_type=JSON)
    __table_args__ = (Index("ix_requests", "lane", "id", **where("state = 'asked'")),)


class Tpdu(SQLModel, table=True):
    __tablename__ = "tpdus"
    id: str = _id()
    created_at: datetime = _time()
    sim_id: str
    lane: str
    slot: str | None = None
    raw_sealed: bytes = _sealed()
    raw_index: bytes = _sealed()
    received_at: datetime = _time()
    kind: str | None = None
    sender_index: bytes | None = _sealed(default=None)
    service_centre_time: datetime | None = _time(default=None)
    concat_reference: int | None = None
    concat_width: int | None = None
    concat_total: int | None = None
    concat_part: int | None = None
    tp_reference: int | None = None
    tp_status: int | None = None
    submission_id: str | None = None
    message_id: str | None = None
    decided_at: datetime | None = _time(default=None)
    error: str | None = None
    __table_args__ = (
        Index("ix_undecided", "sim_id", "id", **where("decided_at IS NULL")),
        Index("ix_slots", "sim_id", "slot", **where("slot IS NOT NULL")),
        Index("ix_tpdus_message", "message_id"),
        Index(
            "ix_parts", "sim_id", "sender_index", "concat_reference", **where("concat_reference IS NOT NULL")
        ),
        Index("ix_reports", "sim_id", "tp_reference", **where("kind = 'report' AND submission_id IS NULL")),
    )


class Message(SQLModel, table=True):
    __tablename__ = "messages"
    id: str = _id()
    created_at: datetime = _time()
    sim_id: str
    lane: str
    sender_sealed: bytes = _sealed()
    sender_index: bytes = _sealed()
    text_sealed: bytes = _sealed()
    text_index: bytes = _sealed()
    parts: int
    parts_total: int
    received_at: datetime = _time()
    service_centre_time: datetime | None = _time(default=None)
    state: str
    reason: str | None = None
    candidates: int = 0
    double_of: str | None = None
    __table_args__ = (
        Index("ix_messages_state", "state", "id"),
        Index("ix_messages_sim", "sim_id", "id"),
        Index("ix_messages_text", "sim_id", "text_index", "received_at"),
    )


class Attribution(SQLModel, table=True):
    __tablename__ = "attributions"
    id: str = _id()
    created_at: datetime = _time()
    message_id: str
    question_id: str
    role: str
    evidence: str
    by: str
    at: datetime = _time()
    detached_at: datetime | None = _time(default=None)
    why: str | None = None
    __table_args__ = (
        Index("ix_attributions_question", "question_id"),
        Index("ix_attributions_message", "message_id"),
    )


class Batch(SQLModel, table=True):
    __tablename__ = "batches"
    id: str = _id()
    created_at: datetime = _time()
    client: str
    service: str
    file_name: str | None = None
    layout: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    state: str
    rows: int = 0
    rejected: int = 0
    heading_sealed: bytes | None = _sealed(default=None)
    __table_args__ = (
        Index("ix_batches_client", "client", "id"),
        Index("ix_batches_open", "id", **where("state IN ('receiving', 'queued', 'running')")),
    )


class BatchRow(SQLModel, table=True):
    __tablename__ = "batch_rows"
    batch_id: str = _id()
    row: int = _id()
    cells_sealed: bytes = _sealed()
    check_id: str | None = None
    error: dict[str, Any] | None = Field(default=None, sa_type=JSON(none_as_null=True))


class Phone(SQLModel, table=True):
    __tablename__ = "phones"
    id: str = _id()
    created_at: datetime = _time()
    number_index: bytes = _sealed(unique=True)
    number_sealed: bytes = _sealed()
    allowed: bool = False
    language: str = "id"
    opted_out: bool = False


class PhoneAsk(SQLModel, table=True):
    __tablename__ = "phone_asks"
    id: str = _id()
    created_at: datetime = _time()
    phone_id: str
    message_id: str
    sim_id: str
    check_id: str | None = None
    state: str
    says: str | None = None
    due: datetime | None = _time(default=None)
    __table_args__ = (
        Index("ix_asks_due", "sim_id", "due", **where("state = 'due'")),
        Index("ix_asks_check", "check_id"),
        Index("ix_asks_phone", "phone_id", "created_at"),
    )


class Event(SQLModel, table=True):
    __tablename__ = "events"
    id: str = _id()
    created_at: datetime = _time()
    seq: int | None = Field(default=None, sa_type=BigInteger)
    kind: str
    check_id: str | None = None
    batch_id: str | None = None
    lane: str | None = None
    data: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    __table_args__ = (
        Index("uq_events_seq", "seq", unique=True),
        Index("ix_events_new", "id", **where("seq IS NULL")),
    )


class Endpoint(SQLModel, table=True):
    __tablename__ = "endpoints"
    id: str = _id()
    created_at: datetime = _time()
    client: str
    url: str
    secret_sealed: bytes = _sealed()
    kinds: list[str] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    disabled_at: datetime | None = _time(default=None)


class Delivery(SQLModel, table=True):
    __tablename__ = "deliveries"
    event_id: str = _id()
    endpoint_id: str = _id()
    attempt: int = 0
    due: datetime | None = _time(default=None)
    status: str
    __table_args__ = (Index("ix_deliveries_due", "due", **where("due IS NOT NULL")),)


class Key(SQLModel, table=True):
    __tablename__ = "keys"
    id: str = _id()
    created_at: datetime = _time()
    client: str
    name: str
    hash: bytes = _sealed(unique=True)
    prefix: str
    scopes: list[str] = Field(default_factory=list, sa_type=JSON)
    last_used_at: datetime | None = _time(default=None)
    revoked_at: datetime | None = _time(default=None)


class Idempotency(SQLModel, table=True):
    __tablename__ = "idempotency"
    client: str = _id()
    key: str = _id()
    created_at: datetime = _time()
    request_hash: bytes = _sealed()
    check_id: str | None = None
    batch_id: str | None = None
    expires: datetime = _time()
    __table_args__ = (Index("ix_idempotency_expires", "expires"),)


class Audit(SQLModel, table=True):
    __tablename__ = "audit"
    id: str = _id()
    who: str
    what: str
    about: str
    at: datetime = _time()


class Meta(SQLModel, table=True):
    __tablename__ = "meta"
    name: str = _id()
    value: str


def table(model: type[SQLModel]) -> Any:
    """The Core table of a model: statements are Core, models are the schema."""
    return model.__table__  # type: ignore[attr-defined]


questions = table(Question)
checks = table(Check)
moves = table(Move)
submissions = table(Submission)
sims = table(Sim)
processes = table(Process)
lanes = table(Lane)
lane_requests = table(LaneRequest)
tpdus = table(Tpdu)
messages = table(Message)
attributions = table(Attribution)
batches = table(Batch)
batch_rows = table(BatchRow)
phones = table(Phone)
phone_asks = table(PhoneAsk)
events = table(Event)
endpoints = table(Endpoint)
deliveries = table(Delivery)
keys = table(Key)
idempotency = table(Idempotency)
audit = table(Audit)
meta = table(Meta)
