"""What modems by people whom we never met say beside their storages: direct delivery, reports, USSD, pauses, a port server."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta

import pytest
import serial
import serial.rfc2217
from odd_modems import make_deliver
from stranger_modems import IMEI, WAIT, Kind, Say, Stranger
from stranger_modems_kinds import KINDS
from stranger_modems_owner import FIRST, SECOND, THIRD, Owner, opened, spend_a_day, texts_of

from modem import (
    NotSubmitted,
    encode_submit,
)

# -- what goes beside the storages


def length(pdu: str) -> int:
    return len(pdu) // 2 - 1 - int(pdu[:2], 16)


TEXT = make_deliver("2757", THIRD)
REPORT = "0791269900000000" + "062904817275" + "62111421436582" * 2 + "00"


REGISTERED = (
    ('+CREG:002,001,"18d8","ffff"', "home", "iridium"),
    ('+CREG: 001,"0001","0010",000', "home", "leading-zeros"),
    ("+CREG: 2,1,  0 5, 2715", "home", "gobi-1000"),
    ("+CREG: 2,1,000B,2816, B, C2816", "home", "samsung-wave"),
    ('+CREG: 2,5,"0502","0404736D"', "roaming", "sony-ericsson-md400"),
    ("+CREG: 2,1, 81ED, 1A9CEB", "home", "alcatel-x220d"),
    ('+CREG: 1, "0426", "F0,0F"', "home", "thuraya"),
    ("+CREG: 2,1, 1F00, 20 ,79D903 ,7", "home", "novatel-e362"),
    ("+CREG: 1, 2, 0001, 00000100, 7", "searching", "altair"),
    ("+CREG: 2, 0001, 00000100, 7", "searching", "altair-unasked"),
    ("+CREG: 2,1, 550014, 676", "home", "location-in-decimals"),
)
"""ModemManager, test-modem-helpers.c; gammu issue 89."""


@pytest.mark.parametrize(
    ("said", "registration"),
    [pytest.param(said, registration, id=name) for said, registration, name in REGISTERED],
)
def test_the_network_is_known_however_its_place_is_written(said: str, registration: str) -> None:
    kind = Kind("place", "ModemManager", {r"AT\+CREG\?": f"{said}\nOK", r"AT\+C(G|E)REG\?": "ERROR"})
    with Stranger(kind).plugged_in() as stick, opened(stick) as modem:
        assert modem.status().registration == registration


@pytest.mark.parametrize(
    "said",
    [IMEI, f"+CGSN: {IMEI}", f'"{IMEI}"', f"{IMEI},NL2A62Z0N5", f"+CGSN: IMEI{IMEI}"],
)
def test_the_imei_is_read_whatever_stands_beside_it(said: str) -> None:
    """ModemManager, test-modem-helpers.c (IMEI and serial number); gammu, atgen.c (Motorola)."""
    kind = Kind("imei", "ModemManager", {r"AT\+CGSN": f"{said}\nOK"})
    with Stranger(kind).plugged_in() as stick, Owner.of(stick) as owner:
        assert owner.identities[0].imei == IMEI


@pytest.mark.parametrize(
    ("header", "pdu"),
    [
        pytest.param(f"+CMT: ,{length(TEXT)}", TEXT, id="3gpp"),
        pytest.param(f"+CMT: {length(TEXT)}", TEXT, id="motorola-ezx-misses-a-comma"),
        pytest.param(f'+CMT: "Kantor, 2757",{length(TEXT)}', TEXT, id="a-name-with-a-comma"),
        pytest.param(f'+CMT:"",{length(TEXT)}', TEXT, id="no-space"),
        pytest.param(f"+CMT: ,0{length(TEXT)}", TEXT, id="leading-zero"),
        pytest.param(f"+CMT: ,{length(TEXT)}", f"0100{TEXT[16:]}", id="a-centre-without-digits"),
        pytest.param(f"+CMT: ,{length(TEXT)}", f"00{TEXT[16:]}", id="no-centre"),
        pytest.param(f"+CDS: {length(REPORT)}", REPORT, id="report"),
        pytest.param(f"+CDS: ,{length(REPORT)}", REPORT, id="zte-report-with-a-comma"),
    ],
)
def test_what_is_handed_over_directly_is_taken_however_it_is_announced(header: str, pdu: str) -> None:
    """oFono, drivers/atmodem/sms.c (ZTE, Gemalto); fso-frameworkd, freescale_neptune; mgaman/PDUlib issue 47 (centre 0100)."""
    with Stranger(Kind("direct", "oFono")).plugged_in() as stick, opened(stick) as modem:
        stick.say(f"{header}\n{pdu}")
        assert modem.wait(timedelta(seconds=WAIT))
        (stored,) = modem.inbox()
        assert stored.pdu == pdu
        assert texts_of(pdu) == ([THIRD] if header.startswith("+CMT") else [])
        assert modem.forget(stored)


@pytest.mark.parametrize("hint", ['+CDSI: "SM",0', '+CDSI: "SR",2', '+CMTI: "SR",2'])
def test_a_report_is_found_where_it_lies_and_no_text_is_taken_for_it(hint: str) -> None:
    """IchthysMaranatha/asterisk-chan-quectel pull 75: EC25 keeps reports in SR and says SM, 0."""
    kind = Kind("quectel-ec25-reports", "chan-quectel", storages=("SM", "ME", "SR"), slots=range(20))
    with Stranger(kind).plugged_in() as stick, Owner.of(stick) as owner:
        owner.step()
        stick.storages["SM"][0] = TEXT
        stick.storages["SR"][2] = REPORT
        stick.say(hint)
        owner.until(lambda: len(owner.taken) > 1)
        assert sorted(owner.taken) == sorted([("SM", TEXT), ("SR", REPORT)])


@pytest.mark.parametrize("room", [23, 0])
def test_a_report_comes_where_there_is_room_for_it(room: int) -> None:
    """babca/python-gsmmodem issue 106 (SIM7600): SR is offered, holds 0, and what is said to lie there cannot be read."""

    def enough(stick: Stranger, found: re.Match[str]) -> Say:
        return f"+CPMS: 0,{room},0,20,0,20\nOK" if stick.usual(found[0]) else None

    def unreadable(stick: Stranger, found: re.Match[str]) -> Say:
        return "+CMS ERROR: 321" if stick.current == "SR" and not room else None

    kind = Kind(
        "sim7600-reports",
        "babca",
        {
            r'AT\+CPMS="SR".*': enough,
            r"AT\+CMG[RL]=\d+": unreadable,
            r"AT\+CNMI=\?": "+CNMI: (0-2),(0-3),(0,2),(0-2),(0,1)\nOK",
            r"AT\+CNMI=\d,\d,\d,(\d).*": lambda stick, found: stick.memory.update(reports=found[1]),
        },
        storages=("SM", "ME", "SR"),
    )
    with Stranger(kind).plugged_in() as stick, Owner.of(stick) as owner:
        owner.step()
        if stick.memory["reports"] == "2":
            stick.storages["SR"][8] = REPORT
            stick.say('+CDSI: "SR",8')
        elif stick.memory["reports"] == "1":
            stick.say(f"+CDS: {length(REPORT)}\n{REPORT}")
        owner.until(lambda: bool(owner.taken))
        assert [pdu for _, pdu in owner.taken] == [REPORT]


@pytest.mark.parametrize(
    ("said", "text"),
    [
        pytest.param(b'OK|+CUSD: 0,"Pulsa Rp 5.000",15', "Pulsa Rp 5.000", id="plain"),
        pytest.param(
            b'OK|+CUSD: 0,"Pulsa Rp 5.000\nAktif s.d. 31/12\n",15',
            "Pulsa Rp 5.000\nAktif s.d. 31/12\n",
            id="three-lines",
        ),
        pytest.param(b'OK|+CUSD: 2,"Pulsa Rp 5.000",15', "Pulsa Rp 5.000", id="ended-with-a-text"),
        pytest.param(b'+CUSD: 0,"Pulsa Rp 5.000",15|OK', "Pulsa Rp 5.000", id="answer-before-ok"),
        pytest.param(
            b'OK|+CUSD: 0,"%s",15' % "Pulsa Rp 500".encode("utf-16-be").hex().encode(),
            "Pulsa Rp 500",
            id="e1550-says-15",
        ),
        pytest.param(b'OK|+CUSD: 0,"Layar 5" murah",15', 'Layar 5" murah', id="a-quote-in-the-text"),
        pytest.param(b'OK|+CUSD:0,"Pulsa Rp 5.000"', "Pulsa Rp 5.000", id="no-coding"),
        pytest.param(b"OK|+CUSD: 0,Pulsa Rp 5000,15", "Pulsa Rp 5000", id="no-quotes"),
    ],
)
def test_what_the_network_says_is_read_however_the_modem_says_it(said: bytes, text: str) -> None:
    """gmodem_device.c (E1550), gammu issues 150, 292, 358, 464."""
    parts = b"".join(b"\r\n" + part.replace(b"\n", b"\r\n") + b"\r\n" for part in said.split(b"|"))
    kind = Kind("ussd", "gammu", {r"AT\+CUSD=1.*": parts}, patience=2.0)
    with Stranger(kind).plugged_in() as stick, opened(stick) as modem:
        assert modem.ussd("*123#", timedelta(seconds=2)).text.replace("\r\n", "\n") == text
        assert modem.usage()


def test_a_modem_that_was_stood_down_is_led_out_of_its_prompt_and_nothing_is_sent() -> None:
    kind = Kind("esc", "3GPP TS 27.005 §3.5.1", patience=1.0)
    with Stranger(kind).plugged_in() as stick, Owner.of(stick) as owner:
        (part,) = encode_submit("2757", "STATUS", validity=None, report=False, concat_reference=0)
        with pytest.raises(NotSubmitted):
            owner.modem.submit([part], lambda: False)
        owner.send("BALANCE#99000000101#")
        assert [sent.text for sent in stick.sent] == ["BALANCE#99000000101#"]


def test_it_is_read_and_sent_through_after_every_pause_that_it_slept_in() -> None:
    """smstools3 needs_wakeup_at: after idle time the first line is not heard (BenQ M32, SIM800 with +CSCLK=2)."""
    kind = next(kind for kind in KINDS if kind.name == "wakes-at-the-second-line")
    with Stranger(replace(kind, patience=1.0)).plugged_in() as stick, Owner.of(stick) as owner:
        for number, text in enumerate((FIRST, SECOND), 1):
            stick.memory["sleep"] = True
            stick.deliver(text)
            owner.until(lambda wanted=text: wanted in owner.received)  # type: ignore[misc]
            stick.memory["sleep"] = True
            owner.send(f"BALANCE#9900000{number}01#")
        assert (owner.received, owner.sent, owner.maybe) == ([FIRST, SECOND], 2, 0)
        assert len(stick.sent) == 2


@pytest.mark.filterwarnings("ignore:set(Daemon|Name):DeprecationWarning")  # pyserial's own
def test_behind_a_port_server_by_its_own_protocol_it_is_the_same_modem() -> None:
    """RFC 2217, as Moxa, Digi and ser2net speak it; pyserial plays the server."""
    with Stranger(Kind("served", "RFC 2217")).plugged_in() as stick, served(stick.url) as url:
        stick.url = url
        stick.deliver(FIRST)
        stick.deliver(SECOND)
        with Owner.of(stick) as owner:
            spend_a_day(stick, owner)
            assert sorted(owner.received) == [FIRST, SECOND, THIRD]
            assert (owner.sent, owner.maybe, len(stick.sent)) == (2, 0, 2)


class Line(serial.Serial):
    """A pty as a serial line: it has no wires beside the data."""

    cts = dsr = ri = cd = property(lambda self: True)
    dtr = rts = break_condition = property(lambda self: True, lambda self, on: None)


@contextmanager
def served(device: str) -> Iterator[str]:
    with Line(device, timeout=0.05) as line, socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()
        thread = threading.Thread(target=_serve, args=(line, server, stop), daemon=True)
        thread.start()
        try:
            yield f"rfc2217://127.0.0.1:{server.getsockname()[1]}"
        finally:
            stop.set()
            thread.join()


def _serve(line: serial.Serial, server: socket.socket, stop: threading.Event) -> None:
    connection, _ = server.accept()
    with connection, connection.makefile("wb", buffering=0) as out, suppress(ConnectionError):
        manager = serial.rfc2217.PortManager(line, out)  # type: ignore[arg-type]
        connection.settimeout(0.02)
        while not stop.is_set():
            with suppress(TimeoutError):
                data = connection.recv(1024)
                if not data:
                    return
                line.write(b"".join(manager.filter(data)))
            if line.in_waiting:
                out.write(b"".join(manager.escape(line.read(line.in_waiting))))
