"""The doctor before a port is opened: a folder standing for the host gives exactly one finding, a healthy stick none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from host_folder import HostFolder

from modem.discovery import known_sticks, sticks
from modem.doctor import Finding, data_findings, held_ports, host_findings, kernel_findings, surrounding

HUAWEI = ("12d1", "1001")
PORTS = {0: None, 1: None, 2: None}
USER, OTHER = 1000, 0
UDEV_DATA = "N:ttyUSB0\nE:ID_MM_DEVICE_IGNORE=1\n"


@pytest.fixture
def host(tmp_path: Path) -> HostFolder:
    return HostFolder(tmp_path)


def healthy(host: HostFolder) -> None:
    host.stick("1-1", *HUAWEI, ports=PORTS, dev="189:5")


def codes(found: list[Finding]) -> list[str]:
    return [finding.code for finding in found]


def process(host: HostFolder, pid: int, name: str, *open_files: str) -> None:
    host.file(f"proc/{pid}/comm", f"{name}\n")
    for number, file in enumerate(open_files, 3):
        host.link(f"proc/{pid}/fd/{number}", file)


def test_a_healthy_stick_gives_nothing(host: HostFolder) -> None:
    healthy(host)
    process(host, 1, "systemd")
    assert host_findings(host.root, listed=["/dev/ttyUSB0"]) == []


def nothing_plugged(host: HostFolder) -> None:
    host.stick("1-3", "046d", "c077")  # a mouse


def wsl(host: HostFolder) -> None:
    host.file("proc/version", "Linux version 5.15.167.4-microsoft-standard-WSL2 (gcc 11.2)")


def docker(host: HostFolder) -> None:
    host.file(".dockerenv")


def podman(host: HostFolder) -> None:
    host.file("run/.containerenv")


def qemu(host: HostFolder) -> None:
    host.file("sys/class/dmi/id/sys_vendor", "QEMU\n")
    host.file("sys/class/dmi/id/product_name", "Standard PC (Q35 + ICH9, 2009)\n")


def storage(host: HostFolder) -> None:
    host.stick("1-1", "12d1", "1446")


def hilink(host: HostFolder) -> None:
    host.stick("1-1", "12d1", "14dc", nets={0: "eth1"})


def no_driver(host: HostFolder) -> None:
    host.stick("1-1", *HUAWEI)


def bridge(host: HostFolder) -> None:
    host.stick("1-1", "1a86", "7523", ports={0: None}, driver="ch341")


def not_in_dev(host: HostFolder) -> None:
    healthy(host)
    for name in ("ttyUSB0", "ttyUSB1", "ttyUSB2"):
        (host.root / "dev" / name).unlink()


def asleep(host: HostFolder) -> None:
    healthy(host)
    host.attribute("1-1", "power/control", "auto")
    host.attribute("1-1", "power/runtime_status", "suspended")


def on_bare_hub(host: HostFolder) -> None:
    host.stick("1-1", "05e3", "0608", bmAttributes="a0", bDeviceClass="09")
    host.stick("1-1.2", *HUAWEI, ports=PORTS)


def minicom(host: HostFolder) -> None:
    healthy(host)
    process(host, 812, "minicom", "/dev/null", "/dev/ttyUSB2")


def modemmanager_holds(host: HostFolder) -> None:
    healthy(host)
    process(host, 500, "ModemManager", "/dev/ttyUSB0")


def modemmanager_runs(host: HostFolder) -> None:
    healthy(host)
    process(host, 500, "ModemManager")


def brltty_holds(host: HostFolder) -> None:
    healthy(host)
    process(host, 77, "brltty", "/dev/ttyUSB0")


FOLDERS: list[tuple[Callable[[HostFolder], None], str, str]] = [
    (nothing_plugged, "no_stick", "fault"),
    (wsl, "no_stick_in_wsl", "fault"),
    (docker, "no_stick_in_container", "fault"),
    (podman, "no_stick_in_container", "fault"),
    (qemu, "no_stick_in_vm", "fault"),
    (storage, "storage_mode", "fault"),
    (hilink, "hilink", "fault"),
    (no_driver, "no_driver", "fault"),
    (bridge, "unlisted_serial_port", "fault"),
    (not_in_dev, "device_missing", "fault"),
    (asleep, "autosuspend", "warning"),
    (on_bare_hub, "unpowered_hub", "warning"),
    (minicom, "port_held", "fault"),
    (modemmanager_holds, "port_held_by_modemmanager", "fault"),
    (modemmanager_runs, "modemmanager_probes", "warning"),
    (brltty_holds, "brltty", "fault"),
]


@pytest.mark.parametrize(("build", "code", "severity"), FOLDERS)
def test_a_folder_gives_exactly_that_finding(
    host: HostFolder, build: Callable[[HostFolder], None], code: str, severity: str
) -> None:
    build(host)
    found = host_findings(host.root)
    assert [(finding.code, finding.severity) for finding in found] == [(code, severity)]
    assert all((found[0].what, found[0].how, found[0].mend, found[0].about))


def test_it_names_the_program_that_holds_a_port_and_how_it_knows(host: HostFolder) -> None:
    minicom(host)
    (found,) = host_findings(host.root)
    assert found.about == "/dev/ttyUSB2"
    assert "minicom" in found.what
    assert "process 812" in found.how
    assert "sudo kill 812" in found.mend


def test_the_gateways_own_process_may_hold_a_port(host: HostFolder) -> None:
    healthy(host)
    process(host, 900, "bpjs-sms", "/dev/ttyUSB0")
    assert host_findings(host.root, ours=[900]) == []
    assert codes(host_findings(host.root)) == ["port_held"]


def test_who_plays_a_port_on_a_pty_has_it_open_rightly(host: HostFolder) -> None:
    host.stick("1-1", *HUAWEI, ports={0: "/dev/pts/4711"})
    process(host, 300, "a simulator", "/dev/pts/4711")
    assert "port_held" not in codes(host_findings(host.root))


def test_who_has_a_file_open_that_is_no_serial_port_is_no_matter(host: HostFolder) -> None:
    healthy(host)
    host.file("dev/null")
    process(host, 812, "bash", "/dev/null")
    assert host_findings(host.root, listed=["/dev/null"]) == []
    assert held_ports(host.root, [str(host.root / "dev/null")]) == []


def test_modemmanager_is_no_fault_where_udev_keeps_it_away(host: HostFolder) -> None:
    modemmanager_runs(host)
    host.file("sys/class/tty/ttyUSB0/dev", "188:0\n")
    host.file("run/udev/data/c188:0", UDEV_DATA)
    assert host_findings(host.root) == []


def test_where_udev_has_no_database_a_rule_for_the_maker_is_enough(host: HostFolder) -> None:
    modemmanager_runs(host)
    host.file("etc/udev/rules.d/77-x.rules", 'ATTRS{idVendor}=="12d1", ENV{ID_MM_DEVICE_IGNORE}="1"\n')
    assert host_findings(host.root) == []


def test_a_listed_port_that_is_no_stick_is_enough_for_a_board(host: HostFolder) -> None:
    bridge(host)
    assert host_findings(host.root, listed=["/dev/ttyUSB0"]) == []


def test_a_listed_port_that_is_not_there(host: HostFolder) -> None:
    healthy(host)
    (found,) = host_findings(host.root, listed=["/dev/ttyUSB7"])
    assert (found.code, found.about) == ("port_missing", "/dev/ttyUSB7")
    assert "/dev/ttyUSB" in found.how


def test_the_diagnostics_port_in_the_settings_is_the_wrong_one(host: HostFolder) -> None:
    kind = next(s for s in known_sticks().sticks.values() if "diag" in s.ports.values() and s.control)
    host.stick("1-1", kind.vendor, kind.product, ports=dict.fromkeys({*kind.ports, *kind.control}))
    (stick,) = sticks(host.root)
    files = {port.interface: f"/dev/{Path(port.device).name}" for port in stick.ports}
    diagnostics = next(files[number] for number, role in kind.ports.items() if role == "diag")
    found = host_findings(host.root, listed=[diagnostics])
    assert codes(found) == ["wrong_port"]
    assert found[0].mend == f'write port = "{files[kind.control[0]]}"'
    assert host_findings(host.root, listed=[files[kind.control[0]]]) == []


def test_no_permission_names_the_group_and_the_command(host: HostFolder) -> None:
    healthy(host)
    gid = next((host.root / "dev").iterdir()).stat().st_gid
    host.file("etc/group", f"root:x:{gid + 1}:\ndialout:x:{gid}:\n")
    for name in ("ttyUSB0", "ttyUSB1", "ttyUSB2"):
        os.chmod(host.root / "dev" / name, 0o660)
    owner = (host.root / "dev/ttyUSB0").stat().st_uid
    stranger = owner + 4711
    (found,) = host_findings(host.root, uid=stranger, groups=[gid + 9])
    assert found.code == "no_permission"
    assert "dialout" in found.mend
    assert "/dev/ttyUSB0, /dev/ttyUSB1, /dev/ttyUSB2" in found.what
    assert host_findings(host.root, uid=stranger, groups=[gid]) == []
    assert host_findings(host.root, uid=0) == []


def test_what_one_command_opens_is_told_once(host: HostFolder) -> None:
    for number in range(1, 5):
        host.stick(f"1-{number}", *HUAWEI, ports=PORTS)
    gid = (host.root / "dev/ttyUSB0").stat().st_gid
    for file in (host.root / "dev").iterdir():
        os.chmod(file, 0o660)
    (found,) = host_findings(host.root, uid=4711, groups=[gid + 9])
    assert "and 2 more" in found.about
    assert "and 6 more" in found.what


def test_a_rule_that_opens_a_port_is_about_that_port_alone(host: HostFolder) -> None:
    bridge(host)
    os.chmod(host.root / "dev/ttyUSB0", 0o600)
    (found,) = host_findings(host.root, listed=["/dev/ttyUSB0"], uid=4711)
    assert found.code == "no_permission"
    assert 'KERNEL=="ttyUSB0"' in found.mend


def test_modemmanager_is_told_of_every_kind_of_stick(host: HostFolder) -> None:
    modemmanager_runs(host)
    host.stick("1-2", *HUAWEI, ports=PORTS)
    other = next(s for s in known_sticks().sticks.values() if s.mode == "modem" and s.vendor != HUAWEI[0])
    host.stick("1-3", other.vendor, other.product, ports=PORTS)
    found = host_findings(host.root)
    assert codes(found) == ["modemmanager_probes"] * 2
    for finding, vendor in zip(found, (other.vendor, HUAWEI[0]), strict=True):
        assert vendor in finding.mend


BOOT = "[    1.1] usb 1-1: new high-speed USB device number 2 using xhci_hcd\n"
GONE = "[  100.5] usb 1-1: USB disconnect, device number 2\n"


LOGS: list[tuple[str, list[str]]] = [
    (BOOT, []),
    (BOOT + 2 * (GONE + BOOT), []),  # by hand
    (BOOT + 3 * (GONE + BOOT), ["usb_disconnects"]),
    (BOOT + "[ 9.0] hwmon hwmon1: Undervoltage detected!\n", ["undervoltage"]),
    (BOOT + "[ 9.0] Under-voltage detected! (0x00050005)\n", ["undervoltage"]),
    (BOOT + "[ 9.0] usb usb1-port2: over-current condition\n", ["over_current"]),
    (BOOT + "[ 9.0] usb 1-1: device descriptor read/64, error -71\n", ["usb_errors"]),
    (BOOT + "[ 9.0] usb usb1-port1: disabled by hub (EMI?), re-enabling...\n", ["usb_errors"]),
    (
        BOOT + "[ 9.0] usb 1-2: usbfs: interface 0 claimed by ch341 while 'brltty' sets config #1\n",
        ["brltty"],
    ),
]


@pytest.mark.parametrize(("log", "expected"), LOGS)
def test_the_kernel_log_tells_of_power_and_cables(log: str, expected: list[str]) -> None:
    assert codes(kernel_findings(log)) == expected


def test_the_kernel_log_is_part_of_the_host(host: HostFolder) -> None:
    healthy(host)
    assert codes(host_findings(host.root, kernel_log=3 * (GONE + BOOT))) == ["usb_disconnects"]


@pytest.mark.parametrize(
    ("build", "expected"), [(healthy, None), (wsl, "wsl"), (docker, "container"), (qemu, "vm")]
)
def test_where_it_runs(host: HostFolder, build: Callable[[HostFolder], None], expected: str | None) -> None:
    build(host)
    assert surrounding(host.root) == expected


DATABASE, KEYS = Path("/var/lib/bpjs-sms/gateway.db"), Path("/etc/bpjs-sms/gateway.keys")
PLENTY = 10_000_000_000


def mounts(line: str) -> Callable[[HostFolder], None]:
    def build(host: HostFolder) -> None:
        host.file("proc/mounts", f"/dev/sda1 / ext4 rw 0 0\n{line}\n")

    return build


def card(kind: str) -> Callable[[HostFolder], None]:
    def build(host: HostFolder) -> None:
        host.file("proc/mounts", "/dev/mmcblk0p2 / ext4 rw 0 0\n")
        host.file("sys/block/mmcblk0/device/type", f"{kind}\n")

    return build


DISKS: list[tuple[Callable[[HostFolder], None], list[str]]] = [
    (mounts(""), []),
    (mounts("server:/export /var/lib/bpjs-sms nfs4 rw 0 0"), ["database_on_network_share"]),
    (mounts("//nas/share /var/lib cifs rw 0 0"), ["database_on_network_share"]),
    (mounts("server:/export /var/lib/other nfs4 rw 0 0"), []),
    (mounts("tmpfs /var/lib tmpfs rw 0 0"), ["database_in_memory"]),
    (card("SD"), ["database_on_memory_card"]),
    (card("MMC"), []),
]


@pytest.mark.parametrize(("build", "expected"), DISKS)
def test_where_the_database_lies(
    host: HostFolder, build: Callable[[HostFolder], None], expected: list[str]
) -> None:
    build(host)
    assert codes(data_findings(host.root, DATABASE, KEYS, free=PLENTY, copied=True)) == expected


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        (PLENTY, []),
        (None, []),
        (150_000_000, [("little_space", "warning")]),
        (1_000_000, [("little_space", "fault")]),
    ],
)
def test_little_space(host: HostFolder, free: int | None, expected: list[tuple[str, str]]) -> None:
    found = data_findings(host.root, DATABASE, KEYS, free=free, copied=True)
    assert [(finding.code, finding.severity) for finding in found] == expected


def test_a_key_file_without_a_copy(host: HostFolder) -> None:
    (found,) = data_findings(host.root, DATABASE, DATABASE.with_suffix(".keys"), free=PLENTY, copied=False)
    assert (found.code, found.severity) == ("keys_without_copy", "warning")
    assert "on one disk" in found.how
    assert "--key-copied" in found.mend
    assert codes(data_findings(host.root, None, KEYS, free=None, copied=False)) == ["keys_without_copy"]
