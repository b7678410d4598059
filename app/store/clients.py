"""Who may ask: keys with scopes, what an Idempotency-Key was used for, and who changed what."""

from __future__ import annotations

import hashlib
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches

from sqlalchemy import bindparam, delete, func, insert, or_, select, update

from app.domain.errors import Invalid, NotFound
from app.store import tables as t
from app.store.engine import Tx, new_id

SCOPES = (
    "checks:write",
    "checks:read",
    "batches:write",
    "batches:read",
    "services:read",
    "lanes:read",
    "lanes:write",
    "messages:read",
    "messages:write",
    "endpoints:write",
    "endpoints:read",
    "events:read",
    "phone:read",
    "phone:write",
    "raw:read",
    "*",
)
"""Every scope (design, section 6); `*` is all of them, and other clients' checks too."""

SECRET_HEAD = "bsk_"
SECRET_LENGTH = 40  # base62 characters: 238 bits, so that a plain SHA-256 of it cannot be turned round
PREFIX_LENGTH = len(SECRET_HEAD) + 8
REMEMBERED = timedelta(hours=24)  # how long an Idempotency-Key is remembered
USED_STEP = timedelta(minutes=1)  # last_used_at is not written more often
_ALPHABET = string.ascii_letters + string.digits

_k = t.keys.c
_i = t.idempotency.c


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key without its secret, of which only the beginning is kept."""

    id: str
    client: str
    name: str
    prefix: str
    scopes: tuple[str, ...]
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None

    def allows(self, scope: str) -> bool:
        return scope in self.scopes or "*" in self.scopes

    @property
    def sees(self) -> str | None:
        """The client whose checks it sees; None: every client's."""
        return None if "*" in self.scopes else self.client


@dataclass(frozen=True, slots=True)
class Remembered:
    """What an Idempotency-Key made the first time."""

    check_id: str | None
    batch_id: str | None


def create_key(
    tx: Tx, *, name: str, scopes: Sequence[str], now: datetime, client: str | None = None
) -> tuple[KeyView, str]:
    """Make a key; the secret is given back this once. Invalid names every wrong scope and the nearest right one."""
    faults: list[dict[str, object]] = []
    if not name.strip():
        faults.append(
            {"field": "name", "code": "empty", "detail": "the key has no name: say who will use it"}
        )
    if not scopes:
        faults.append(
            {"field": "scopes", "code": "empty", "detail": f"name at least one scope of: {', '.join(SCOPES)}"}
        )
    for scope in scopes:
        if scope not in SCOPES:
            near = get_close_matches(scope, SCOPES, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"the scopes are {', '.join(SCOPES)}"
            faults.append(
                {
                    "field": "scopes",
                    "code": "unknown_scope",
                    "detail": f'there is no scope "{scope}" ({hint})',
                }
            )
    if faults:
        raise Invalid(
            "The key was not made: " + "; ".join(str(fault["detail"]) for fault in faults) + ".",
            faults=faults,
        )
    secret = SECRET_HEAD + "".join(secrets.choice(_ALPHABET) for _ in range(SECRET_LENGTH))
    view = KeyView(
        id=new_id("key", now),
        client=client or name,
        name=name,
        prefix=secret[:PREFIX_LENGTH],
        scopes=tuple(dict.fromkeys(scopes)),
        created_at=now,
        last_used_at=None,
        revoked_at=None,
    )
    tx.execute(
        insert(t.keys),
        {
            "id": view.id,
            "created_at": now,
            "client": view.client,
            "name": name,
            "hash": _hash(secret),
            "prefix": view.prefix,
            "scopes": list(view.scopes),
        },
    )
    return view, secret


def list_keys(tx: Tx) -> list[KeyView]:
    """Every key, revoked ones too, oldest first."""
    return [_view(row) for row in tx.execute(select(t.keys).order_by(_k.id))]


def revoke_key(tx: Tx, id_or_prefix: str, now: datetime) -> KeyView:
    """End a key by its id or the beginning of its secret; one that has ended stays as it is. NotFound, Invalid."""
    rows = tx.execute(
        select(t.keys).where(or_(_k.id == id_or_prefix, _k.prefix == id_or_prefix[:PREFIX_LENGTH]))
    ).all()
    if not rows:
        raise NotFound(
            f'There is no key "{id_or_prefix[:PREFIX_LENGTH]}". `bpjs-sms keys list` shows ids and prefixes.'
        )
    if len(rows) > 1:
        raise Invalid(
            f'"{id_or_prefix[:PREFIX_LENGTH]}" is the beginning of {len(rows)} keys: name the one by its id.'
        )
    tx.execute(update(t.keys).where(_k.id == rows[0].id, _k.revoked_at.is_(None)).values(revoked_at=now))
    return _view(tx.execute(select(t.keys).where(_k.id == rows[0].id)).one())


_BY_HASH = select(t.keys).where(_k.hash == bindparam("wanted"), _k.revoked_at.is_(None))


def authenticate(tx: Tx, secret: str) -> KeyView | None:
    """The key that this secret is, unless it is revoked."""
    row = tx.execute(_BY_HASH, {"wanted": _hash(secret)}).one_or_none()
    return None if row is None else _view(row)


def key_used(tx: Tx, key_id: str, now: datetime) -> None:
    """Note that a key is in use, at most once in USED_STEP."""
    tx.execute(
        update(t.keys)
        .where(_k.id == key_id, or_(_k.last_used_at.is_(None), _k.last_used_at <= now - USED_STEP))
        .values(last_used_at=now)
    )


# -- idempotency --------------------------------------------------------------------------------------------------


def recall(tx: Tx, client: str, key: str, request_hash: bytes, now: datetime) -> Remembered | None:
    """What this client's Idempotency-Key made in the last 24 h; Invalid (`idempotency_mismatch`) if it was another request.

    Call it before `remember` in the same transaction: from here on no other transaction uses this key.
    """
    if tx.postgres:
        tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"{client}\n{key}", 0))))
    tx.execute(delete(t.idempotency).where(_i.client == client, _i.key == key, _i.expires <= now))
    row = tx.execute(select(t.idempotency).where(_i.client == client, _i.key == key)).one_or_none()
    if row is None:
        return None
    if bytes(row.request_hash) != request_hash:
        raise Invalid(
            "This Idempotency-Key was used for another request. Send a new key with a new request, or the very same request again.",
            code="idempotency_mismatch",
        )
    return Remembered(row.check_id, row.batch_id)


def remember(
    tx: Tx,
    client: str,
    key: str,
    request_hash: bytes,
    *,
    now: datetime,
    check_id: str | None = None,
    batch_id: str | None = None,
) -> None:
    """Keep what this key made for 24 h, in the transaction that made it."""
    tx.execute(
        insert(t.idempotency),
        {
            "client": client,
            "key": key,
            "created_at": now,
            "request_hash": request_hash,
            "check_id": check_id,
            "batch_id": batch_id,
            "expires": now + REMEMBERED,
        },
    )


def forget_expired(tx: Tx, now: datetime) -> int:
    """Drop what is older than 24 h; how many."""
    return int(tx.execute(delete(t.idempotency).where(_i.expires <= now)).rowcount)


# -- audit --------------------------------------------------------------------------------------------------------


def write_audit(tx: Tx, who: str, what: str, about: str, now: datetime) -> None:
    """Who did what to what. `about` holds ids and names, no identifier and no full number."""
    tx.execute(
        insert(t.audit), {"id": new_id("aud", now), "who": who, "what": what, "about": about, "at": now}
    )


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _view(row: t.Key) -> KeyView:
    return KeyView(
        id=row.id,
        client=row.client,
        name=row.name,
        prefix=row.prefix,
        scopes=tuple(row.scopes),
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )
