"""The doctor on an open port: what a modem answers gives exactly one finding, a healthy one gives none."""

from __future__ import annotations

import json
import os
import termios
import threading
import tty
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_modems import Habits, OddModem

from modem import PortSettings, SerialModem
from modem.doctor import (
    BAUDS,
    QUERIES,
    Finding,
    Line,
    PortFacts,
    check_digit_fits,
    examine_port,
    gather,
    masked,
    port_findings,
)
from modem.simulated import Dongle, Network, Sim, Ticker, attach, detach
from modem.simulated.personality import personalities

PORT = "/dev/ttyUSB2"
IMEI = "990000000000010"
HEALTHY: dict[str, str] = {
    "AT+CPIN?": "+CPIN: READY|OK",
    "AT+CPINR": "+CPINR: SIM PIN,3,3|+CPINR: SIM PUK,10,10|OK",
    "AT+CGMI": "huawei|OK",
    "AT+CGMM": "E173|OK",
    "AT+CGMR": "11.126|OK",
    "AT+CGSN": f"{IMEI}|OK",
    "AT+CMGF=?": "+CMGF: (0,1)|OK",
    "AT+CPMS?": '+CPMS: "SM",3,50,"ME",0,100,"SM",3,50|OK',
    "AT+CNMI=?": "+CNMI: (0-2),(0-3),(0-3),(0-2),(0,1)|OK",
    "AT+CNMI?": "+CNMI: 2,1,0,2,0|OK",
    "AT+CIMI": "510110000000001|OK",
    "AT+CREG?": "+CREG: 0,1|OK",
    "AT+CGREG?": "+CGREG: 0,1|OK",
    "AT+CEREG?": "+CME ERROR: 4",
    "AT+CSQ": "+CSQ: 18,99|OK",
    "AT+COPS?": '+COPS: 0,0,"XL Axiata",2|OK',
    "AT+CSCA?": '+CSCA: "+62990000000",145|OK',
    "AT+CGSMS?": "+CGSMS: 1|OK",
    "AT+WS46?": "+WS46: 25|OK",
    "AT^SYSCFGEX?": "+CME ERROR: 4",
    "AT^SYSCFG?": "^SYSCFG:2,0,3FFFFFFF,1,2|OK",
    "AT+CNMP?": "+CME ERROR: 4",
    "AT+ZSNT?": "ERROR",
    'AT+CLCK="FD",2': "+CLCK: 0|OK",
    'AT+CLCK="AO",2': "+CLCK: 0,7|OK",
    'AT+CLCK="AI",2': "+CLCK: 0,7|OK",
}


def facts(answers: Mapping[str, str] = {}, **more: object) -> PortFacts:
    said = {query: tuple(text.split("|")) if text else () for query, text in {**HEALTHY, **answers}.items()}
    return PortFacts(PORT, said, **{"opened": True, "line": Line(115200, 115200), **more})  # type: ignore[arg-type]


def codes(found: list[Finding]) -> list[str]:
    return [finding.code for finding in found]


def test_the_healthy_one_is_asked_everything() -> None:
    assert set(HEALTHY) == set(QUERIES)
    assert port_findings(facts()) == []


NOT_IN = {"AT+CREG?": "+CREG: 0,2|OK", "AT+CGREG?": "+CGREG: 0,2|OK"}
IN_4G = {"AT+CREG?": "+CREG: 0,0|OK", "AT+CGREG?": "+CGREG: 0,0|OK", "AT+CEREG?": "+CEREG: 0,1|OK"}
DEAF = {"AT+CSQ": "+CSQ: 99,99|OK"}


BYTES: list[tuple[Mapping[str, str], str, str]] = [
    ({"AT+CPIN?": "+CME ERROR: 10"}, "no_sim", "fault"),
    ({"AT+CPIN?": "+CME ERROR: SIM not inserted"}, "no_sim", "fault"),
    ({"AT+CPIN?": "+CMS ERROR: 310"}, "no_sim", "fault"),
    ({"AT+CPIN?": "+CME ERROR: 13"}, "sim_failure", "fault"),
    ({"AT+CPIN?": "+CPIN: SIM PIN|OK"}, "sim_pin", "fault"),
    ({"AT+CPIN?": "+CME ERROR: 11"}, "sim_pin", "fault"),
    ({"AT+CPIN?": "+CPIN: SIM PUK|OK"}, "sim_puk", "fault"),
    ({"AT+CPIN?": "+CME ERROR: 12"}, "sim_puk", "fault"),
    ({"AT+CPIN?": "+CPIN: PH-NET PIN|OK"}, "network_locked", "fault"),
    ({"AT+CPIN?": "+CPIN: PH-SIM PIN|OK"}, "network_locked", "fault"),
    ({"AT+CPIN?": "+CME ERROR: 14"}, "sim_not_ready", "warning"),
    ({"AT+CPIN?": "+CPIN: NOT READY|OK"}, "sim_not_ready", "warning"),
    ({"AT+CGSN": "000000000000000|OK"}, "imei_zero", "fault"),
    ({"AT+CGSN": "990000000000019|OK"}, "imei_check_digit", "warning"),
    ({"AT+CMGF=?": "+CMGF: (1)|OK"}, "text_mode_only", "fault"),
    ({"AT+CNMI=?": "ERROR", "AT+CNMI?": "ERROR"}, "cnmi_refused", "warning"),
    ({"AT+CNMI?": "+CNMI: 2,0,0,0,0|OK"}, "cnmi_refused", "warning"),
    ({"AT+COPS?": ""}, "slow", "warning"),
    ({**NOT_IN}, "not_registered", "fault"),
    ({**NOT_IN, **DEAF}, "no_signal", "fault"),
    ({**NOT_IN, **DEAF, "AT+WS46?": "+WS46: 22|OK"}, "mode_lock", "fault"),
    ({**NOT_IN, **DEAF, "AT^SYSCFG?": "^SYSCFG:14,2,3FFFFFFF,1,2|OK"}, "mode_lock", "fault"),
    ({**NOT_IN, **DEAF, "AT^SYSCFGEX?": '^SYSCFGEX:"02",3FFFFFFF,1,2,7FFFFFFFFFFFFFFF|OK'}, "mode_lock", "fault"),
    ({**NOT_IN, **DEAF, "AT+CNMP?": "+CNMP: 14|OK"}, "mode_lock", "fault"),
    ({**NOT_IN, **DEAF, "AT+ZSNT?": "+ZSNT: 2,0,0|OK"}, "mode_lock", "fault"),
    ({"AT^SYSCFG?": "^SYSCFG:14,2,3FFFFFFF,1,2|OK"}, "mode_lock", "warning"),
    ({"AT+CREG?": "+CREG: 0,3|OK", "AT+CGREG?": "+CGREG: 0,3|OK"}, "registration_denied", "fault"),
    (IN_4G, "lte_without_sms", "warning"),
    ({"AT+CSQ": "+CSQ: 4,99|OK"}, "weak_signal", "warning"),
    ({"AT+CSCA?": '+CSCA: "",129|OK'}, "no_smsc", "fault"),
    ({"AT+CSCA?": '+CSCA: "+6590000000",145|OK'}, "foreign_smsc", "warning"),
    ({'AT+CLCK="FD",2': "+CLCK: 1|OK"}, "fixed_dialling", "fault"),
    ({'AT+CLCK="AO",2': "+CLCK: 1,8|OK"}, "sending_barred", "fault"),
    ({'AT+CLCK="AI",2': "+CLCK: 0,1|+CLCK: 1,8|OK"}, "receiving_barred", "fault"),
    ({"AT+CPMS?": '+CPMS: "SM",50,50,"SM",50,50,"SM",50,50|OK'}, "storage_full", "fault"),
    ({"AT+CPMS?": '+CPMS: "SM",0,0,"SM",0,0,"SM",0,0|OK'}, "storage_zero", "fault"),
]  # fmt: skip
"""What a modem answers otherwise than a healthy one, and what is found then."""


@pytest.mark.parametrize(("answers", "code", "severity"), BYTES)
def test_bytes_give_exactly_that_finding(answers: Mapping[str, str], code: str, severity: str) -> None:
    found = port_findings(facts(answers))
    assert [(finding.code, finding.severity) for finding in found] == [(code, severity)]
    assert found[0].about == PORT
    assert all((found[0].what, found[0].how, found[0].mend))


@pytest.mark.parametrize(
    "answers",
    [
        {"AT+CREG?": "+CREG: 0,5|OK"},  # roaming
        {"AT+CREG?": '+CREG: 2,6,"99AA","99AA0001",7|OK'},  # SMS only, at home
        {"AT+CREG?": "+CREG: 0,0|OK"},  # packet side alone is enough
        {**IN_4G, "AT+CREG?": "+CREG: 0,9|OK"},
        {**IN_4G, "AT+CREG?": "ERROR"},
        {"AT+CPIN?": "ERROR"},  # a modem that knows no PIN
        {"AT+CGSN": "ERROR"},
        {"AT+CSQ": "+CSQ: 6,99|OK"},
        {"AT+CSCA?": '+CSCA: "002B00360032003900390030",145|OK'},
        {"AT+CSCA?": "+CME ERROR: 4"},
        {"AT+CIMI": "525010000000001|OK", "AT+CSCA?": '+CSCA: "+6590000000",145|OK'},  # a Singapore SIM
        {'AT+CLCK="AO",2': "+CLCK: 1,1|OK"},  # voice only
        {'AT+CLCK="AI",2': "+CME ERROR: 100"},
        {"AT+CMGF=?": "ERROR"},
        {"AT+CPMS?": "ERROR"},
    ],
)
def test_what_is_no_fault_gives_nothing(answers: Mapping[str, str]) -> None:
    assert port_findings(facts(answers)) == []


LINES = [
    (Line(115200, 9600), "wrong_baud"),
    (Line(115200, None, "ff"), "line_stuck"),
    (Line(115200, None, "garbage"), "line_noise"),
    (Line(115200, None), "no_answer"),
]


@pytest.mark.parametrize(("line", "code"), LINES)
def test_a_line_that_does_not_answer(line: Line, code: str) -> None:
    assert codes(port_findings(PortFacts(PORT, line=line))) == [code]


REFUSALS = [
    ("port_busy", "port_busy"),
    ("port_denied", "no_permission"),
    ("port_missing", "port_missing"),
    ("port_lost", "port_lost"),
    ("not_a_modem", "no_answer"),
    ("out_of_step", "no_answer"),
    ("no_storage", "no_storage"),
]


@pytest.mark.parametrize(("refusal", "code"), REFUSALS)
def test_a_port_that_cannot_be_opened(refusal: str, code: str) -> None:
    assert codes(port_findings(PortFacts(PORT, refusal=(refusal, "why")))) == [code]


def test_what_cannot_be_opened_is_advised_by_what_it_is() -> None:
    (stick,) = port_findings(PortFacts(PORT, refusal=("port_missing", "why")))
    (address,) = port_findings(PortFacts("socket://127.0.0.1:9", refusal=("port_missing", "why")))
    assert "plug the stick in" in stick.mend
    assert "socket://127.0.0.1:9" in address.mend
    assert "stick" not in address.mend


LOCKED = {"AT+CPIN?": "+CPIN: SIM PIN|OK"}


def test_a_pin_in_the_settings_is_not_missed() -> None:
    assert port_findings(facts(LOCKED, refusal=("sim_pin_required", "why")), pin_given=True) == []


@pytest.mark.parametrize(
    "tries",
    [
        {"AT+CPINR": "+CPINR: SIM PIN,2,3|+CPINR: SIM PUK,10,10|OK"},
        {"AT+CPINR": "ERROR", "AT^CPIN?": "^CPIN: SIM PIN,1,10,1,10,3|OK"},
        {
            "AT+CPINR": "ERROR",
            "AT+CGMI": "Quectel|OK",
            "AT+CGMM": "EC25|OK",
            "AT+QPINC?": '+QPINC: "SC",2,10|OK',
        },
    ],
)
def test_a_wrong_pin_was_tried(tries: Mapping[str, str]) -> None:
    for written in (False, True):
        assert codes(port_findings(facts({**LOCKED, **tries}), pin_given=written)) == ["wrong_pin_tried"]


def test_a_refusal_that_the_answers_do_not_explain_is_told_as_it_came() -> None:
    (finding,) = port_findings(facts(refusal=("error", "the modem answered ERROR"), opened=False))
    assert finding.code == "modem_refuses"
    assert "the modem answered ERROR" in finding.how
    explained = facts({"AT+CMGF=?": "+CMGF: (1)|OK"}, refusal=("error", "why"), opened=False)
    assert codes(port_findings(explained)) == ["text_mode_only"]


def test_an_answer_that_takes_too_long_is_told_but_not_the_networks() -> None:
    assert codes(port_findings(facts(seconds={"AT+CSQ": 7.5}))) == ["slow"]
    assert port_findings(facts(seconds={'AT+CLCK="AO",2': 12.0, "AT+CSQ": 0.1})) == []


@pytest.mark.parametrize(
    ("imei", "fits"), [(IMEI, True), ("990000000000011", False), ("490154203237518", True)]
)
def test_check_digit(imei: str, fits: bool) -> None:
    assert check_digit_fits(imei) is fits


# -- masking and JSON ---------------------------------------------------------------------------------------------


def test_facts_leave_masked_and_still_name_the_operator() -> None:
    sent = json.loads(json.dumps(facts().as_json()))
    assert IMEI not in json.dumps(sent)
    assert "510110000000001" not in json.dumps(sent)
    back = PortFacts.from_json(sent)
    assert (back.home, back.operator, back.signal, back.model) == ("51011", "XL Axiata", 18, "huawei E173")


@given(st.text(alphabet='0123456789+:"* A', max_size=60))
def test_no_long_number_survives_masking(text: str) -> None:
    digits = 0
    for char in masked(text):
        digits = digits + 1 if char.isdigit() else 0
        assert digits <= 5


@pytest.mark.parametrize(
    "broken", [{}, {"port": 1}, {"port": "x", "answers": [], "refusal": None, "opened": 1, "seconds": {}}]
)
def test_broken_facts_and_findings_are_refused(broken: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="facts"):
        PortFacts.from_json(broken)
    with pytest.raises(ValueError, match="finding"):
        Finding.from_json(broken)


def test_a_finding_survives_json() -> None:
    (found,) = port_findings(facts({"AT+CSQ": "+CSQ: 4,99|OK"}))
    assert Finding.from_json(json.loads(json.dumps(found.as_json()))) == found


# -- on a line ----------------------------------------------------------------------------------------------------


def settings(url: str, baud: int = 115200) -> PortSettings:
    return PortSettings(
        url,
        baud,
        answer_timeout=timedelta(seconds=3),
        wake_timeout=timedelta(seconds=1),
        boot_timeout=timedelta(seconds=2),
    )


def stick(**answers: str) -> OddModem:
    table = {
        query: text.replace("|", "\n")
        for query, text in HEALTHY.items()
        if not query.startswith(("AT+CPMS", "AT+CNMI"))
    }
    return OddModem(
        Habits("huawei", answers={**table, **{q: t.replace("|", "\n") for q, t in answers.items()}})
    )


def test_a_healthy_stick_on_a_port_gives_nothing_and_was_not_changed() -> None:
    with stick().plugged_in() as modem:
        found = examine_port(settings(modem.url), SerialModem)
        assert port_findings(found) == []
        assert found.opened
        assert found.model == "huawei E173"
        assert modem.sent == []
        assert not any(
            line.startswith(("AT+CPIN=", "AT+CMGD", "AT+CMGS", 'AT+CLCK="FD",0')) for line in modem.heard
        )


def test_a_stick_whose_sim_wants_a_pin_is_asked_without_the_driver_and_offered_none() -> None:
    with stick(**{"AT+CPIN?": "+CPIN: SIM PIN|OK"}).plugged_in() as modem:
        found = examine_port(replace(settings(modem.url), pin="1234"), SerialModem)
        assert codes(port_findings(found)) == ["sim_pin"]
        assert found.refusal is not None
        assert not found.opened
        assert not any("1234" in line for line in modem.heard)


def test_a_stick_without_a_sim() -> None:
    with stick(**{"AT+CPIN?": "+CME ERROR: 10"}).plugged_in() as modem:
        assert codes(port_findings(examine_port(settings(modem.url), SerialModem))) == ["no_sim"]


def test_a_stick_with_text_mode_only() -> None:
    with stick(**{"AT+CMGF=?": "+CMGF: (1)|OK", "AT+CMGF=0": "ERROR"}).plugged_in() as modem:
        assert codes(port_findings(examine_port(settings(modem.url), SerialModem))) == ["text_mode_only"]


def test_a_port_that_is_not_there() -> None:
    found = examine_port(settings("/dev/ttyUSB99"), SerialModem)
    assert codes(port_findings(found)) == ["port_missing"]


@pytest.mark.parametrize("name", sorted(personalities()))
def test_a_healthy_stick_of_each_maker_gives_nothing_and_a_wrong_pin_is_noticed(name: str) -> None:
    network = Network(3)
    sim = Sim(iccid="8999000000000000001", imsi="510110000000001", own_number="+62990000001")
    attach(name, Dongle(network, sim, imei=IMEI, personality=name))
    locked = Sim(
        iccid="8999000000000000002", imsi="510110000000002", own_number="+62990000002", pin="1234", pin_left=2
    )
    attach(f"{name}-locked", Dongle(network, locked, imei=IMEI, personality=name))
    try:
        with Ticker(network):
            found = examine_port(settings(f"simulated://{name}"), SerialModem)
            assert port_findings(found) == []
            assert found.opened
            shut = examine_port(settings(f"simulated://{name}-locked"), SerialModem)
            assert codes(port_findings(shut)) == ["wrong_pin_tried"]
            assert locked.pin_left == 2
    finally:
        detach(name)
        detach(f"{name}-locked")


@contextmanager
def echoing(answer: bytes, speed: int | None = None) -> Iterator[str]:
    """A pty on which everything that is written, at that speed if one is named, is answered with these bytes."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    ends = threading.Event()

    def play() -> None:
        while not ends.is_set():
            try:
                heard = os.read(ours, 64)
                if heard and answer and speed in (None, termios.tcgetattr(ours)[5]):
                    os.write(ours, answer)
            except OSError:
                return

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    try:
        yield os.ttyname(theirs)
    finally:
        ends.set()
        os.write(theirs, b"x")  # wakes the reader
        thread.join()
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"\xff" * 12, "line_stuck"),
        (b"\x80\x03\x98\xf1\x9e\x00\x07\x86\xc0\xfe\x88", "line_noise"),
        (b"", "no_answer"),
    ],
)
def test_what_is_heard_on_a_line(answer: bytes, code: str) -> None:
    with echoing(answer) as url:
        assert codes(port_findings(examine_port(settings(url), SerialModem))) == [code]


def test_a_board_that_speaks_at_another_speed() -> None:
    with echoing(b"\r\nOK\r\n", termios.B9600) as url:
        found = examine_port(settings(url), SerialModem, bauds=BAUDS)
    assert found.line == Line(115200, 9600)
    (finding,) = port_findings(found)
    assert (finding.code, finding.mend) == ("wrong_baud", "write baud = 9600 into this lane")


def test_gather_asks_an_open_modem_and_times_it() -> None:
    ticks = iter(range(10_000))
    with stick().plugged_in() as odd:
        modem = SerialModem(settings(odd.url))
        modem.open()
        try:
            found = gather(modem, "xl-1", lambda: float(next(ticks)))
        finally:
            modem.close()
    assert found.port == "xl-1"
    assert set(found.answers) == set(QUERIES) == set(found.seconds)
    assert port_findings(found) == []
