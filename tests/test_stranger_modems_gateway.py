"""The whole gateway over modems by people whom we never met: each check answered once, each text kept once, nothing sent twice."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from lanes_playing import BALANCE, SHORT, LaneLook, Stage, card, staged
from odd_modems import Sent
from stranger_modems import Say, Stranger
from stranger_modems_kinds import KINDS

from app.domain.states import State
from app.store import tables as t

KIND = {kind.name: kind for kind in KINDS}

TELLING = (
    "never-deletes",
    "sm-and-me-are-one",
    "cmgl-glued-headers",
    "cmgl-lists-nothing",
    "cmgl-other-numbers",
    "quectel-ec200a-me",
    "hint-comes-early",
    "reads-and-removes",
    "sony-ericsson-w880i",
    "iccid-loses-a-digit",
    "sim-pin2-asked",
    "takes-32-octets",
    "cmgs-behind-ok",
    "sierra-mc7455",
    "siemens-says-ok-to-a-failure",
    "a7-restarts-after",
    "m590-restarts-before",
    "telnet-server",
    "nokia-130",
    "samsung-pairs",
    "sony-ericsson-w880i-deaf",
    "sim300-stuck-in-its-outbox",
    "nmea-on-the-port",
)
HINTED = timedelta(seconds=10)
LATER = timedelta(seconds=6)
NEVER_SENT = {"siemens-says-ok-to-a-failure", "m590-restarts-before"}
"""Where the first SMS is swallowed, which nobody can know: its check ends without a reply."""


def reply(sent: Sent) -> Sequence[str]:
    number = sent.text.split("#")[1]
    return [f"Saldo JHT KPJ {number} per 31-10-2026 Rp 1.{number[-3:]}.000"]


@contextmanager
def gateway(stick: Stranger, folder: Path) -> Iterator[Stage]:
    some = timedelta(seconds=stick.kind.patience)
    look = LaneLook(port=stick.url, cmgs_timeout=2 * some, patience=some, status_reports=False)
    with staged(folder, looks={"xl-1": look}, services={BALANCE: SHORT}) as stage:
        yield stage


@pytest.mark.parametrize("name", TELLING)
def test_two_checks_are_answered_through_it_and_every_text_is_kept_once(name: str, tmp_path: Path) -> None:
    with Stranger(KIND[name], reply).plugged_in() as stick, gateway(stick, tmp_path) as stage:
        stick.deliver("Pulsa Anda Rp 7.000", "123")
        stick.deliver("Paket habis", "124")
        checks = [stage.ask(card(1)), stage.ask(card(2))]
        assert stage.run(minutes=10, until=stage.ended(*checks)), [stage.check(one) for one in checks]
        stage.run(minutes=6)
        views = [stage.check(one) for one in checks]
        assert [view.state for view in views].count(State.ANSWERED) == 2 - (name in NEVER_SENT), views
        for view in views:
            if view.state is State.ANSWERED:
                assert view.record is not None
                assert view.record["kpj"] == view.fields["kpj"]
                assert view.record["balance"] == int(f"1{view.fields['kpj'][-3:]}000")
        asked = [sent.text for sent in stick.sent]
        assert len(asked) == len(set(asked)) == 2 - (name in NEVER_SENT)
        kept = sorted((message.sender, message.text) for message in stage.messages())
        answers = [("2757", *reply(sent)) for sent in stick.sent]
        assert kept == sorted([("123", "Pulsa Anda Rp 7.000"), ("124", "Paket habis"), *answers])
        assert len(stage.rows(t.sims)) == 1
        assert stick.kind.keeps or not stick.left


@pytest.mark.parametrize(
    "name",
    ["reads-and-removes", "says-its-hint-again", "hint-of-another-slot", "hint-names-mt"],
)
def test_a_text_that_is_gone_once_it_was_read_is_kept(name: str, tmp_path: Path) -> None:
    with Stranger(KIND[name]).plugged_in() as stick, gateway(stick, tmp_path) as stage:
        stage.run(seconds=30)
        for number in range(3):
            stick.deliver(f"Kabar {number}", "123")
            assert stage.modems["xl-1"].wait(HINTED)
            stage.clock.now += LATER  # the counts are due with the hint
            stage.run(seconds=1)
        assert [message.text for message in stage.messages()] == ["Kabar 0", "Kabar 1", "Kabar 2"]


def test_what_was_read_is_kept_though_the_next_answer_fails(tmp_path: Path) -> None:
    failing: list[str] = []

    def fail(stick: Stranger, found: re.Match[str]) -> Say:
        return "+CMS ERROR: 500" if failing else None

    kind = KIND["reads-and-removes"]
    kind = replace(kind, rules={**kind.rules, r"AT\+CPMS\?": fail, r"AT\+CMGL=4": fail})
    with Stranger(kind).plugged_in() as stick, gateway(stick, tmp_path) as stage:
        stage.run(seconds=30)
        stick.deliver("Kabar", "123")
        assert stage.modems["xl-1"].wait(HINTED)
        failing.append("the count, and the list after it")
        stage.clock.now += LATER
        stage.workers["xl-1"].step(stage.clock.now)
        failing.clear()
        stage.run(seconds=10)
        assert [message.text for message in stage.messages()] == ["Kabar"]
