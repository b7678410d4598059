"""The command line against a running gateway on simulated dongles: what it prints and how it ends."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cli_playing
import httpx
import pytest
from cli_playing import FOUND, PROGRAM, Said, write_settings

NOT_FOUND = "99012345690"
SILENT = ("0009912345693", "0009912345793", "0009912345893")


say, config = cli_playing.say, cli_playing.config


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The settings of a gateway that runs in a process of its own."""
    folder = tmp_path_factory.mktemp("gateway")
    file, port = write_settings(folder)
    made = subprocess.run(
        [*PROGRAM, "--config", str(file), "keys", "create", "tests", "--scope", "*", "--json"],
        capture_output=True,
        check=True,
    )
    (folder / "key").write_text(json.loads(made.stdout)["key"])
    with (
        open(folder / "log", "wb") as log,
        subprocess.Popen(
            [*PROGRAM, "--config", str(file), "serve", "--simulated", "2"], stdout=log, stderr=log
        ) as process,
    ):
        try:
            _wait_until_ready(f"http://127.0.0.1:{port}/health/ready", process, folder / "log")
            yield file
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        threading.Event().wait(0.1)
    raise AssertionError(log.read_text())


def test_a_check_prints_its_record(say: Callable[..., Said], gateway: Path) -> None:
    said = say("--config", gateway, "check", "bpjstk-balance", f"kpj={FOUND}", "--reference", "payroll-7")
    assert (said.status, said.err) == (0, "")
    assert re.search(r"outcome +found", said.out)
    assert re.search(r"balance +Rp [\d.]+", said.out)
    assert re.search(r"evidence +echo", said.out)
    assert "answer: " in said.out


@pytest.mark.parametrize(
    ("service", "field", "number", "status"),
    [
        ("bpjstk-balance", "kpj", FOUND, 0),
        ("bpjstk-balance", "kpj", NOT_FOUND, 6),
        ("bpjskes-status", "number", SILENT[0], 5),
    ],
)
def test_the_exit_status_says_how_a_check_came_out(
    say: Callable[..., Said], gateway: Path, service: str, field: str, number: str, status: int
) -> None:
    said = say("--config", gateway, "check", service, f"{field}={number}", "--json")
    assert (said.status, said.err) == (status, "")
    assert said.json["fields"] == {field: number}


def test_a_check_need_not_be_waited_for(say: Callable[..., Said], gateway: Path) -> None:
    handed_in = say(
        "--config", gateway, "check", "bpjskes-status", f"number={SILENT[1]}", "--no-wait", "--json"
    )
    assert (handed_in.status, handed_in.json["state"]) == (0, "queued")
    said = say("--config", gateway, "check", "bpjskes-status", f"number={SILENT[1]}", "--wait", "1ms")
    assert said.status == 5
    assert "/v1/checks/chk_" in said.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["check", "bpjstk-balanc", f"kpj={FOUND}"], "unknown_service", "bpjstk-balance"),
        (["check", "bpjstk-balance", "kpj=990"], "invalid", "11 digits"),
        (["check", "bpjstk-balance", f"kpj={FOUND}", "--priority", "10"], "invalid", "priority"),
        (["phone", "allow", "2757"], "invalid", "mobile number"),
        (["phone", "remove", "081299999999"], "not_found", "not in the list"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_what_the_gateway_refuses_is_status_3(
    say: Callable[..., Said], gateway: Path, arguments: list[str], code: str, words: str
) -> None:
    said = say("--config", gateway, *arguments)
    assert (said.status, said.out) == (3, "")
    assert words in said.err
    as_json = say("--config", gateway, *arguments, "--json")
    assert (as_json.status, as_json.err, as_json.json["code"]) == (3, "", code)


def test_a_wrong_key_and_none_are_told(say: Callable[..., Said], gateway: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(gateway.read_text())
    (tmp_path / "key").write_text("bsk_wrong")
    wrong = say("--config", other, "lanes")
    assert wrong.status == 3
    assert "not one of this gateway's" in wrong.err
    other.write_text(gateway.read_text().replace('key_file = "key"', ""))
    none = say("--config", other, "lanes")
    assert none.status == 3
    assert "keys create" in none.err


def test_a_file_comes_back_with_its_answers(say: Callable[..., Said], gateway: Path, tmp_path: Path) -> None:
    file = tmp_path / "cards.csv"
    file.write_text(f"nama,kpj\nAni,{FOUND}\nRusak,12\nAni,{FOUND}\n")
    target = tmp_path / "cards.answers.csv"
    dry = say("--config", gateway, "batch", file, "--service", "bpjstk-balance", "--dry-run", "--json")
    assert (dry.json["rows"], dry.json["rejected"], dry.json["duplicates"]) == (3, 1, 1)
    assert not target.exists()
    said = say("--config", gateway, "batch", file, "--service", "bpjstk-balance")
    assert (said.status, said.err) == (0, "")
    rows = target.read_text().splitlines()
    assert rows[0].startswith("nama,kpj,state,outcome")
    assert [row.split(",")[2] for row in rows[1:]] == ["answered", "rejected", "answered"]
    again = say("--config", gateway, "batch", file, "--service", "bpjstk-balance")
    assert again.status == 2
    assert "is there already" in again.err
    out = say("--config", gateway, "batch", file, "--service", "bpjstk-balance", "--out", "-")
    assert out.out.splitlines()[0] == rows[0]
    assert set(tmp_path.iterdir()) == {file, target}


def test_a_batch_that_cannot_be_is_told(say: Callable[..., Said], gateway: Path, tmp_path: Path) -> None:
    file = tmp_path / "cards.csv"
    file.write_text("")
    assert say("--config", gateway, "batch", file, "--service", "bpjstk-balance").status == 3
    file.write_text(f"kpj\n{FOUND}\n")
    which = say("--config", gateway, "batch", file)
    assert which.status == 2
    assert "--service bpjskes-status or --service bpjstk-balance" in which.err
    for out in (file, tmp_path / "missing" / "out.csv"):
        assert (
            say("--config", gateway, "batch", file, "--service", "bpjstk-balance", "--out", out).status == 2
        )
    assert file.read_text() == f"kpj\n{FOUND}\n"


def test_a_paused_lane_says_how_it_goes_on(say: Callable[..., Said], gateway: Path) -> None:
    lanes = ("xl-1", "xl-2")
    try:
        for lane in lanes:
            assert say("--config", gateway, "lanes", "pause", lane).status == 0
        table = say("--config", gateway, "lanes").out
    finally:
        for lane in lanes:
            assert say("--config", gateway, "lanes", "resume", lane).status == 0
    assert all(f"bpjs-sms lanes resume {lane}" in table for lane in lanes)


def test_lanes_messages_and_phones(say: Callable[..., Said], gateway: Path) -> None:
    assert [lane["name"] for lane in say("--config", gateway, "lanes", "--json").json["items"]] == [
        "xl-1",
        "xl-2",
    ]
    assert "xl-1" in say("--config", gateway, "lanes").out
    assert "xl-1 sends nothing" in say("--config", gateway, "lanes", "pause", "xl-1").out
    assert say("--config", gateway, "lanes", "resume", "xl-1", "--json").json == {
        "lane": "xl-1", "kind": "pause", "answer": {"paused": False},
    }  # fmt: skip
    assert "being opened again" in say("--config", gateway, "lanes", "restart", "xl-1").out
    wrong = say("--config", gateway, "lanes", "ussd", "xl-2", "ATZ")
    assert (wrong.status, "code" in wrong.err) == (3, True)
    assert say("--config", gateway, "lanes", "ussd", "xl-9", "*888#").status == 3
    say("--config", gateway, "check", "bpjstk-balance", f"kpj={FOUND}")
    received = say("--config", gateway, "messages", "--limit", "1", "--json").json["items"]
    assert len(received) == 1
    assert received[0]["text"] in say("--config", gateway, "messages").out
    assert say("--config", gateway, "messages", "--lane", "none").out == "No such message has come in.\n"
    assert say("--config", gateway, "phone", "allow", "081200000001", "--language", "en").status == 0
    assert say("--config", gateway, "phone", "deny", "+6281200000002", "--json").json["allowed"] is False
    numbers = {
        item["number"]: item["allowed"]
        for item in say("--config", gateway, "phone", "list", "--json").json["items"]
    }
    assert numbers == {"+6281200000001": True, "+6281200000002": False}
    for number in numbers:
        assert say("--config", gateway, "phone", "remove", number).status == 0
    assert "phone allow NUMBER" in say("--config", gateway, "phone", "list").out


def test_the_database_can_be_looked_at_beside_a_running_gateway(
    say: Callable[..., Said], gateway: Path
) -> None:
    assert say("--config", gateway, "db", "check").status == 0
    assert say("--config", gateway, "keys", "list", "--json").json["items"][0]["name"] == "tests"


def test_a_database_that_is_served_and_a_port_that_is_taken_are_status_4(
    say: Callable[..., Said], gateway: Path
) -> None:
    for options, words in (([], "Address already in use"), (["--port", "0"], "served already")):
        ended = subprocess.run(
            [*PROGRAM, "--config", str(gateway), "serve", "--simulated", "1", *options],
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert ended.returncode == 4
        assert words in ended.stderr
        assert "Traceback" not in ended.stderr


def test_an_interrupted_check_says_that_it_goes_on(say: Callable[..., Said], gateway: Path) -> None:
    for lane in (
        "xl-1",
        "xl-2",
    ):  # so that it does not end before it is interrupted, however slow the machine
        assert say("--config", gateway, "lanes", "pause", lane).status == 0
    command = [*PROGRAM, "--config", str(gateway), "check", "bpjskes-status", f"number={SILENT[2]}"]
    asked = _count(gateway)
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.default_int_handler
        ),  # also where it is ignored
    ) as process:
        for _ in range(1200):
            if _count(gateway) > asked:
                break
            threading.Event().wait(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    for lane in ("xl-1", "xl-2"):
        assert say("--config", gateway, "lanes", "resume", lane).status == 0
    assert (process.returncode, out) == (130, "")
    assert "goes on at the gateway" in err
    assert "Traceback" not in err


def _count(gateway: Path) -> int:
    with sqlite3.connect(gateway.parent / "gateway.db") as database:
        found = database.execute("SELECT count(*) FROM checks").fetchone()[0]
    database.close()
    return int(found)


def test_a_key_to_try_is_made_anew_each_time(say: Callable[..., Said], config: Path) -> None:
    commands = [*PROGRAM, "--config", str(config), "serve", "--simulated", "1", "--with-key"]
    curls = []
    for _ in range(2):
        with subprocess.Popen(commands, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            curls.append([process.stdout.readline() for _ in range(3)][1])
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=15)
    assert all("curl -s http://127.0.0.1:" in line and "Bearer bsk_" in line for line in curls)
    assert curls[0] != curls[1]
    found = say("--config", config, "keys", "list", "--json").json["items"]
    assert [item["revoked_at"] is None for item in found] == [False, True]
