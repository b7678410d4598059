"""The AT dialect: bytes to lines, and what the lines say."""

from __future__ import annotations

import pytest
from feeding import Feed, feed_all_ways
from hypothesis import given, settings
from hypothesis import strategies as st

from modem import at, verdicts

BYTES: dict[str, tuple[bytes, list[str]]] = {
    "answer": (b"\r\n+CSQ: 20,99\r\n\r\nOK\r\n", ["+CSQ: 20,99", "OK"]),
    "echo": (b"AT+CSQ\r\r\n+CSQ: 20,99\r\n\r\nOK\r\n", ["AT+CSQ", "+CSQ: 20,99", "OK"]),
    "only CR": (b"+CSQ: 1,99\rOK\r", ["+CSQ: 1,99", "OK"]),
    "only LF": (b"+CSQ: 1,99\nOK\n", ["+CSQ: 1,99", "OK"]),
    "NUL": (b"\r\n\0O\0K\0\r\n", ["OK"]),
    "0xFF": (b"\xff\xff\r\nO\xffK\xff\r\n", ["OK"]),
    "noise at the rims": (b"\x80\xc3\x28\r\n\x93OK\xfe\x01\r\n", ["(", "OK"]),
    "latin-1 within": (b'+COPS: 0,0,"Op\xe9rateur"\r\n', ['+COPS: 0,0,"Opérateur"']),
    "nothing": (b"\r\n\r\n \r\n", []),
    "a prompt that nobody expects": (b"\r\n> \r\nOK\r\n", [">", "OK"]),
}

PROMPTS: dict[str, tuple[bytes, list[str]]] = {
    "with its space": (b"\r\n> ", [at.PROMPT]),
    "without its space": (b"\r\n>", [at.PROMPT]),
    "without a line before": (b">", [at.PROMPT]),
    "after an echo": (b"AT+CMGS=23\r\r\n> ", ["AT+CMGS=23", at.PROMPT]),
    "after a URC": (b'\r\n+CMTI: "SM",3\r\n\r\n> ', ['+CMTI: "SM",3', at.PROMPT]),
    "after noise": (b"\r\n\xff\x80> ", [at.PROMPT]),
    "then a line": (b"> \r\n+CMGS: 1\r\n", [at.PROMPT, "+CMGS: 1"]),
    "only once": (b"> \r\n> \r\n", [at.PROMPT, ">"]),
    "an error instead": (b"\r\n+CMS ERROR: 500\r\n", ["+CMS ERROR: 500"]),
}


def expecting(prompt: bool) -> Feed:
    buffer = at.LineBuffer()
    buffer.prompt = prompt
    return buffer.feed


@pytest.mark.parametrize(("data", "events"), BYTES.values(), ids=BYTES)
def test_bytes_become_lines(data: bytes, events: list[str]) -> None:
    feed_all_ways(lambda: expecting(False), data, events)


@pytest.mark.parametrize(("data", "events"), PROMPTS.values(), ids=PROMPTS)
def test_a_prompt_is_seen_where_one_is_expected(data: bytes, events: list[str]) -> None:
    feed_all_ways(lambda: expecting(True), data, events)


@given(
    data=st.lists(
        st.sampled_from(
            [b"\r\n", b"\r", b"> ", b">", b"OK", b"\xff", b"\0", b"\x80", b" ", b"+CMGS: 1", b"A"]
        )
    ),
    prompt=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_cutting_changes_nothing(data: list[bytes], prompt: bool) -> None:
    whole = b"".join(data) + b"\r\n"
    feed_all_ways(lambda: expecting(prompt), whole, expecting(prompt)(whole), tail=b"")


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_lines_hold_no_breaks_and_no_rims(data: bytes) -> None:
    for line in at.LineBuffer().feed(data + b"\r\n"):
        assert line == line.strip()
        assert not {"\r", "\n", "\0", "\xff"} & set(line)
        assert line


def test_endless_noise_keeps_only_its_end() -> None:
    buffer = at.LineBuffer()
    for _ in range(100):
        assert buffer.feed(b"x" * 1000) == []
    (line,) = buffer.feed(b"OK\r\n")
    assert line.endswith("xOK")
    assert len(line) == 4096


@pytest.mark.parametrize(
    "line",
    ["OK", "ERROR", "+CMS ERROR: 500", "+CME ERROR: SIM busy", "+CME ERROR: 10", "COMMAND NOT SUPPORT"],
)
def test_final_results(line: str) -> None:
    assert at.is_final(line)
    assert not at.is_urc(line)


@pytest.mark.parametrize(
    "line", ["OKAY", "+CMGS: 5", "NO CARRIER", "> ", '+CMTI: "SM",1', "ERRORS", "+CSQ: 20,99"]
)
def test_not_final(line: str) -> None:
    assert not at.is_final(line)


def test_urcs_are_data_that_can_be_extended() -> None:
    assert at.is_urc("^RSSI:18")
    assert at.is_urc("RING")
    assert not at.is_urc("+CSQ: 18,99")
    assert not at.is_urc("%NEWS: 1")
    assert at.is_urc("%NEWS: 1", ["%NEWS:"])


PDU = "00040B912618570000F00000621132413252820141"


@pytest.mark.parametrize(
    "header",
    [
        "+CMGL: 3,1,,20",
        '+CMGL: 3,1,"",20',
        '+CMGL: 3,1,"Toko, Jaya",20',
        "+CMGL:3,1,20",
        "+CMGL: 3 , 1 , , 20",
    ],
)
def test_cmgl_headers(header: str) -> None:
    (entry,) = at.listed([header, PDU.lower(), "OK"])
    assert entry == at.Listed(3, 1, 20, PDU)
    assert entry.whole


def test_cmgl_keeps_what_is_odd_and_its_neighbours() -> None:
    lines = [
        "+CMGL: 0,1,,20",
        PDU[:16],
        PDU[16:],
        "+CMGL: 1,0,,20",
        PDU[:20],
        "+CMGL: 2,1,,20",
        "§$%",
        "+CMGL: 7,1,,20",
        PDU,
    ]
    entries = at.listed([*lines, "OK"])
    assert [(entry.index, entry.whole) for entry in entries] == [(0, True), (1, False), (2, False), (7, True)]
    assert entries[2].pdu == "§$%"
    assert at.listed(["OK"]) == []
    assert at.listed(["+CMGL: 1,1,,20", "OK"]) == []


def test_noise_behind_a_whole_pdu_is_not_part_of_it() -> None:
    assert [entry.pdu for entry in at.listed(["+CMGL: 0,1,,20", PDU, "(", "+CMGL: 1,1,,20", PDU, "OK"])] == [
        PDU,
        PDU,
    ]


def test_cmgr() -> None:
    assert at.read(4, ["+CMGR: 0,,20", PDU, "OK"]) == at.Listed(4, 0, 20, PDU)
    assert at.read(4, ["OK"]) is None
    assert at.read(4, ["+CMGR: 0,,0", "OK"]) is None


@pytest.mark.parametrize(
    ("line", "slot"),
    [
        ('+CMTI: "SM",3', ("SM", 3)),
        ('+CMTI:"ME", 12', ("ME", 12)),
        ('+CDSI: "SR",0', ("SR", 0)),
        ("+CMTI: SM,3", ("SM", 3)),
        ('+CMTI: "SM"', None),
        ("+CMTI:", None),
    ],
)
def test_slots(line: str, slot: tuple[str, int] | None) -> None:
    assert at.slot(line) == slot


@pytest.mark.parametrize(
    ("line", "reference"),
    [
        ("+CMGS: 5", 5),
        ("+CMGS:5", 5),
        ("+CMGS:255", 255),
        ('+CMGS: 11,"26/11/23,10:00:00+28"', 11),
        ('+CMGS: 11 , "07915892000000F0"', 11),
        ("+CMGS:", None),
        ("+CMGS: x", None),
        ("+CMGW: 5", None),
    ],
)
def test_message_references(line: str, reference: int | None) -> None:
    assert at.message_reference(line) == reference


def test_storages() -> None:
    assert at.memories(['+CPMS: "SM",3,30,"ME",0,100,"SM",3,30', "OK"]) == [
        ("SM", 3, 30),
        ("ME", 0, 100),
        ("SM", 3, 30),
    ]
    offer = ["^RSSI:18", '+CPMS: ("SM","ME","SR"),("SM","ME"),("SM")', "OK"]
    assert at.memories_offered(offer) == [("SM", "ME", "SR"), ("SM", "ME"), ("SM",)]
    assert at.memories_offered(['+CPMS: (("SM","BM","SR"),("SM"))']) == [("SM", "BM", "SR"), ("SM",)]
    assert at.memories_offered(["OK"]) == []


def test_values_offered() -> None:
    offered = at.values_offered("+CNMI", ["+CNMI: (0-2),(0,1),(0, 2-3),(0-2),(1)", "OK"])
    assert offered == [{0, 1, 2}, {0, 1}, {0, 2, 3}, {0, 1, 2}, {1}]
    assert at.values_offered("+CNMI", ["OK"]) == []


@pytest.mark.parametrize(
    ("line", "registration"),
    [
        ("+CREG: 0,1", "home"),
        ('+CREG: 2,5,"00C3","0001A2B3",7', "roaming"),
        ("+CREG: 2,2,1A2B,00C3", "searching"),
        ("+CREG: 1", "home"),
        ("+CREG:0", "idle"),
        ('+CREG: 5,"00C3","A2B3"', "roaming"),
        ("+CREG: 1,1234,ABCD", "home"),
        ("+CGREG: 0,3", "denied"),
        ("+CEREG: 0,4", "unknown"),
        ("+CEREG: 0,6", "home"),
        ("+CEREG: 0,7", "roaming"),
        ("+CREG: 0,8", "denied"),
        ("+CREG: 0,9", "home"),
        ("+CREG: 0,10", "roaming"),
        ("+CREG: 0,11", "unknown"),
        ("+CREG: ?", "unknown"),
        ("+CSQ: 1,99", None),
    ],
)
def test_registrations(line: str, registration: str | None) -> None:
    assert at.registration(line) == registration


def test_state_is_found_among_other_lines() -> None:
    assert at.signal(["^RSSI:18", "+CSQ: 20,99", "OK"]) == 20
    assert at.signal(["+CSQ: 99,99", "OK"]) is None
    assert at.signal(["OK"]) is None
    assert at.operator(["^MODE:5,4", '+COPS: 0,0,"XL Axiata",7', "OK"]) == "XL Axiata"
    assert at.operator(['+COPS: 0,0,"0058004C"', "OK"]) == "XL"
    assert at.operator(["+COPS: 0", "OK"]) is None
    assert at.pin_state(["+CPIN: SIM PIN", "OK"]) == "SIM PIN"
    assert at.pin_state(["+CPIN:READY", "OK"]) == "READY"
    assert at.pin_state(["OK"]) is None


def test_identity_is_found_among_other_lines() -> None:
    assert at.imei(["AT+CGSN", "^RSSI:18", "990000000000019", "OK"]) == "990000000000019"
    assert at.imei(['+CGSN: "990000000000019"', "OK"]) == "990000000000019"
    assert at.imei(["OK"]) is None
    assert at.imsi(["510110000000001", "OK"]) == "510110000000001"
    assert at.own_number(['+CNUM: "","+62817000001",145', "OK"]) == "+62817000001"
    assert at.own_number(['+CNUM: "","",129', "OK"]) is None
    assert at.plain(["AT+CGMI", "huawei", "OK"]) == "huawei"
    assert at.plain(['+CGMM: "E173"', "OK"]) == "E173"
    assert at.plain(["ERROR"]) is None


@pytest.mark.parametrize(
    "line",
    [
        "89990000000000000012",
        "+CCID: 89990000000000000012",
        '+CCID: "89990000000000000012"',
        "^ICCID: 98990000000000000021",
        "+ICCID: 89990000000000000012",
        '+CRSM: 144,0,"98990000000000000021"',
    ],
)
def test_iccid(line: str) -> None:
    assert at.iccid(["^RSSI:18", line, "OK"]) == "89990000000000000012"


def test_iccid_of_nineteen_digits() -> None:
    assert at.iccid(["8999000000000000001F", "OK"]) == "8999000000000000001"
    assert at.iccid(["989900000000000000F1", "OK"]) == "8999000000000000001"
    assert at.iccid(["990000000000019", "OK"]) is None


@pytest.mark.parametrize(
    ("line", "code", "blame", "retryable"),
    [
        ("+CMS ERROR: 322", "memory_full", "sim", True),
        ("+CMS ERROR:  38", "network_out_of_order", "network", True),
        ("+CMS ERROR: network timeout", "network_timeout", "network", True),
        ("+CME ERROR: SIM busy", "sim_busy", "sim", True),
        ("+CME ERROR: 10", "sim_not_inserted", "sim", False),
        ("+CME ERROR: 14", "sim_busy", "sim", True),
        ("+CMS ERROR: 513", "cms_513", "modem", True),
        ("+CMS ERROR: 99", "cms_99", "network", True),
        ("+CME ERROR: 999", "cme_999", "modem", True),
        ("+CMS ERROR: who knows", "cms_error", "modem", True),
        ("+CMS ERROR: ²", "cms_error", "modem", True),
        ("ERROR", "error", "modem", False),
        ("COMMAND NOT SUPPORT", "error", "modem", False),
    ],
)
def test_verdicts(line: str, code: str, blame: str, retryable: bool) -> None:
    verdict = verdicts.verdict(line)
    assert verdict is not None
    assert (verdict.code, verdict.blame, verdict.retryable) == (code, blame, retryable)


def test_no_verdict_without_an_error() -> None:
    assert verdicts.verdict("OK") is None
    assert verdicts.verdict("+CMGS: 5") is None


def test_every_verdict_blames_somebody_and_says_something() -> None:
    for verdict in (*verdicts.CMS.values(), *verdicts.CME.values()):
        assert verdict.blame in ("sim", "modem", "network", "gateway")
        assert verdict.detail
        assert verdicts.verdict(f"+CMS ERROR: {verdict.code.replace('_', ' ')}") == verdict


@given(
    st.lists(
        st.text(max_size=40)
        | st.sampled_from(["+CMGL: 1,1,,20", "+CREG: 0,1", "+CPMS: (", "+CMS ERROR: 5", "OK", PDU])
    )
)
@settings(max_examples=200, deadline=None)
def test_parsers_take_any_lines(lines: list[str]) -> None:
    for entry in at.listed(lines):
        assert entry.pdu
        assert entry.whole in (True, False)
    for parse in (at.signal, at.operator, at.pin_state, at.imei, at.imsi, at.iccid, at.own_number, at.plain):
        assert parse(lines) is None or parse(lines)
    for line in lines:
        registration = at.registration(line)
        assert registration is None or registration in at.REGISTRATIONS
        assert (verdicts.verdict(line) is None) == (not at.is_final(line) or line == "OK")
    assert at.memories_offered(lines) is not None
    assert at.values_offered("+CNMI", lines) is not None
