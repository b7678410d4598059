"""The driver, and the whole gateway, against modems as logs of real ones show them, and as other programs leave them behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from strange_modems import ICCID, IMEI, IMSI, Kind, StrangeModem
from test_odd_modems import check, serving

from modem import (
    Identity,
    ModemError,
    ModemLost,
    NotSubmitted,
    PortSettings,
    SerialModem,
    Stored,
    StoredSubmit,
    decode,
    encode_deliver,
    encode_submit,
)

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
FIRST = encode_deliver("2757", "Saldo JHT KPJ 99012345678 Rp 1.000", NOON)
SECOND = encode_deliver("2757", "lain", NOON)
PATIENCE = timedelta(seconds=2)


def all_three(names: list[str]) -> bool:
    return len(names) == 3


KINDS = [
    # github.com/gammu/gammu/issues/829: nothing but three storages at a time
    Kind("huawei-e3372-325", "huawei", "E3372", cpms_takes=all_three, arrives_in="ME",
         says={r"AT\^ICCID\?": f"^ICCID: {ICCID}\nOK", r"AT\+CCID": "COMMAND NOT SUPPORT", r"AT\^(CURC|PORTSEL).*": "OK",
               r"AT\+CSQ": '^HCSQ:"LTE",40,35,80,20\n+CSQ: 20,99\nOK'}, first_index=0),
    Kind("huawei-e173", "huawei", "E173", says={r"AT\+CPIN\?": "^RSSI:18\n+CPIN: READY\n^BOOT:11184533,0,0,0,72\nOK",
         r"AT\+CGMI": "^RSSI:18\nhuawei\n^MODE:5,4\nOK"}, first_index=0, boot=("^SRVST:2", "^SIMST:1")),
    Kind("huawei-me909s", "Huawei Technologies Co., Ltd.", "ME909s-821", cpms_takes=all_three,
         says={r"AT\+CREG\?": "+CREG: 0,0\nOK", r"AT\+CEREG\?": '+CEREG: 2,1,"00C3","01A2B3C4",7\nOK'}),
    Kind("zte-mf190", "ZTE INCORPORATED", "MF190", says={r"AT\+CGMM": '+ZUSIMR:2\n+ZPASR: "HSDPA"\nMF190\nOK', r"AT\+CCID": "ERROR",
         r"AT\+CRSM=.*": '+CRSM: 144, 0, "98990000000000000021"\nOK'}, first_index=1, hint='+CMTI: "SM",{index}'),
    Kind("sim800c", "SIMCOM_Ltd", "SIMCOM_SIM800C", sleeps_for=3, memories=(("SM",), ("SM",), ("SM",)),
         cnmi_takes=r"[0-3],[0-3](,[02](,[01](,[01])?)?)?", cnmi_offers="(0-3),(0-3),(0,2),(0,1),(0,1)",
         says={r"AT\+CCID": f"{ICCID}f\nOK", r"AT\+CSQ": '*PSUTTZ: 2026,11,24,12,0,0,"+28",0\nDST: 0\n+CSQ: 20,0\nOK'}),
    # a text of the start between everything, github.com/onlinegill/LILYGO-TTGO-T-SIM7000G-ESP32-Traccar-GPS-tracker/issues/3
    Kind("a7670", "SIMCOM INCORPORATED", "A7670E-FASE", boot=("*ATREADY: 1", '*ISIMAID: "A000"', "+CPIN: READY", "SMS DONE", "PB DONE"),
         boots_for=1.0, send_latency=0.5, memories=(("ME", "SM", "MT"),) * 3, arrives_in="ME",
         says={r"AT\+CGMM": '*COPN:0,"KT"\nA7670E-FASE\nOK', r"AT\+CGMI": '*ISIMAID: "A0000000"\nSIMCOM INCORPORATED\nOK',
               r"AT\+CCID": "ERROR", r"AT\+CICCID": f"+ICCID: {ICCID}\nOK", r"AT\+CSQ": "+CSQ: 20, 99\nOK"}),
    # github.com/Xinyuan-LilyGO/LilyGo-Modem-Series/issues/79
    Kind("a7670-sim-failure-first", "SIMCOM INCORPORATED", "A7670G",
         says={r"AT\+CPIN\?": ["+CME ERROR: SIM failure", "+CME ERROR: SIM failure", "-"]}),
    Kind("sim800-not-ready-for-sms", says={r"AT\+CMGF=0": ["ERROR", "ERROR", "-"], r"AT\+CPMS=\?": ["ERROR", "ERROR", "-"]}),
    Kind("quectel-ec25", "Quectel", "EC25", boot=("RDY",), sent='+CMGS: {n},"26/11/24,12:34:56+28"', memories=(("ME", "MT", "SM", "SR"),) * 3,
         says={r"AT\+CGMM": '+QIND: SMS DONE\nEC25\nOK', r"AT\+CCID": f"+CCID: {ICCID}\nOK", r"AT\+CREG\?": '+CREG: 2,1,"00C3","01A2B3C4",7\nOK'},
         arrives_in="ME", first_index=0),
    Kind("quectel-bg95", "Quectel", "BG95-M3", text_mode=True, says={r"AT\+CREG\?": "+CREG: 2,2\nOK", r"AT\+CEREG\?": '+CEREG: 2,5,"00C3","01A2B3C4",9\nOK',
         r"AT\+CSMS=.*": "ERROR"}),
    # u-blox: a storage for status reports is offered and refused
    Kind("u-blox", "u-blox", "LARA-R211", memories=(("ME", "SM", "MT", "SR"),) * 3, cpms_takes=lambda names: "SR" not in names,
         says={r"AT\+CMEE=.*": "OK", r"AT\+CSQ": "+CSQ: 20,99\nOK", r"AT\+CNUM": "+CME ERROR: operation not supported"}),
    Kind("telit-he910", "Telit", "HE910", sent='+CMGS: {n}, "26/11/24,12:34:56+28"', says={r"AT\+CCID": "ERROR", r"AT#CCID": f"#CCID: {ICCID}\nOK",
         r"AT\+CGMM": "#QSS: 1\nHE910\nOK"}, empty_slot="+CMS ERROR: 321"),
    # github.com/gammu/gammu/issues/1206
    Kind("cinterion-mc75i", "Cinterion", "MC75i", boot=("^SYSSTART",), memories=(("ME", "SM", "MT"), ("ME", "SM", "MT"), ("SM", "MT")),
         cnmi_takes=r"[0-3],[01](,[023],[02],1)?", cnmi_offers="(0-3),(0,1),(0,2,3),(0,2),(1)", hint='+CMTI: "MT",{index}',
         empty_slot="+CMGR: 0,,0\nOK"),
    # github.com/faucamp/python-gsmmodem/issues/19
    Kind("wavecom-m1306", "WAVECOM MODEM", "MULTIBAND  900E  1800", boot=("+WIND: 3", "+WIND: 4"), says={r"AT\+CPIN\?": "+CPIN: READY\n"},
         memories=(("SM", "BM", "SR"), ("SM",))),
    Kind("nokia", "Nokia", "Nokia C5-00", memories=(("ME", "SM"), ("ME", "SM"), ("MT",)), arrives_in="ME", hint='+CMTI: "MT",{index}', first_index=257,
         cnmi_takes="1,1,0,[01],0", cnmi_offers="(0,1),(0,1),(0),(0,1),(0)", says={r"AT\+CCID|AT\+CEREG.*|AT\+CGREG.*": "ERROR"}),
    Kind("five-numbers", cnmi_takes="2,1,0,0,0", cnmi_offers=None),
    Kind("only-buffered", cnmi_takes="3,1,0,[01](,0)?", cnmi_offers="(3),(0,1),(0),(0,1),(0)"),
    Kind("odd-storage", memories=(("SM_P",), ("SM_P",), ("SM_P",)), arrives_in="SM_P"),
    Kind("numeric", numeric=True),
    Kind("quiet", quiet=True),
    Kind("quiet-numeric-silent", quiet=True, numeric=True, echo=False),
    Kind("prompted", prompted=True),
    Kind("prompted-in-text-mode", prompted=True, text_mode=True),
    Kind("online", online=True),
    Kind("ucs2", ucs2=True),
    Kind("another-end-of-line", end_of_line="\n"),
    Kind("strict-escape", strict_escape=True, echo=False),
    Kind("text-errors", says={r"AT\+CMEE=.*": "OK", r"AT\+CSMS=.*": "+CMS ERROR: operation not supported"}),
    Kind("spaces-and-tabs", says={r"AT\+CREG\?": "+CREG:\t0, 1\nOK", r"AT\+CSQ": "+CSQ:   20 ,\t99\nOK"}, sent="+CMGS:\t{n} ", hint='+CMTI: "{storage}" , {index} '),
    Kind("doubled-returns", frame="\r\r\n{}\r\r\n"),
    Kind("returns-only-behind", frame="{}\r\n", prompt="> "),
    Kind("bytes-apart", spread=lambda data: [bytes((b,)) for b in data]),
    Kind("nuls", frame="\0\r\n\0{}\r\n\0"),
    Kind("slow", latency=0.05),
    Kind("hint-behind-the-prompt", prompt='\r\n> +CMTI: "SM",29\r\n'),
    Kind("hint-before-the-prompt", prompt='\r\n+CMTI: "SM",29\r\n> '),
]  # fmt: skip


@contextmanager
def opened(modem: StrangeModem, **settings: object) -> Iterator[tuple[SerialModem, Identity]]:
    patience = dict.fromkeys(("cmgs_timeout", "prompt_timeout", "answer_timeout"), PATIENCE)
    # as little as lets a data connection be left
    driver = SerialModem(
        PortSettings(modem.url, wake_timeout=timedelta(seconds=2.2), **{**patience, **settings})  # type: ignore[arg-type]
    )
    try:
        yield driver, driver.open()
    finally:
        driver.close()


def send(driver: SerialModem) -> list[int]:
    return driver.submit(
        encode_submit("2757", "BALANCE#99012345678#", validity=None, report=False, concat_reference=0),
        lambda: True,
    )


def take_all(driver: SerialModem) -> list[Stored]:
    found = driver.inbox()
    assert all(driver.forget(stored) for stored in found)
    return found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_it_is_opened_named_sent_through_and_read(kind: Kind) -> None:
    modem = StrangeModem(kind)
    with modem.plugged_in(), opened(modem) as (driver, identity):
        assert (identity.imei, identity.imsi, identity.iccid) == (
            IMEI,
            IMSI,
            ICCID if kind.name != "nokia" else None,
        )
        assert (identity.maker, identity.model) == (kind.maker, kind.model)
        assert identity.own_number in (None, "+62899000001")
        status = driver.status()
        assert status.can_send, status
        assert (status.signal, status.operator) == (20, "TELKOMSEL")
        assert send(driver) == [41]
        assert len(modem.sent) == 1
        driver.hinted()
        modem.arrive(FIRST)
        assert driver.wait(PATIENCE), "no hint"
        assert driver.hinted()
        assert [stored.pdu for stored in take_all(driver)] == [FIRST]
        modem.arrive(SECOND, hint=False)
        assert any(usage.used for usage in driver.usage())
        assert [stored.pdu for stored in take_all(driver)] == [SECOND]
        assert modem.kept == 0
        driver.verify()
        assert send(driver) == [42]
        assert len(modem.sent) == 2


# -- one habit at a time


@pytest.mark.parametrize(
    "stray", ["AT\\+CCID", "AT\\+CGMI", "AT\\+CMGF=0", 'AT\\+CPMS=".*', "AT\\+CPMS=\\?", "AT\\+CNMI=.*"]
)
def test_an_ok_too_many_moves_no_answer_to_the_next_question(stray: str) -> None:
    plain = StrangeModem(Kind(says={stray: ["OK\n", "-"]}))
    with plain.plugged_in(), opened(plain) as (driver, identity):
        assert (identity.imei, identity.imsi, identity.iccid) == (IMEI, IMSI, ICCID)
        assert (identity.maker, identity.model, identity.firmware) == ("Strange Works", "S1", "11.22.33")
        plain.arrive(FIRST)
        assert driver.wait(PATIENCE)
        assert [stored.pdu for stored in take_all(driver)] == [FIRST]
        assert send(driver) == [41]


def test_an_ok_in_place_of_the_prompt_leaves_no_prompt_open() -> None:
    modem = StrangeModem(Kind(says={r"AT\+CMGS=.*": ["OK", "-"]}))
    with modem.plugged_in(), opened(modem) as (driver, _):
        with pytest.raises(NotSubmitted) as refusal:
            send(driver)
        assert (refusal.value.code, refusal.value.retryable) == ("no_prompt", True)
        assert send(driver) == [41]
        assert len(modem.sent) == 1


def test_a_list_that_never_ends_is_asked_for_no_third_time() -> None:
    modem = StrangeModem(Kind(lists=""))
    with modem.plugged_in(), opened(modem, answer_timeout=timedelta(seconds=0.1)) as (driver, _):
        modem.arrive(FIRST)
        modem.arrive(SECOND)
        assert [stored.pdu for stored in take_all(driver)] == [FIRST, SECOND]
        asked = modem.commands.count("AT+CMGL=4")
        assert asked == 2
        modem.arrive(FIRST)
        assert [stored.pdu for stored in take_all(driver)] == [FIRST]
        assert modem.commands.count("AT+CMGL=4") == asked


def test_slots_are_found_where_a_modem_counts_from_elsewhere_and_lists_nothing() -> None:
    modem = StrangeModem(
        Kind(first_index=257, says={r"AT\+CMGL=4": "ERROR", r"AT\+CMGD=\?": "+CMGD: (257,258),(0-4)\nOK"})
    )
    with modem.plugged_in(), opened(modem) as (driver, _):
        modem.arrive(FIRST)
        modem.arrive(SECOND)
        assert [stored.pdu for stored in take_all(driver)] == [FIRST, SECOND]


def test_a_sim_that_tells_its_numbers_late_is_waited_for() -> None:
    late = ["ERROR", "+CME ERROR: SIM failure", "-"]
    modem = StrangeModem(Kind(says={r"AT\+CIMI": late[1:], r"AT\+CCID": late[:1] + late[2:]}))
    with modem.plugged_in(), opened(modem) as (_, identity):
        assert (identity.imsi, identity.iccid) == (IMSI, ICCID)


def test_indications_that_were_refused_at_the_start_are_asked_for_again() -> None:
    refusals = 7  # every form that is offered, and the shortest
    modem = StrangeModem(Kind(says={r"AT\+CNMI=[^?].*": ["+CMS ERROR: 302"] * refusals + ["-"]}))
    with modem.plugged_in(), opened(modem) as (driver, _):
        driver.verify()
        driver.hinted()
        modem.arrive(FIRST)
        assert driver.wait(PATIENCE)
        assert [stored.pdu for stored in take_all(driver)] == [FIRST]


def test_a_pin_is_given_once_though_the_sim_says_what_it_likes_around_it() -> None:
    says: dict[str, str | list[str]] = {
        r"AT\+CPIN\?": [
            "+CPIN: NOT READY\nOK",
            "+CPIN: SIM PIN\nOK",
            "+CME ERROR: SIM failure",
            "+CPIN: SIM CRASH\nOK",
            "-",
        ],
        r'AT\+CPIN="1234"': "OK",
    }
    modem = StrangeModem(Kind(says=says))
    with modem.plugged_in(), opened(modem, pin="1234") as (driver, _):
        assert driver.status().can_send
    assert modem.commands.count('AT+CPIN="1234"') == 1


def test_a_sim_that_was_taken_out_is_called_so() -> None:
    modem = StrangeModem(Kind(says={r"AT\+CPIN\?": "+CPIN: SIM REMOVED\nOK"}))
    with modem.plugged_in(), pytest.raises(ModemError) as refusal, opened(modem):
        pass
    assert refusal.value.code == "sim_not_inserted"


def test_a_storm_of_rings_hides_no_text() -> None:
    modem = StrangeModem(Kind(says={"ATH|AT\\+CHUP": "OK"}))
    with modem.plugged_in(), opened(modem) as (driver, _):
        for _ in range(200):
            modem.say('\r\nRING\r\n\r\n+CLIP: "+62899",145\r\n')
        modem.arrive(FIRST)
        assert send(driver) == [41]
        assert [stored.pdu for stored in take_all(driver)] == [FIRST]
        assert driver.calls() >= 1


def test_a_modem_that_says_it_is_ready_once_more_has_started_anew() -> None:
    modem = StrangeModem(Kind())
    with modem.plugged_in(), opened(modem) as (driver, _):
        modem.start_anew()
        with pytest.raises(ModemLost):
            driver.wait(PATIENCE)


def test_a_list_with_all_that_may_come_between_its_lines() -> None:
    modem = StrangeModem(Kind())
    with modem.plugged_in(), opened(modem) as (driver, _):
        modem.kind.says[r"AT\+CMGL=4"] = (
            f'+CMGL: 1,0,,{len(FIRST) // 2 - 1}\n+CMTI: "SM",2\n{FIRST}\n+CREG: 1,"00C3","01A2"\n'
            f'+CMGL: 2, 1 , "x,1" , {len(SECOND) // 2 - 1} \n RING\n{SECOND[:20]}\n{SECOND[20:]}\nOK'
        )
        assert [stored.pdu for stored in driver.inbox("SM")] == [FIRST, SECOND]


def test_a_storage_that_is_offered_and_refused_keeps_nobody_from_the_other() -> None:
    modem = StrangeModem(Kind(cpms_takes=lambda names: names[0] != "ME"))
    with modem.plugged_in(), opened(modem) as (driver, _):
        modem.arrive(FIRST)
        assert [stored.pdu for stored in take_all(driver)] == [FIRST]
        with pytest.raises(ModemError):
            driver.inbox("ME")


# -- the whole gateway


def balance(pdu: str) -> str:
    """What the service says of the card that the question names."""
    question = decode(pdu, outgoing=True)
    assert isinstance(question, StoredSubmit)
    kpj = question.text.split("#")[1]
    return encode_deliver("2757", f"Saldo JHT KPJ {kpj} per 31-10-2026 Rp 12.345.{kpj[-3:]}", NOON)


@pytest.mark.parametrize(
    "name", ["huawei-e3372-325", "a7670", "nokia", "quiet-numeric-silent", "u-blox", "hint-behind-the-prompt"]
)
def test_the_gateway_answers_checks_through_it(name: str, tmp_path: Path) -> None:
    modem = StrangeModem(next(kind for kind in KINDS if kind.name == name), balance)
    with modem.plugged_in(), serving(tmp_path, modem.url) as http:
        for kpj in ("99012345678", "99012345679"):
            answered = check(http, kpj)
            assert (answered["state"], answered["outcome"]) == ("answered", "found")
            assert answered["record"] == {
                "kpj": kpj,
                "balance": int(f"12345{kpj[-3:]}"),
                "as_of": "2026-10-31",
            }
        assert len(modem.sent) == 2
        assert modem.emptied(5)
