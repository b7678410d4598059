"""What an answer gives does not depend on what comes between its lines, nor on how its bytes are cut; damage never makes another value."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from byte_peer import OTHER, listed
from hypothesis import given, settings
from hypothesis import strategies as st

from modem import at
from modem.transport import CTRL_Z, Pending, Transport


def split_listed(kind: str, *slots: int) -> list[str]:
    return [line for line in listed(kind, *slots).decode().split("\r\n") if line]


URCS = [
    '+CMTI: "SM",3',
    '+CDSI: "SR",1',
    "^RSSI:18",
    "RING",
    '+CREG: 1,"00C3","01A2B3C4"',
    '+CUSD: 0,"Iklan",15',
    f"+CMT: ,{len(OTHER) // 2 - 1}\r\n{OTHER}",
    f"+CDS: {len(OTHER) // 2 - 1}\r\n{OTHER}",
]
GARBAGE = ["\xff\xff", "\x80\xc3(", "???", "#", "\x01\x02", "*&%"]

# What a command is answered, line by line, and what is read from it.
ANSWERS: dict[str, tuple[list[str], Callable[[list[str]], object]]] = {
    "AT+CSQ\r": (["+CSQ: 20,99", "OK"], at.signal),
    "AT+CREG?\r": (["+CREG: 0,1", "OK"], lambda lines: [r for line in lines if (r := at.registration(line))]),
    "AT+CPMS?\r": (['+CPMS: "SM",2,30,"ME",10,100', "OK"], at.memories),
    "AT+CMGL=4\r": (split_listed("L", 1, 12), at.listed),
    "AT+CMGR=1\r": (split_listed("R", 1), lambda lines: at.read(1, lines)),
    "AT+CGSN\r": (["990000000000019", "OK"], at.imei),
    "AT+CIMI\r": (["510110000000001", "OK"], at.imsi),
    "AT+CGMM\r": (["E173", "OK"], at.plain),
    CTRL_Z: (["+CMGS: 42", "OK"], lambda lines: [n for line in lines if (n := at.message_reference(line)) is not None]),
}  # fmt: skip
commands = st.sampled_from(sorted(ANSWERS))


class Line(Transport):
    """The transport without a port: bytes are handed to its reader, one command waits for them."""

    def __init__(self, command: str) -> None:
        super().__init__("loop://")
        self.heard: list[list[str]] = []
        self.notifyCallback = self.heard.append
        self.pending = Pending(command)
        self._pending = self.pending

    def take(self, pieces: Iterable[bytes]) -> list[str] | None:
        """The answer, None where it does not end: that would be a time-out."""
        for piece in pieces:
            for event in self._lines.feed(piece):
                self._sort(event)
        return self.pending.lines if self.pending.done else None


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def read(command: str, data: bytes, places: list[int]) -> tuple[object, list[list[str]]]:
    line = Line(command)
    lines = line.take(cut(data, places))
    return (None if lines is None else ANSWERS[command][1](lines)), line.heard


def value_of(command: str) -> object:
    lines, parse = ANSWERS[command]
    return parse(lines)


places = st.lists(st.integers(0, 2000), max_size=12)


@given(
    command=commands,
    between=st.lists(st.lists(st.sampled_from([*URCS, *GARBAGE]), max_size=3), min_size=8, max_size=8),
    places=places,
)
@settings(max_examples=300, deadline=None)
def test_what_comes_between_the_lines_changes_nothing(
    command: str, between: list[list[str]], places: list[int]
) -> None:
    answer = ANSWERS[command][0]
    asked = command.split("?")[0].removeprefix("AT")
    said: list[str] = []
    for line, others in zip([*answer, ""], between, strict=False):
        said += [other for other in others if not other.startswith(asked)] + ([line] if line else [])
    data = "".join(f"\r\n{line}\r\n" for line in said).encode("latin-1")
    value, heard = read(command, data, places)
    assert value == value_of(command)
    assert heard == [line.split("\r\n") for line in said if line in URCS]


@given(command=commands, places=places, at_most=st.integers(0, 400))
@settings(max_examples=150, deadline=None)
def test_an_answer_that_is_cut_off_is_none(command: str, places: list[int], at_most: int) -> None:
    whole = "".join(f"\r\n{line}\r\n" for line in ANSWERS[command][0]).encode()
    value, _ = read(command, whole[: min(at_most, len(whole) - 4)], places)
    assert value is None


# Damage that shows as such: control characters, octets beyond ASCII, signs that no value holds.
damage = st.sampled_from(
    [b"\x01", b"\x7f", b"\x80", b"\x93", b"\xfe", b"\xff", b"#", b"?", b"~", b"\xc3\x28"]
)


@given(
    command=commands.filter(lambda name: "CGMM" not in name),
    place=st.integers(0, 10**6),
    what=damage,
    instead=st.booleans(),
    places=places,
)
@settings(max_examples=600, deadline=None)
def test_damage_within_a_line_makes_no_other_value(
    command: str, place: int, what: bytes, instead: bool, places: list[int]
) -> None:
    """An error, a time-out, nothing or the same, but never another number, PDU or reference. A model's name has no shape to tell by."""
    lines = ANSWERS[command][0][:-1]
    number = place % len(lines)
    hit = lines[number].encode()
    at_place = place % (len(hit) + 1 - instead)
    lines = [line.encode() for line in lines]
    lines[number] = hit[:at_place] + what + hit[at_place + instead :]
    data = b"".join(b"\r\n" + line + b"\r\n" for line in (*lines, b"OK"))
    value, _ = read(command, data, places)
    right = value_of(command)
    if isinstance(right, list):
        found = value if isinstance(value, list) else []
        known = [r.pdu for r in right] if command.startswith("AT+CMGL") else right
        for one in found:
            if isinstance(one, at.Listed):
                assert one.pdu in known or not one.whole
            else:
                assert one in known or one == "unknown"
    elif isinstance(value, at.Listed):
        assert value == right or not value.whole
    else:
        assert value in (right, None)


@given(what=st.binary(max_size=60), places=places)
@settings(max_examples=300, deadline=None)
def test_noise_is_never_taken_for_sent(what: bytes, places: list[int]) -> None:
    value, _ = read(CTRL_Z, b"\r\n+CM" + what + b"\r\nOK\r\n", places)
    assert not value or re.search(rb"GS:\s*\d", what)
