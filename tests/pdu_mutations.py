"""A seeded loop of PDUs over the decoder: values and PduError, nothing else. Half of them are mutated from valid ones with lengths repaired.

Run alone: `python tests/pdu_mutations.py 1000000 --seed 1`. It prints the share decoded by kind, type, DCS and header.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

from modem.pdu import GSM7, Deliver, PduError, StatusReport, StoredSubmit, alphabet_of, decode

TYPES = {"deliver": 0x00, "submit": 0x01, "status report": 0x02}
WORDS = "Peserta BPJS 99 aktif; terdaftar di Puskesmas. Saldo @ € [1] ~ ÿ ` 😀 да 医"


@dataclass(slots=True)
class Draft:
    """One TPDU in pieces, whose lengths are counted when it is put together. An element is IEI, what its length lies by, body."""

    type: str
    flags: int
    centre: bytes
    reference: int
    toa: int
    address: bytes
    odd: bool
    pid: int
    dcs: int
    stamps: list[bytes]
    validity: bytes
    elements: list[tuple[int, int, bytes]] | None
    body: bytes

    def octets(self) -> bytes:
        first = TYPES[self.type] | self.flags & 0xA4
        out = bytearray((len(self.centre), *self.centre))
        address = bytes((max(0, 2 * len(self.address) - self.odd), self.toa)) + self.address
        if self.type == "status report":
            return bytes(
                out
                + bytes((first, self.reference))
                + address
                + self.stamps[0]
                + self.stamps[1]
                + self.body[:1].ljust(1, b"\0")
            )
        header = b""
        if self.elements is not None:
            first |= 0x40
            header = b"".join(
                bytes((kind, (len(body) + lie) % 256)) + body for kind, lie, body in self.elements
            )
            header = bytes((len(header) % 256,)) + header
        if self.type == "submit":
            first |= {0: 0x00, 1: 0x10, 7: 0x18}[len(self.validity)]
            out += bytes((first, self.reference)) + address + bytes((self.pid, self.dcs)) + self.validity
        else:
            out += bytes((first,)) + address + bytes((self.pid, self.dcs)) + self.stamps[0]
        data = header + self.body
        length = len(data)
        if alphabet_of(self.dcs) == GSM7:
            before = (8 * len(header) + 6) // 7
            length = before + max(0, 8 * len(data) - 7 * before) // 7
            data = data.ljust((7 * length + 7) // 8, b"\0")  # fill bits behind a header without text
        return bytes(out + bytes((length % 256,)) + data)

    @property
    def header_class(self) -> str:
        if self.type == "status report":
            return "no user data"
        if self.elements is None:
            return "no header"
        kinds = [
            "of another length than it says"
            if lie
            else {(0, 3): "8-bit parts", (8, 4): "16-bit parts", (4, 2): "port", (5, 4): "port"}.get(
                (kind, len(body)), "national table" if kind in (0x24, 0x25) else "other"
            )
            for kind, lie, body in self.elements
        ]
        if len(kinds) == 1:
            return kinds[0]
        return "several" if kinds else "empty header"


@dataclass(slots=True)
class Tally:
    """How many were tried and decoded, by class."""

    tried: Counter[tuple[str, str]] = field(default_factory=Counter)
    decoded: Counter[tuple[str, str]] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)

    def count(self, classes: list[tuple[str, str]], value: object | None) -> None:
        self.tried.update(classes)
        if value is not None:
            self.decoded.update(classes)
            self.found[type(value).__name__] += 1

    def share(self, one: tuple[str, str]) -> float:
        return self.decoded[one] / self.tried[one]

    def table(self) -> str:
        lines = [f"{'class':<48}{'tried':>10}{'decoded':>10}{'share':>8}"]
        lines += [
            f"{f'{axis}: {name}':<48}{self.tried[axis, name]:>10,}{self.decoded[axis, name]:>10,}"
            f"{self.share((axis, name)):>8.1%}"
            for axis, name in sorted(self.tried)
        ]
        lines += [f"{f'decoded as {name}':<58}{count:>10,}" for name, count in sorted(self.found.items())]
        return "\n".join(lines)


def _element(rng: random.Random) -> tuple[int, int, bytes]:
    total = rng.randint(1, 8)
    place = bytes((total, rng.randint(1, total)))
    return rng.choice(
        (
            (0x00, 0, rng.randbytes(1) + place),
            (0x08, 0, rng.randbytes(2) + place),
            (0x04, 0, rng.randbytes(2)),
            (0x05, 0, rng.randbytes(4)),
            (0x24, 0, bytes((rng.randint(0, 14),))),
            (0x25, 0, bytes((rng.randint(0, 14),))),
            (rng.randint(0x09, 0x23), 0, rng.randbytes(rng.randint(0, 20))),
        )
    )


def _stamp(rng: random.Random) -> bytes:
    fields = (26, rng.randint(1, 12), rng.randint(1, 28), rng.randint(0, 23), rng.randint(0, 59), 7, 28)
    return bytes(value // 10 | value % 10 << 4 for value in fields)


def draft(rng: random.Random) -> Draft:
    """A valid one, of any type, coding and header."""
    size = rng.randint(0, 100)
    dcs = rng.randrange(256)
    body = rng.randbytes(size)
    if alphabet_of(dcs) == "ucs2" and rng.random() < 0.5:
        body = "".join(rng.choices(WORDS, k=size // 4)).encode("utf-16-be")
    header = rng.random()
    elements = (
        None if header < 0.3 else [_element(rng) for _ in range(1 if header < 0.8 else rng.randint(0, 3))]
    )
    return Draft(
        type=rng.choice(tuple(TYPES)),
        flags=rng.randrange(256),
        centre=rng.choice((b"", bytes((0x91,)) + rng.randbytes(6))),
        reference=rng.randrange(256),
        toa=rng.choice((0x81, 0x91, 0xA1, 0xD0)),
        address=rng.randbytes(rng.randint(0, 10)),
        odd=rng.random() < 0.5,
        pid=0,
        dcs=dcs,
        stamps=[_stamp(rng), _stamp(rng)],
        validity=rng.choice((b"", rng.randbytes(1), _stamp(rng))),
        elements=elements,
        body=body,
    )


def _scarred(rng: random.Random, octets: bytes) -> bytes:
    """Octets changed, put in or taken out at a random place."""
    at = rng.randint(0, len(octets))
    new = rng.choice(
        (b"", b"\0", b"\xff", b"\x1b", b"\xd8\x3d", b"\xde\x00", rng.randbytes(rng.randint(1, 4)))
    )
    return octets[:at] + new + octets[at + rng.randint(0, 4) :]


def mutate(rng: random.Random, one: Draft) -> None:
    """One to three changes anywhere but in the lengths, which are counted anew."""
    for _ in range(rng.randint(1, 3)):
        match rng.randrange(9):
            case 0:
                one.body = _scarred(rng, one.body)
            case 1:
                one.address = _scarred(rng, one.address)[:12]
            case 2:
                one.stamps = [_scarred(rng, stamp)[:7].ljust(7, b"\xff") for stamp in one.stamps]
            case 3:
                one.dcs ^= 1 << rng.randrange(8)
            case 4:
                one.toa ^= 1 << rng.randrange(8)
            case 5:
                one.flags ^= 1 << rng.randrange(8)
                one.pid = rng.randrange(256)
            case 6:
                one.centre = _scarred(rng, one.centre)
            case 7 if one.elements:
                at = rng.randrange(len(one.elements))
                kind, lie, body = one.elements[at]
                one.elements[at] = (rng.choice((kind, rng.randrange(256))), lie, _scarred(rng, body)[:20])
            case 8 if one.elements:
                at = rng.randrange(len(one.elements))
                kind, _, body = one.elements[at]
                one.elements[at] = (kind, rng.choice((-1, 1, 3, rng.randint(-128, 127))), body)
            case _:
                one.body = one.body[: rng.randint(0, len(one.body))]


def check(value: Deliver | StatusReport | StoredSubmit) -> None:
    """What holds of everything decoded."""
    if isinstance(value, StatusReport):
        stamps = [value.service_centre_time, value.discharge_time]
        texts = [value.address, value.outcome]
    else:
        stamps = [value.service_centre_time] if isinstance(value, Deliver) else []
        texts = [
            value.text,
            value.sender if isinstance(value, Deliver) else value.address,
            value.language or "",
        ]
        assert value.concat is None or 1 <= value.concat.part <= value.concat.total <= 255
        assert not value.text or value.data
    assert all(stamp is None or stamp.utcoffset() == timedelta(0) for stamp in stamps)
    for text in [*texts, value.centre or ""]:
        text.encode()  # no half of a surrogate pair


def check_whole(one: Draft, value: Deliver | StatusReport | StoredSubmit) -> None:
    """What holds of a valid one besides: it is of its type, and its user data are all there."""
    assert (
        type(value) is {"deliver": Deliver, "submit": StoredSubmit, "status report": StatusReport}[one.type]
    )
    if isinstance(value, StatusReport):
        assert (value.reference, value.status) == (one.reference, one.body[0] if one.body else 0)
        return
    assert value.dcs == one.dcs
    if alphabet_of(one.dcs) != GSM7:
        assert value.data == one.body
    kinds = [kind for kind, _, _ in one.elements or ()]
    assert (value.concat is None) is not (0x00 in kinds or 0x08 in kinds)
    assert (value.ports is None) is not (0x04 in kinds or 0x05 in kinds)


def run(count: int, seed: int) -> Tally:
    """Decode so many PDUs. An exception that is no PduError ends it, with the PDU as a note."""
    rng = random.Random(seed)
    tally = Tally()
    for turn in range(count):
        one = draft(rng)
        if turn % 2:
            mutate(rng, one)
            octets = one.octets()
            classes = [
                ("kind", "mutated, lengths repaired"),
                ("type", one.type),
                ("header", one.header_class),
            ]
            if one.type != "status report":
                classes += [("DCS group", f"{one.dcs >> 4:X}x"), ("alphabet", alphabet_of(one.dcs))]
        elif turn % 8 == 0:
            octets = rng.randbytes(rng.randint(0, 180))
            classes = [("kind", "random octets")]
        elif turn % 8 == 2:
            octets = one.octets()
            classes = [("kind", "valid")]
        elif turn % 8 == 4:
            octets = _scarred(rng, one.octets())
            classes = [("kind", "scarred, lengths wrong")]
        else:
            whole = one.octets()
            octets = whole[: rng.randint(0, len(whole))]
            classes = [("kind", "cut off")]
        pdu = octets.hex()
        value = None
        try:
            value = decode(pdu)
            check(value)
            if turn % 8 == 2:
                check_whole(one, value)
        except PduError:
            pass
        except Exception as fault:
            fault.add_note(f"PDU {turn} of seed {seed}: {pdu}")
            raise
        tally.count(classes, value)
    return tally


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    begun = time.perf_counter()
    print(run(given.count, given.seed).table())
    print(
        f"{given.count:,} PDUs of seed {given.seed} in {time.perf_counter() - begun:.0f} s: only values and PduError"
    )
