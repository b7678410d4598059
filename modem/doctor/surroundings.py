"""What kind of host this is, and where its data lie: virtual machines, containers, kernel log, mounts. Pure but for reading `root`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from modem.doctor.findings import Finding
from modem.doctor.texts import Both, fault, said, warning

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


def kernel_findings(log: str) -> list[Finding]:
    """What the kernel log tells of power and cables (messages of Linux's usbcore, hub, usb-serial and raspberrypi-hwmon)."""
    return list(_kernel(log))


def _kernel(log: str) -> Iterator[Finding]:
    power, usb = said("about.power"), said("about.usb_port")
    if low := _lines(log, r"[Uu]nder-?voltage detected"):
        yield fault("undervoltage", power, times=_times(len(low)), line=low[-1])
    if over := _lines(log, r"over-?current (?:condition|change)"):
        yield fault("over_current", usb, times=_times(len(over)), line=over[-1])
    if stolen := re.search(r"interface \d+ claimed by (\w+) while 'brltty'.*", log):
        yield fault("brltty.kernel", "brltty", line=stolen[0].strip())
    errors = _lines(
        log,
        r"usb \d+-[\d.]+: (?:device descriptor read/\S+ error|device not accepting address)|unable to enumerate USB device|"
        r"disabled by hub \(EMI\?\)",
    )
    if errors:
        yield warning("usb_errors", usb, times=_times(len(errors)), line=errors[-1])
    gone = Counter(re.findall(r"usb (\d+-[\d.]+): USB disconnect", log))
    for socket, count in sorted(gone.items()):
        if count >= _DISCONNECTS:
            about = said("about.usb_socket", socket=socket)
            yield warning("usb_disconnects", about, socket=socket, count=count, times=_times(count))


def _lines(log: str, pattern: str) -> list[str]:
    wanted = re.compile(pattern)
    return [line.strip() for line in log.splitlines() if wanted.search(line)]


def _times(count: int) -> Both:
    return said("words.once") if count == 1 else said("words.times", count=count)


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
        text = "keys_without_copy.together" if together else "keys_without_copy"
        yield warning(text, str(keys), file=keys, name=keys.name)


def _database(root: Path, database: Path | None, free: int | None) -> Iterator[Finding]:
    if database is None:
        return
    about = str(database)
    device, place, kind = _mount(root, database)
    if kind in _NETWORK_SHARES:
        yield fault("database_on_network_share", about, place=place, kind=kind, device=device)
    elif kind in _IN_MEMORY:
        yield fault("database_in_memory", about, place=place, kind=kind)
    elif (card := re.fullmatch(r"/dev/(mmcblk\d+)(?:p\d+)?", device)) and _is_memory_card(root, card[1]):
        yield warning("database_on_memory_card", about, place=place, device=device)
    if free is not None and free < LITTLE_SPACE:
        say = fault if free < NO_SPACE else warning
        yield say("little_space", about, megabytes=f"{free / 1e6:.0f}")


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
