"""The driver, and the whole gateway, against sticks of other makers that share no code with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import uvicorn
from odd_modems import Habits, OddModem, Sent

from app.runtime import Runtime, application, listen_on, utc_now
from app.settings import LaneSettings, Sealing, Server, Settings
from app.store.clients import create_key
from modem import (
    Deliver,
    Identity,
    MaybeSubmitted,
    ModemLost,
    NotSubmitted,
    PortSettings,
    SerialModem,
    Stored,
    decode,
    encode_submit,
    join,
)

CARD = "99012345678"
QUESTION = f"BALANCE#{CARD}#"
ANSWER = f"Saldo JHT KPJ {CARD} per 31-10-2026 Rp 12.345.678"
SHORT_CODE, NATIONAL, INTERNATIONAL = "2757", "087775500400", "+6287775500400"
PATIENCE = timedelta(seconds=4)

STICKS = [
    Habits(
        "huawei-e1xx",
        boot=("^BOOT:11184533,0,0,0,72",),
        chatter=("^RSSI:18", "^BOOT:11184533,0,0,0,72", "^MODE:5,4", "^DSFLOWRPT:0000001E,00000000,00000000,00,00,00,00"),
        iccid_by="AT^ICCID?",
        first_slot=0,
        indications=r"[0-2],[0-3],[0-3],[0-2](?:,[01])?",
    ),
    Habits(
        "sim800",
        boot=("RDY", "+CFUN: 1", "+CPIN: READY", "Call Ready", "SMS Ready"),
        storages=(("SM",), ("SM",), ("SM",)),
        errors="text",
        indications=r"[0-3],[01],[0-3],[01](?:,[01])?",
        indications_test=None,
        answers={"AT+CCID": "89990000000000000012f\nOK"},
        answers_first=True,
    ),
    Habits(
        "wavecom",
        boot=("+WIND: 3", "+WIND: 4"),
        chatter=("+WIND: 10,\"SM\",1,\"ON\",1",),
        storages=(("SM", "BM", "SR"), ("SM",)),
        storages_test='(("SM","BM","SR"),("SM"))',
        indications=r"1,1(?:,0,[0-2](?:,0)?)?",
        indications_test=None,
        prompt="> ",
        slow=0.3,
        slow_commands=r"AT\+(?:CMGS|CMGL|CPMS=).*",
    ),
    Habits(
        "quectel-ec25",
        boot=("RDY",),
        chatter=('+QIND: "csq",18,99', '+CREG: 1,"00C3","01A2B3C4",7'),
        incoming="ME",
        storages=(("ME", "MT", "SM", "SR"), ("ME", "MT", "SM", "SR"), ("ME", "MT", "SM", "SR")),
        first_slot=0,
        iccid_by="AT+QCCID",
        answers={
            "AT+QCCID": "+QCCID: 8999000000000000001F\nOK",
            "AT+CREG?": '+CREG: 2,1,"00C3","01A2B3C4",7\nOK',
        },
        sent_as='+CMGS: {n},"26/11/24,12:34:56+28"',
        answers_first=True,
    ),
    Habits("no-storages-test", storages_test=None),
    Habits("no-iccid", iccid_by=""),
    Habits("sim-busy", busy=3, errors="text"),
    Habits("sim-just-starting", answers={"AT+CPIN?": "+CPIN: NOT READY\n+CPIN: READY\nOK"}),
    Habits("no-indications-test", indications_test=None, indications=r"2,1"),
    Habits("byte-by-byte", byte_by_byte=True),
    Habits("lf-only", end="\n", prompt="\n> "),
    Habits("cr-only", end="\r", prompt="\r> "),
    Habits(
        "bare-errors",
        errors="bare",
        refused=("AT+CSMS", "AT+CGREG", "AT+CEREG", "AT+CNUM", "AT+CSCA", "AT+CMEE=", "AT+COPS=3"),
        answers={"AT+CREG?": "+CREG: 0,5\nOK"},
        hint="MT",
    ),
    Habits("roaming-10", answers={"AT+CREG?": "+CREG: 0,10\nOK", "AT+CGREG?": "+CGREG: 0,0\nOK"}),
    Habits("direct", direct=True, refused=("AT+CSMS=",), indications=r"2,2,0,[01]", indications_test="(2),(2),(0),(0,1)"),
    Habits("echoes-for-ever", echo_for_ever=True, echoes_pdu=True, prompt="\r\n> "),
    Habits("prompt-in-echo", echo_for_ever=True, prompt_in_echo=True, prompt="> "),
    Habits("on-a-socket", on_socket=True, boot=("RDY",), answers_first=True),
]  # fmt: skip

ICCIDS = {"huawei-e1xx": "89990000000000000012", "quectel-ec25": "8999000000000000001", "no-iccid": None}


def settings_for(stick: OddModem, patience: timedelta = PATIENCE) -> PortSettings:
    return PortSettings(
        stick.url,
        cmgs_timeout=patience,
        prompt_timeout=patience,
        answer_timeout=patience,
        drain_timeout=min(patience, timedelta(seconds=1)),
    )


@contextmanager
def opened(stick: OddModem, patience: timedelta = PATIENCE) -> Iterator[tuple[SerialModem, Identity]]:
    modem = SerialModem(settings_for(stick, patience))
    try:
        yield modem, modem.open()
    finally:
        modem.close()


def send(modem: SerialModem, address: str, text: str) -> list[int]:
    parts = encode_submit(address, text, validity=None, report=False, concat_reference=9)
    return modem.submit(parts, lambda: True)


def collect(modem: SerialModem, count: int) -> list[Stored]:
    """Take in and remove until so many have come; each wait ends by an indication or fails."""
    taken: list[Stored] = []
    while len(taken) < count:
        assert modem.wait(PATIENCE), f"{len(taken)} of {count} came"
        for storage, index in sorted(modem.hinted()):
            found = modem.inbox() if not storage else [modem.read(storage, index)]
            for stored in found:
                if stored is not None:
                    assert modem.forget(stored)
                    taken.append(stored)
    return taken


def text_of(stored: Stored) -> str:
    decoded = decode(stored.pdu)
    assert isinstance(decoded, Deliver)
    assert decoded.sender == SHORT_CODE
    return decoded.text


@pytest.mark.parametrize("habits", STICKS, ids=lambda habits: habits.name)
def test_a_stick_is_opened_sends_and_hears(habits: Habits) -> None:
    stick = OddModem(habits, lambda sent: [ANSWER] if sent.address == SHORT_CODE else [])
    with stick.plugged_in(), opened(stick) as (modem, identity):
        assert identity.imei == "990000000000019"
        assert identity.imsi == "510110000000001"
        assert identity.iccid == ICCIDS.get(habits.name, "89990000000000000012")
        status = modem.status()
        assert status.can_send
        assert (status.signal, status.operator) == (17, "XL Axiata")
        assert modem.inbox() == []

        assert send(modem, SHORT_CODE, QUESTION) == [42]
        assert stick.sent == [Sent(SHORT_CODE, 0x81, QUESTION)]
        assert [text_of(stored) for stored in collect(modem, 1)] == [ANSWER]
        assert send(modem, NATIONAL, "NIK 9901010101010001") == [43]
        assert send(modem, INTERNATIONAL, "Jaminan #ş") == [44]
        assert stick.sent[1:] == [
            Sent(NATIONAL, 0x81, "NIK 9901010101010001"),
            Sent(INTERNATIONAL.lstrip("+"), 0x91, "Jaminan #ş"),
        ]

        burst = [f"Saldo JHT KPJ {CARD} Rp {n}.000" for n in range(1, 6)]
        stick.deliver(SHORT_CODE, *burst)
        assert sorted(map(text_of, collect(modem, 5))) == burst
        assert stick.empty
        assert modem.inbox() == []
        assert sum(usage.used for usage in modem.usage()) == 0


def test_the_parts_of_one_text_come_a_byte_at_a_time() -> None:
    halves = ("Saldo JHT KPJ 99012345678 " + "x" * 120, " per 31-10-2026 Rp 12.345.678")
    stick = OddModem(Habits("byte-by-byte", byte_by_byte=True))
    with stick.plugged_in(), opened(stick) as (modem, _):
        stick.deliver("BPJSTKU", *halves, split=True)
        parts = [decode(stored.pdu) for stored in collect(modem, 2)]
        delivers = [part for part in parts if isinstance(part, Deliver)]
        assert join(delivers) == "".join(halves)
        assert {part.sender for part in delivers} == {"BPJSTKU"}


def test_what_comes_directly_is_acknowledged_one_by_one() -> None:
    stick = OddModem(next(habits for habits in STICKS if habits.name == "direct"))
    with stick.plugged_in():
        with opened(stick) as (modem, _):
            stick.deliver(SHORT_CODE, "satu", "dua", "tiga")
            assert modem.wait(PATIENCE)
            (first,) = modem.inbox()
            assert stick.acknowledged == 0
            assert modem.forget(first)
            assert [text_of(first), *map(text_of, collect(modem, 2))] == ["satu", "dua", "tiga"]
        assert stick.acknowledged == 3


@pytest.mark.parametrize("boot", [("RDY",), ("+WIND: 3", "+WIND: 4"), ("^SYSSTART",), ()], ids=repr)
def test_a_stick_that_starts_anew_ends_its_session(boot: tuple[str, ...]) -> None:
    """Said by itself; or not said, and known by its echo, which had been switched off."""
    stick = OddModem(Habits("restarts", boot=boot))
    with stick.plugged_in():
        with opened(stick) as (modem, _):
            assert modem.status().can_send
            stick.restart()
            if boot:
                with pytest.raises(ModemLost, match="modem_restarted"):
                    modem.wait(PATIENCE)
            else:
                with pytest.raises(ModemLost, match="modem_restarted"):
                    modem.usage()
        with opened(stick) as (modem, _):
            stick.deliver(SHORT_CODE, ANSWER)
            assert [text_of(stored) for stored in collect(modem, 1)] == [ANSWER]


def test_a_restart_that_nobody_said_is_noticed_before_the_next_text_goes_out() -> None:
    stick = OddModem(Habits("restarts"))
    with stick.plugged_in(), opened(stick) as (modem, _):
        assert modem.status().can_send
        stick.restart()
        with pytest.raises(NotSubmitted, match="modem_restarted") as refused:
            send(modem, SHORT_CODE, QUESTION)
        assert refused.value.retryable
        assert stick.sent == []


def test_a_restart_in_the_middle_of_sending_leaves_a_doubt_at_once() -> None:
    def restarts(sent: Sent) -> list[str]:
        stick.restart()
        return []

    stick = OddModem(Habits("restarts", boot=("RDY",), sent_after=60.0), restarts)
    with stick.plugged_in(), opened(stick, timedelta(seconds=30)) as (modem, _):
        begun = time.monotonic()
        with pytest.raises(MaybeSubmitted, match="modem_restarted"):
            send(modem, SHORT_CODE, QUESTION)
        assert time.monotonic() - begun < 10


def test_a_hint_before_the_prompt_and_a_long_text_do_not_disturb_each_other() -> None:
    long = "Jaminan " * 30
    stick = OddModem(
        Habits("hints-before-prompt", prompt='\r\n+CMTI: "SM",1\r\n\r\n> ', answers_first=True),
        lambda sent: [ANSWER],
    )
    with stick.plugged_in(), opened(stick) as (modem, _):
        assert send(modem, NATIONAL, long) == [42, 43]
        assert "".join(sent.text for sent in stick.sent) == long
        assert ("SM", 1) in modem.hinted()
        assert len(modem.inbox()) == 2


def test_a_reference_that_comes_late_is_kept() -> None:
    stick = OddModem(Habits("slow-network", sent_after=0.6))
    with stick.plugged_in(), opened(stick, timedelta(seconds=0.4)) as (modem, _):
        with pytest.raises(MaybeSubmitted, match="no_verdict"):
            send(modem, SHORT_CODE, QUESTION)
        assert modem.status().can_send
        assert modem.late_references() == [42]
        assert stick.sent == [Sent(SHORT_CODE, 0x81, QUESTION)]


@pytest.mark.parametrize(
    "habits",
    [
        Habits("boots", boot=("RDY", "+CFUN: 1"), starting=3),
        Habits("sim-boots", sim_starting=1),
        Habits("boots-at-length", boot=("^SYSSTART",), starting=2, sim_starting=1, busy=1),
    ],
    ids=lambda habits: habits.name,
)
def test_a_stick_that_has_just_been_plugged_in_is_waited_for(habits: Habits) -> None:
    stick = OddModem(habits)
    with stick.plugged_in():
        modem = SerialModem(replace(settings_for(stick), wake_timeout=timedelta(seconds=0.5)))
        try:
            modem.open()
            assert send(modem, SHORT_CODE, QUESTION) == [42]
        finally:
            modem.close()


def test_a_stick_that_refuses_every_indication_is_read_all_the_same() -> None:
    stick = OddModem(Habits("no-indications", indications="never", indications_test=None))
    with stick.plugged_in(), opened(stick) as (modem, _):
        stick.deliver(SHORT_CODE, ANSWER)
        assert stick.until(lambda: not stick.empty)
        assert [usage.used for usage in modem.usage()] == [1, 0]
        (stored,) = modem.inbox()
        assert text_of(stored) == ANSWER
        assert modem.forget(stored)
        assert stick.empty


def test_a_stick_that_forgot_in_silence_is_found_out_and_loses_nothing() -> None:
    stick = OddModem(Habits("forgets"))
    with stick.plugged_in(), opened(stick) as (modem, _):
        modem.verify()
        assert stick.heard[-1] == "AT+CNMI?"
        stick.forget_settings()
        stick.deliver(SHORT_CODE, ANSWER)
        assert not modem.wait(timedelta(milliseconds=100))
        modem.verify()
        assert [text_of(stored) for stored in collect(modem, 1)] == [ANSWER]
        stick.deliver(SHORT_CODE, ANSWER)
        assert [text_of(stored) for stored in collect(modem, 1)] == [ANSWER]


def test_a_sim_that_was_swapped_under_power_ends_the_session() -> None:
    stick = OddModem(Habits("swapped"))
    with stick.plugged_in():
        with opened(stick) as (modem, _):
            modem.verify()
            stick.swap_sim("510110000000002", "89990000000000000020")
            with pytest.raises(ModemLost, match="sim_changed"):
                modem.verify()
        with opened(stick) as (_, identity):
            assert (identity.imsi, identity.iccid) == ("510110000000002", "89990000000000000020")


def test_a_stick_that_says_again_and_again_that_it_started_goes_on() -> None:
    stick = OddModem(Habits("repeats", chatter=("RDY",)), lambda sent: [ANSWER])
    with stick.plugged_in(), opened(stick) as (modem, _):
        for reference in (42, 43, 44):
            assert send(modem, SHORT_CODE, QUESTION) == [reference]
        found = modem.inbox()
        assert [text_of(stored) for stored in found] == [ANSWER] * 3
        assert all(modem.forget(stored) for stored in found)


def test_a_call_during_a_wait_is_hung_up_and_hides_no_text() -> None:
    stick = OddModem(Habits("rings"))
    with stick.plugged_in(), opened(stick) as (modem, _):
        stick.says("RING", '+CLIP: "0812",129')
        assert not modem.wait(PATIENCE)
        assert modem.calls() == 1
        assert "ATH" in stick.heard
        stick.deliver(SHORT_CODE, ANSWER)
        assert [text_of(stored) for stored in collect(modem, 1)] == [ANSWER]


@pytest.mark.parametrize("form", ["text", "packed", "ucs2"])
def test_credit_is_asked_in_the_form_that_the_stick_takes(form: str) -> None:
    stick = OddModem(Habits("asks", ussd=form))
    with stick.plugged_in(), opened(stick) as (modem, _):
        stick.says('+CUSD: 0,"Iklan",15')
        for _ in range(2):
            assert modem.ussd("*123#", PATIENCE).text == "Pulsa Rp 5.000"
        assert modem.pushed() == ["Iklan"]


# -- the whole gateway


@contextmanager
def serving(folder: Path, url: str) -> Iterator[httpx.Client]:
    """The gateway as `bpjs-sms serve` runs it, with the stick on this port as its only lane."""
    settings = Settings(
        database=f"sqlite:///{folder / 'odd.db'}",
        services=None,
        server=Server(port=0),
        sealing=Sealing(keys_file=folder / "odd.keys"),
        lanes=(LaneSettings(name="odd-1", port=url, pace=timedelta(), per_hour=0, per_day=0),),
    )
    listener = listen_on(settings)
    runtime = Runtime(settings)
    server = uvicorn.Server(uvicorn.Config(application(runtime), log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    runtime.start()
    thread.start()
    try:
        _, secret = runtime.store.write(
            lambda tx: create_key(tx, name="odd", client="odd", scopes=["*"], now=utc_now())
        )
        with httpx.Client(
            base_url=f"http://127.0.0.1:{listener.getsockname()[1]}",
            headers={"Authorization": f"Bearer {secret}"},
            timeout=40,
        ) as http:
            yield http
    finally:
        server.should_exit = True
        thread.join()
        runtime.stop()


def check(http: httpx.Client, kpj: str) -> dict[str, object]:
    answer = http.post(
        "/v1/checks",
        json={"service": "bpjstk-balance", "fields": {"kpj": kpj}},
        headers={"Prefer": "wait=30"},
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


def reply(sent: Sent) -> list[str]:
    """What the service says of the card that the question names."""
    kpj = sent.text.split("#")[1]
    return [f"Saldo JHT KPJ {kpj} per 31-10-2026 Rp 12.345.{kpj[-3:]}"]


@pytest.mark.parametrize("name", ["huawei-e1xx", "sim800", "direct", "bare-errors"])
def test_the_gateway_answers_a_check_through_it(name: str, tmp_path: Path) -> None:
    stick = OddModem(next(habits for habits in STICKS if habits.name == name), reply)
    with stick.plugged_in(), serving(tmp_path, stick.url) as http:
        for kpj in (CARD, "99012345679"):
            answered = check(http, kpj)
            assert (answered["state"], answered["outcome"], answered["lane"]) == (
                "answered",
                "found",
                "odd-1",
            )
            assert answered["record"] == {
                "kpj": kpj,
                "balance": int(f"12345{kpj[-3:]}"),
                "as_of": "2026-10-31",
            }
        assert [sent.text for sent in stick.sent] == [QUESTION, "BALANCE#99012345679#"]
        assert stick.until(lambda: stick.empty)


def test_the_gateway_goes_on_after_the_stick_started_anew(tmp_path: Path) -> None:
    stick = OddModem(Habits("restarts", boot=("RDY",)), reply)
    with stick.plugged_in(), serving(tmp_path, stick.url) as http:
        assert check(http, CARD)["outcome"] == "found"
        stick.restart()
        assert check(http, "99012345679")["outcome"] == "found"
        assert len(stick.sent) == 2
        assert stick.until(lambda: stick.empty)
