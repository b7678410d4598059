"""Finding sticks in a folder that stands for the host, and a lane's port among them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from modem.discovery import Finder, power_cycle
from modem.port import Identity, ModemError, SimLocked
from tests.host_folder import HostFolder

A, B, C = "8999000000000000017", "8999000000000000025", "8999000000000000033"
HUAWEI = ("12d1", "1003")
QUECTEL = ("2c7c", "0125")
NO_TIME = timedelta(0)


@pytest.fixture
def host(tmp_path: Path) -> HostFolder:
    return HostFolder(tmp_path)


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def silent(url: str) -> ModemError:
    return ModemError("not_a_modem", f"nothing answers AT on {url}", retryable=True)


class Ports:
    """What answers on each device file: an ICCID, an error, or nothing; and which files were opened, in order."""

    def __init__(self) -> None:
        self.says: dict[str, str | ModemError | Callable[[], str]] = {}
        self.opened: list[str] = []
        self.open_now = 0
        self.most_open = 0
        self.gate: threading.Event | None = None
        self._lock = threading.Lock()

    def identify(self, url: str) -> Identity:
        with self._lock:
            self.opened.append(Path(url).name)
            self.open_now += 1
            self.most_open = max(self.most_open, self.open_now)
        try:
            if self.gate is not None:
                assert self.gate.wait(10)
            said = self.says.get(Path(url).name)
            if said is None:
                raise silent(url)
            if isinstance(said, ModemError):
                raise said
            return Identity(imei="990000000000011", iccid=said if isinstance(said, str) else said())
        finally:
            with self._lock:
                self.open_now -= 1


class Bench:
    """A finder on a host folder; `find` asks as a lane does, every 0.1 s of the clock, until it is not `probing`."""

    def __init__(self, host: HostFolder, *, listed: tuple[str, ...] = ()) -> None:
        self.host, self.clock, self.ports = host, Clock(), Ports()
        listed = tuple(name if "://" in name else str(host.root / "dev" / name) for name in listed)
        self.finder = Finder(self.ports.identify, root=host.root, listed=listed, clock=self.clock)

    def try_once(self, *, iccid: str | None = None, usb: str | None = None) -> tuple[str, str | None]:
        device, usb_path = self.finder.port_for(iccid=iccid, usb=usb)
        return Path(device).name, usb_path

    def find(self, *, iccid: str | None = None, usb: str | None = None) -> tuple[str, str | None]:
        for _ in range(2000):
            try:
                return self.try_once(iccid=iccid, usb=usb)
            except ModemError as error:
                if error.code != "probing" or not error.retryable:
                    raise
            self.clock.now += 0.1
            threading.Event().wait(0.003)
        raise AssertionError("probing without an end")

    def refusal(self, *, iccid: str | None = None, usb: str | None = None) -> ModemError:
        with pytest.raises(ModemError) as caught:
            self.find(iccid=iccid, usb=usb)
        return caught.value


@pytest.fixture
def bench(host: HostFolder) -> Bench:
    return Bench(host)


# -- by socket ------------------------------------------------------------------------------------------------------------


def test_the_known_control_port_is_asked_first(bench: Bench) -> None:
    bench.host.stick("1-1", *QUECTEL, ports={0: None, 1: None, 2: None, 3: None})
    bench.ports.says = {"ttyUSB2": A, "ttyUSB3": A}
    assert bench.find(usb="1-1") == ("ttyUSB2", "1-1")
    assert bench.ports.opened == ["ttyUSB2"]


def test_if_the_known_one_is_silent_the_others_are_asked_diagnostics_last(bench: Bench) -> None:
    bench.host.stick("1-1", *QUECTEL, ports={0: None, 1: None, 2: None, 3: None, 4: None})
    bench.ports.says = {"ttyUSB0": A}
    assert bench.find(usb="1-1") == ("ttyUSB0", "1-1")
    assert bench.ports.opened == ["ttyUSB2", "ttyUSB3", "ttyUSB4", "ttyUSB0"]


def test_an_answer_holds_until_the_stick_is_plugged_in_anew(bench: Bench) -> None:
    bench.host.stick("1-1", *HUAWEI, ports={0: None, 1: None, 2: None})
    bench.ports.says = {"ttyUSB2": A}
    for _ in range(50):
        assert bench.find(usb="1-1") == ("ttyUSB2", "1-1")
        bench.clock.now += 60
    assert bench.ports.opened == ["ttyUSB0", "ttyUSB1", "ttyUSB2"]
    bench.host.unplug("1-1")
    bench.host.stick("1-1", *HUAWEI, ports={0: None, 1: None, 2: None}, first=5)
    bench.clock.now += 1
    bench.ports.says = {"ttyUSB7": A}
    assert bench.find(usb="1-1") == ("ttyUSB7", "1-1")
    assert bench.ports.opened[3:] == ["ttyUSB7"], "the interface that had answered comes first"


def test_what_such_a_stick_once_answered_on_does_not_go_before_its_known_control_port(bench: Bench) -> None:
    bench.host.stick("1-1", *QUECTEL, ports={0: None, 1: None, 2: None, 3: None})
    bench.ports.says = {"ttyUSB3": A}  # the control port was not up yet
    assert bench.find(usb="1-1") == ("ttyUSB3", "1-1")
    bench.host.stick("1-2", *QUECTEL, ports={0: None, 1: None, 2: None, 3: None})
    bench.ports.says = {"ttyUSB6": B, "ttyUSB7": B}
    bench.clock.now += 1
    assert bench.find(usb="1-2") == ("ttyUSB6", "1-2")


def test_ports_that_appear_one_after_the_other_are_waited_for(bench: Bench) -> None:
    bench.host.stick("1-1", *HUAWEI, ports={0: None}, devnum=7)
    bench.ports.says = {"ttyUSB0": A, "ttyUSB2": A}
    with pytest.raises(ModemError, match="probing"):
        bench.try_once(usb="1-1")
    bench.host.unplug("1-1")
    bench.host.stick("1-1", *HUAWEI, ports={0: None, 1: None, 2: None}, kinds={2: "ff/01/02"}, devnum=7)
    bench.clock.now += 0.25
    assert bench.find(usb="1-1") == ("ttyUSB2", "1-1")
    assert bench.ports.opened == ["ttyUSB2"]


def test_an_answer_is_dropped_when_more_ports_of_the_stick_appear(bench: Bench) -> None:
    bench.host.stick("1-1", *HUAWEI, ports={0: None}, devnum=7)
    bench.ports.says = {"ttyUSB0": A, "ttyUSB2": A}
    assert bench.find(usb="1-1") == ("ttyUSB0", "1-1")
    bench.host.unplug("1-1")
    bench.host.stick("1-1", *HUAWEI, ports={0: None, 1: None, 2: None}, kinds={2: "ff/01/02"}, devnum=7)
    bench.clock.now += 1
    assert bench.find(usb="1-1") == ("ttyUSB2", "1-1")


def test_a_locked_sim_is_still_found_by_its_socket(bench: Bench) -> None:
    bench.host.stick("1-1", *HUAWEI, ports={0: None, 1: None})
    bench.ports.says = {"ttyUSB1": SimLocked("sim_locked", "the SIM wants a PIN")}
    assert bench.find(usb="1-1") == ("ttyUSB1", "1-1")
    assert bench.refusal(iccid=A).code == "sim_missing"
    assert "sim_locked" in bench.refusal(iccid=A).detail


def test_a_silent_stick_is_asked_again_after_growing_pauses(bench: Bench) -> None:
    bench.host.stick("1-1", *HUAWEI, ports={0: None, 1: None})
    assert bench.refusal(usb="1-1").code == "not_a_modem"
    times = []
    for _ in range(1200):
        before = len(bench.ports.opened)
        bench.refusal(usb="1-1")
        if len(bench.ports.opened) > before:
            times.append(bench.clock.now)
        bench.clock.now += 0.5
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert all(later > earlier - 1 for earlier, later in pairwise(gaps)), (
        "they grow; a busy machine adds a little"
    )
    assert all(gap < 8 for gap, at in zip(gaps, times, strict=False) if at < times[0] + 45), (
        "it may boot for a minute"
    )
    assert 30 <= gaps[-1] < 33
    bench.ports.says = {"ttyUSB1": A}  # it has booted
    bench.clock.now += 31
    assert bench.find(usb="1-1") == ("ttyUSB1", "1-1")


@pytest.mark.parametrize("code", ["port_busy", "port_denied"])
def test_a_port_that_others_hold_is_named_and_its_neighbours_left_alone(bench: Bench, code: str) -> None:
    bench.host.stick("1-1", *QUECTEL, ports={2: None, 3: None})
    bench.ports.says = {"ttyUSB0": ModemError(code, "another program holds it"), "ttyUSB1": A}
    assert bench.refusal(usb="1-1").code == code
    assert bench.ports.opened == ["ttyUSB0"]


def test_a_stick_that_switches_mode_later_is_waited_for(bench: Bench) -> None:
    bench.host.stick("1-1", "12d1", "1446")
    error = bench.refusal(usb="1-1")
    assert (error.code, error.retryable) == ("stick_in_storage_mode", True)
    assert "usb-modeswitch" in error.detail
    bench.host.unplug("1-1")
    bench.clock.now += 1
    assert bench.refusal(usb="1-1").code == "stick_missing"
    bench.host.stick("1-1", *HUAWEI)
    bench.clock.now += 1
    assert bench.refusal(usb="1-1").code == "stick_without_port"
    bench.host.unplug("1-1")
    bench.host.stick("1-1", *HUAWEI, ports={0: None})
    bench.ports.says = {"ttyUSB0": A}
    bench.clock.now += 1
    assert bench.find(usb="1-1") == ("ttyUSB0", "1-1")


def test_a_network_card_is_named_as_such(bench: Bench) -> None:
    bench.host.stick("1-1", "12d1", "14db", nets={0: "eth1"}, ports={2: None})
    bench.ports.says = {"ttyUSB0": A}
    assert bench.refusal(iccid=A).code == "stick_hilink"
    assert bench.refusal(usb="1-1").code == "stick_hilink"
    assert bench.ports.opened == []


def test_one_stick_needs_no_name_and_two_do(bench: Bench) -> None:
    bench.host.stick("1-1", *HUAWEI, ports={0: None})
    bench.ports.says = {"ttyUSB0": A, "ttyUSB1": B}
    assert bench.find() == ("ttyUSB0", "1-1")
    bench.host.stick("1-2", *HUAWEI, ports={0: None})
    bench.clock.now += 1
    error = bench.refusal()
    assert (error.code, error.retryable) == ("ambiguous", False)
    assert "1-1, 1-2" in error.detail


# -- only what is known or listed --------------------------------------------------------------------------------------------


def test_what_is_not_known_is_never_spoken_to(bench: Bench) -> None:
    bench.host.stick("1-1", "1a86", "7523", ports={0: None}, driver="ch341")
    bench.host.stick("1-2", "0403", "6001", ports={0: None}, driver="ftdi_sio")
    bench.host.stick("1-3", "051d", "0002", ports={0: None}, tty="ttyACM", driver="cdc_acm")
    for which in ({"usb": "1-1"}, {"usb": "1-3"}, {"iccid": A}, {}):
        bench.clock.now += 60
        code = bench.refusal(**which).code
        assert code == ("stick_unknown" if "usb" in which else "stick_missing")
    assert 'port = "' in bench.refusal(usb="1-1").detail
    assert bench.ports.opened == []


def test_a_listed_port_is_asked_and_its_neighbours_are_not(host: HostFolder) -> None:
    host.stick("1-1", "1a86", "7523", ports={0: None}, driver="ch341")
    host.stick("1-2", "1a86", "7523", ports={0: None}, driver="ch341")
    bench = Bench(host, listed=("ttyUSB1",))
    bench.ports.says = {"ttyUSB0": A, "ttyUSB1": A}
    assert bench.find(iccid=A) == ("ttyUSB1", "1-2")
    assert bench.find(usb="1-2") == ("ttyUSB1", "1-2")
    assert bench.ports.opened == ["ttyUSB1"]


def test_a_listed_port_may_be_a_link_a_url_or_away(host: HostFolder) -> None:
    host.stick("1-1", *QUECTEL, ports={2: None, 3: None})
    host.link("dev/serial/by-path/one", "../../ttyUSB1")
    host.file("dev/ttyS1")
    bench = Bench(host, listed=("serial/by-path/one", "ttyS1", "ttyS9", "socket://127.0.0.1:1"))
    bench.ports.says = {"ttyUSB0": A, "ttyS1": B, "127.0.0.1:1": C}
    assert bench.find(iccid=B) == ("ttyS1", None)
    assert bench.find(iccid=C) == ("127.0.0.1:1", None)
    assert bench.find(iccid=A) == ("ttyUSB0", "1-1")
    assert sorted(bench.ports.opened) == ["127.0.0.1:1", "ttyS1", "ttyUSB0"]


def test_a_listed_port_that_comes_back_is_asked_again(host: HostFolder) -> None:
    bench = Bench(host, listed=("ttyS1",))
    bench.ports.says = {"ttyS1": A}
    assert bench.refusal(iccid=A).code == "stick_missing"
    port = host.file("dev/ttyS1")
    bench.clock.now += 1
    assert bench.find(iccid=A) == ("ttyS1", None)
    port.rename(port.with_name("kept"))  # keeps its inode from being used again
    host.file("dev/ttyS1")
    bench.ports.says = {"ttyS1": B}
    bench.clock.now += 1
    assert bench.find(iccid=B) == ("ttyS1", None)


# -- by SIM ---------------------------------------------------------------------------------------------------------------------


def test_sims_are_found_wherever_they_are_also_with_one_imei_everywhere(bench: Bench) -> None:
    for number, usb_path in enumerate(("1-1.1", "1-1.2", "1-1.3")):
        bench.host.stick(usb_path, *HUAWEI, ports={0: None, 1: None}, serial="0000", first=number * 2)
    bench.ports.says = {"ttyUSB1": A, "ttyUSB2": B, "ttyUSB5": f"{C}F"}
    assert bench.find(iccid=B) == ("ttyUSB2", "1-1.2")
    assert bench.find(iccid=A) == ("ttyUSB1", "1-1.1")
    assert bench.find(iccid=C) == ("ttyUSB5", "1-1.3")
    assert bench.find(iccid=f" {C}f", usb="1-1.3") == ("ttyUSB5", "1-1.3")
    assert bench.refusal(iccid=C, usb="1-1.1").code == "sim_missing"


def test_a_stick_is_found_under_another_name_and_in_another_socket(bench: Bench) -> None:
    bench.host.stick("1-1", *HUAWEI, ports={0: None, 1: None})
    bench.ports.says = {"ttyUSB1": A}
    assert bench.find(iccid=A) == ("ttyUSB1", "1-1")
    bench.host.unplug("1-1")
    bench.clock.now += 1
    assert bench.refusal(iccid=A).code == "stick_missing"
    bench.host.stick("2-4.1", *HUAWEI, ports={0: None, 1: None}, first=8)
    bench.ports.says = {"ttyUSB9": A}
    bench.clock.now += 1
    assert bench.find(iccid=A) == ("ttyUSB9", "2-4.1")


def test_two_sticks_that_changed_names_between_two_looks_are_not_confused(bench: Bench) -> None:
    bench.host.stick("1-1", *HUAWEI, ports={0: None})
    bench.host.stick("1-2", *HUAWEI, ports={0: None})
    bench.ports.says = {"ttyUSB0": A, "ttyUSB1": B}
    assert bench.find(iccid=A) == ("ttyUSB0", "1-1")
    for usb_path in ("1-1", "1-2"):
        bench.host.unplug(usb_path)
    bench.host.stick("1-1", *HUAWEI, ports={0: None}, first=1)
    bench.host.stick("1-2", *HUAWEI, ports={0: None}, first=0)
    bench.ports.says = {"ttyUSB0": B, "ttyUSB1": A}
    bench.clock.now += 1
    assert bench.find(iccid=A) == ("ttyUSB1", "1-1")
    assert bench.find(iccid=B) == ("ttyUSB0", "1-2")


def test_a_sim_that_was_changed_under_power_is_found_after_the_lane_let_go(bench: Bench) -> None:
    bench.host.stick("1-1", *HUAWEI, ports={0: None})
    bench.host.stick("1-2", *HUAWEI, ports={0: None})
    bench.ports.says = {"ttyUSB0": A, "ttyUSB1": B}
    devices = {iccid: str(bench.host.root / "dev" / bench.find(iccid=iccid)[0]) for iccid in (A, B)}
    for device in devices.values():
        bench.finder.in_use(device)
    bench.ports.says = {"ttyUSB0": B, "ttyUSB1": A}
    for device in devices.values():
        bench.finder.released(device)
    assert bench.find(iccid=A) == ("ttyUSB1", "1-2")
    assert bench.find(iccid=B) == ("ttyUSB0", "1-1")


def test_a_sim_put_into_a_stick_that_nobody_uses_is_found_within_half_a_minute(bench: Bench) -> None:
    bench.host.stick("1-1", *HUAWEI, ports={0: None})
    bench.ports.says = {"ttyUSB0": B}
    assert bench.refusal(iccid=A).code == "sim_missing"
    bench.ports.says = {"ttyUSB0": A}
    assert bench.refusal(iccid=A).code == "sim_missing"
    bench.clock.now += 30
    assert bench.find(iccid=A) == ("ttyUSB0", "1-1")


def test_a_sim_that_moved_between_powered_sticks_is_asked_for_again_before_it_is_ambiguous(
    bench: Bench,
) -> None:
    bench.host.stick("1-1", *HUAWEI, ports={0: None})
    bench.ports.says = {"ttyUSB0": A}
    assert bench.find(iccid=A) == ("ttyUSB0", "1-1")
    bench.clock.now += 20
    bench.host.stick("1-2", *HUAWEI, ports={0: None})
    bench.ports.says = {"ttyUSB0": B, "ttyUSB1": A}
    assert bench.refusal(iccid=C).code == "sim_missing"
    bench.clock.now += 3
    assert bench.find(iccid=A) == ("ttyUSB1", "1-2")
    bench.ports.says = {"ttyUSB0": A, "ttyUSB1": A}
    bench.clock.now += 60
    bench.refusal(iccid=C)
    error = bench.refusal(iccid=A)
    assert (error.code, error.retryable) == ("ambiguous", True)


def test_a_missing_sim_names_what_keeps_it_from_being_found_but_no_number(bench: Bench) -> None:
    bench.host.stick("1-1", *HUAWEI, ports={0: None})
    bench.host.stick("1-2", "12d1", "1446")
    bench.ports.says = {"ttyUSB0": B}
    error = bench.refusal(iccid=A)
    assert (error.code, error.blame, error.retryable) == ("sim_missing", "sim", True)
    assert "1-2 is still in storage mode" in error.detail
    assert A[:6] not in error.detail


# -- side by side with lanes ----------------------------------------------------------------------------------------------------


def test_what_a_lane_holds_is_not_asked(bench: Bench) -> None:
    held = str(bench.host.root / "dev/serial/by-id/it")
    bench.finder.in_use(held)  # before the stick is there
    bench.host.stick("1-1", *HUAWEI, ports={0: None, 1: None})
    bench.host.link("dev/serial/by-id/it", "../../ttyUSB1")
    assert bench.refusal(iccid=A).code == "sim_missing"
    bench.clock.now += 120
    assert bench.refusal(iccid=A).code == "sim_missing"
    assert bench.refusal(usb="1-1").code == "port_busy"
    assert bench.ports.opened == []
    bench.finder.released(held)
    bench.ports.says = {"ttyUSB0": A}
    assert bench.find(iccid=A) == ("ttyUSB0", "1-1")


def test_a_port_that_a_lane_was_told_is_left_to_it(bench: Bench) -> None:
    bench.host.stick("1-1", *HUAWEI, ports={0: None})
    bench.ports.says = {"ttyUSB0": A}
    bench.find(iccid=A)
    bench.clock.now += 60
    assert bench.find(iccid=A) == ("ttyUSB0", "1-1")
    bench.refusal(iccid=B)
    assert bench.ports.opened == ["ttyUSB0"]
    bench.clock.now += 11
    bench.refusal(iccid=B)
    assert bench.ports.opened == ["ttyUSB0", "ttyUSB0"]


def test_a_socket_that_a_lane_let_go_is_given_back_without_asking(bench: Bench) -> None:
    bench.host.stick("1-1", *HUAWEI, ports={0: None})
    bench.ports.says = {"ttyUSB0": A}
    device = str(bench.host.root / "dev" / bench.find(usb="1-1")[0])
    for _ in range(3):
        bench.finder.in_use(device)
        bench.finder.released(device)
        assert bench.try_once(usb="1-1") == ("ttyUSB0", "1-1")
    assert bench.ports.opened == ["ttyUSB0"]


def test_a_pool_is_asked_side_by_side_but_only_so_many_at_a_time(bench: Bench) -> None:
    for number in range(20):
        bench.host.stick(f"1-1.{number + 1}", *QUECTEL, ports={2: None})
        bench.ports.says[f"ttyUSB{number}"] = f"{A}{number}"
    bench.ports.gate = threading.Event()
    for _ in range(200):
        with pytest.raises(ModemError, match="probing"):
            bench.try_once(iccid=f"{A}19")
        if bench.ports.most_open == 8:
            break
        bench.clock.now += 0.1
        threading.Event().wait(0.01)
    threading.Event().wait(0.3)  # in which six more would have been asked
    bench.ports.gate.set()
    for number in (19, *range(19)):
        assert bench.find(iccid=f"{A}{number}") == (f"ttyUSB{number}", f"1-1.{number + 1}")
    assert bench.ports.most_open == 8
    assert sorted(bench.ports.opened) == sorted(f"ttyUSB{number}" for number in range(20))


def test_what_a_lane_takes_or_somebody_pulls_out_while_it_waits_for_its_turn_is_not_asked(
    bench: Bench,
) -> None:
    for number in range(10):
        bench.host.stick(f"1-1.{number + 1}", *QUECTEL, ports={2: None})
        bench.ports.says[f"ttyUSB{number}"] = f"{A}{number}"
    bench.ports.gate = threading.Event()
    with pytest.raises(ModemError, match="probing"):
        bench.try_once(iccid=f"{A}0")
    held = str(bench.host.root / "dev/ttyUSB8")
    bench.finder.in_use(held)
    bench.host.unplug("1-1.10")
    bench.clock.now += 1
    bench.ports.gate.set()
    for number in range(8):
        assert bench.find(iccid=f"{A}{number}") == (f"ttyUSB{number}", f"1-1.{number + 1}")
    assert bench.refusal(iccid=f"{A}9").code == "sim_missing"
    assert sorted(bench.ports.opened) == [f"ttyUSB{number}" for number in range(8)]
    bench.finder.released(held)
    assert bench.find(iccid=f"{A}8") == ("ttyUSB8", "1-1.9")


def test_a_stick_is_not_given_to_a_lane_while_it_is_asked_again(bench: Bench) -> None:
    bench.host.stick("1-1", *QUECTEL, ports={2: None})
    bench.ports.says = {"ttyUSB0": A}
    bench.find(iccid=A)
    bench.clock.now += 60
    bench.ports.gate = threading.Event()
    for iccid in (B, A):
        with pytest.raises(ModemError, match="probing"):
            bench.try_once(iccid=iccid)
    bench.ports.gate.set()
    assert bench.find(iccid=A) == ("ttyUSB0", "1-1")
    assert bench.ports.opened == ["ttyUSB0", "ttyUSB0"]


def test_one_stick_is_asked_by_one_question_however_many_lanes_want_it(bench: Bench) -> None:
    bench.host.stick("1-1", *HUAWEI, ports={0: None})
    bench.ports.says = {"ttyUSB0": A}
    found: list[tuple[str, str | None]] = []
    lanes = [threading.Thread(target=lambda: found.append(bench.find(usb="1-1"))) for _ in range(16)]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join(20)
    assert found == [("ttyUSB0", "1-1")] * 16
    assert bench.ports.opened == ["ttyUSB0"]


def test_a_stick_pulled_out_while_it_is_asked_leaves_nothing_behind(bench: Bench) -> None:
    bench.host.stick("1-1", *QUECTEL, ports={2: None})
    bench.ports.says = {"ttyUSB0": A}
    bench.ports.gate = threading.Event()
    with pytest.raises(ModemError, match="probing"):
        bench.try_once(usb="1-1")
    bench.host.unplug("1-1")
    bench.clock.now += 1
    assert bench.refusal(usb="1-1").code == "stick_missing"
    bench.host.stick("1-1", *QUECTEL, ports={2: None}, first=1)
    bench.ports.says = {"ttyUSB1": B}
    bench.clock.now += 1
    bench.ports.gate.set()
    assert bench.find(iccid=B) == ("ttyUSB1", "1-1")


def test_a_fault_of_the_question_itself_is_told_and_ends_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.host.stick("1-1", *QUECTEL, ports={2: None})

    def broken() -> str:
        raise RuntimeError("out of threads")

    bench.ports.says = {"ttyUSB0": broken}
    with caplog.at_level(logging.CRITICAL):
        assert bench.refusal(usb="1-1").code == "probe_failed"
    bench.ports.says = {"ttyUSB0": A}
    bench.clock.now += 10
    assert bench.find(usb="1-1") == ("ttyUSB0", "1-1")


# -- power ------------------------------------------------------------------------------------------------------------------------


def switches(host: HostFolder, *names: str) -> list[Path]:
    return [host.file(f"sys/bus/usb/devices/{name}", "x") for name in names]


def test_power_goes_by_the_hubs_port_where_there_is_one(host: HostFolder) -> None:
    hub, root_hub = switches(host, "1-1:1.0/1-1-port2/disable", "1-0:1.0/usb1-port3/disable")
    assert power_cycle("1-1.2", host.root, off=NO_TIME)
    assert power_cycle("1-3", host.root, off=NO_TIME)
    assert (hub.read_text(), root_hub.read_text()) == ("0", "0")


def test_a_socket_behind_two_hubs_has_its_own_switch(host: HostFolder) -> None:
    [switch] = switches(host, "1-1.4:1.0/1-1.4-port2/disable")
    assert power_cycle("1-1.4.2", host.root, off=NO_TIME)
    assert switch.read_text() == "0"


def test_without_such_a_switch_the_kernel_is_told_to_drop_the_stick(host: HostFolder) -> None:
    host.stick("1-1.2", *HUAWEI)
    authorized = host.attribute("1-1.2", "authorized", "x")
    assert power_cycle("1-1.2", host.root, off=NO_TIME)
    assert authorized.read_text()[0] == "1"


def test_power_is_not_ours_where_the_system_says_no(host: HostFolder) -> None:
    assert not power_cycle("1-1.2", host.root, off=NO_TIME)
