"""What a stranger does wrong, or a machine does to a stranger: each ends in a sentence, and loses nothing."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from http_serving import KPJ, Gateway, serving
from sqlalchemy import create_engine, text

from app.faces.cli.commands import run
from app.faces.phone import word_answer
from app.store.checks import CheckView, get_check

PROGRAM = [sys.executable, "-c", "from app.faces.cli import main; main()"]
SERVE = ["serve", "--simulated", "1", "--port", "0", "--with-key", "--json"]
SETTINGS = """\
database = "sqlite:///gateway.db"
[server]
max_batch = 2048
"""
SILENT = "99012345693"
PATHED = {"PYTHONPATH": str(Path(__file__).parent.parent)}


@dataclass
class Served:
    """A gateway in a process of its own; what it printed."""

    folder: Path
    url: str
    key: str
    process: subprocess.Popen[str]

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=40)


@contextmanager
def served(folder: Path, settings: str) -> Iterator[Served]:
    (folder / "bpjs-sms.toml").write_text(settings)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*PROGRAM, *SERVE], cwd=folder, env=_environment(), stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            assert process.stdout is not None
            printed = ""
            while not printed.endswith("}\n"):
                line = process.stdout.readline()
                assert line, (folder / "log").read_text()
                printed += line
            told = json.loads(printed)
            yield Served(folder, told["url"], told["key"], process)
            process.send_signal(signal.SIGTERM)
            assert process.stdout.read() == ""  # JSON and nothing else
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.communicate()


def _environment() -> dict[str, str]:
    # Unbuffered output would hide what a pipe never gets.
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("BPJS_SMS_") and name != "PYTHONUNBUFFERED"
    }
    return kept | PATHED


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("gateway"), SETTINGS) as running:
        yield running


@dataclass
class Said:
    status: int
    out: str
    err: str


@pytest.fixture
def say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Run one command line in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Said:
        if arguments[0] == "serve":  # has signals and a log of its own
            ended = subprocess.run(
                [*PROGRAM, *arguments], env=os.environ | PATHED, capture_output=True, text=True, timeout=20
            )
            told = Said(ended.returncode, ended.stdout, ended.stderr)
        else:
            told = Said(run(arguments), *capsys.readouterr())
        assert "Traceback" not in told.err
        return told

    return call


# -- a running gateway --------------------------------------------------------------------------------------------


def test_the_key_and_the_url_that_are_printed_work(gateway: Served) -> None:
    with gateway.client() as client:
        assert client.get("/v1/lanes").status_code == 200


def test_a_second_gateway_on_the_database_ends_no_key_of_the_first(gateway: Served) -> None:
    second = subprocess.run(
        [*PROGRAM, *SERVE], cwd=gateway.folder, env=_environment(), capture_output=True, text=True, timeout=20
    )
    assert second.returncode == 4
    assert json.loads(second.stdout)["code"] == "served"
    with gateway.client() as client:
        threading.Event().wait(2.1)  # a key is remembered for two seconds
        assert client.get("/v1/lanes").status_code == 200


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/v1/checks", "/docs"])
def test_head_is_get_without_the_body(gateway: Served, path: str) -> None:
    with gateway.client() as client:
        head, got = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("/v1/checks?since=2026-11-24", "with its zone, such as 2026-11-24T12:00:00Z"),
        ("/v1/checks?until=yesterday", "with its zone, such as 2026-11-24T12:00:00Z"),
        ("/v1/checks?limit=many", '"limit" is a whole number.'),
    ],
)
def test_a_parameter_is_explained_as_one(gateway: Served, query: str, said: str) -> None:
    with gateway.client() as client:
        answer = client.get(query)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_a_batch_over_the_limit_is_to_be_split(gateway: Served) -> None:
    headers = {"Content-Type": "text/csv"}
    rows = b"kpj\n" + b"99012345678\n" * 200
    with gateway.client() as client:
        for content in (rows, iter([rows[:1000], rows[1000:]])):
            answer = client.post("/v1/batches?service=bpjstk-balance", content=content, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
            assert "Split the file" in answer.json()["detail"]
        answer = client.post(
            "/v1/batches?service=bpjstk-balance&dry_run=maybe", content=b"kpj\n", headers=headers
        )
        assert answer.json()["detail"] == 'Nothing was done: "dry_run" is true or false.'
        assert client.get("/v1/batches").json()["items"] == []


def test_a_dry_run_minds_no_answers_that_are_there(
    gateway: Served, say: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BPJS_SMS_CLIENT__URL", gateway.url)
    monkeypatch.setenv("BPJS_SMS_CLIENT__KEY", gateway.key)
    (tmp_path / "cards.csv").write_text("kpj\n99012345678\n")
    (tmp_path / "cards.answers.csv").write_text("kept")
    assert say("batch", "cards.csv", "--service", "bpjstk-balance", "--dry-run").status == 0
    refused = say("batch", "cards.csv", "--service", "bpjstk-balance")
    assert refused.status == 2
    assert refused.err.startswith("cards.answers.csv is there already")  # the name as it is written
    assert (tmp_path / "cards.answers.csv").read_text() == "kept"


def test_what_docs_offers_can_be_sent(gateway: Served) -> None:
    with gateway.client() as client:
        document = client.get("/openapi.json").json()
    posted = document["paths"]["/v1/checks"]["post"]
    assert {header["name"] for header in posted["parameters"]} == {"Prefer", "Idempotency-Key"}
    assert {"200", "202"} <= set(posted["responses"])
    assert "HTTPValidationError" not in document["components"]["schemas"]


# -- a database that goes away ------------------------------------------------------------------------------------


def test_what_was_accepted_stays_accepted_when_the_database_goes_away(
    postgres_server: str, tmp_path: Path
) -> None:
    name = f"t{uuid.uuid4().hex}"
    admin = create_engine(f"{postgres_server}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as conn:
        conn.execute(text(f'CREATE DATABASE "{name}"'))
    answers: list[httpx.Response] = []
    with served(tmp_path, f'database = "{postgres_server}/{name}"\n') as running, running.client() as client:

        def ask() -> None:
            answers.append(
                client.post(
                    "/v1/checks",
                    headers={"Prefer": "wait=30"},
                    json={"service": "bpjstk-balance", "fields": {"kpj": SILENT}},
                )
            )

        asking = threading.Thread(target=ask)
        asking.start()
        wait_until(lambda: bool(client.get("/v1/checks").json()["items"]))
        with admin.connect() as conn:
            conn.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
        asking.join(35)
        refused = client.post("/v1/checks", json={"service": "bpjstk-balance", "fields": {"kpj": KPJ}})
        wait_until(lambda: client.get("/health/ready").status_code == 503)
        assert "database could not be written" in client.get("/health/ready").json()["detail"]
        assert client.get("/health/live").status_code == 200
    admin.dispose()
    assert answers[0].status_code == 202
    assert answers[0].json()["fields"] == {"kpj": SILENT}
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert "Traceback" not in (tmp_path / "log").read_text()


def wait_until(true: Callable[[], bool], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        threading.Event().wait(0.1)


# -- command lines ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--json"], "There is no command. See `bpjs-sms --help`."),
        (["keys", "--json"], "Missing command. See `bpjs-sms keys --help`."),
        (["check", "--json", "--jsn"], "No such option: --jsn. See `bpjs-sms check --help`."),
    ],
)
def test_with_json_usage_is_json_and_nothing_else(
    say: Callable[..., Said], arguments: list[str], said: str
) -> None:
    told = say(*arguments)
    assert told.status == 2
    assert json.loads(told.out)["detail"] == said
    assert told.err == ""


def test_refusals_are_sentences(say: Callable[..., Said]) -> None:
    assert say("services", "show", "nix").err.startswith('There is no service "nix" (known: ')
    assert '(did you mean "checks:read"?).' in say("keys", "create", "x", "--scope", "chekcs:read").err
    assert "server.host" in say("serve", "--help").out  # brackets would be taken for markup


# -- databases, keys and folders ----------------------------------------------------------------------------------


def test_a_keys_file_is_whole_or_named(say: Callable[..., Said], tmp_path: Path) -> None:
    keys = tmp_path / "bpjs-sms.keys"
    for make, said in (
        (lambda: keys.write_text(""), "is damaged ('keys' is missing)"),
        (keys.unlink, ""),
        (keys.mkdir, "cannot be read: Is a directory"),
    ):
        make()
        if said:
            told = say("keys", "create", "payroll", "--scope", "checks:read")
            assert (told.status, said in told.err) == (2, True), told


def test_keys_that_cannot_be_made_leave_nothing(
    say: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BPJS_SMS_SEALING__KEYS_FILE", "/proc/nowhere/keys")
    told = say("db", "migrate")
    assert told.status == 4
    assert "cannot be made" in told.err
    monkeypatch.delenv("BPJS_SMS_SEALING__KEYS_FILE")
    assert say("db", "migrate").status == 0
    assert [path.name for path in tmp_path.glob(".*")] == []
    assert (tmp_path / "bpjs-sms.keys").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda file: file.write_bytes(b"no database " * 999), "is damaged, or is something else"),
        (lambda file: _foreign(file), "another program's tables"),
        (lambda file: file.mkdir(), "may write in that folder"),
    ],
)
def test_a_file_that_is_no_database_of_ours(
    say: Callable[..., Said], tmp_path: Path, make: Callable[[Path], Any], said: str
) -> None:
    make(tmp_path / "bpjs-sms.db")
    told = say("keys", "list")
    assert told.status == 4
    assert said in told.err


def _foreign(file: Path) -> None:
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE checks (a)")
    database.close()


@pytest.mark.parametrize("command", [["keys", "list"], ["serve", "--simulated", "1", "--port", "0"]])
def test_a_folder_that_cannot_be(
    say: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BPJS_SMS_DATABASE", "sqlite:///file/gateway.db")
    told = say(*command)
    assert told.status == 4
    assert "in database =" in told.err


def test_a_lock_that_cannot_be_made(say: Callable[..., Said], tmp_path: Path) -> None:
    (tmp_path / "bpjs-sms.db.lock").mkdir()
    told = say("serve", "--simulated", "1", "--port", "0")
    assert told.status == 4
    assert "bpjs-sms.db.lock cannot be written" in told.err


# -- lanes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lanes", "said"),
    [
        (
            [{"name": "a", "port": "/dev/ttyNOPE"}, {"name": "b", "port": "/dev/ttyNOPE"}],
            "has the port /dev/ttyNOPE more than once",
        ),
        ([{"name": "a", "port": "auto"}], "needs iccid"),
    ],
)
def test_ports_that_cannot_work_are_refused_at_the_start(
    say: Callable[..., Said],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lanes: list[dict[str, str]],
    said: str,
) -> None:
    monkeypatch.setenv("BPJS_SMS_LANES", json.dumps(lanes))
    told = say("serve", "--port", "0")
    assert told.status == 2
    assert said in told.err
    assert list(tmp_path.iterdir()) == []


def test_a_misspelt_service_says_what_to_do(
    say: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BPJS_SMS_SERVICE__BPJSTK_BALANC__TIMEOUT", "5m")
    told = say("serve", "--simulated", "1", "--port", "0")
    assert told.status == 2
    assert 'did you mean "bpjstk-balance"?). Correct the name' in told.err


# -- people -------------------------------------------------------------------------------------------------------


def test_people_read_dates_day_first_and_how_many_digits_there_are(tmp_path: Path) -> None:
    with serving(tmp_path) as running, running.client("checks:write") as client:
        body = {"service": "bpjstk-balance", "fields": {"kpj": KPJ}}
        asked = client.post("/v1/checks", json=body).json()["id"]
        record = {"balance": 5000, "as_of": "2026-10-31", "arrears_months": 3, "active_until": "2026-12"}
        running.answer(asked, "Saldo", record)
        said = " ".join(word_answer(_view(running, asked), "Nomor KPJ 990*****678", True, late=False))
    assert said == (
        "Nomor KPJ 990*****678: saldo Rp5.000, per 31-10-2026, aktif s.d. 12-2026, menunggak 3 bulan."
    )


def _view(running: Gateway, check_id: str) -> CheckView:
    return running.store.read(lambda tx: get_check(tx, check_id, None))
