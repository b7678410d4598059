"""The kinds of simulated sticks: what makers do differently, several ports, calls, USSD, PINs, text mode."""

from __future__ import annotations

from datetime import timedelta

import pytest
from stick_playing import OWN, START, new_dongle, ready, say, second, send

from modem import ussd
from modem.pdu import Deliver, decode
from modem.simulated import Dongle, Menu, Network, Sim, personalities
from modem.simulated.dialogue import push
from modem.simulated.personality import SPEAKING, of_maker, personality

OK = "\r\nOK\r\n"
KINDS = tuple(personalities())


def answer(dongle: Dongle, line: str) -> list[str]:
    """The lines of an answer, without blank ones."""
    return [one for one in say(dongle, line).split("\r\n") if one]


# -- kinds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_says_who_it_is(kind: str) -> None:
    dongle = ready(personality=kind)
    known = personality(kind)
    assert answer(dongle, "AT+CGMI;+CGMM;+CGMR;+CGSN") == [
        known.maker,
        known.model,
        known.revision,
        "990000000000011",
        "OK",
    ]
    assert ("SIM800" if kind == "simcom" else known.model) in say(dongle, "ATI")
    assert of_maker(known.maker) is known


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_tells_its_iccid_by_its_own_commands(kind: str) -> None:
    dongle = ready(personality=kind)
    for command in personality(kind).cards:
        assert dongle.sim.iccid in say(dongle, f"AT{command}?" if command == "^ICCID" else f"AT{command}")
    others = {command for one in personalities().values() for command in one.cards} - set(
        personality(kind).cards
    )
    for command in others:
        assert dongle.sim.iccid not in say(dongle, f"AT{command}")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_tells_the_pin_tries_left(kind: str) -> None:
    dongle = ready(personality=kind, pin="1234")
    command = next(iter(personality(kind).tries), "+CPINR")
    for left in (3, 2):
        said = answer(dongle, f"AT{command}")
        assert said[-1] == "OK"
        assert str(left) in said[0]
        say(dongle, 'AT+CPIN="0000"')
    assert dongle.sim.pin_left == 1


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_offers_its_storages_and_takes_no_other(kind: str) -> None:
    dongle = ready(personality=kind)
    known = personality(kind)
    said = answer(dongle, "AT+CPMS=?")[0]
    for name in ("SM", "ME", "MT", "SR"):
        offered = name in known.storages[0]
        assert (f'"{name}"' in said) == offered
        assert ("OK" in answer(dongle, f'AT+CPMS="{name}"')) == offered


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_counts_slots_from_its_own_first(kind: str) -> None:
    dongle = ready(personality=kind)
    first = personality(kind).first_index
    assert f'+CMTI: "SM",{first}\r\n' in send(dongle, "2757", "satu")
    assert answer(dongle, f"AT+CMGR={first}")[0].startswith("+CMGR: 0,")
    assert answer(dongle, f"AT+CMGD={first}") == ["OK"]
    assert answer(dongle, "AT+CMGL=4") == ["OK"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_takes_what_it_offers_of_cnmi_and_nothing_else(kind: str) -> None:
    dongle = ready(personality=kind)
    known = personality(kind)
    assert answer(dongle, "AT+CNMI=?")[0] == f"+CNMI: {known.cnmi}"
    for place, choices in enumerate(known.choices):
        for value in range(5):
            values = ["0"] * place + [str(value)]
            assert (answer(dongle, f"AT+CNMI={','.join(values)}") == ["OK"]) == (value in choices)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_refuses_unknown_commands_in_its_own_words(kind: str) -> None:
    said = answer(ready(personality=kind), "AT+NOSUCH")
    assert said == [{"CME4": "+CME ERROR: 4"}.get(personality(kind).unknown, personality(kind).unknown)]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_lists_only_commands_that_it_has(kind: str) -> None:
    dongle = ready(personality=kind)
    listed = answer(dongle, "AT+CLAC")[:-1]
    assert "+CMGS" in listed
    for name in listed:
        if name[0] in "+^" and name not in ("+CMGS", "+CMGW", "+CFUN"):
            assert answer(dongle, f"AT{name}=?")[-1] not in (personality(kind).unknown, "+CME ERROR: 4"), name


def test_makers_settings_are_remembered_until_the_power_goes() -> None:
    dongle = ready(personality="quectel")
    assert answer(dongle, 'AT+QCFG="nwscanmode"') == ['+QCFG: "nwscanmode",0,1', "OK"]
    assert answer(dongle, "AT+CGSMS=2;+CGSMS?") == ["+CGSMS: 2", "OK"]
    dongle.start_anew(START)
    assert answer(dongle, "ATE0;+CGSMS?")[-2:] == ["+CGSMS: 1", "OK"]
    huawei = ready(personality="huawei")
    assert answer(huawei, "AT^SYSCFG=13,1,3FFFFFFF,1,2;^SYSCFG?") == ["^SYSCFG:13,1,3FFFFFFF,1,2", "OK"]


@pytest.mark.parametrize("kind", KINDS)
def test_it_starts_with_its_own_lines_after_its_own_time(kind: str) -> None:
    dongle = new_dongle(personality=kind, pin="1234")
    known = personality(kind)
    dongle.turn(START, boot=known.boot_time.total_seconds(), sim_after=2)
    dongle.unplug(START)
    dongle.plug(START)
    assert say(dongle, "AT") == ""
    booted = dongle.step(START + known.boot_time).decode()
    as_they_are = {"{signal}": "99", "{pin}": "SIM PIN"}  # not registered yet
    told = "\n".join(known.boot)
    for place, value in as_they_are.items():
        told = told.replace(place, value)
    assert "\n".join(line for line in booted.split("\r\n") if line) == told
    assert say(dongle, "ATE0;+CMEE=1", START + known.boot_time).endswith(OK)
    busy = say(dongle, "AT+CPIN?", START + known.boot_time)
    assert "NOT READY" in busy if known.generation == 2 else "+CME ERROR: 14" in busy
    assert "+CPIN: SIM PIN" in say(dongle, "AT+CPIN?", START + known.boot_time + timedelta(seconds=2))


@pytest.mark.parametrize("kind", KINDS)
def test_a_restart_takes_some_sticks_off_the_bus(kind: str) -> None:
    dongle = ready(personality=kind)
    plugs: list[bool] = []
    dongle.on_plug = plugs.append
    assert say(dongle, "AT+CFUN=1,1") == OK
    dongle.step(second(1))
    away = personality(kind).reset == "away"
    assert plugs == [False] * away
    dongle.step(second(4))
    assert plugs == [False, True] * away
    assert say(dongle, "AT", second(4)).startswith("AT\r")  # echo is on again


# -- storages ----------------------------------------------------------------------------------------


def test_mt_is_the_sim_and_behind_it_the_stick() -> None:
    dongle = ready(personality="quectel", sm_slots=2)
    say(dongle, 'AT+CPMS="MT","MT","MT"')
    said = [send(dongle, "2757", text) for text in ("satu", "dua", "tiga")]
    assert ['"SM",0' in said[0], '"SM",1' in said[1], '"ME",0' in said[2]] == [True] * 3
    assert answer(dongle, "AT+CPMS?")[0] == '+CPMS: "MT",3,257,"MT",3,257,"MT",3,257'
    heads = [line for line in answer(dongle, "AT+CMGL=4") if line.startswith("+CMGL")]
    assert [head.split(",")[0] for head in heads] == ["+CMGL: 0", "+CMGL: 1", "+CMGL: 2"]
    assert answer(dongle, "AT+CMGD=2") == ["OK"]
    assert dongle.me.used == 0
    assert answer(dongle, "AT+CMGR=2") == ["+CMS ERROR: 321"]


def test_a_sim_takes_its_messages_to_a_stick_that_counts_otherwise() -> None:
    dongle = ready(personality="huawei")
    send(dongle, "2757", "satu")
    other = Dongle(
        dongle.network, Sim("8999", "51011", "+628170000009"), imei="990000000000029", personality="simcom"
    )
    mine, theirs = dongle.sim, other.sim
    dongle.insert(theirs, START)
    other.insert(mine, START)
    say(other, "ATE0")
    assert answer(other, "AT+CMGR=1")[0].startswith("+CMGR: 0,")
    assert mine.iccid in say(other, "AT+CCID")


def test_class_0_goes_to_the_port_and_is_not_stored() -> None:
    dongle = ready()
    dongle.network.text("PROMO", OWN, "kilat", now=START, flash=True)
    lines = dongle.step(START).decode().split("\r\n")
    assert lines[1].startswith("+CMT: ,")
    found = decode(lines[2])
    assert isinstance(found, Deliver)
    assert (found.text, found.message_class) == ("kilat", 0)
    assert dongle.sim.storage.used == 0


def test_without_indications_class_0_is_stored_for_want_of_a_display() -> None:
    dongle = ready()
    say(dongle, "AT+CNMI=2,0,0,0,0")
    dongle.network.text("PROMO", OWN, "kilat", now=START, flash=True)
    assert dongle.sim.storage.used == 1


# -- ports -------------------------------------------------------------------------------------------


def test_each_port_has_its_own_session_and_mute_ones_say_nothing() -> None:
    dongle = ready()
    app, diagnostics = dongle.channels["app"], dongle.channels["diag"]
    assert app.feed(b"AT\r", START) == b"AT\r\r\nOK\r\n"
    assert say(dongle, "AT") == OK
    assert app.feed(b"AT+CMGS=10\r", START).endswith(b"> ")
    assert say(dongle, "AT+CSQ").startswith("\r\n+CSQ")
    assert diagnostics.feed(b"AT\r", START) == b""
    assert {role for role, port in dongle.channels.items() if not port.mute} == set(SPEAKING)


def test_unasked_lines_come_to_the_port_that_asked_for_them() -> None:
    dongle = ready()
    app = dongle.channels["app"]
    dongle.network.text("PROMO", OWN, "satu", now=START)
    assert b"+CMTI" in dongle.drain()
    assert app.drain() == b""
    app.feed(b"ATE0;^PORTSEL=1\r", START)
    dongle.network.text("PROMO", OWN, "dua", now=START)
    assert dongle.drain() == b""
    assert app.drain() == b'\r\n+CMTI: "SM",1\r\n'
    other = ready(personality="quectel")
    other.channels["app"].feed(b"ATE0;+CNMI=2,1,0,0,0\r", START)
    other.network.text("PROMO", OWN, "satu", now=START)
    assert other.channels["app"].drain() == b'\r\n+CMTI: "SM",0\r\n'


# -- calls -------------------------------------------------------------------------------------------


def test_a_call_rings_until_it_is_hung_up() -> None:
    dongle = ready()
    say(dongle, "AT+CLIP=1")
    assert dongle.call("+628990000007", START)
    assert dongle.drain() == b'\r\nRING\r\n\r\n+CLIP: "+628990000007",145,"",,"",0\r\n'
    assert not dongle.call("+628990000008", START)
    assert b"RING" in dongle.step(second(3))
    assert answer(dongle, "AT+CPAS;+CLCC")[:2] == ["+CPAS: 3", '+CLCC: 1,1,4,0,0,"+628990000007",145']
    assert say(dongle, "ATH", second(4)) == OK
    assert dongle.step(second(30)) == b""
    assert dongle.call("+628990000008", second(30))
    assert say(dongle, "ATA", second(31)).endswith(OK)
    assert dongle.step(second(60)) == b""
    assert say(dongle, "AT+CHUP", second(60)) == OK
    assert not dongle.ringing


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_rings_on_the_ports_where_the_stick_says_so_as_each_wants_it(kind: str) -> None:
    dongle = ready(personality=kind)
    app = dongle.channels.get("app")
    if app is not None:
        app.feed(b"ATE0;+CRC=1;+CLIP=1\r", START)
        app.drain()
    dongle.call("08990000007", START)
    assert dongle.drain() == b"\r\nRING\r\n"
    assert all(not channel.drain() for role, channel in dongle.channels.items() if role not in SPEAKING)
    if app is not None:
        shown = b'\r\n+CRING: VOICE\r\n\r\n+CLIP: "08990000007",129,"",,"",0\r\n'
        assert app.drain() == (shown if personality(kind).rings == "every" else b"")


def test_on_2g_a_call_holds_texts_up() -> None:
    dongle = ready(personality="simcom")
    dongle.call("+628990000007", START)
    dongle.network.text("PROMO", OWN, "satu", now=START)
    assert dongle.sim.storage.used == 0
    assert send(dongle, "2757", "dua").endswith("\r\n+CMS ERROR: 515\r\n")
    say(dongle, "AT+CHUP", second(1))
    assert dongle.sim.storage.used == 1
    assert "+CMGS: 1" in send(dongle, "2757", "dua", second(2))


def test_barred_calls_do_not_ring_and_barred_texts_do_not_go_out() -> None:
    dongle = ready()
    assert answer(dongle, 'AT+CLCK="AI",1,"1111"') == ["+CME ERROR: 16"]
    assert answer(dongle, 'AT+CLCK="AI",1,"0000";+CLCK="AI",2') == ["+CLCK: 1,7", "OK"]
    assert not dongle.call("+628990000007", START)
    say(dongle, 'AT+CLCK="AO",1,"0000"')
    assert send(dongle, "2757", "satu").endswith("\r\n+CMS ERROR: 10\r\n")
    say(dongle, 'AT+CLCK="AO",0,"0000";+CLCK="FD",1,"1234"')
    assert send(dongle, "2757", "satu").endswith("\r\n+CME ERROR: 56\r\n")
    say(dongle, 'AT+CLCK="FD",0,"1234"')
    assert "+CMGS: 1" in send(dongle, "2757", "satu")


# -- USSD --------------------------------------------------------------------------------------------


def dialled(dongle: Dongle, code: str, form: str, now: float = 0) -> list[str]:
    assert say(dongle, f'AT+CUSD=1,"{ussd.encode(code, form)}",15', second(now)) == OK
    return dongle.step(second(now + 1)).decode().strip().split(",", 2)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_spells_ussd_in_its_own_form(kind: str) -> None:
    dongle = ready(personality=kind)
    dongle.sim.credit = 12345
    dongle.network.ussd["*888#"] = "Pulsa Rp {credit}"
    form = personality(kind).ussd
    mode, text, coding = dialled(dongle, "*888#", form)
    assert mode == "+CUSD: 0"
    assert ussd.decode(text.strip('"'), int(coding), form) == "Pulsa Rp 12345"
    last = dongle.network.ledger[-1]
    assert (last.kind, last.address, last.text) == ("ussd", "*888#", "Pulsa Rp 12345")
    assert dialled(dongle, "*9#", form) == ["+CUSD: 4"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_is_not_shown_after_cusd_0_but_the_code_is_dialled(kind: str) -> None:
    dongle = ready(personality=kind)
    dongle.network.ussd["*888#"] = Menu("Pulsa", {"1": Menu("Rp 5")})
    given = ussd.encode("*888#", personality(kind).ussd)
    assert say(dongle, f'AT+CUSD=0,"{given}",15') == OK
    assert dongle.step(second(120)) == b""  # nor is its end
    assert [(one.kind, one.text) for one in dongle.network.ledger] == [("ussd", "Pulsa")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("code", ["*888#;", "*888#", " *888# ;"])
def test_atd_dials_a_code_where_the_stick_does_that(kind: str, code: str) -> None:
    dongle = ready(personality=kind)
    dongle.network.ussd["*888#"] = "Pulsa"
    say(dongle, "AT+CUSD=1")
    dials = personality(kind).dials_codes
    assert say(dongle, f"ATD{code}") == (OK if dials else "\r\nNO CARRIER\r\n")
    assert dongle.step(second(1)) == (b'\r\n+CUSD: 0,"Pulsa",15\r\n' if dials else b"")
    assert say(dongle, "ATD+628990000007;") == OK  # it is a call


def test_atd_dials_no_code_without_a_network() -> None:
    dongle = ready(personality="etsi")
    assert say(dongle, "AT+CFUN=4;D*888#;") == "\r\n+CME ERROR: 30\r\n"


def test_packed_ussd_takes_no_text_until_it_is_told_to() -> None:
    dongle = ready(personality="huawei")
    dongle.network.ussd["*888#"] = "Pulsa"
    assert answer(dongle, 'AT+CUSD=1,"*888#",15') == ["+CME ERROR: 50"]
    assert "^USSDMODE" in answer(dongle, "AT+CLAC")
    say(dongle, "AT^USSDMODE=0")
    assert dialled(dongle, "*888#", "text") == ["+CUSD: 0", '"Pulsa"', "15"]


def test_a_menu_waits_for_an_answer_and_times_out() -> None:
    dongle = ready(personality="etsi")
    dongle.network.ussd["*123#"] = Menu("1 Pulsa", {"1": Menu("Rp 5")})
    assert dialled(dongle, "*123#", "text")[0] == "+CUSD: 1"
    assert dialled(dongle, "1", "text", 2) == ["+CUSD: 0", '"Rp 5"', "15"]
    assert dialled(dongle, "1", "text", 4) == ["+CUSD: 4"]
    dialled(dongle, "*123#", "text", 6)
    assert say(dongle, "AT+CUSD=2", second(7)) == OK
    assert dialled(dongle, "1", "text", 8) == ["+CUSD: 4"]
    dialled(dongle, "*123#", "text", 10)
    assert dongle.step(second(120)) == b"\r\n+CUSD: 5\r\n"


def test_the_network_may_say_something_unasked() -> None:
    dongle = ready(personality="etsi")
    say(dongle, "AT+CUSD=0")
    push(dongle, "Paket hampir habis", START)
    assert dongle.drain() == b""
    say(dongle, "AT+CUSD=1")
    push(dongle, "Paket hampir habis", START)
    assert dongle.drain() == b'\r\n+CUSD: 0,"Paket hampir habis",15\r\n'


def test_what_gsm7_lacks_comes_in_ucs2() -> None:
    dongle = ready(personality="huawei")
    push(dongle, "Сальдо", START)
    assert dongle.drain() == f'\r\n+CUSD: 0,"{ussd.encode("Сальдо", "ucs2")}",72\r\n'.encode()


# -- text mode ---------------------------------------------------------------------------------------


def test_text_mode_shows_headers_when_told() -> None:
    dongle = ready(personality="etsi")
    send(dongle, "2757", "satu")
    say(dongle, "AT+CMGF=1;+CSDH=1")
    stamp = "26/11/24,10:00:00+28"
    assert answer(dongle, 'AT+CMGL="ALL"')[0] == f'+CMGL: 0,"REC UNREAD","2757",,"{stamp}",129,9'
    assert answer(dongle, "AT+CMGR=0")[0] == (
        f'+CMGR: "REC READ","2757",,"{stamp}",129,4,0,0,"+6281700000999",145,9'
    )


def test_text_mode_shows_and_takes_ucs2_in_hex() -> None:
    dongle = ready(personality="etsi")
    dongle.network.text("+628990000001", OWN, "Ж", now=START)
    dongle.drain()
    say(dongle, "AT+CMGF=1")
    assert answer(dongle, "AT+CMGR=0")[1:] == ["0416", "OK"]
    say(dongle, "AT+CSMP=17,0,0,8")
    say(dongle, 'AT+CMGS="+628990000001"')
    assert b"+CMGS: 1" in dongle.feed(b"0416\x1a", START)
    assert dongle.network.person("+628990000001").inbox[0].text == "Ж"


def test_text_mode_asks_for_reports_and_validity_by_csmp() -> None:
    dongle = ready(personality="etsi")
    dongle.network.person("+628990000001").on = False
    say(
        dongle, "AT+CNMI=2,1,0,1,0;+CMGF=1;+CSMP=49,0,0,0"
    )  # fo: TP-SRR and a relative TP-VP; vp 0: 5 minutes
    say(dongle, 'AT+CMGS="+628990000001"')
    dongle.feed(b"halo\x1a", START)
    said = dongle.step(second(301)).decode()
    assert said.startswith('\r\n+CDS: 6,1,"+628990000001",145,"26/11/24,10:00:00+28","26/11/24,10:05:01+28",')
    assert said.endswith(",70\r\n")  # TP-ST 0x46: validity period expired
    assert dongle.network.ledger[-2].kind == "expired"


def test_a_type_of_address_makes_it_international() -> None:
    dongle = ready(personality="etsi")
    say(dongle, "AT+CMGF=1")
    say(dongle, 'AT+CMGS="628990000001",145')
    dongle.feed(b"halo\x1a", START)
    assert dongle.network.ledger[0].address == "+628990000001"
    assert answer(dongle, 'AT+CSCA="628170000000",145;+CSCA?') == ['+CSCA: "+628170000000",145', "OK"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_strings_that_modem_programs_begin_with_are_taken(kind: str) -> None:
    dongle = new_dongle(personality=kind)
    for line in (
        "ATZ",
        "ATQ0 V1 E0 S0=0 &C1 &D2 +FCLASS=0",
        "ATE0L1M0X4",
        "AT&F;+CMEE=1;+CSMS=1",
        "ATS7=60S6=3",
    ):
        assert say(dongle, line).endswith(OK), line


def test_addresses_stay_legible_with_hex_texts() -> None:
    dongle = ready(personality="simcom")
    send(dongle, "2757", "satu")
    say(dongle, 'AT+CMGF=1;+CSCS="HEX";+COPS=3,2')
    assert answer(dongle, "AT+COPS?")[0] == '+COPS: 0,2,"51011",2'
    lines = answer(dongle, "AT+CMGR=1")
    assert lines[0].startswith('+CMGR: "REC UNREAD","2757"')
    assert bytes.fromhex(lines[1]) == b"halo satu"


# -- network -----------------------------------------------------------------------------------------


def test_registration_and_signal_follow_a_schedule() -> None:
    dongle = ready()
    say(dongle, "AT+CREG=1")
    hour = [
        (timedelta(seconds=5), {"registration": 2}),
        (timedelta(seconds=9), {"registration": 5, "signal": 7}),
    ]
    dongle.schedule(START, hour)
    assert dongle.step(second(5)) == b"\r\n+CREG: 2\r\n"
    assert answer(dongle, "AT+CSQ")[0] == "+CSQ: 99,99"
    assert dongle.step(second(9)) == b"\r\n+CREG: 5\r\n"
    assert say(dongle, "AT+CSQ", second(9)) == "\r\n+CSQ: 7,99\r\n" + OK
    with pytest.raises(ValueError, match="no knob 'weather'"):
        dongle.schedule(START, [(timedelta(0), {"weather": 1})])


def test_roaming_shows_the_operator_that_serves() -> None:
    dongle = ready(personality="quectel")
    dongle.turn(START, registration=5, operator="TELKOMSEL", operator_code="51010")
    assert answer(dongle, "AT+CREG=2;+CREG?")[0] == '+CREG: 2,5,"00AB","0099CDEF",7'
    assert answer(dongle, "AT+COPS?")[0] == '+COPS: 0,0,"TELKOMSEL",7'
    assert '(2,"TELKOMSEL","TELKOMSEL","51010",2),(1,"XL","XL","51011",2)' in say(dongle, "AT+COPS=?")


def test_a_day_of_virtual_time_costs_nothing() -> None:
    network = Network()
    dongle = ready(network=network)
    now = START
    for minute in range(24 * 60):
        now = START + timedelta(minutes=minute)
        assert "+CMGS: " in send(dongle, "2757", f"m{minute}", now)
        say(dongle, "AT+CMGD=0,4", now)
    assert sum(entry.kind == "received" for entry in network.ledger) == 24 * 60


# -- power of the SIM --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_without_power_the_sim_answers_nothing(kind: str) -> None:
    dongle = ready(personality=kind)
    say(dongle, "AT+CFUN=0")
    card = next(iter(personality(kind).cards))
    for command in ("+CPIN?", "+CIMI", "+CNUM", "+CUSD=1", '+CLCK="SC",2', card):
        assert answer(dongle, f"AT{command}") == ["+CME ERROR: 13"]
    for command in ("+CPMS?", "+CMGL=4", "+CMGS=10", "+CMSS=0", "+CSCA?"):
        assert answer(dongle, f"AT{command}") == ["+CMS ERROR: 313"]
    assert answer(dongle, "AT+CPIN=?") == ["OK"]
    assert answer(dongle, "AT+CREG?")[0].endswith(",0")
    assert answer(dongle, "AT+CFUN=1")[-1] == "OK"
    assert answer(dongle, "AT+CPIN?;+CIMI") == ["+CPIN: READY", dongle.sim.imsi, "OK"]


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_radio_the_sim_is_there(kind: str) -> None:
    dongle = ready(personality=kind)
    assert answer(dongle, "AT+CFUN=4") == ["OK"]
    assert answer(dongle, "AT+CPIN?;+CIMI") == ["+CPIN: READY", dongle.sim.imsi, "OK"]
    assert answer(dongle, "AT+CMGL=4") == ["OK"]
    assert not dongle.registered


@pytest.mark.parametrize(("function", "state"), [(0, "SIM PIN"), (4, "READY")])
def test_a_sim_that_had_no_power_wants_its_pin_again(function: int, state: str) -> None:
    dongle = ready(personality="etsi", pin="1234")
    say(dongle, 'AT+CPIN="1234"')
    say(dongle, f"AT+CFUN={function};+CFUN=1")
    assert answer(dongle, "AT+CPIN?") == [f"+CPIN: {state}", "OK"]


def test_simcom_tells_that_the_sim_has_no_power_and_that_it_has() -> None:
    dongle = ready(personality="simcom")
    assert answer(dongle, "AT+CFUN=0") == ["+CPIN: NOT READY", "OK"]
    assert answer(dongle, "AT+CFUN=1") == ["+CPIN: READY", "OK"]


def test_a_call_ends_when_the_radio_goes_off() -> None:
    dongle = ready(personality="etsi")
    dongle.call("+628990000007", START)
    say(dongle, "AT+CFUN=4")
    assert not dongle.ringing
    assert dongle.step(second(4)) == b""


# -- packet data -------------------------------------------------------------------------------------


def test_contexts_are_remembered_over_a_restart_and_forgotten_by_their_number() -> None:
    """3GPP TS 27.007 §10.1.1."""
    dongle = ready(personality="etsi")
    assert answer(dongle, 'AT+CGDCONT=3,"ipv4v6","ims";+CGDCONT=2,"IP","m2m","10.0.0.1",1,2') == ["OK"]
    say(dongle, "AT+CFUN=1,1")
    say(dongle, "ATE0")
    assert answer(dongle, "AT+CGDCONT?") == [
        '+CGDCONT: 1,"IP","internet","",0,0',
        '+CGDCONT: 2,"IP","m2m","10.0.0.1",1,2',
        '+CGDCONT: 3,"IPV4V6","ims","",0,0',
        "OK",
    ]
    assert answer(dongle, "AT+CGDCONT=1;+CGDCONT=3;+CGACT?") == ["+CGACT: 2,0", "OK"]
    assert answer(dongle, "AT+CGDCONT=2;+CGDCONT?") == ["OK"]


@pytest.mark.parametrize("given", ["0", "17", "x", '1,"X25"', '1,"IP","a","",3', '1,"IP","a","",0,4'])
def test_a_context_that_makes_no_sense_is_refused(given: str) -> None:
    dongle = ready(personality="etsi")
    before = answer(dongle, "AT+CGDCONT?")
    say(dongle, "AT+CMEE=1")
    assert answer(dongle, f"AT+CGDCONT={given}") == ["+CME ERROR: 50"]
    assert answer(dongle, "AT+CGDCONT?") == before
