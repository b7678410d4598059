"""The database: durable when acknowledged, grouped commits that do not mix, keys, versions, who serves it."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from conftest import START, HandClock
from sqlalchemy import insert, select, text

from app.domain.errors import GatewayError, SettingsError, Unavailable
from app.store import tables as t
from app.store.engine import Served, Store, Tx, new_id, open_store
from app.store.sealing import Keyring, make_keys


def put(tx: Tx, name: str, value: str = "x") -> str:
    tx.execute(insert(t.meta), {"name": name, "value": value})
    return name


def names(store: Store) -> set[str]:
    return set(store.read(lambda tx: tx.execute(select(t.meta.c.name)).scalars().all())) - {"keys"}


def test_writes_handed_in_together_all_come_back(store: Store) -> None:
    futures = [store.submit(lambda tx, n=n: put(tx, f"n{n}")) for n in range(300)]
    assert [future.result() for future in futures] == [f"n{n}" for n in range(300)]
    assert len(names(store)) == 300


def test_one_that_fails_takes_no_other_with_it(store: Store) -> None:
    def fails(tx: Tx) -> None:
        put(tx, "half")
        raise RuntimeError("mine alone")

    def twice(tx: Tx) -> None:
        put(tx, "a")
        put(tx, "a")

    good = [store.submit(lambda tx, n=n: put(tx, f"n{n}")) for n in range(20)]
    bad = [store.submit(fails), store.submit(twice)]
    more = [store.submit(lambda tx, n=n: put(tx, f"m{n}")) for n in range(20)]
    for future in good + more:
        future.result()
    for future in bad:
        assert future.exception() is not None
    assert names(store) == {f"n{n}" for n in range(20)} | {f"m{n}" for n in range(20)}


def test_nothing_is_acknowledged_that_a_full_disk_did_not_take(sqlite_store: Store, tmp_path: Path) -> None:
    put_one = lambda n: sqlite_store.submit(lambda tx: put(tx, f"n{n}", "x" * 3000))  # noqa: E731

    def limit(tx: Tx, pages: int) -> None:
        tx.execute(text(f"PRAGMA max_page_count={pages}"))

    used = sqlite_store.read(lambda tx: tx.execute(text("PRAGMA page_count")).scalar_one())
    sqlite_store.write(lambda tx: limit(tx, used + 40))
    written: set[str] = set()
    refused: list[str] = []
    for future, n in [(put_one(n), n) for n in range(200)]:
        try:
            future.result()
            written.add(f"n{n}")
        except Unavailable as error:
            refused.append(error.detail)
    assert written
    assert refused
    assert all("nothing was accepted" in detail for detail in refused)
    sqlite_store.write(lambda tx: limit(tx, 1_000_000))
    sqlite_store.write(lambda tx: put(tx, "again"))
    sqlite_store.close()
    with sqlite3.connect(tmp_path / "gateway.db") as raw:
        kept = {row[0] for row in raw.execute("SELECT name FROM meta")} - {"keys"}
    raw.close()
    assert kept == written | {"again"}


def test_a_reader_cannot_write(sqlite_store: Store) -> None:
    with pytest.raises(Unavailable):
        sqlite_store.read(lambda tx: put(tx, "no"))


def test_listeners_hear_of_each_commit_after_it(store: Store) -> None:
    heard: list[str] = []
    store.listen(lambda done: heard.extend(name for tx in done for name in sorted(tx.touched)))
    store.write(lambda tx: tx.touched.add("qst_1"))
    with pytest.raises(RuntimeError):
        store.write(lambda tx: (tx.touched.add("qst_2"), (_ for _ in ()).throw(RuntimeError()))[0])
    assert heard == ["qst_1"]


def test_a_closed_store_takes_nothing_more(store: Store) -> None:
    store.close()
    with pytest.raises(Unavailable):
        store.submit(lambda tx: put(tx, "late"))


def test_what_was_handed_in_before_the_close_is_durable(tmp_path: Path) -> None:
    url, keys = f"sqlite:///{tmp_path}/x.db", tmp_path / "k"
    first = open_store(url, keys, serving=True)
    futures = [first.submit(lambda tx, n=n: put(tx, f"n{n}")) for n in range(500)]
    first.close()
    assert all(future.done() for future in futures)
    second = open_store(url, keys, serving=True)
    assert len(names(second)) == 500
    second.close()


def test_the_keys_file_is_private_and_made_only_for_an_empty_database(
    database_url: str, tmp_path: Path
) -> None:
    keys = tmp_path / "keys" / "k"
    open_store(database_url, keys, serving=True).close()
    assert keys.stat().st_mode & 0o777 == 0o600
    kept = keys.read_bytes()
    open_store(database_url, keys, serving=True).close()
    keys.unlink()
    with pytest.raises(SettingsError, match="are missing"):
        open_store(database_url, keys, serving=True)
    open_store(f"sqlite:///{tmp_path}/other.db", keys, serving=True).close()
    with pytest.raises(SettingsError, match="sealed with other keys"):
        open_store(database_url, keys, serving=True)
    keys.write_text("nonsense")
    with pytest.raises(SettingsError, match="damaged"):
        open_store(database_url, keys, serving=True)
    keys.write_bytes(kept)
    open_store(database_url, keys, serving=True).close()


def test_a_newer_database_is_refused_untouched(database_url: str, tmp_path: Path) -> None:
    store = open_store(database_url, tmp_path / "k", serving=True)
    store.write(lambda tx: tx.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    store.close()
    with pytest.raises(SettingsError, match="newer version"):
        open_store(database_url, tmp_path / "k", serving=True)


def test_the_schema_is_what_the_tables_say(database_url: str, tmp_path: Path) -> None:
    from alembic import command

    from app.store.engine import alembic_config

    store = open_store(database_url, tmp_path / "k", serving=True)

    def check(tx: Tx) -> None:
        config = alembic_config()
        config.attributes["connection"] = tx.conn
        command.check(config)

    store.write(check)
    store.close()


def test_the_claim_finds_the_queue_by_its_index(store: Store) -> None:
    query = (
        "SELECT id FROM questions WHERE service = 'a' AND state = 'queued' AND not_before IS NULL AND wanted_sim IS NULL "
        "ORDER BY priority, rank, id LIMIT 1"
    )
    if store.sqlite:
        plan = store.read(lambda tx: tx.execute(text(f"EXPLAIN QUERY PLAN {query}")).all())
        assert "ix_ready" in str(plan)
        assert "TEMP B-TREE" not in str(plan)
    else:

        def explain(tx: Tx) -> str:
            tx.execute(text("SET LOCAL enable_seqscan = off"))
            return str(tx.execute(text(f"EXPLAIN {query}")).all())

        plan = store.write(explain)
        assert "ix_ready" in plan
        assert "Sort" not in plan


def test_a_database_that_cannot_be_reached_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GatewayError) as caught:
        open_store("postgresql+psycopg://nobody@127.0.0.1:1/none", tmp_path / "k", serving=True)
    assert caught.value.code == "unreachable"
    assert "127.0.0.1:1" in caught.value.detail


@pytest.mark.parametrize("url", ["sqlite://", "mysql://x/y", "nonsense", "postgresql://x/y"])
def test_a_database_address_that_is_none_says_what_to_write(url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="sqlite:///"):
        open_store(url, tmp_path / "k", serving=True)


def test_only_one_serves_a_database(tmp_path: Path) -> None:
    first = Served(tmp_path / "x.db")
    with pytest.raises(GatewayError, match="served already by process") as caught:
        Served(tmp_path / "x.db")
    assert caught.value.code == "served"
    first.release()
    Served(tmp_path / "x.db").release()


def test_ids_of_one_moment_count_up_and_later_ones_sort_behind(clock: HandClock) -> None:
    ids = [new_id("chk", START) for _ in range(3000)]
    ids.append(new_id("chk", clock.advance(microseconds=1)))
    ids.append(new_id("chk", clock.advance(seconds=1)))
    assert ids == sorted(set(ids))


def test_sealed_values_open_only_in_their_column() -> None:
    keys = make_keys()
    sealed = keys.seal("messages.text", "Saldo Rp 1")
    assert b"Saldo" not in sealed
    assert keys.unseal("messages.text", sealed) == "Saldo Rp 1"
    assert keys.seal("messages.text", "Saldo Rp 1") != sealed
    with pytest.raises(SettingsError):
        keys.unseal("messages.sender", sealed)
    with pytest.raises(SettingsError):
        make_keys().unseal("messages.text", sealed)
    assert keys.index("a", "1") == keys.index("a", "1") != keys.index("b", "1")


def test_old_keys_open_what_they_sealed() -> None:
    old = Keyring({1: b"a" * 32}, b"i" * 32)
    both = Keyring({1: b"a" * 32, 2: b"b" * 32}, b"i" * 32)
    assert both.unseal("x.y", old.seal("x.y", "text")) == "text"
    with pytest.raises(SettingsError, match="key 2"):
        old.unseal("x.y", both.seal("x.y", "text"))


def test_writers_of_many_threads_are_all_served(store: Store) -> None:
    def work(worker: int) -> None:
        for n in range(20):
            store.write(lambda tx, n=n: put(tx, f"w{worker}-{n}"))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names(store)) == 160
