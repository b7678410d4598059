"""Receiving through SerialModem: storages, hints, direct delivery and removal, against a scripted byte peer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta

import byte_peer
import pytest
from byte_peer import (
    LONG,
    OTHER,
    PDU,
    Peer,
    listed,
    opened,
    settings_for,
)

from modem import (
    ModemError,
    ModemLost,
    SerialModem,
    Stored,
    Usage,
)

ERROR = b"\r\nERROR\r\n"
EVERY_INDICATION = (
    *("2,1", "2,1,0,0,0", "1,1,0,0,0", "3,1,0,0,0"),
    *(f"{mode},{mt},0,{ds}" for mode in (1, 2, 3) for mt in (1, 2) for ds in (0, 1, 2)),
)

peer, modem, hasty = byte_peer.peer, byte_peer.modem, byte_peer.hasty


def test_the_inbox_is_read_over_all_storages(modem: SerialModem, peer: Peer) -> None:
    peer.turns["AT+CMGR=7"] = [listed("R", 7), listed("R", 7, pdu=OTHER)]
    peer.turns["AT+CMGL=4"] = [listed("L", 1, 7), listed("L", 2, 7, pdu=OTHER)]
    peer.answers["AT+CMGL=4"] = listed("L", 1, 7)
    assert modem.inbox() == [
        *(Stored("SM", slot, PDU, 1) for slot in (1, 7)),
        *(Stored("ME", slot, OTHER, 1) for slot in (2, 7)),
    ]
    # The last slot of each is looked into once, for some number their list otherwise.
    assert peer.heard[:5] == ["AT+CMGL=4", "AT+CMGR=7", 'AT+CPMS="ME"', "AT+CMGL=4", "AT+CMGR=7"]
    assert peer.heard[5:] == ["AT^ICCID?"]
    assert modem.inbox("ME") == [Stored("ME", slot, PDU, 1) for slot in (1, 7)]
    assert peer.heard[6:] == ["AT+CMGL=4", "AT^ICCID?"]


@pytest.mark.parametrize("look", [lambda modem: modem.inbox("SM"), lambda modem: modem.read("SM", 1)])
def test_what_another_sim_holds_is_not_handed_out_as_this_one_s(
    modem: SerialModem, peer: Peer, look: Callable[[SerialModem], object]
) -> None:
    peer.answers["AT+CMGL=4"] = listed("L", 1)
    peer.answers["AT+CMGR=1"] = listed("R", 1)
    assert look(modem)
    peer.answers["AT^ICCID?"] = b"\r\n^ICCID: 98990000000000000039\r\n\r\nOK\r\n"  # and not a word before
    with pytest.raises(ModemLost, match="sim_changed"):
        look(modem)


def test_urcs_within_a_list_are_cut_out(modem: SerialModem, peer: Peer) -> None:
    urcs = b'\r\n+CMTI: "SM",9\r\n\r\n^RSSI:18\r\n\r\n+CDSI: "SR",2\r\n'
    direct = f"\r\n+CMT: ,{len(OTHER) // 2 - 1}\r\n{OTHER}\r\n".encode()
    plain = listed("L", 1, 2)
    middle = plain.index(PDU.encode())
    peer.answers["AT+CMGL=4"] = urcs + plain[:middle] + urcs + direct + plain[middle:] + urcs
    assert modem.inbox("SM") == [Stored("SM", 1, PDU, 1), Stored("SM", 2, PDU, 1)]
    assert modem.hinted() == {("SM", 9), ("", 0)}  # SR is no storage of this stick
    peer.answers["AT+CMGL=4"] = b"\r\nOK\r\n"
    assert modem.inbox() == [Stored("+CMT", 0, OTHER)]


def test_an_undecodable_pdu_is_kept_and_noise_is_read_once_more(modem: SerialModem, peer: Peer) -> None:
    whole = listed("L", 1, 2)
    peer.answers["AT+CMGL=4"] = whole.replace(PDU.encode(), b"00FF", 1).replace(
        PDU.encode(), PDU[:20].encode() + b"\x93", 1
    )
    peer.answers["AT+CMGR=1"] = b"\r\n+CMGR: 1,,20\r\n00FF\r\n\r\nOK\r\n"
    peer.answers["AT+CMGR=2"] = listed("R", 2)
    assert modem.inbox("SM") == [Stored("SM", 1, "00FF", 1), Stored("SM", 2, PDU, 1)]


def test_a_list_that_fails_is_read_slot_by_slot(modem: SerialModem, peer: Peer) -> None:
    peer.answers["AT+CMGL=4"] = b"\r\n+CMS ERROR: 320\r\n"
    peer.answers["AT+CMGR=0"] = b"\r\n+CMS ERROR: 321\r\n"
    peer.answers["AT+CMGR=3"] = listed("R", 3)
    peer.answers["AT+CMGR=5"] = listed("R", 5, pdu=OTHER)
    assert modem.inbox("SM") == [Stored("SM", 3, PDU, 1), Stored("SM", 5, OTHER, 1)]
    assert "AT+CMGR=6" not in peer.heard  # both that are there were found


def test_a_slot_that_can_never_be_read_hinders_no_other(modem: SerialModem, peer: Peer) -> None:
    peer.answers["AT+CMGL=4"] = b"\r\n+CMS ERROR: 320\r\n"
    peer.answers["AT+CMGR=1"] = b"\r\n+CMS ERROR: 320\r\n"
    peer.answers["AT+CMGR=3"] = listed("R", 3)
    assert modem.inbox("SM") == [Stored("SM", 3, PDU, 1)]
    assert peer.heard.count("AT+CMGR=1") == 3
    for index in range(20):
        peer.answers[f"AT+CMGR={index}"] = b"\r\n+CMS ERROR: 320\r\n"
    peer.heard.clear()
    with pytest.raises(ModemError, match="memory_failure"):
        modem.inbox("SM")
    assert len([line for line in peer.heard if "CMGR" in line]) == 4


def test_only_what_is_still_there_is_forgotten(peer: Peer) -> None:
    steps: list[str] = []
    with opened(settings_for(peer.url), steps) as modem:
        stored = Stored("SM", 4, PDU.lower(), 1)
        assert not modem.forget(stored)
        peer.answers["AT+CMGR=4"] = listed("R", 4, pdu=OTHER)
        assert not modem.forget(stored)
        assert steps == []
        peer.answers["AT+CMGR=4"] = listed("R", 4)
        assert modem.forget(stored)
        assert steps == ["cmgd"]
        assert [line for line in peer.heard if "CMGD" in line] == ["AT+CMGD=4"]


@pytest.mark.parametrize(
    "odd", [b"\r\n+CME ERROR: 13\r\n", b"\r\n^ICCID: 98990000000000000039\r\n\r\nOK\r\n"]
)
def test_one_odd_word_of_the_sim_costs_no_text(modem: SerialModem, peer: Peer, odd: bytes) -> None:
    peer.answers["AT+CMGR=1"] = listed("R", 1)
    peer.turns["AT^ICCID?"] = [odd]
    assert modem.read("SM", 1) == Stored("SM", 1, PDU, 1)
    assert modem.status().can_send


@pytest.mark.parametrize("listing", ["", "+CMGL: 1"])
def test_a_list_that_says_less_than_its_count_once_is_asked_again(
    modem: SerialModem, peer: Peer, listing: str
) -> None:
    peer.answers |= {"AT+CMGL=4": listed("L", 3), "AT+CMGR=3": listed("R", 3)}
    peer.answers["AT+CPMS?"] = b'\r\n+CPMS: "SM",1,30,"ME",0,100,"SM",1,30\r\n\r\nOK\r\n'
    peer.turns["AT+CMGL=4"] = [f"\r\n{listing}\r\n\r\nOK\r\n".encode()]
    for slots in (True, False, False):
        modem.usage()
        peer.heard.clear()
        assert modem.inbox("SM") == [Stored("SM", 3, PDU, 1)]
        assert ("AT+CMGR=1" in peer.heard) is slots


@pytest.mark.parametrize("odd", [1, 2, 3])
def test_a_pdu_that_noise_fell_into_is_read_again(modem: SerialModem, peer: Peer, odd: int) -> None:
    torn = PDU[:9] + "\xa9" + PDU[10:]
    peer.answers["AT+CMGR=1"] = listed("R", 1)
    peer.turns["AT+CMGR=1"] = [listed("R", 1, pdu=torn).decode().encode("latin-1")] * odd
    found = modem.read("SM", 1)
    assert found is not None
    assert (found.pdu == PDU) is (odd < 3)


def test_what_noise_fell_into_is_not_removed(modem: SerialModem, peer: Peer) -> None:
    torn = PDU[:-2] + "\xbf2"
    peer.answers["AT+CMGR=4"] = listed("R", 4, pdu=torn)
    with pytest.raises(ModemError, match="garbled"):
        modem.forget(Stored("SM", 4, torn))
    assert not any("CMGD" in line for line in peer.heard)


def test_flow_control_by_characters_is_switched_off_where_it_shows(peer: Peer) -> None:
    peer.answers["AT+CIMI"] = b"\x13\x11" + peer.answers["AT+CIMI"]
    with opened(settings_for(peer.url)) as modem:
        assert "AT+IFC=0,0" not in peer.heard
        modem.verify()
        assert "AT+IFC=0,0" in peer.heard


@pytest.mark.parametrize("acknowledges", [False, True])
def test_what_is_delivered_directly_stays_until_it_is_forgotten(peer: Peer, acknowledges: bool) -> None:
    if acknowledges:
        peer.answers["AT+CSMS=0"] = b"\r\nERROR\r\n"
        peer.answers["AT+CSMS?"] = b"\r\n+CSMS: 1,1,1,1\r\n\r\nOK\r\n"
    steps: list[str] = []
    with opened(settings_for(peer.url), steps) as modem:
        peer.say(f"\r\n+CDS: {len(OTHER) // 2 - 1}\r\n".encode())
        peer.say(f"{OTHER.lower()}\r\n".encode())
        assert modem.wait(LONG)
        assert modem.hinted() == {("", 0)}
        (stored,) = modem.inbox()
        assert stored == Stored("+CDS", 0, OTHER)
        assert modem.inbox("+CDS") == [stored]
        assert modem.inbox("SM") == []
        assert modem.forget(stored)
        assert not modem.forget(stored)
        assert modem.inbox() == []
        assert steps == (["cnma"] if acknowledges else [])


def test_a_burst_of_hints(modem: SerialModem, peer: Peer) -> None:
    peer.say(b"\xff\x00" + b"".join(b'\r\n+CMTI: "SM",%d\r\n' % slot for slot in range(10)) + b"\r\nRING\r\n")
    slots: set[tuple[str, int]] = set()
    while len(slots) < 10:
        assert modem.wait(LONG)
        slots |= modem.hinted()
    assert slots == {("SM", slot) for slot in range(10)}
    assert not modem.wait(timedelta(0))


def test_waiting_ends_by_an_interrupt_of_another_thread(modem: SerialModem) -> None:
    other = threading.Thread(target=modem.interrupt)
    other.start()
    assert not modem.wait(LONG)
    other.join()
    assert not modem.wait(timedelta(0))


def test_closing_wakes_who_waits_and_may_be_repeated(modem: SerialModem) -> None:
    other = threading.Thread(target=modem.close)
    other.start()
    with pytest.raises(ModemLost, match="closed"):
        modem.wait(LONG)
    other.join()
    modem.close()


# Sticks that offer less


def test_a_stick_that_refuses_every_indication_is_read_by_its_counts(peer: Peer) -> None:
    peer.answers |= {f"AT+CNMI={mode}": ERROR for mode in EVERY_INDICATION}
    peer.answers["AT+CNMI=?"] = ERROR
    peer.answers["AT+CNMI?"] = b"\r\n+CNMI: 0,0,0,0,0\r\n\r\nOK\r\n"
    with opened(settings_for(peer.url)) as modem:
        assert modem.usage() == [Usage("SM", 2, 30), Usage("ME", 0, 100)]
        modem.verify()
        peer.answers["AT+CMGL=4"] = listed("L", 1)
        assert modem.inbox("SM") == [Stored("SM", 1, PDU, 1)]


def test_a_stick_that_only_hands_over_and_keeps_nothing_is_refused(peer: Peer) -> None:
    peer.answers |= {f"AT+CNMI={mode}": ERROR for mode in EVERY_INDICATION}
    peer.answers["AT+CNMI?"] = b"\r\n+CNMI: 2,2,0,0,0\r\n\r\nOK\r\n"
    with closing(SerialModem(settings_for(peer.url))) as modem, pytest.raises(ModemError) as refusal:
        modem.open()
    assert refusal.value.code == "no_indications"


def test_a_stick_without_a_choice_of_storages_is_read_as_it_is(peer: Peer) -> None:
    peer.answers |= {f'AT+CPMS="{name}"': ERROR for name in ("SM", "ME", "SR")}
    peer.answers |= {"AT+CPMS=?": ERROR, "AT+CPMS?": ERROR, "AT+CMGL=4": listed("L", 1, 7)}
    with opened(settings_for(peer.url)) as modem:
        assert modem.inbox() == [Stored("SM", slot, PDU, 1) for slot in (1, 7)]
        assert modem.usage() == [Usage("SM", 2, 0)]
        peer.answers["AT+CMGR=7"] = listed("R", 7)
        assert modem.forget(Stored("SM", 7, PDU))
    assert not any(line.startswith('AT+CPMS="SM",') for line in peer.heard)


def test_a_stick_that_calls_its_storages_by_one_name(peer: Peer) -> None:
    peer.answers["AT+CPMS=?"] = b'\r\n+CPMS: ("MT"),("MT"),("MT")\r\n\r\nOK\r\n'
    peer.answers["AT+CPMS?"] = b'\r\n+CPMS: "MT",1,130,"MT",1,130,"MT",1,130\r\n\r\nOK\r\n'
    peer.answers["AT+CMGL=4"] = listed("L", 3)
    with opened(settings_for(peer.url)) as modem:
        assert modem.usage() == [Usage("MT", 1, 130)]
        assert modem.inbox() == [Stored("MT", 3, PDU, 1)]
        peer.say(b'\r\n+CMTI: "SM",3\r\n')
        assert modem.wait(LONG)
        assert modem.hinted() == {("", 0)}


def test_what_other_programs_left_is_listed_with_its_state(modem: SerialModem, peer: Peer) -> None:
    sent = f"\r\n+CMGL: 4,3,,{len(OTHER) // 2 - 1}\r\n{OTHER}".encode()
    peer.answers["AT+CMGL=4"] = sent + listed("L", 5)
    assert modem.inbox("SM") == [Stored("SM", 4, OTHER, 3), Stored("SM", 5, PDU, 1)]


# What noise does


@pytest.mark.parametrize(
    "answer",
    [
        b"\r\n+CM\x93GR: 1,,24\r\n" + PDU.encode() + b"\r\n\r\nOK\r\n",
        b"\r\n+CMGR: 1,,2#\r\n" + PDU.encode() + b"\r\n\r\nOK\r\n",
        b"\r\n+CMGR: 1,,24\r\n\r\nOK\r\n",
    ],
)
def test_noise_does_not_make_a_slot_empty(modem: SerialModem, peer: Peer, answer: bytes) -> None:
    peer.answers["AT+CMGR=1"] = answer
    with pytest.raises(ModemError, match="garbled") as refusal:
        modem.read("SM", 1)
    assert refusal.value.retryable
    assert "AT+CMGD=1" not in peer.heard


@pytest.mark.parametrize("answer", [b"\r\nOK\r\n", b"\r\n+CMGR: 0,,0\r\n\r\nOK\r\n", b"\r\nERROR\r\n"])
def test_every_form_of_an_empty_slot(modem: SerialModem, peer: Peer, answer: bytes) -> None:
    peer.answers["AT+CMGR=1"] = answer
    assert modem.read("SM", 1) is None


def test_a_pdu_that_is_handed_over_waits_for_its_line(modem: SerialModem, peer: Peer) -> None:
    """URCs and noise may come between, and a PDU of another length is another command's."""
    header = f"\r\n+CMT: ,{len(OTHER) // 2 - 1}\r\n".encode()
    peer.say(header + b"\r\n^RSSI:18\r\n\r\n\x93#\r\n")
    peer.say(OTHER.encode() + b"\r\n")
    assert modem.wait(LONG)
    peer.answers["AT+CMGR=1"] = header + listed("R", 1)
    assert modem.read("SM", 1) == Stored("SM", 1, PDU, 1)
    assert modem.inbox("+CMT") == [Stored("+CMT", 0, OTHER)]
