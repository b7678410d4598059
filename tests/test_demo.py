"""The demo: what it must show, and that it fails by name when a reply is dropped or swapped at the network."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from rich.console import Console
from structlog.testing import capture_logs

from app.faces.cli.demo import Interference, perform, play
from app.faces.cli.demo_judge import ADVERTISEMENT, BATCH, FILE, PHONE, PROGRAM, STATUS, Report
from app.faces.cli.demo_show import MARK, Show
from app.faces.cli.output import DONE, FAULT, Session
from app.simulation import WORDING, balance_of, member_of
from modem.simulated import Delivery

CARDS = {question.name: question for question in (*PROGRAM, PHONE, BATCH[0])}
NAMES = (
    "late",
    "status",
    "balance",
    "not_found",
    "unknown",
    "parts",
    "unsolicited",
    "batch",
    "phone",
    "once",
)
GROUPS = (("late", "batch", "status"), ("balance", "phone", "unknown"), ("not_found", "parts", "unsolicited"))
"""Replies that are interfered with in one play: every one has its own verdict. At most two of 2757's, for a question
that is not answered holds its lane."""

STRANGER = {
    "bpjskes-status": "0009998887701",
    "bpjstk-balance": "99999888701",
}  # cards that nobody asks about

Change = Callable[[Delivery, str], Sequence[Delivery]]


def test_the_groups_hold_every_reply() -> None:
    assert sorted(name for group in GROUPS for name in group) == sorted(set(NAMES) - {"once"})


def concerns(name: str, delivery: Delivery) -> bool:
    if name == "unsolicited":
        return delivery.text == ADVERTISEMENT
    return delivery.submit_id is not None and CARDS[name].number in delivery.text


def drop(_delivery: Delivery, _name: str) -> Sequence[Delivery]:
    return []


def swap(delivery: Delivery, name: str) -> Sequence[Delivery]:
    """Another card's reply in place of it."""
    service = CARDS[name].service if name in CARDS else "bpjstk-balance"
    other = STRANGER[service]
    if service == STATUS:
        text = WORDING[service]["found"].format(**member_of(other))
    else:
        text = f"Saldo JHT KPJ {other} per 31-10-2026 Rp {balance_of(other)}."
    return [replace(delivery, text=text)]


def double(delivery: Delivery, _name: str) -> Sequence[Delivery]:
    return [delivery, delivery]


def interference(change: Change, names: Sequence[str]) -> Interference:
    def between(delivery: Delivery) -> Sequence[Delivery]:
        for name in names:
            if concerns(name, delivery):
                return change(delivery, name)
        return [delivery]

    return between


def played(change: Change) -> list[Report]:
    """One play for each group, side by side."""
    with ThreadPoolExecutor(len(GROUPS)) as stages:
        return list(stages.map(lambda group: play(interference(change, group)), GROUPS))


def printed(report: Report, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    Show(console).tell(report)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_everything_comes_out_as_it_must(capsys: pytest.CaptureFixture[str]) -> None:
    with capture_logs():
        assert perform(Session()) == DONE
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 120
    assert text.startswith(MARK)
    assert all(f"ok  {name} " in text for name in NAMES)
    assert "NOT" not in text
    assert "double" not in text
    assert all(question.number in text for question in (*PROGRAM, PHONE, *BATCH))
    assert FILE.splitlines()[0] in text
    assert "make serve" in text
    assert "bpjs-sms doctor" in text
    assert "README.md" in text


@pytest.mark.parametrize("change", [drop, swap])
def test_a_reply_that_is_dropped_or_swapped_is_named(change: Change) -> None:
    for group, report in zip(GROUPS, played(change), strict=True):
        wrong = {verdict.name: verdict.reason for verdict in report.verdicts if not verdict.ok}
        assert sorted(wrong) == sorted(group), wrong
        for name, reason in wrong.items():
            assert "dropped" in reason if change is drop else "another" in reason, (name, reason)
        text = printed(report, 120)
        assert all(f"NOT  {name} " in text for name in group)


def test_a_reply_that_comes_twice_is_shown_as_a_double() -> None:
    for group, report in zip(GROUPS, played(double), strict=True):
        assert [(verdict.name, verdict.reason) for verdict in report.verdicts if not verdict.ok] == []
        doubles = {verdict.name: verdict.doubles for verdict in report.verdicts}
        assert doubles == {name: int(name in group) for name in NAMES}
        told = [verdict.reason for verdict in report.verdicts if verdict.doubles]
        assert all("double" in reason and "2 times" in reason for reason in told)
        text = printed(report, 100)
        assert max(map(len, text.splitlines())) <= 100
        table, _, _ = text.partition("Judged by")
        assert table.count("double") == len(group)


def test_the_exit_status_and_the_json_tell_what_went_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    with capture_logs():
        status = perform(Session(json=True), interference(drop, ["status"]))
    said = json.loads(capsys.readouterr().out)
    assert status == FAULT
    assert said["simulated"] is True
    assert [promise["name"] for promise in said["promises"] if not promise["ok"]] == ["status"]
