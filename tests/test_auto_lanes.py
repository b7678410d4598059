"""Lanes that belong to a SIM or a socket: the running gateway finds their sticks on ptys, wherever they are plugged in."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from host_folder import HostFolder
from lanes_playing import make_sim

from app.runtime import Runtime, utc_now
from app.settings import LaneSettings, Sealing, Settings
from app.store import lanes
from modem.simulated import Dongle, Network
from modem.simulated.pty import serve

HUAWEI = ("12d1", "1001")  # its control port is interface 2
BACK_WITHIN = 2.0  # seconds from the port's return to a lane that can send


@dataclass
class Bench:
    """A host with two simulated sticks, `a` and `b`, that can be put into its sockets."""

    host: HostFolder
    ptys: Path
    dongles: dict[str, Dongle]
    runtime: Runtime | None = None

    def plug(self, name: str, socket: str, first: int | None = None) -> None:
        dongle = self.dongles[name]
        if not dongle.plugged:
            dongle.plug(utc_now())
        self.until(lambda: (self.ptys / name).exists())
        self.host.stick(socket, *HUAWEI, ports={0: None, 2: os.readlink(self.ptys / name)}, first=first)

    def pull(self, name: str, socket: str) -> None:
        self.dongles[name].unplug(utc_now())
        self.host.unplug(socket)

    def run(self, *settings: LaneSettings) -> Runtime:
        folder = self.ptys.parent
        self.runtime = Runtime(
            Settings(
                database=f"sqlite:///{folder}/gateway.db",
                services=None,
                sealing=Sealing(keys_file=folder / "keys"),
                lanes=settings,
            ),
            root=self.host.root,
            trace=folder / "trace",
        )
        self.runtime.start()
        return self.runtime

    def lane(self, name: str) -> lanes.LaneView:
        assert self.runtime is not None
        return next(lane for lane in self.runtime.store.read(lanes.list_lanes) if lane.name == name)

    def ready(self, name: str) -> bool:
        assert self.runtime is not None
        return any(lane == name and ok for lane, ok, _ in self.runtime.ready())

    def until(self, true: Callable[[], bool], seconds: float = 10.0) -> float:
        """Wait until it is so; how long that took."""
        begun, pause = time.monotonic(), threading.Event()
        while not true():
            assert time.monotonic() - begun < seconds
            pause.wait(0.01)
        return time.monotonic() - begun


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    network = Network()
    network.step(utc_now())
    dongles = {name: Dongle(network, make_sim(n), imei="990000000000011") for n, name in enumerate("ab", 1)}
    for dongle in dongles.values():
        dongle.unplug(utc_now())
    stop = threading.Event()
    thread = threading.Thread(target=serve, args=(tmp_path / "ptys", network, dongles, stop))
    thread.start()
    one = Bench(HostFolder(tmp_path / "host"), tmp_path / "ptys", dongles)
    try:
        yield one
    finally:
        if one.runtime is not None:
            one.runtime.stop()
        stop.set()
        thread.join()


def bound(name: str, **to: str) -> LaneSettings:
    return LaneSettings(name=name, port="auto", pace=timedelta(0), **to)  # type: ignore[arg-type]


def test_a_stick_is_found_by_its_sim_again_and_again_under_another_name_in_another_socket(
    bench: Bench,
) -> None:
    bench.plug("a", "1-1")
    runtime = bench.run(bound("xl-1", iccid=bench.dongles["a"].sim.iccid[:-1]))  # without its check digit
    bench.until(lambda: bench.ready("xl-1"))
    lane = bench.lane("xl-1")
    assert (lane.usb_path, Path(lane.port).name) == ("1-1", "ttyUSB1")
    for socket, before, first in (("1-2", "1-1", 4), ("1-1.3", "1-2", 0)):
        bench.pull("a", before)
        bench.until(lambda: not bench.ready("xl-1"))
        bench.until(lambda: "no GSM stick" in str(bench.lane("xl-1").reason))
        bench.plug("a", socket, first)
        assert bench.until(lambda: bench.ready("xl-1")) < BACK_WITHIN
        lane = bench.lane("xl-1")
        assert (lane.usb_path, Path(lane.port).name) == (socket, f"ttyUSB{first + 1}")
    assert lane.recoveries == {}
    runtime.stop()
    bench.runtime = None
    traced = (bench.ptys.parent / "trace").read_text()
    assert " xl-1 > AT+CIMI" in traced
    for secret in (lane.iccid, lane.imei, bench.dongles["a"].sim.imsi):
        assert secret
        assert secret not in traced


def test_two_sticks_of_one_imei_each_have_their_lane_also_when_they_change_places(bench: Bench) -> None:
    bench.plug("a", "1-1")
    bench.plug("b", "1-2")
    bench.run(*(bound(f"xl-{name}", iccid=bench.dongles[name].sim.iccid) for name in "ab"))
    bench.until(lambda: bench.ready("xl-a") and bench.ready("xl-b"))
    assert [bench.lane(f"xl-{name}").usb_path for name in "ab"] == ["1-1", "1-2"]
    bench.pull("a", "1-1")
    bench.pull("b", "1-2")
    bench.until(lambda: not bench.ready("xl-a") and not bench.ready("xl-b"))
    bench.plug("a", "1-2")
    bench.plug("b", "1-1")
    assert bench.until(lambda: bench.ready("xl-a") and bench.ready("xl-b")) < 2 * BACK_WITHIN
    assert [bench.lane(f"xl-{name}").usb_path for name in "ab"] == ["1-2", "1-1"]


def test_a_lane_of_a_socket_takes_whichever_sim_is_there_and_no_other_socket(bench: Bench) -> None:
    bench.plug("b", "1-2")
    bench.run(bound("xl-1", usb="1-1"))
    bench.until(lambda: "1-1" in str(bench.lane("xl-1").reason))
    assert not bench.ready("xl-1")
    bench.plug("a", "1-1")
    assert bench.until(lambda: bench.ready("xl-1")) < BACK_WITHIN
    assert bench.lane("xl-1").iccid == bench.dongles["a"].sim.iccid
    bench.pull("a", "1-1")
    bench.until(lambda: not bench.ready("xl-1"))
    bench.pull("b", "1-2")
    bench.plug("b", "1-1")
    assert bench.until(lambda: bench.ready("xl-1")) < BACK_WITHIN
    assert bench.lane("xl-1").iccid == bench.dongles["b"].sim.iccid
