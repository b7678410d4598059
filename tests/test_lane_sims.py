"""Whose a stick's own memory is, which SIM it is however that is told, and whose a lane and a socket's power are."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import HandClock
from host_folder import HostFolder
from lanes_playing import LaneLook, card, staged
from store_playing import Lane, open_lane

from app.domain.states import State
from app.runtime import _UsbHost, identify
from app.store import lanes
from app.store.engine import Store
from modem import encode_deliver
from modem.discovery import Finder

FIRST, SECOND = "990000000000011", "990000000000012"
WHOLE = "8999000000000000005"  # with its check digit
OTHER = "8999000000000000019"


def connect(store: Store, lane: Lane, clock: HandClock, iccid: str, **of: Any) -> tuple[str, bool]:
    values = {"imsi": None, "imei": FIRST, "usb_path": "1-1"} | of
    return store.write(
        lambda tx: lanes.connect(
            tx, lane.name, lane.fence, clock(), iccid=iccid, own_number=None, operator=None, maker=None,
            model=None, firmware=None, **values,
        )
    )  # fmt: skip


# -- one SIM ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (WHOLE, WHOLE[:-1], True),
        (WHOLE[:-1], WHOLE, True),
        (WHOLE + "F", WHOLE, True),
        (WHOLE, WHOLE + "5", True),  # a digit more, whatever it is
        (OTHER, WHOLE, False),
    ],
)
def test_one_sim_however_its_iccid_is_told(
    store: Store, clock: HandClock, one: str, other: str, same: bool
) -> None:
    lane = open_lane(store, clock(), iccid=one)
    assert (connect(store, lane, clock, other)[0] == lane.sim_id) is same


def test_a_sim_whose_iccid_one_stick_cannot_tell_is_known_by_its_imsi(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    imsi = "510110000000001"
    told, _ = connect(store, lane, clock, WHOLE, imsi=imsi)
    assert connect(store, lane, clock, f"imsi {imsi}", imsi=imsi)[0] == told
    untold, _ = connect(store, lane, clock, "imsi 510110000000002", imsi="510110000000002")
    assert untold != told
    assert connect(store, lane, clock, OTHER, imsi="510110000000002")[0] == untold
    assert connect(store, lane, clock, OTHER)[0] == untold


# -- a stick's own memory -----------------------------------------------------------------------------------------


def test_a_sim_in_another_stick_does_not_own_what_lies_there(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock(), iccid="8999 a")
    assert not connect(store, lane, clock, "8999 a")[1]
    assert not connect(store, lane, clock, "8999 a", usb_path="1-2")[1]
    assert connect(store, lane, clock, "8999 a", imei=SECOND)[1]
    assert not connect(store, lane, clock, "8999 a", imei=SECOND)[1]
    other = open_lane(store, clock(), "xl-2", iccid="8999 b")
    assert connect(store, other, clock, "8999 b", imei=SECOND, usb_path="1-2")[1]


def test_sticks_of_one_imei_are_told_apart_by_their_sockets(store: Store, clock: HandClock) -> None:
    one, two = open_lane(store, clock(), iccid="8999 a"), open_lane(store, clock(), "xl-2", iccid="8999 b")
    connect(store, one, clock, "8999 a", usb_path="1-1")
    connect(store, two, clock, "8999 b", usb_path="1-2")
    assert not connect(store, one, clock, "8999 a", usb_path="1-1")[1]
    assert not connect(store, two, clock, "8999 b", usb_path="1-2")[1]
    assert connect(store, one, clock, "8999 a", usb_path="1-2")[1]


def test_a_text_left_in_the_memory_of_another_stick_answers_no_question_of_this_sim(tmp_path: Path) -> None:
    """The SIM is found again in a stick where a text for that one's SIM of before still lies."""
    with staged(tmp_path, names_card=False) as stage:
        one = stage.ask(card(1, 93))  # never answered
        stage.turn()
        stage.pull()
        dongle = stage.dongles["xl-1"]
        dongle.imei = SECOND
        dongle.me.put(encode_deliver("2757", "Saldo JHT Anda per 31-10-2026 Rp 5.000.", stage.clock.now), 0)
        dongle.plug(stage.clock.now)
        stage.run(seconds=20)
        assert [(m.state, m.reason) for m in stage.messages()] == [("foreign", "foreign_memory")]
        assert stage.state(one) is State.AWAITING_REPLY


# -- whose --------------------------------------------------------------------------------------------------------


def test_a_process_without_the_stick_leaves_the_lane_to_the_one_that_has_it(
    tmp_path: Path, database_url: str
) -> None:
    with staged(tmp_path, url=database_url) as stage:
        dongle, ours = stage.dongles["xl-1"], stage.workers["xl-1"]
        dongle.unplug(stage.clock.now)
        ours.step(stage.clock.now)
        assert "plug the stick in" in str(stage.lane().reason)
        stage.store.write(lambda tx: lanes.begin_process(tx, "prc_other", "elsewhere", stage.clock.now))
        dongle.plug(stage.clock.now)
        spec = lanes.LaneSpec("xl-1", f"simulated://{stage.port('xl-1')}", timedelta(0), 0, 0)
        theirs = stage.worker(spec, "prc_other")
        theirs.step(stage.clock.now)
        assert theirs.ready == (True, "registered")
        modem = stage.modems.pop("xl-1")
        stage.clock.advance(seconds=1)
        ours.step(stage.clock.now)
        assert ours.ready == (False, "another process of this gateway holds this lane")
        assert stage.modems == {}  # its stick was not even opened
        modem.close()


def test_a_maker_that_is_slower_than_others_is_not_taken_for_hung(tmp_path: Path) -> None:
    with staged(tmp_path, looks={"xl-1": LaneLook(cmgs_timeout=timedelta(minutes=3))}) as stage:
        recovered: list[int] = []

        def recover(later: datetime) -> int:
            stage.store.write(lambda tx: lanes.renew_lease(tx, stage.process_id, later))
            return stage.store.write(lambda tx: lanes.recover_orphans(tx, later))

        def wait(step: str) -> None:
            if step == "ctrl-z":
                stage.told = lambda step: None
                recovered.extend(recover(stage.clock.now + timedelta(minutes=m)) for m in (3.5, 4.5))

        stage.told = wait
        stage.ask(card(1))
        stage.workers["xl-1"].step(stage.clock.now)
        assert recovered == [0, 1]


def test_two_lanes_never_open_one_port_nor_take_power_from_each_other(tmp_path: Path) -> None:
    host = HostFolder(tmp_path)
    pool = host.stick("1-1", "0403", "6011", ports={0: None, 1: None})
    [own] = host.stick("1-2", "12d1", "1001", ports={0: None})
    finder = Finder(identify, root=tmp_path, clock=lambda: 0.0)
    usb = _UsbHost(finder, [*pool, own], tmp_path)
    assert usb.in_use(own)
    host.link("dev/gsm", own)
    assert not usb.in_use(f"{tmp_path}/dev/gsm")
    assert [usb.socket_of(device) for device in (*pool, own)] == ["1-1", "1-1", "1-2"]
    assert [usb.power_cycle(path) for path in ("1-1", "1-2")] == [False, True]
    host.unplug("1-2")
    usb.released(own)
    assert usb.in_use(own)
