"""The official services as they are played: every card's case, and whose answer is whose."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.simulation import (
    BALANCE_ADDRESS,
    OUTCOME_CARDS,
    STATUS_ADDRESS,
    STATUS_SENDER,
    WORDING,
    balance_of,
    build_world,
    case_of,
    imei_of,
    member_of,
    run_pty,
)
from modem.pdu import Deliver, StoredSubmit, decode, fits_one_part, split
from modem.simulated import Entry, Network
from modem.simulated.dongle import Dongle

START = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
AFTER, LATE = timedelta(seconds=8), timedelta(minutes=10)
ASK = {"kpj": (BALANCE_ADDRESS, "BALANCE#{}#"), "card": (STATUS_ADDRESS, "STATUS BPKS{}#")}
STEM = {"kpj": "990123456", "card": "00099999999"}


def ask(kind: str, number: str, *, names_card: bool = True) -> list[Entry]:
    """What comes back, in order of arrival."""
    address, text = ASK[kind]
    return ask_text(address, text.format(number), names_card=names_card)


def ask_text(address: str, text: str, *, names_card: bool = True) -> list[Entry]:
    world = build_world(1, late=LATE, reply_after=AFTER, names_card=names_card)
    network, dongle = world.network, world.dongles["xl-1"]
    network.submit(dongle.sim, StoredSubmit(address, text, 1), 1, START)
    now: datetime | None = START
    while now is not None:
        now = network.step(now)
    return [entry for entry in network.ledger if entry.kind == "received"]


def text_of(entries: list[Entry]) -> str:
    assert len(entries) == 1
    return entries[0].text


def test_the_balance_names_its_card_and_is_its_own() -> None:
    numbers = [f"9901234{n:02d}01" for n in range(50)]
    balances = [balance_of(number) for number in numbers]
    assert len(set(balances)) == 50
    [entry] = ask("kpj", numbers[0])
    shown = f"{balances[0]:,}".replace(",", ".")
    assert f"Saldo JHT KPJ {numbers[0]} per 31-10-2026 Rp {shown}." in entry.text
    assert (entry.address, entry.at, entry.submit_id) == ("2757", START + AFTER, 1)
    assert fits_one_part(entry.text)


def test_the_status_names_its_card_and_is_its_own() -> None:
    number = "0009999999901"
    [entry] = ask("card", number)
    member = member_of(number)
    assert f"No Kartu {number} a.n. {member['name']} Status {member['status']}" in entry.text
    assert f"Kelas {member['class']}" in entry.text
    assert entry.address == STATUS_SENDER
    assert fits_one_part(entry.text)


@pytest.mark.parametrize("kind", ["kpj", "card"])
def test_every_card_of_the_list_provokes_its_case(kind: str) -> None:
    number = {card.case: STEM[kind] + card.ending for card in OUTCOME_CARDS}
    assert len(number) == len(OUTCOME_CARDS) == 10
    assert all(case_of(number[case]) == case for case in number)
    assert re.search("tidak (ditemukan|terdaftar)", text_of(ask(kind, number["not_found"])))
    assert "kantor cabang" in text_of(ask(kind, number["unknown"]))
    late = ask(kind, number["late"])
    assert number["late"] in text_of(late)
    assert late[0].at == START + LATE
    assert ask(kind, number["silent"]) == []
    doubled = ask(kind, number["doubled"])
    assert [entry.text for entry in doubled] == [doubled[0].text] * 2
    garbled = text_of(ask(kind, number["garbled"]))
    assert not re.search(r"\d{5}|saldo|aktif", garbled, re.IGNORECASE)
    no_card = text_of(ask(kind, number["no_card"]))
    assert number["no_card"] not in no_card
    assert re.search("Saldo JHT Anda|Status", no_card)
    assert "sibuk" in text_of(ask(kind, number["busy"]))
    interim, answer = ask(kind, number["interim"])
    assert "diproses" in interim.text
    assert number["interim"] in answer.text
    assert interim.at < answer.at


def test_several_cards_and_a_long_answer() -> None:
    kpj = ask("kpj", STEM["kpj"] + "94")
    assert len(set(re.findall(r"KPJ (\d{11})", text_of(kpj)))) == 2
    long = ask("card", STEM["card"] + "94")
    assert long[0].parts == len(split(long[0].text)) == 3


def test_the_parts_of_the_long_answer_come_out_of_order() -> None:
    world = build_world(1, late=LATE, reply_after=AFTER)
    dongle = world.dongles["xl-1"]
    dongle.feed(b"ATE0;+CNMI=2,1,0,0,0\r", START)
    text = ASK["card"][1].format(STEM["card"] + "94")
    world.network.submit(dongle.sim, StoredSubmit(STATUS_ADDRESS, text, 1), 1, START)
    now: datetime | None = START
    while now is not None:
        now = world.network.step(now)
    parts = [decode(slot.pdu) for _, slot in dongle.sim.storage.listed()]
    assert [part.concat.part for part in parts if isinstance(part, Deliver) and part.concat] == [3, 1, 2]


@pytest.mark.parametrize("kind", ["kpj", "card"])
def test_services_that_name_no_card(kind: str) -> None:
    for ending in ("01", "90", "91"):
        number = STEM[kind] + ending
        assert number not in text_of(ask(kind, number, names_card=False))


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (BALANCE_ADDRESS, "SALDO 99012345678"),
        (BALANCE_ADDRESS, "BALANCE#9901234567#"),
        (STATUS_ADDRESS, "STATUS BPKS00099999999#"),
        (STATUS_ADDRESS, "halo"),
    ],
)
def test_a_wrong_format_is_said_so(address: str, text: str) -> None:
    assert text_of(ask_text(address, text)).startswith("Format salah")


def test_every_short_wording_fits_one_message() -> None:
    for service, wording in WORDING.items():
        for case, text in wording.items():
            longest = re.sub(r"\{\w+\}", "X" * 15, text)
            assert len(split(longest)) == (3 if (service, case) == ("bpjskes-status", "several") else 1)


def test_worlds_have_made_up_sims_of_their_own() -> None:
    world = build_world(3, late=LATE, reply_after=AFTER, radio=timedelta(seconds=3))
    sims = [dongle.sim for dongle in world.dongles.values()]
    assert list(world.dongles) == ["xl-1", "xl-2", "xl-3"]
    assert (
        len({sim.iccid for sim in sims} | {sim.imsi for sim in sims} | {sim.own_number for sim in sims}) == 9
    )
    assert all(sim.iccid.startswith("8999") and sim.own_number.startswith("+62817") for sim in sims)
    assert all(isinstance(dongle, Dongle) for dongle in world.dongles.values())
    assert isinstance(world.network, Network)
    assert world.dongles["xl-2"].knobs.radio == timedelta(seconds=3)


def test_run_pty_serves_until_it_is_stopped(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    run_pty(Path(tmp_path), build_world(2, late=LATE, reply_after=AFTER, seed=1), stop)
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.ndjson"]


def test_the_operator_tells_the_credit_that_texts_have_cost() -> None:
    world = build_world(2, late=LATE, reply_after=AFTER, kinds=("huawei", "quectel"), credit=1000)
    assert [dongle.personality.name for dongle in world.dongles.values()] == ["huawei", "quectel"]
    dongle = world.dongles["xl-2"]
    dongle.feed(b"ATE0\r", START)
    for _ in range(2):
        dongle.feed(b'AT+CMGF=1;+CMGS="2757"\r', START)
        assert b"+CMGS: " in dongle.feed(b"BALANCE#99012345678#\x1a", START)
    dongle.feed(b'AT+CUSD=1,"*888#",15\r', START)
    assert b'+CUSD: 0,"Pulsa Anda Rp 300, aktif s.d. 31-12-2027",15' in dongle.step(
        START + timedelta(seconds=1)
    )
    dongle.feed(b'AT+CMGS="2757"\r', START)
    assert b"+CMS ERROR: 21" in dongle.feed(b"BALANCE#99012345678#\x1a", START)


def test_a_kind_of_stick_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="no personality 'nokia'; there are huawei, zte"):
        build_world(1, late=LATE, reply_after=AFTER, kinds=("nokia",))


@pytest.mark.parametrize("place", [1, 2, 10, 64])
def test_imeis_have_their_check_digit(place: int) -> None:
    digits = [int(digit) for digit in reversed(imei_of(place))]
    assert len(digits) == 15
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    assert (sum(digits[::2]) + sum(doubled)) % 10 == 0
