"""The simulated dongle, of every kind, as ITU-T V.250 and 3GPP TS 27.005 and 27.007 have it: written from their clauses alone."""

from __future__ import annotations

import re

import pytest
from dongle_clauses import CME, CMS, GROUPS, PERSON, Exchange
from stick_playing import OWN, START, new_dongle, ready, say

from modem.simulated import Dongle, Network
from modem.simulated.personality import personalities

KINDS = tuple(personalities())


def stick(kind: str) -> Dongle:
    network = Network()
    network.person(PERSON)
    return ready(network=network, personality=kind)


def fed(dongle: Dongle, data: str) -> str:
    return dongle.feed(data.encode("latin-1"), START).decode("latin-1")


def wrong_in(dongle: Dongle, exchanges: list[Exchange]) -> list[tuple[str, list[str]]]:
    """The exchanges that did not go as they should, with what was said."""
    wrong = []
    for said, *wanted in exchanges:
        lines = [line for line in say(dongle, said).split("\r\n") if line]
        if re.fullmatch("\n".join(wanted), "\n".join(lines)) is None:
            wrong.append((said, lines))
    return wrong


def test_there_are_enough_of_them() -> None:
    assert sum(map(len, GROUPS.values())) > 300


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("group", GROUPS)
def test_what_it_answers(group: str, kind: str) -> None:
    assert not wrong_in(stick(kind), GROUPS[group])


# -- how the bytes stand -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_result_codes_are_digits_and_information_is_short_after_atv0(kind: str) -> None:
    """V.250 §5.7.1, §6.2.6: numbers end with S3 alone, information text ends with S3 and S4 and has nothing before it."""
    dongle = stick(kind)
    assert fed(dongle, "ATV0\r") == "0\r"
    assert fed(dongle, "AT+CIMI\r") == "510110000000001\r\n0\r"
    assert fed(dongle, "ATE9\r") == "4\r"
    assert fed(dongle, "ATO\r") == "3\r"
    assert fed(dongle, "ATV1\r") == "\r\nOK\r\n"


@pytest.mark.parametrize("kind", KINDS)
def test_atq1_hides_result_codes_and_no_information(kind: str) -> None:
    """V.250 §6.2.5."""
    dongle = stick(kind)
    assert fed(dongle, "ATQ1\r") == ""
    assert fed(dongle, "AT+CIMI\r") == "\r\n510110000000001\r\n"
    assert fed(dongle, "ATE9\r") == ""
    assert fed(dongle, "ATQ0\r") == "\r\nOK\r\n"


@pytest.mark.parametrize("kind", KINDS)
def test_other_characters_may_end_a_line_and_part_lines(kind: str) -> None:
    """V.250 §6.2.1 to §6.2.3: a line ends with the S3 of its beginning, and is answered with the one that it set."""
    dongle = stick(kind)
    assert fed(dongle, "ATS3=36\r") == "$\nOK$\n"
    assert fed(dongle, "ATS4=38$") == "$&OK$&"
    assert fed(dongle, "AT+CIMI$") == "$&510110000000001$&$&OK$&"
    assert fed(dongle, "ATS5=35$AT+CSQX#$") == "$&OK$&$&+CSQ: 20,99$&$&OK$&"
    assert fed(dongle, "ATS3=13S4=10S5=8$") == "\r\nOK\r\n"


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_line_is_done_again_also_when_it_was_refused(kind: str) -> None:
    """V.250 §5.2.4: A/ wants no end of line."""
    dongle = stick(kind)
    refused = fed(dongle, "AT+CMGR=9999\r")
    assert fed(dongle, "A/") == refused == "\r\n+CMS ERROR: 321\r\n"
    assert fed(dongle, "AT+CIMI\ra/") == "\r\n510110000000001\r\n\r\nOK\r\n" * 2


@pytest.mark.parametrize("kind", KINDS)
def test_echo_is_on_after_a_reset_of_the_session(kind: str) -> None:
    """V.250 §6.1.1, §6.2.4."""
    dongle = stick(kind)
    assert fed(dongle, "AT&F\r") == "\r\nOK\r\n"
    assert fed(dongle, "AT\r") == "AT\r\r\nOK\r\n"
    assert fed(dongle, "ATE0\r") == "ATE0\r\r\nOK\r\n"
    assert fed(dongle, "AT\r") == "\r\nOK\r\n"


# -- what happens by itself ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_indicators_that_change_are_told_to_who_asked(kind: str) -> None:
    """3GPP TS 27.007 §8.10: <ind> 1, and a <mode> that does not keep them."""
    dongle = stick(kind)
    say(dongle, "AT+CNMI=2,0;+CMER=3,0,0,1")
    dongle.turn(START, signal=4)
    assert dongle.drain() == b"\r\n+CIEV: 1,1\r\n"
    dongle.turn(START, signal=5)
    assert dongle.drain() == b""
    dongle.turn(START, registration=5)
    assert dongle.drain() == b"\r\n+CIEV: 3,1\r\n"
    dongle.turn(START, registration=2)
    assert dongle.drain() == b"\r\n+CIEV: 1,0\r\n\r\n+CIEV: 2,0\r\n\r\n+CIEV: 3,0\r\n"
    dongle.turn(START, registration=1)
    dongle.drain()
    dongle.network.text(PERSON, OWN, "Halo", now=START)
    assert dongle.drain() == b"\r\n+CIEV: 4,1\r\n"
    assert say(dongle, "AT+CMGD=1,4") == "\r\n+CIEV: 4,0\r\n\r\nOK\r\n"
    assert dongle.call(PERSON, START)
    assert b"+CIEV: 5,1" in dongle.drain()
    assert say(dongle, "ATH") == "\r\n+CIEV: 5,0\r\n\r\nOK\r\n"
    say(dongle, "AT+CMER=0")
    dongle.turn(START, signal=31)
    assert dongle.drain() == b""


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_is_told_as_clip_and_crc_want_it(kind: str) -> None:
    """3GPP TS 27.007 §6.11, §7.6."""
    dongle = stick(kind)
    say(dongle, "AT+CLIP=1;+CRC=1")
    assert dongle.call(PERSON, START)
    said = dongle.drain().decode()
    assert "\r\n+CRING: VOICE\r\n" in said
    assert f'\r\n+CLIP: "{PERSON}",145' in said
    assert re.search(r"\r\n\+CPAS: 3\r\n", say(dongle, "AT+CPAS"))
    assert re.search(rf'\r\n\+CLCC: 1,1,4,0,0,"\{PERSON}",145\r\n', say(dongle, "AT+CLCC"))
    say(dongle, "AT+CHUP")
    assert "\r\n+CPAS: 0\r\n" in say(dongle, "AT+CPAS")


@pytest.mark.parametrize("kind", KINDS)
def test_a_card_wants_its_pin_and_then_its_puk(kind: str) -> None:
    """3GPP TS 27.007 §8.3."""
    dongle = new_dongle(personality=kind, pin="1234")
    wrong = wrong_in(
        dongle,
        [
            ("ATE0", "ATE0\r", "OK"),
            ("AT+CMEE=1", "OK"),
            ("AT+CPIN?", r"\+CPIN: SIM PIN", "OK"),
            ("AT+CIMI", CME.format(11)),
            ("AT+CMGL=4", CMS.format(311)),
            ("AT+CNUM", CME.format(11)),
            ("AT+CFUN?", r"\+CFUN: 1", "OK"),
            ("AT+CGSN", r"\d{15}", "OK"),
            *(('AT+CPIN="0000"', CME.format(16)) for _ in range(3)),
            ("AT+CPIN?", r"\+CPIN: SIM PUK", "OK"),
            ("AT+CIMI", CME.format(12)),
            ("AT+CMGL=4", CMS.format(316)),
            ('AT+CPIN="1234"', CME.format(12)),
            ('AT+CPIN="00000000","5678"', CME.format(16)),
            ('AT+CPIN="99999999","5678"', "OK"),
            ("AT+CPIN?", r"\+CPIN: READY", "OK"),
            ('AT+CLCK="SC",0,"5678"', "OK"),
        ],
    )
    assert not wrong


# -- messages ------------------------------------------------------------------------------------------------------


def text_mode(kind: str) -> Dongle:
    dongle = stick(kind)
    say(dongle, "AT+CMGF=1")
    return dongle


@pytest.mark.parametrize("kind", KINDS)
def test_a_character_of_a_text_may_be_taken_back(kind: str) -> None:
    """3GPP TS 27.005 §3.5.1."""
    dongle = text_mode(kind)
    say(dongle, 'AT+CSCS="IRA"')
    say(dongle, f'AT+CMGS="{PERSON}"')
    assert "+CMGS: " in fed(dongle, "\b\bHalx\bo dunja\b\bia\x1a")
    say(dongle, f'AT+CSCS="GSM";+CMGS="{PERSON}"')
    fed(dongle, "Lunted\b\x1a")
    assert [one.text for one in dongle.network.ledger if one.kind == "submitted"] == ["Halo dunia", "Luntedò"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_of_nothing_is_a_line_of_its_own(kind: str) -> None:
    """3GPP TS 27.005 §3.4.2, §3.4.3: <data> stands behind the head, whatever it is."""
    dongle = text_mode(kind)
    first = dongle.personality.first_index
    dongle.network.text(PERSON, OWN, "", now=START)
    assert re.search(r"\r\n\+CMGR: [^\r]+\r\n\r\n\r\nOK\r\n$", say(dongle, f"AT+CMGR={first}"))
    assert re.search(r"\r\n\+CMGL: [^\r]+\r\n\r\n\r\nOK\r\n$", say(dongle, 'AT+CMGL="ALL"'))


@pytest.mark.parametrize("kind", KINDS)
def test_an_escape_and_a_wrong_length_send_nothing(kind: str) -> None:
    """3GPP TS 27.005 §4.3: the length is that of the TPDU."""
    dongle = stick(kind)
    good = "0001000481725700000161"
    for command in ("+CMGS", "+CMGW"):
        assert say(dongle, f"AT{command}=10") == "\r\n> "
        assert fed(dongle, f"{good}\x1b") == "\r\nOK\r\n"
        assert say(dongle, f"AT{command}=11") == "\r\n> "
        assert fed(dongle, f"{good}\x1a") == "\r\n+CMS ERROR: 304\r\n"
    assert dongle.network.ledger == []
    assert say(dongle, "AT+CMGL=4") == "\r\nOK\r\n"


@pytest.mark.parametrize("kind", KINDS)
def test_a_listing_reads_what_was_unread_and_flags_delete_by_state(kind: str) -> None:
    """3GPP TS 27.005 §3.4.2, §3.5.4."""
    dongle = text_mode(kind)
    first = dongle.personality.first_index
    for text in ("satu", "dua"):
        dongle.network.text(PERSON, OWN, text, now=START)
    assert '"REC UNREAD"' in say(dongle, f"AT+CMGR={first}")
    assert '"REC READ"' in say(dongle, f"AT+CMGR={first}")
    say(dongle, f'AT+CMGW="{PERSON}",145,"STO UNSENT"')
    fed(dongle, "nanti\x1a")
    say(dongle, f'AT+CMGW="{PERSON}",145,"STO SENT"')
    fed(dongle, "sudah\x1a")
    # In the order of the slots: 1 read, 0 unread, 2 unsent, 3 sent.
    for flag, left in ((1, [0, 2, 3]), (2, [0, 2]), (3, [0]), (4, [])):
        assert say(dongle, f"AT+CMGD={first},{flag}") == "\r\nOK\r\n"
        assert [slot.stat for _, slot in dongle.sim.storage.listed()] == left
    assert say(dongle, 'AT+CMGL="ALL"') == "\r\nOK\r\n"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_indications_are_kept_or_told_as_the_mode_says(kind: str, mode: int) -> None:
    """3GPP TS 27.005 §3.4.1: only mode 0 keeps them while nothing else uses the line."""
    dongle = stick(kind)
    if say(dongle, f"AT+CNMI={mode},1") != "\r\nOK\r\n":
        assert mode not in dongle.personality.choices[0]
        return
    dongle.network.text(PERSON, OWN, "Halo", now=START)
    told = b"+CMTI: " in dongle.drain()
    assert told == (mode > 0)
    assert ("+CMTI: " in say(dongle, "AT+CNMI=2,1")) == (mode == 0)


@pytest.mark.parametrize("kind", KINDS)
def test_senders_and_texts_are_in_the_character_set_that_was_chosen(kind: str) -> None:
    """3GPP TS 27.007 §5.5, 27.005 §3.1."""
    dongle = text_mode(kind)
    first = dongle.personality.first_index
    dongle.network.text("PROMO", OWN, "a@b", now=START)
    dongle.drain()
    ucs2 = "".join(f"{ord(char):04X}" for char in "PROMO"), "006100400062"
    shown = {"GSM": ("PROMO", "a\x00b"), "IRA": ("PROMO", "a@b"), "UCS2": ucs2, "HEX": ("PROMO", "610062")}
    for name, (sender, text) in shown.items():
        if name not in dongle.personality.charsets:
            continue
        assert say(dongle, f'AT+CSCS="{name}"') == "\r\nOK\r\n"
        head, body = say(dongle, f"AT+CMGR={first}").split("\r\n")[1:3]
        assert (f'"{sender}"' in head, body) == (True, text)
