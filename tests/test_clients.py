"""Keys, Idempotency-Keys and the audit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from app.domain.errors import Invalid, NotFound
from app.store import tables as t
from app.store.clients import (
    SCOPES,
    Remembered,
    authenticate,
    create_key,
    forget_expired,
    key_used,
    list_keys,
    recall,
    remember,
    revoke_key,
    write_audit,
)
from app.store.engine import Store

NOW = datetime(2026, 11, 23, 2, 3, tzinfo=UTC)


def test_a_key_opens_and_its_secret_is_kept_nowhere(store: Store) -> None:
    key, secret = store.write(lambda tx: create_key(tx, name="payroll", scopes=["checks:write"], now=NOW))
    assert secret.startswith("bsk_")
    assert len(secret) == 44
    assert key.client == "payroll"
    assert key.prefix == secret[:12]
    assert store.read(lambda tx: authenticate(tx, secret)) == key
    assert store.read(lambda tx: authenticate(tx, secret[:-1])) is None
    assert store.read(list_keys) == [key]
    row = store.read(lambda tx: tx.execute(select(t.keys)).one())
    assert secret[12:] not in repr(tuple(row))


def test_scopes() -> None:
    assert len(set(SCOPES)) == len(SCOPES) == 16


@pytest.mark.parametrize(
    ("scopes", "said"),
    [
        (["check:write"], 'did you mean "checks:write"'),
        (["checks:read", "xyzzy"], "the scopes are checks:write"),
        ([], "at least one scope"),
    ],
)
def test_wrong_scopes_are_named_with_the_nearest(store: Store, scopes: list[str], said: str) -> None:
    with pytest.raises(Invalid) as caught:
        store.write(lambda tx: create_key(tx, name="payroll", scopes=scopes, now=NOW))
    assert said in caught.value.detail
    assert caught.value.code == "invalid"
    assert store.read(list_keys) == []


def test_every_fault_of_a_new_key_at_once(store: Store) -> None:
    with pytest.raises(Invalid) as caught:
        store.write(lambda tx: create_key(tx, name=" ", scopes=["a", "b"], now=NOW))
    assert [fault["field"] for fault in caught.value.faults] == ["name", "scopes", "scopes"]


@pytest.mark.parametrize("by", ["id", "prefix"])
def test_a_revoked_key_opens_nothing(store: Store, by: str) -> None:
    key, secret = store.write(lambda tx: create_key(tx, name="payroll", scopes=["*"], now=NOW))
    later = NOW + timedelta(hours=1)
    revoked = store.write(lambda tx: revoke_key(tx, getattr(key, by), later))
    assert revoked.revoked_at == later
    assert store.read(lambda tx: authenticate(tx, secret)) is None
    again = store.write(lambda tx: revoke_key(tx, key.id, later + timedelta(hours=1)))
    assert again.revoked_at == later


def test_revoking_a_key_that_is_not_there(store: Store) -> None:
    with pytest.raises(NotFound, match="keys list"):
        store.write(lambda tx: revoke_key(tx, "key_none", NOW))


def test_what_a_key_may_and_sees(store: Store) -> None:
    few, _ = store.write(
        lambda tx: create_key(tx, name="one", client="clinic", scopes=["checks:read"], now=NOW)
    )
    every, _ = store.write(lambda tx: create_key(tx, name="two", scopes=["*"], now=NOW))
    assert few.allows("checks:read")
    assert not few.allows("raw:read")
    assert few.sees == "clinic"
    assert every.allows("raw:read")
    assert every.sees is None


def test_use_is_noted_once_a_minute(store: Store) -> None:
    key, _ = store.write(lambda tx: create_key(tx, name="payroll", scopes=["*"], now=NOW))
    seen = []
    for seconds in (0, 59, 60):
        at = NOW + timedelta(seconds=seconds)
        store.write(lambda tx, at=at: key_used(tx, key.id, at))  # type: ignore[misc]
        seen.append(store.read(list_keys)[0].last_used_at)
    assert seen == [NOW, NOW, NOW + timedelta(seconds=60)]


def test_an_idempotency_key_is_remembered_for_a_day_and_a_client(store: Store) -> None:
    store.write(lambda tx: remember(tx, "payroll", "k", b"one", now=NOW, check_id="chk_1"))
    almost = NOW + timedelta(hours=24) - timedelta(microseconds=1)
    assert store.write(lambda tx: recall(tx, "payroll", "k", b"one", almost)) == Remembered("chk_1", None)
    assert store.write(lambda tx: recall(tx, "clinic", "k", b"one", almost)) is None
    with pytest.raises(Invalid) as caught:
        store.write(lambda tx: recall(tx, "payroll", "k", b"two", almost))
    assert caught.value.code == "idempotency_mismatch"
    assert store.write(lambda tx: recall(tx, "payroll", "k", b"two", NOW + timedelta(hours=24))) is None


def test_expired_idempotency_keys_are_dropped(store: Store) -> None:
    store.write(lambda tx: remember(tx, "payroll", "old", b"x", now=NOW, batch_id="bat_1"))
    store.write(lambda tx: remember(tx, "payroll", "new", b"x", now=NOW + timedelta(hours=1)))
    assert store.write(lambda tx: forget_expired(tx, NOW + timedelta(hours=24))) == 1
    left = store.read(lambda tx: tx.execute(select(t.idempotency.c.key)).scalars().all())
    assert left == ["new"]


def test_the_audit_keeps_who_did_what(store: Store) -> None:
    store.write(lambda tx: write_audit(tx, "payroll", "lane.changed", "xl-1: paused", NOW))
    row = store.read(lambda tx: tx.execute(select(t.audit)).one())
    assert (row.who, row.what, row.about, row.at) == ("payroll", "lane.changed", "xl-1: paused", NOW)
