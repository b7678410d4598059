"""The table of what other people's programs can do with the simulated dongle. `python tests/programs.py` prints it."""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from other_programs import PROGRAMS, Program
from program_seats import PERSON, Absent, Ledger, Seat, wait_for

from modem.simulated import Dongle, Network, Sim
from modem.simulated.personality import personalities
from modem.simulated.pty import LEDGER, ControlError, serve

PERSONALITIES = tuple(personalities())
# In this order: daemons find what lay there before they started, and identify before anything is sent.
ACTIONS = ("identify", "list", "delete", "short", "long", "unicode", "receive", "report", "ussd")


@dataclass(frozen=True)
class Cell:
    """One action of one program on one dongle: what the program said, what the dongle noted, or what was wrong."""

    program: str
    personality: str
    action: str
    said: str = ""
    noted: str = ""
    fault: str = ""

    @property
    def good(self) -> bool:
        return bool(self.said and self.noted and not self.fault)


# What a program does in its own way, or not by itself; the dongle did its part in each of these cells.
REMARKS: dict[tuple[str, str, str], str] = {
    ("gammu", "huawei", "report"): (
        "reads +CDSI one slot too low where it knows that slots count from 0 (AT+CMGR=-1): +CDS instead (atgen_setcnmi = ,,,1)"
    ),
    ("gammu-smsd", "*", "ussd"): "has no USSD: it is suspended with SIGUSR1 and gammu asks over its port",
    (
        "gammu-smsd",
        "*",
        "report",
    ): "logs reports whole only from +CDS (atgen_setcnmi = ,,,1); from +CDSI without number",
    ("smstools", "*", "ussd"): "asks by regular_run_cmd; packed and UCS2 answers by ussd_convert",
    ("python-gsmmodem-new", "zte", "ussd"): "decodes no UCS2: gives the hex as the stick spells it",
}


def remark(cell: Cell) -> str:
    """What is to be said about a cell, or nothing."""
    named = (REMARKS.get((cell.program, one, cell.action)) for one in ("*", cell.personality))
    return next((one for one in named if one), "")


def column(program: Program, seat: Seat) -> list[Cell]:
    """Every action of one program on one dongle; one that fails does not keep the next from being tried."""
    cells = []

    def cell(action: str, act: Callable[[], tuple[str, str]]) -> Cell:
        try:
            said, noted = act()
        except (Absent, ControlError, OSError, ValueError, KeyError) as error:
            return Cell(program.name, seat.stick.name, action, fault=f"{type(error).__name__}: {error}")
        return Cell(program.name, seat.stick.name, action, said, noted)

    try:
        driven = program(seat)
        with driven.running():
            for action in ACTIONS:
                cells.append(cell(action, getattr(driven, action)))
    except (Absent, ControlError, OSError) as error:
        missing = ACTIONS[len(cells) :]
        cells += [Cell(program.name, seat.stick.name, action, fault=str(error)) for action in missing]
    return cells


def _imei(place: int) -> str:
    """An IMEI of a reporting body that does not exist, with a fitting check digit (3GPP TS 23.003 annex B)."""
    body = f"99{place:012d}"
    doubled = [int(digit) * (1 + at % 2) for at, digit in enumerate(body)]
    return body + str(-sum(one // 10 + one % 10 for one in doubled) % 10)


def seated(folder: Path, network: Network) -> tuple[dict[str, Dongle], list[tuple[Program, Seat]]]:
    """A dongle for every program and personality."""
    dongles: dict[str, Dongle] = {}
    seats: list[tuple[Program, Seat]] = []
    ledger = Ledger(folder / "stand" / LEDGER)
    for program in PROGRAMS:
        for personality in PERSONALITIES:
            place = len(seats) + 1
            name = f"{program.name}-{personality}"
            sim = Sim(
                iccid=f"8999{place:015d}", imsi=f"51011{place:010d}", own_number=f"+628170000{place:04d}"
            )
            imei = _imei(place)
            dongle = Dongle(network, sim, imei=imei, personality=personality)
            dongles[name] = dongle
            own = folder / "programs" / name
            own.mkdir(parents=True)
            code, answer = f"*{880 + place}#", f"Pulsa {place} Rp 12.345"
            network.ussd[code] = answer
            seat = Seat(
                folder / "stand",
                name,
                dongle.personality,
                sim.own_number,
                imei,
                sim.imsi,
                code,
                answer,
                own,
                ledger,
            )
            seats.append((program, seat))
    return dongles, seats


def table(folder: Path) -> list[Cell]:
    """Drive every personality with every program, all at once, and give the cells in order."""
    network = Network(1)
    network.step(datetime.now(UTC))
    network.person(PERSON)
    dongles, seats = seated(folder, network)
    stop = threading.Event()
    stand = threading.Thread(target=serve, args=(folder / "stand", network, dongles, stop))
    stand.start()
    try:
        wait_for(lambda: all((folder / "stand" / name).exists() for name in dongles), "the ports")
        with ThreadPoolExecutor(len(seats)) as pool:
            columns = list(pool.map(lambda one: column(*one), seats))
    finally:
        stop.set()
        stand.join()
    return [cell for column in columns for cell in column]


def versions() -> Mapping[str, str]:
    """Each program and its version. Raises Absent where one is missing."""
    return {program.name: program.version() for program in PROGRAMS}


def as_text(cells: Sequence[Cell]) -> str:
    """The table, a row for each program and personality; below it the remarks, counted, and what failed."""
    rows: dict[tuple[str, str], list[str]] = {}
    remarks: dict[str, int] = {}
    for one in cells:
        said, mark = remark(one), "ok" if one.good else "FAILED"
        if said and one.good:
            remarks[said] = remarks.get(said, 0) + 1
            mark = f"ok {list(remarks).index(said) + 1}"
        rows.setdefault((one.program, one.personality), []).append(mark)
    lines = [f"{'':<30}" + "".join(f"{action:<9}" for action in ACTIONS)]
    for (program, personality), marks in rows.items():
        lines.append(f"{program:<20}{personality:<10}" + "".join(f"{mark:<9}" for mark in marks))
    lines += [f"{place}: {said} ({count} cells)" for place, (said, count) in enumerate(remarks.items(), 1)]
    lines += [
        f"{one.program} on {one.personality}, {one.action}: {one.fault}" for one in cells if not one.good
    ]
    return "\n".join([*lines, f"{sum(one.good for one in cells)} of {len(cells)} cells"])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print("\n".join(versions().values()))
        result = table(Path(place))
        print(as_text(result))
        sys.exit(not all(one.good for one in result))
