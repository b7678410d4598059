"""What kind of host this is, and where its data lie: virtual machines, containers, kernel log, mounts. Pure but for reading `root`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from modem.doctor.findings import Finding, fault, warning

LITTLE_SPACE = 200_000_000
"""Bytes free below which the doctor warns: about the size of a year of one busy lane's texts, with SQLite's write-ahead log beside it."""
NO_SPACE = 20_000_000
"""Bytes free below which it is a fault: one checkpoint of a large batch would fill them."""
_DISCONNECTS = 3  # in one boot: whoever plugs in and out by hand seldom does it thrice

_NETWORK_SHARES = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "vboxsf", "virtiofs", "afpfs", "ceph"}
)
"""File systems on which SQLite's locks or its shared memory do not hold (sqlite.org/wal.html, section 1)."""
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_VIRTUAL_MAKERS = re.compile(r"QEMU|VMware|VirtualBox|innotek|KVM|Xen|Parallels|Virtual Machine|Bochs|BHYVE")


def text_of(file: Path) -> str:
    """A small file's text; empty where it cannot be read."""
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""


def surrounding(root: Path) -> str | None:
    """`wsl`, `container`, `vm` or None for a plain host."""
    if "microsoft" in text_of(root / "proc/version").lower():
        return "wsl"
    if (
        (root / ".dockerenv").exists()
        or (root / "run/.containerenv").exists()
        or (root / "run/systemd/container").exists()
    ):
        return "container"
    dmi = " ".join(text_of(root / "sys/class/dmi/id" / name) for name in ("sys_vendor", "product_name"))
    if _VIRTUAL_MAKERS.search(dmi) or (root / "sys/hypervisor/type").exists():
        return "vm"
    return None


NO_STICK = {
    None: (
        "No GSM stick is plugged in.",
        "none of the USB devices in /sys/bus/usb/devices is a known stick, and the settings name no port that is there",
        "plug the stick in, wait 20 seconds, and run `bpjs-sms doctor` again; `lsusb` shows whether the host sees it at all. "
        "A modem on a serial adapter or a network port is used only where the settings name it: port = \"/dev/ttyUSB0\". To try "
        "without a stick: `bpjs-sms serve --simulated 2`",
    ),
    "wsl": (
        "This is Linux inside Windows (WSL), which sees no USB stick until Windows hands it over.",
        "/proc/version names Microsoft, and /sys/bus/usb/devices has no stick",
        "in an administrator's PowerShell: `winget install usbipd`, `usbipd list`, `usbipd bind --busid BUSID`, then "
        "`usbipd attach --wsl --busid BUSID`",
    ),
    "container": (
        "This is a container, and no stick was passed into it.",
        "it has the marks of a container (/.dockerenv, /run/.containerenv or /run/systemd/container), and no stick in /sys/bus/usb/devices",
        "if the host itself sees one (`lsusb` there), start the container again with these options more: `-v /dev:/dev -v "
        "/run/udev:/run/udev:ro --device-cgroup-rule 'c 188:* rmw' --device-cgroup-rule 'c 166:* rmw' --group-add dialout`; "
        "with --device /dev/ttyUSB2 it works too, until the stick is plugged in anew. To try without a stick: "
        "`bpjs-sms serve --simulated 2`",
    ),
    "vm": (
        "This is a virtual machine, and no stick was passed through to it.",
        "/sys/class/dmi/id names a virtual machine, and /sys/bus/usb/devices has no stick",
        "let the host pass the stick through by its USB ids (VirtualBox: Devices > USB; QEMU and libvirt: a USB host device; "
        "VMware: Removable Devices > Connect), also after it changed its mode",
    ),
}  # fmt: skip
"""What to say where there is no stick, by surrounding."""


def kernel_findings(log: str) -> list[Finding]:
    """What the kernel log tells of power and cables (messages of Linux's usbcore, hub, usb-serial and raspberrypi-hwmon)."""
    return list(_kernel(log))


def _kernel(log: str) -> Iterator[Finding]:
    if low := _lines(log, r"[Uu]nder-?voltage detected"):
        yield fault(
            "undervoltage",
            "power supply",
            "The computer itself gets too little voltage, so a stick restarts when it transmits.",
            f"the kernel log says so {_times(len(low))}: {low[-1]}",
            "use the power supply that belongs to the computer (Raspberry Pi: 5.1 V, 3 A or more) with a short cable, or put the "
            "stick on a hub with its own power supply",
        )
    if over := _lines(log, r"over-?current (?:condition|change)"):
        yield fault(
            "over_current",
            "USB port",
            "A USB port was switched off because the stick drew more current than it may.",
            f"the kernel log says so {_times(len(over))}: {over[-1]}",
            "put the stick on a hub with its own power supply: at transmit a stick draws up to 2 A for moments, a port gives 0.5 A",
        )
    if stolen := re.search(r"interface \d+ claimed by (\w+) while 'brltty'.*", log):
        yield fault(
            "brltty",
            "brltty",
            "brltty, the program for Braille displays, took the serial adapter for one of its own: its port vanished.",
            f"the kernel log: {stolen[0].strip()}",
            "`sudo systemctl mask --now brltty.service brltty-udev.service` (or `sudo apt-get remove brltty`), then plug in again",
        )
    errors = _lines(
        log,
        r"usb \d+-[\d.]+: (?:device descriptor read/\S+ error|device not accepting address)|unable to enumerate USB device|"
        r"disabled by hub \(EMI\?\)",
    )
    if errors:
        yield warning(
            "usb_errors",
            "USB port",
            "USB devices answer with errors: a bad cable, a bad socket, or too little power.",
            f"the kernel log says so {_times(len(errors))}: {errors[-1]}",
            "plug the stick in directly or with a short, good cable, in another socket, or on a hub with its own power supply",
        )
    gone = Counter(re.findall(r"usb (\d+-[\d.]+): USB disconnect", log))
    for socket, count in sorted(gone.items()):
        if count >= _DISCONNECTS:
            yield warning(
                "usb_disconnects",
                f"USB socket {socket}",
                f"What is plugged in at {socket} has vanished {_times(count)} since the host started.",
                f"the kernel log has {count} lines `usb {socket}: USB disconnect`; by hand, or because its power broke down at transmit",
                "if nobody pulled it out: put the stick on a hub with its own power supply, and take a short cable",
            )


def _lines(log: str, pattern: str) -> list[str]:
    wanted = re.compile(pattern)
    return [line.strip() for line in log.splitlines() if wanted.search(line)]


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def data_findings(
    root: Path, database: Path | None, keys: Path, *, free: int | None, copied: bool
) -> list[Finding]:
    """Where database and keys lie. `free`: bytes left on the database's disk · `copied`: somebody said that the keys have a copy.

    `database` is None for PostgreSQL, whose server looks after its own disk.
    """
    return [*_database(root, database, free), *_keys(database, keys, copied)]


def _keys(database: Path | None, keys: Path, copied: bool) -> Iterator[Finding]:
    if not copied:
        together = database is not None and keys.parent == database.parent
        yield warning(
            "keys_without_copy",
            str(keys),
            "Nobody has said that the key file has a copy: without it every stored text and record is lost.",
            f"{keys.name} lies beside the database, on one disk with it"
            if together
            else "this file was never confirmed to have a copy",
            f"copy {keys} to another computer or a safe, then tell so: `bpjs-sms doctor --key-copied`",
        )


def _database(root: Path, database: Path | None, free: int | None) -> Iterator[Finding]:
    if database is None:
        return
    about = str(database)
    device, place, kind = _mount(root, database)
    if kind in _NETWORK_SHARES:
        yield fault(
            "database_on_network_share",
            about,
            "The database lies on a network share, where SQLite's locks do not hold: it can be damaged without a word.",
            f"/proc/mounts: {place} is {kind} of {device}",
            'move it to a disk of this host (database = "sqlite:////var/lib/bpjs-sms/bpjs-sms.db"), or use PostgreSQL',
        )
    elif kind in _IN_MEMORY:
        yield fault(
            "database_in_memory",
            about,
            "The database lies in memory: everything is lost when the host restarts.",
            f"/proc/mounts: {place} is {kind}",
            'move it to a disk (database = "sqlite:////var/lib/bpjs-sms/bpjs-sms.db")',
        )
    elif (card := re.fullmatch(r"/dev/(mmcblk\d+)(?:p\d+)?", device)) and _is_memory_card(root, card[1]):
        yield warning(
            "database_on_memory_card",
            about,
            "The database lies on a memory card, which wears out and forgets what was written when power fails.",
            f"/proc/mounts: {place} is on {device}, a card of type SD",
            "put the database on a USB disk or SSD, and copy it daily: `sqlite3 FILE '.backup COPY'`",
        )
    if free is not None and free < LITTLE_SPACE:
        say = fault if free < NO_SPACE else warning
        yield say(
            "little_space",
            about,
            "The disk of the database is nearly full; when it is full, nothing is accepted or sent any more.",
            f"{free / 1e6:.0f} MB are free",
            "free space there (`sudo journalctl --vacuum-size=100M`, `sudo apt-get clean`), or shorten [retention] in the settings",
        )


def _mount(root: Path, file: Path) -> tuple[str, str, str]:
    """Device, mount point and file system that a file lies on, by /proc/mounts."""
    best = ("", "", "")
    for line in text_of(root / "proc/mounts").splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        place = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields[1])
        # A later line for the same place covers an earlier one.
        if len(place) >= len(best[1]) and PurePosixPath(file).is_relative_to(place):
            best = (fields[0], place, fields[2])
    return best


def _is_memory_card(root: Path, name: str) -> bool:
    """eMMC, which is soldered in and better, has the type MMC."""
    return text_of(root / "sys/block" / name / "device/type").strip() in ("SD", "")
