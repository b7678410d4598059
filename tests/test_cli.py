"""The command line without a gateway: its help, wrong input, exit statuses, the database and the files themselves."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import cli_playing
import pytest
from cli_playing import FOUND, PROGRAM, SETTINGS, Said

from app.domain.errors import Conflict, GatewayError, Invalid, SettingsError, Unavailable
from app.faces.cli.asking import parse_fields, status_of_check
from app.faces.cli.commands import hoist
from app.faces.cli.output import EXIT_STATUS, Refused, exit_status, legible, rupiah
from modem.port import ModemError

COMMANDS = [
    "serve",
    "demo",
    "check",
    "batch",
    "services",
    "lanes",
    "messages",
    "doctor",
    "simulate",
    "phone",
    "keys",
    "config",
    "db",
]


say, config = cli_playing.say, cli_playing.config


# -- help, input, errors ---------------------------------------------------------------------------------------


def test_help_names_every_command_and_every_exit_status(say: Callable[..., Said]) -> None:
    said = say("--help")
    assert said.status == 0
    words = " ".join(said.out.split())
    assert all(re.search(rf"│ {command}\b", said.out) for command in COMMANDS)
    assert all(f"{status}: {meaning}" in words for status, meaning in EXIT_STATUS.items())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(say: Callable[..., Said], command: str) -> None:
    said = say(command, "--help")
    assert (said.status, said.err) == (0, "")
    assert f"bpjs-sms {command}" in said.out


def test_version(say: Callable[..., Said]) -> None:
    assert re.fullmatch(r"bpjs-sms \d+\.\d+\.\d+\S*\n", say("--version").out)
    assert list(say("--version", "--json").json) == ["version"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["chek"], "Did you mean 'check'?"),
        (["check"], "SERVICE"),
        (["check", "bpjstk-balance"], "FIELD=VALUE"),
        (["check", "bpjstk-balance", "kpj"], "FIELD=VALUE"),
        (["check", "bpjstk-balance", "kpj=1", "kpj=2"], "twice"),
        (["check", "bpjstk-balance", "kpj=1", "--wait", "soon"], "--wait"),
        (["check", "bpjstk-balance", "kpj=1", "--priorty", "1"], "--priority"),
        (["serve", "--simulated", "many"], "integer"),
        (["keys", "create", "payroll"], "--scope"),
        (["keys", "create", "payroll", "--scope", "check:write"], "checks:write"),
        (["serve"], "[[lanes]]"),
        (["serve"], "--simulated 2"),
        (["services", "show", "bpjstk-balanc"], "bpjstk-balance"),
        (["simulate", "--pty", "x", "--radio", "1"], "duration"),
        (["batch", "missing.csv"], "cannot be read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_wrong_input_is_a_sentence_and_status_2(
    say: Callable[..., Said], config: Path, arguments: list[str], words: str
) -> None:
    said = say("--config", config, *arguments)
    assert (said.status, said.out) == (2, "")
    assert words in said.err
    assert "Traceback" not in said.err
    as_json = say("--config", config, *arguments, "--json")
    assert (as_json.status, as_json.err) == (2, "")
    assert words in as_json.json["detail"]
    assert {"code", "blame", "title"} <= as_json.json.keys()


def test_wrong_settings_are_told_by_every_command(say: Callable[..., Said], config: Path) -> None:
    config.write_text("[sever]\nport = 1\n")
    for arguments in (
        ["config"],
        ["serve"],
        ["check", "a", "b=c"],
        ["lanes"],
        ["db", "info"],
        ["services"],
        ["keys", "list"],
    ):
        said = say("--config", config, *arguments)
        assert (said.status, said.out) == (2, "")
        assert "did you mean server?" in said.err


def test_settings_that_may_not_be_looked_at_are_no_fault_of_ours(say: Callable[..., Said]) -> None:
    said = say("--config", "x" * 300 + ".toml", "config")  # as with a folder that is another user's
    assert (said.status, said.out) == (2, "")
    assert "cannot be read by this user (File name too long)" in said.err
    assert "--config" in said.err


def test_no_gateway_is_status_4_and_says_how_to_start_one(
    say: Callable[..., Said], config: Path, tmp_path: Path
) -> None:
    (tmp_path / "cards.csv").write_text(f"kpj\n{FOUND}\n")
    for arguments in (
        ["check", "bpjstk-balance", f"kpj={FOUND}"],
        ["batch", str(tmp_path / "cards.csv"), "--service", "bpjstk-balance"],
        ["lanes"],
        ["messages"],
        ["phone", "list"],
        ["phone", "allow", "081200000001"],
    ):
        said = say("--config", config, *arguments)
        assert (said.status, said.out) == (4, "")
        assert "http://127.0.0.1:" in said.err
        assert "bpjs-sms serve" in said.err
        assert say("--json", "--config", config, *arguments).json["code"] == "unreachable"


class _Stranger(BaseHTTPRequestHandler):
    """Something else that speaks HTTP; breaks off first if told to."""

    breaks = 0
    keys: list[str | None] = []  # noqa: RUF012 one server a test, reset there
    none_sends = b'{"code": "unavailable", "detail": "No lane can send now. xl-1: plug the stick in."}'

    def do_GET(self) -> None:
        at_ready = self.path == "/health/ready"
        self.send_response(503 if at_ready else 404)
        self.end_headers()
        self.wfile.write(self.none_sends if at_ready else b"<h1>nothing here</h1>")

    def do_POST(self) -> None:
        type(self).keys.append(self.headers["Idempotency-Key"])
        if type(self).breaks:
            type(self).breaks -= 1
            self.close_connection = True
            return
        body = json.dumps({"id": "chk_1", "state": "queued"}).encode()
        self.send_response(202)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Not into the tests' output."""


@pytest.fixture
def stranger(config: Path) -> Iterator[Path]:
    _Stranger.breaks, _Stranger.keys = 0, []
    with HTTPServer(("127.0.0.1", 0), _Stranger) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        config.write_text(SETTINGS.format(port=server.server_address[1]))
        yield config
        server.shutdown()
        thread.join()


def test_something_else_at_that_address_is_told(say: Callable[..., Said], stranger: Path) -> None:
    said = say("--config", stranger, "lanes")
    assert said.status == 4
    assert "not this gateway" in said.err


def test_a_call_that_broke_off_is_made_again_under_the_same_key(
    say: Callable[..., Said], stranger: Path
) -> None:
    _Stranger.breaks = 2
    said = say("--config", stranger, "check", "x", "a=b", "--no-wait", "--json")
    assert (said.status, said.json["id"]) == (0, "chk_1")
    assert len(_Stranger.keys) == 3
    assert len(set(_Stranger.keys)) == 1
    assert _Stranger.keys[0]


def test_a_check_that_no_lane_can_send_says_why_at_once(say: Callable[..., Said], stranger: Path) -> None:
    said = say("--config", stranger, "check", "x", "a=b", "--wait", "1ms")
    assert "No lane can send now. xl-1: plug the stick in." in said.err


def test_a_gateway_that_always_breaks_off_is_status_4(say: Callable[..., Said], stranger: Path) -> None:
    _Stranger.breaks = 99
    said = say("--config", stranger, "check", "x", "a=b", "--no-wait")
    assert said.status == 4
    assert "broke off" in said.err


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SettingsError("x"), 2),
        (Invalid("x"), 2),
        (Refused(422, {"code": "invalid"}, "x"), 3),
        (Refused(401, {"code": "unauthenticated"}, "x"), 3),
        (Refused(503, {"code": "unavailable"}, "x"), 3),
        (Refused(500, {"code": "internal"}, "x"), 1),
        (Conflict("x"), 2),
        (Unavailable("x"), 4),
        (GatewayError("served", "x"), 4),
        (GatewayError("unreachable", "x"), 4),
        (GatewayError("internal", "x"), 1),
        (ModemError("port_missing", "x"), 4),
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'code', '')}",
)
def test_each_error_has_its_exit_status(error: Exception, status: int) -> None:
    assert exit_status(error) == status
    assert status in EXIT_STATUS


@pytest.mark.parametrize(
    ("state", "outcome", "status"),
    [
        ("answered", "found", 0),
        ("answered", "not_found", 6),
        ("answered", "unrecognised", 6),
        ("no_reply", None, 5),
        ("no_reply", "interim", 5),
        ("failed", None, 5),
        ("expired", None, 5),
        ("cancelled", None, 5),
        ("uncertain", None, 5),
        ("queued", None, 5),
    ],
)
def test_each_end_of_a_check_has_its_exit_status(state: str, outcome: str | None, status: int) -> None:
    assert status_of_check({"state": state, "outcome": outcome}) == status


@pytest.mark.parametrize(
    ("arguments", "hoisted"),
    [
        (["lanes", "--json"], ["--json", "lanes"]),
        (["--json", "lanes", "--json"], ["--json", "lanes"]),
        (["lanes", "--config", "f", "--json"], ["--json", "--config", "f", "lanes"]),
        (["lanes", "--config=f"], ["--config=f", "lanes"]),
        (["check", "--", "--json"], ["check", "--", "--json"]),
        (["lanes", "--config"], ["--config", "lanes"]),
        ([], []),
    ],
)
def test_common_options_may_stand_anywhere(arguments: list[str], hoisted: list[str]) -> None:
    assert hoist(arguments) == hoisted


def test_fields_may_hold_an_equals_sign() -> None:
    assert parse_fields(["kpj=99012345678", "note=a=b", "empty="]) == {
        "kpj": "99012345678",
        "note": "a=b",
        "empty": "",
    }


def test_what_a_text_holds_cannot_play_with_the_terminal() -> None:
    assert legible("a\x1b[31mb\x07\x9bc\rd\ne") == "a�[31mb��c�d\ne"


def test_rupiah() -> None:
    assert [rupiah(amount) for amount in (0, 350, 12_345_678)] == ["Rp 0", "Rp 350", "Rp 12.345.678"]


# -- the database and the files themselves --------------------------------------------------------------------


def test_a_key_is_made_before_the_first_serve_listed_and_ended(
    say: Callable[..., Said], config: Path
) -> None:
    made = say(
        "--config",
        config,
        "keys",
        "create",
        "payroll",
        "--scope",
        "checks:write",
        "--scope",
        "checks:read",
        "--json",
    )
    assert (made.status, made.err) == (0, "")
    assert made.json["key"].startswith("bsk_")
    listed = say("--config", config, "keys", "list")
    assert made.json["id"] in listed.out
    assert made.json["key"] not in listed.out
    ended = say("--config", config, "keys", "revoke", made.json["id"], "--json")
    assert ended.json["revoked_at"] is not None
    assert say("--config", config, "keys", "list", "--json").json["items"] == [ended.json]


def test_where_no_key_is_none_is_looked_for_and_a_new_database_is_told(
    say: Callable[..., Said], config: Path
) -> None:
    assert "keys create" in say("--config", config, "keys", "list").out
    assert say("--config", config, "keys", "list", "--json").json == {"items": []}
    assert say("--config", config, "keys", "revoke", "key_none").status == 4
    assert not (config.parent / "gateway.db").exists()
    made = say("--config", config, "keys", "create", "payroll", "--scope", "*")
    assert made.out.startswith("bsk_")
    assert f"The database {config.parent / 'gateway.db'} was made with it" in made.err
    assert "was made with it" not in say("--config", config, "keys", "create", "hr", "--scope", "*").err
    unknown = say("--config", config, "keys", "revoke", "key_none")
    assert (unknown.status, "keys list" in unknown.err) == (2, True)


def test_the_database_is_made_described_and_checked(say: Callable[..., Said], config: Path) -> None:
    assert say("--config", config, "db", "info").status == 4
    assert not (config.parent / "gateway.db").exists()
    assert say("--config", config, "db", "migrate").status == 0
    info = say("--config", config, "db", "info", "--json").json
    assert info["kind"] == "SQLite"
    assert info["schema"]
    assert info["rows"]["checks"] == 0
    assert say("--config", config, "db", "check", "--json").json == {"ok": True, "faults": []}


def test_other_keys_and_a_newer_version_are_status_2(say: Callable[..., Said], config: Path) -> None:
    say("--config", config, "db", "migrate")
    keys = config.parent / "bpjs-sms.keys"
    right = keys.read_bytes()
    keys.unlink()
    assert say("--config", config, "db", "info").status == 2
    keys.write_bytes(right)
    with sqlite3.connect(config.parent / "gateway.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    said = say("--config", config, "db", "info")
    assert said.status == 2
    assert "newer version" in said.err


def test_a_damaged_database_is_told(say: Callable[..., Said], config: Path) -> None:
    say("--config", config, "db", "migrate")
    file = config.parent / "gateway.db"
    with sqlite3.connect(file) as database:
        root = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'checks'").fetchone()[0]
        size = database.execute("PRAGMA page_size").fetchone()[0]
    database.close()
    whole = file.read_bytes()
    file.write_bytes(whole[: (root - 1) * size] + b"\xff" * 64 + whole[(root - 1) * size + 64 :])
    said = say("--config", config, "db", "check")
    assert (said.status, said.err) == (1, "")
    assert "the file is damaged" in said.out
    assert "restore its last copy" in said.out
    file.write_bytes(b"no database" * 1000)
    said = say("--config", config, "db", "check")
    assert (said.status, said.out) == (4, "")
    assert "not a database" in said.err


def test_config_prints_what_is_in_force(say: Callable[..., Said], config: Path) -> None:
    said = say("--config", config, "config")
    assert said.status == 0
    assert str(config) in said.out.splitlines()[0]
    again = config.parent / "again.toml"
    again.write_text(said.out)
    assert say("--config", again, "config", "--json").json == say("--config", config, "config", "--json").json


def test_services_are_listed_shown_checked_and_tested(say: Callable[..., Said], config: Path) -> None:
    names = [item["name"] for item in say("--config", config, "services", "--json").json["items"]]
    assert {"bpjskes-status", "bpjstk-balance"} <= set(names)
    assert names == [
        item["name"] for item in say("--config", config, "services", "list", "--json").json["items"]
    ]
    shown = say("--config", config, "services", "show", "bpjstk-balance")
    assert "BALANCE#{kpj}# to 2757" in shown.out
    assert re.search(r"settle +1s", shown.out)
    assert say("--config", config, "services", "show", "bpjstk-balance", "--json").json["per_hour"] > 0
    assert say("--config", config, "services", "lint", "--json").json["problems"] == []
    tested = say("--config", config, "services", "test", "--json").json
    assert tested["wrong"] == 0
    assert tested["examples"] > 0


def test_an_own_service_file_with_a_wrong_example_is_told(say: Callable[..., Said], config: Path) -> None:
    own = config.parent / "services.d"
    own.mkdir()
    (own / "broken.toml").write_text("name = ")
    said = say("--config", config, "services")
    assert said.status == 2
    assert "broken.toml" in said.err
    (own / "broken.toml").unlink()
    shipped = (Path(__file__).parent.parent / "templates_sms" / "bpjstk-balance.toml").read_text("utf-8")
    (own / "mine.toml").write_text(
        shipped + '\n[[examples]]\nreply = "balance"\ntext = "Halo"\nprovenance = "synthetic"\n', "utf-8"
    )
    said = say("--config", config, "services", "test", "bpjstk-balance")
    assert said.status == 2
    assert "'Halo' should be read as 'balance'" in said.out


def test_simulated_dongles_stand_on_ptys_until_they_are_ended(tmp_path: Path) -> None:
    folder = tmp_path / "ports"
    with subprocess.Popen(
        [*PROGRAM, "simulate", "--pty", str(folder), "--sims", "2"], stderr=subprocess.PIPE
    ) as process:
        try:
            for _ in range(200):
                if (folder / "xl-2").is_symlink():
                    break
                assert process.poll() is None
                threading.Event().wait(0.05)
            assert {"xl-1", "xl-1.app", "xl-2"} <= {entry.name for entry in folder.iterdir()}
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
