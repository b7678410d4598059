"""A folder that stands for `/`: sysfs with USB sticks, device files that lead to ptys, and whatever else a test writes there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_USB = "sys/bus/usb/devices"
_REAL = "sys/devices/platform/usb"  # where the entries of sys/bus and sys/class lead


@dataclass
class HostFolder:
    """Builds below `root` what Linux shows of a host.

    `stick` plugs a USB device in, `unplug` pulls it out; `file`, `link` and `folder` write anything else, by paths like `proc/version`.
    """

    root: Path
    _devnum: int = 1
    _ttys: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in (_USB, "sys/class/tty", "dev", "proc"):
            self.folder(path)

    def folder(self, path: str) -> Path:
        """A folder, with those above it."""
        made = self.root / path
        made.mkdir(parents=True, exist_ok=True)
        return made

    def file(self, path: str, text: str = "") -> Path:
        """A file with this text."""
        made = self.folder(str(Path(path).parent)) / Path(path).name
        made.write_text(text)
        return made

    def link(self, path: str, target: str | Path) -> Path:
        """A symbolic link, replacing what was there."""
        made = self.folder(str(Path(path).parent)) / Path(path).name
        made.unlink(missing_ok=True)
        made.symlink_to(target)
        return made

    def stick(
        self,
        usb_path: str,
        vendor: str,
        product: str,
        *,
        ports: Mapping[int, str | Path | None] | None = None,
        kinds: Mapping[int, str] | None = None,
        nets: Mapping[int, str] | None = None,
        tty: str = "ttyUSB",
        driver: str = "option",
        first: int | None = None,
        devnum: int | None = None,
        **attributes: str,
    ) -> list[str]:
        """Plug a device in; the paths of its ports below `root`, in the order of the interfaces.

        ports: interface number to what its device file leads to (a pty), or None for an empty file · kinds: interface number
        to `class/subclass/protocol`, `ff/ff/ff` where unsaid · nets: interface number to the name of a network card · first: number
        of the first tty, else the lowest free ones · attributes: other files (serial, manufacturer, product_name for `product`, …).
        """
        self._devnum += 1
        where = f"{_REAL}/{usb_path}"
        self._attributes(
            where,
            {
                "idVendor": vendor,
                "idProduct": product,
                "devnum": str(self._devnum if devnum is None else devnum),
                "busnum": usb_path.split("-")[0],
                "authorized": "1",
                "power/control": "on",
                "power/runtime_status": "active",
                **{name.replace("product_name", "product"): text for name, text in attributes.items()},
            },
        )
        names: list[str] = []
        for number in sorted({*(ports or {}), *(nets or {})}):
            interface = f"{where}/{usb_path}:1.{number}"
            kind = (kinds or {}).get(number, "ff/ff/ff").split("/")
            self._attributes(
                interface,
                {
                    "bInterfaceNumber": f"{number:02x}",
                    **dict(
                        zip(
                            ("bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol"), kind, strict=True
                        )
                    ),
                },
            )
            self.link(f"{interface}/driver", f"../../../../../bus/usb/drivers/{driver}")
            if nets and number in nets:
                self.folder(f"{interface}/net/{nets[number]}")
            if ports is not None and number in ports:
                name = f"{tty}{self._free(tty, first)}"
                under = f"{interface}/tty/{name}" if tty == "ttyACM" else f"{interface}/{name}/tty/{name}"
                self.folder(under)
                self._relative(f"sys/class/tty/{name}", under)
                self.device(name, ports[number])
                names.append(name)
            self._relative(f"{_USB}/{usb_path}:1.{number}", interface)
        self._relative(f"{_USB}/{usb_path}", where)
        self._ttys[usb_path] = names
        return [str(self.root / "dev" / name) for name in names]

    def device(self, name: str, target: str | Path | None) -> Path:
        """dev/NAME, leading to `target` (a pty), or an empty file."""
        return self.file(f"dev/{name}") if target is None else self.link(f"dev/{name}", target)

    def unplug(self, usb_path: str) -> None:
        """Take a stick and its device files away."""
        for name in self._ttys.pop(usb_path):
            (self.root / "dev" / name).unlink(missing_ok=True)
            (self.root / "sys/class/tty" / name).unlink()
        for entry in (self.root / _USB).glob(f"{usb_path}:*"):
            entry.unlink()
        (self.root / _USB / usb_path).unlink()
        shutil.rmtree(self.root / _REAL / usb_path)

    def attribute(self, usb_path: str, name: str, text: str) -> Path:
        """Write one attribute of a plugged device, such as `power/control`."""
        return self.file(f"{_REAL}/{usb_path}/{name}", f"{text}\n")

    def _attributes(self, where: str, texts: Mapping[str, str]) -> None:
        for name, text in texts.items():
            self.file(f"{where}/{name}", f"{text}\n")

    def _relative(self, path: str, target: str) -> None:
        self.link(path, os.path.relpath(self.root / target, (self.root / path).parent))

    def _free(self, tty: str, first: int | None) -> int:
        taken = {name for names in self._ttys.values() for name in names}
        number = first or 0
        while (
            f"{tty}{number}" in taken
            or (self.root / "dev" / f"{tty}{number}").is_symlink()
            or (self.root / "dev" / f"{tty}{number}").exists()
        ):
            number += 1
        return number
