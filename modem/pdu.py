"""The TPDU codec (3GPP TS 23.040, 23.038). Decoding is ours and total; SUBMIT encoding guards the library's encoder."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from itertools import groupby
from typing import Literal

from gsmmodem.pdu import encodeSmsSubmitPdu

from modem.alphabet import LANGUAGES, SEPTETS, is_gsm7, pack, septets_of, text_of, unpack

GSM7, OCTETS, UCS2 = "gsm7", "octets", "ucs2"

_DIGITS = "0123456789*#abc"  # 3GPP TS 23.040 §9.1.2.3; 0xF fills up
_PART_OCTETS = 140  # 3GPP TS 23.040 §9.2.3.24: TP-UD is 140 octets at most
_NUMBER = re.compile(r"\+?[0-9]{3,15}")  # the longest E.164 number has 15 digits, the shortest short code 3
_ADDRESS = re.compile(r"\+?[0-9*#][0-9*#abc]*")  # letters alone are a name
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")

TOA_UNKNOWN, TOA_INTERNATIONAL, _TOA_NAME = 0x81, 0x91, 0xD0  # 3GPP TS 23.040 §9.1.2.5
_TYPES_OF_NUMBER = {"unknown": TOA_UNKNOWN, "national": 0xA1}  # the same, for a number without "+"
NumberType = Literal["unknown", "national", "international"]


class PduError(ValueError):
    """What was given is not a TPDU that can be read, or cannot be made into one."""


@dataclass(frozen=True, slots=True)
class Concat:
    """Which part of a longer text this is (3GPP TS 23.040 §9.2.3.24.1, §9.2.3.24.8). `width` is 8 or 16 bits."""

    reference: int
    width: int
    total: int
    part: int


@dataclass(frozen=True, slots=True)
class Deliver:
    """An SMS-DELIVER (§9.2.2.1). `data` is the user data without its header, for GSM-7 one septet an octet.

    `binary` says that it holds no text (8-bit or compressed): `text` is empty then. `ports` are the destination's and the
    originator's application ports (§9.2.3.24.3, §9.2.3.24.4), `shifts` the identifiers of the locking and the single shift
    table (§9.2.3.24.15, §9.2.3.24.16), 0 for the default ones.
    """

    sender: str
    text: str
    service_centre_time: datetime | None
    dcs: int = 0
    pid: int = 0
    concat: Concat | None = None
    centre: str | None = None
    message_class: int | None = None
    data: bytes = b""
    binary: bool = False
    ports: tuple[int, int] | None = None
    shifts: tuple[int, int] = (0, 0)

    @property
    def language(self) -> str | None:
        """ISO 639-1 code of the national language that its tables are for, if any and known."""
        return _language(self.shifts)


@dataclass(frozen=True, slots=True)
class StatusReport:
    """An SMS-STATUS-REPORT (§9.2.2.3). `status` is TP-ST (§9.2.3.15), `reference` the TP-MR of what it reports on."""

    reference: int
    address: str
    service_centre_time: datetime | None
    discharge_time: datetime | None
    status: int
    centre: str | None = None

    @property
    def outcome(self) -> Literal["delivered", "trying", "failed"]:
        return report_outcome(self.status)


@dataclass(frozen=True, slots=True)
class StoredSubmit:
    """An SMS-SUBMIT (§9.2.2.2), as it lies in a storage or goes over +CMGS. `validity` is None unless it is relative."""

    address: str
    text: str
    reference: int
    concat: Concat | None = None
    validity: timedelta | None = None
    report_requested: bool = False
    dcs: int = 0
    pid: int = 0
    data: bytes = b""
    centre: str | None = None
    ports: tuple[int, int] | None = None
    shifts: tuple[int, int] = (0, 0)

    @property
    def language(self) -> str | None:
        """As in a Deliver."""
        return _language(self.shifts)


@dataclass(frozen=True, slots=True)
class Submit:
    """One SMS-SUBMIT part, ready for +CMGS: `length` octets of TPDU (without the service centre), `pdu` the hex text."""

    length: int
    pdu: str


@dataclass(frozen=True, slots=True)
class _Header:
    """What a user data header says that is of use here."""

    concat: Concat | None = None
    ports: tuple[int, int] | None = None
    shifts: tuple[int, int] = (0, 0)


_NO_HEADER = _Header()


class _Cursor:
    """Octets taken from the front; PduError where too few are left."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._octets):
            raise PduError(f"the PDU ends {end - len(self._octets)} octets too early")
        taken = self._octets[self._at : end]
        self._at = end
        return taken

    def octet(self) -> int:
        return self.take(1)[0]


def decode(pdu_hex: str, *, outgoing: bool = False) -> Deliver | StatusReport | StoredSubmit:
    """Read one PDU in hex, service centre in front (3GPP TS 27.005 §3.1 `<pdu>`).

    What lies in an inbox comes from the network unless `outgoing`; a stored SMS-SUBMIT is read either way.
    Raises PduError, and nothing else, whatever is given.
    """
    if not _HEX.fullmatch(pdu_hex):
        raise PduError("not an even number of hex digits")
    cursor = _Cursor(bytes.fromhex(pdu_hex))
    centre = _centre(cursor)
    first = cursor.octet()
    kind = first & 0x03  # TP-MTI, §9.2.3.1
    if kind == 0x01:
        return _submit(cursor, first, centre)
    if outgoing:
        raise PduError("not an SMS-SUBMIT")
    if kind == 0x02:
        reference = cursor.octet()
        address = _address(cursor)
        accepted = _time(cursor.take(7))
        discharged = _time(cursor.take(7))
        return StatusReport(reference, address, accepted, discharged, cursor.octet(), centre)
    # §9.2.3.1: the reserved value 3 is processed as an SMS-DELIVER.
    sender = _address(cursor)
    pid, dcs = cursor.take(2)
    stamp = _time(cursor.take(7))
    data, header = _user_data(cursor, dcs, with_header=bool(first & 0x40))
    alphabet = alphabet_of(dcs)
    return Deliver(
        sender,
        _text(alphabet, data, header.shifts),
        stamp,
        dcs,
        pid,
        header.concat,
        centre,
        _message_class(dcs),
        data,
        alphabet == OCTETS,
        header.ports,
        header.shifts,
    )


def _submit(cursor: _Cursor, first: int, centre: str | None) -> StoredSubmit:
    reference = cursor.octet()
    address = _address(cursor)
    pid, dcs = cursor.take(2)
    validity = None
    validity_format = first >> 3 & 0x03  # TP-VPF, §9.2.3.3
    if validity_format == 0x02:
        validity = _validity(cursor.octet())
    elif validity_format:
        cursor.take(7)
    data, header = _user_data(cursor, dcs, with_header=bool(first & 0x40))
    return StoredSubmit(
        address,
        _text(alphabet_of(dcs), data, header.shifts),
        reference,
        header.concat,
        validity,
        bool(first & 0x20),
        dcs,
        pid,
        data,
        centre,
        header.ports,
        header.shifts,
    )


def join(parts: Sequence[Deliver | StoredSubmit]) -> str:
    """The whole text of parts given in order; characters that were cut in two at an edge are whole again."""
    return "".join(
        _text(alphabet, b"".join([part.data for part in alike]), shifts)
        for (alphabet, shifts), alike in groupby(parts, lambda part: (alphabet_of(part.dcs), part.shifts))
    )


def report_outcome(status: int) -> Literal["delivered", "trying", "failed"]:
    """What a TP-ST says (3GPP TS 23.040 §9.2.3.15): done, still trying, or given up.

    "Delivered" takes in forwarded without a confirmation and replaced by a newer one. Reserved values are read as "service
    rejected, not trying any more", as the clause asks.
    """
    if 0x03 <= status <= 0x0F or 0x26 <= status <= 0x2F:  # reserved among the groups that are no failures
        return "failed"
    if status < 0x20:
        return "delivered"
    return "trying" if status < 0x40 else "failed"


def alphabet_of(dcs: int) -> str:
    """How user data is coded: `gsm7`, `ucs2`, or `octets` for what is no text (3GPP TS 23.038 §4)."""
    group = dcs >> 4
    if group < 0x08:
        if dcs & 0x20:  # compressed
            return OCTETS
        return (GSM7, OCTETS, UCS2, GSM7)[dcs >> 2 & 0x03]
    if group == 0x0E:
        return UCS2
    if group == 0x0F and dcs & 0x04:
        return OCTETS
    return GSM7  # §4: reserved codings are taken as the default alphabet


def _message_class(dcs: int) -> int | None:
    if dcs >> 4 == 0x0F or (dcs < 0x80 and dcs & 0x10):
        return dcs & 0x03
    return None


def _centre(cursor: _Cursor) -> str | None:
    octets = cursor.take(cursor.octet())
    if len(octets) < 2:
        return None
    return _digits(octets[1:], 2 * (len(octets) - 1), octets[0]) or None


def _address(cursor: _Cursor) -> str:
    """§9.1.2.5: a number, with "+" where international, or a name."""
    length, toa = cursor.take(2)
    octets = cursor.take((length + 1) // 2)
    if toa & 0x70 != 0x50:
        return _digits(octets, length, toa)
    septets = unpack(octets, length * 4 // 7)
    if len(septets) % 8 == 0 and septets.endswith(b"\0"):
        septets = septets[:-1]  # seven letters in whole octets leave seven bits of nothing
    return text_of(septets)


def _digits(octets: bytes, length: int, toa: int) -> str:
    halves = [half for octet in octets for half in (octet & 0x0F, octet >> 4)][:length]
    digits = "".join(_DIGITS[half] for half in halves if half != 0x0F)
    return f"+{digits}" if digits and toa & 0x70 == 0x10 else digits


def _time(octets: bytes) -> datetime | None:
    """§9.2.3.11, as UTC; None where it says no time."""
    if any(octet & 0x0F > 9 or octet >> 4 > 9 for octet in octets[:6]) or octets[6] >> 4 > 9:
        return None
    year, month, day, hour, minute, second = ((octet & 0x0F) * 10 + (octet >> 4) for octet in octets[:6])
    quarters = (octets[6] & 0x07) * 10 + (octets[6] >> 4)
    zone = timezone(timedelta(minutes=15 * quarters) * (-1 if octets[6] & 0x08 else 1))
    try:
        return datetime(2000 + year, month, day, hour, minute, second, tzinfo=zone).astimezone(UTC)
    except ValueError:
        return None


def _user_data(cursor: _Cursor, dcs: int, *, with_header: bool) -> tuple[bytes, _Header]:
    """TP-UDL, TP-UDH and the rest (§9.2.3.16, §9.2.3.24): the data without its header, and what the header says."""
    length = cursor.octet()
    septets = alphabet_of(dcs) == GSM7
    octets = cursor.take((length * 7 + 7) // 8 if septets else length)
    if not with_header:
        return unpack(octets, length) if septets else octets, _NO_HEADER
    if not octets or octets[0] >= len(octets):
        raise PduError("the user data header is longer than the user data")
    size = 1 + octets[0]
    header = _header(octets[1:size])
    if not septets:
        return octets[size:], header
    count = length - (size * 8 + 6) // 7
    if count < 0:
        raise PduError("the user data header is longer than the user data")
    return unpack(octets[size:], count, -8 * size % 7), header


def _header(elements: bytes) -> _Header:
    """§9.2.3.24: of repeated elements the last holds; a header with a cut element is ignored as a whole."""
    concat, ports, locking, single = None, None, 0, 0
    at, end = 0, len(elements)
    while at < end:
        begin = at + 2
        if begin > end:
            return _NO_HEADER
        kind, size = elements[at], elements[at + 1]
        at = begin + size
        if at > end:
            return _NO_HEADER
        body = elements[begin:at]
        if (kind, size) in ((0x00, 3), (0x08, 4)):
            if 1 <= body[-1] <= body[-2]:
                concat = Concat(int.from_bytes(body[:-2], "big"), 8 * (size - 2), body[-2], body[-1])
        elif (kind, size) in ((0x04, 2), (0x05, 4)):
            ports = int.from_bytes(body[: size // 2], "big"), int.from_bytes(body[size // 2 :], "big")
        elif (kind, size) == (0x24, 1):
            single = body[0]
        elif (kind, size) == (0x25, 1):
            locking = body[0]
    return _Header(concat, ports, (locking, single))


def _language(shifts: tuple[int, int]) -> str | None:
    return LANGUAGES.get(shifts[0]) or LANGUAGES.get(shifts[1])


def _text(alphabet: str, data: bytes, shifts: tuple[int, int]) -> str:
    if alphabet == GSM7:
        return text_of(data, *shifts)
    return data.decode("utf-16-be", "replace") if alphabet == UCS2 else ""


def _validity(octet: int) -> timedelta:
    """§9.2.3.12.1."""
    if octet <= 143:
        return timedelta(minutes=5 * (octet + 1))
    if octet <= 167:
        return timedelta(hours=12, minutes=30 * (octet - 143))
    if octet <= 196:
        return timedelta(days=octet - 166)
    return timedelta(weeks=octet - 192)


_VALIDITIES = [_validity(octet) for octet in range(256)]


def _validity_octet(wanted: timedelta) -> int:
    """The longest legal period that is not longer than wanted, at least the shortest."""
    return max(0, bisect_right(_VALIDITIES, wanted) - 1)


def fits_one_part(text: str) -> bool:
    """True if it is GSM-7 and takes at most 160 septets; extension characters take two (3GPP TS 23.038 §6.2.1)."""
    return is_gsm7(text) and len(septets_of(text)) <= 160


def split(text: str, *, width: int = 8) -> list[str]:
    """The texts of the parts it takes, one if it fits; `width` is of the concatenation reference, in bits.

    No character is cut in two. Raises PduError beyond 255 parts (3GPP TS 23.040 §9.2.3.24.1).
    """
    gsm7 = is_gsm7(text)
    sizes = [
        len(SEPTETS[char]) if gsm7 else 1 + (char > "\uffff") for char in text
    ]  # septets, or 16-bit units
    if sum(sizes) <= (160 if gsm7 else 70):
        return [text]
    room = _PART_OCTETS - (6 if width == 8 else 7)
    limit = room * 8 // 7 if gsm7 else room // 2
    parts, begin, used = [], 0, 0
    for place, size in enumerate(sizes):
        if used + size > limit:
            parts.append(text[begin:place])
            begin, used = place, 0
        used += size
    parts.append(text[begin:])
    if len(parts) > 255:
        raise PduError("the text takes more than 255 parts")
    return parts


def encode_submit(
    address: str,
    text: str,
    *,
    validity: timedelta | None,
    report: bool,
    concat_reference: int,
    number_type: NumberType = "unknown",
) -> list[Submit]:
    """The parts of one text to one number, for +CMGS in order (3GPP TS 23.040 §9.2.2.2).

    `validity` is rounded down to a legal period of at least 5 minutes; `number_type` is of a number without "+" (§9.1.2.5),
    which cannot be `international`; `concat_reference` counts modulo 256. Raises PduError for an address that is no number
    of 3 to 15 digits or not of that type, and for a text that is too long.
    """
    number = re.sub(r"[ .()-]", "", address)
    if not _NUMBER.fullmatch(number):
        raise PduError("the address must be a number of 3 to 15 digits, with or without + in front")
    toa = TOA_INTERNATIONAL if number[0] == "+" else _TYPES_OF_NUMBER.get(number_type)
    if toa is None:
        raise PduError(
            f"a number without + in front cannot be {number_type}: write it with +, or say unknown"
        )
    reference = concat_reference % 256
    period = None if validity is None else _validity_octet(validity)
    parts = split(text)
    if _library_carries(text):
        made = encodeSmsSubmitPdu(
            number,
            text,
            reference=reference,
            validity=None if period is None else _VALIDITIES[period],
            requestStatusReport=report,
        )
        frames = [bytearray(pdu.data) for pdu in made]
    else:
        first = (
            0x01 | (0x20 if report else 0) | (0x10 if period is not None else 0) | (0x40 if parts[1:] else 0)
        )
        alphabet = GSM7 if is_gsm7(text) else UCS2
        head = bytes((0, first, 0)) + _encode_address(number) + bytes((0, 0x08 if alphabet == UCS2 else 0))
        head += b"" if period is None else bytes((period,))
        frames = []
        for place, part in enumerate(parts, 1):
            concat = Concat(reference, 8, len(parts), place) if parts[1:] else None
            frames.append(bytearray(head + _encode_user_data(part, alphabet, concat)))
    for frame in frames:
        frame[2] = 0  # TP-MR is the modem's to give (3GPP TS 27.005 §3.5.1)
        frame[4] = toa
    return [Submit(len(frame) - 1, frame.hex().upper()) for frame in frames]


def _library_carries(text: str) -> bool:
    """Its GSM-7 table has "`" where "§" is, takes the escape for a letter and fails at "ÿ"; its UCS2 ends with the BMP."""
    return all(
        char <= "\uffff" and char not in "`§ÿ\f\x1b" and not "\ud800" <= char <= "\udfff" for char in text
    )


def encode_deliver(
    sender: str,
    text: str,
    service_centre_time: datetime,
    *,
    concat: Concat | None = None,
    centre: str | None = None,
) -> str:
    """One SMS-DELIVER in hex: GSM-7 where it can be, else UCS2. Raises PduError if the text takes more than one part."""
    alphabet = GSM7 if is_gsm7(text) else UCS2
    octets = (
        _encode_centre(centre)
        + bytes((0x44 if concat else 0x04,))  # TP-MMS: no more to come
        + _encode_address(sender)
        + bytes((0, 0x08 if alphabet == UCS2 else 0))
        + _encode_time(service_centre_time)
        + _encode_user_data(text, alphabet, concat)
    )
    return octets.hex().upper()


def encode_status_report(
    reference: int,
    address: str,
    service_centre_time: datetime,
    discharge_time: datetime,
    status: int,
    *,
    centre: str | None = None,
) -> str:
    """One SMS-STATUS-REPORT in hex (3GPP TS 23.040 §9.2.2.3)."""
    octets = (
        _encode_centre(centre)
        + bytes((0x06, reference))
        + _encode_address(address)
        + _encode_time(service_centre_time)
        + _encode_time(discharge_time)
        + bytes((status,))
    )
    return octets.hex().upper()


def _encode_user_data(text: str, alphabet: str, concat: Concat | None) -> bytes:
    head = b""
    if concat is not None:
        body = concat.reference.to_bytes(concat.width // 8, "big") + bytes((concat.total, concat.part))
        head = bytes((len(body) + 2, 0x00 if concat.width == 8 else 0x08, len(body))) + body
    if alphabet == GSM7:
        septets = septets_of(text)
        length = (len(head) * 8 + 6) // 7 + len(septets)
        data = head + pack(septets, -8 * len(head) % 7)
    else:
        data = head + text.encode("utf-16-be", "replace")
        length = len(data)
    if len(data) > _PART_OCTETS:
        raise PduError("the text does not fit into one part")
    return bytes((length,)) + data


def _encode_address(address: str) -> bytes:
    if _ADDRESS.fullmatch(address):
        digits = address.lstrip("+")
        toa = TOA_INTERNATIONAL if address[0] == "+" else TOA_UNKNOWN
        return bytes((len(digits), toa)) + _encode_digits(digits)
    if not is_gsm7(address):
        raise PduError("an address is a number or a name in GSM-7")
    septets = septets_of(address)
    if len(septets) > 11:
        raise PduError("a name takes at most 11 characters")
    return bytes(((7 * len(septets) + 3) // 4, _TOA_NAME)) + pack(septets)


def _encode_centre(centre: str | None) -> bytes:
    if centre is None:
        return b"\0"
    digits = _encode_digits(centre.lstrip("+"))
    return bytes((1 + len(digits), TOA_INTERNATIONAL if centre[0] == "+" else TOA_UNKNOWN)) + digits


def _encode_digits(digits: str) -> bytes:
    halves = [_DIGITS.index(digit) for digit in digits] + [0x0F] * (len(digits) % 2)
    return bytes(low | high << 4 for low, high in zip(halves[::2], halves[1::2], strict=True))


def _encode_time(at: datetime) -> bytes:
    quarters = round((at.utcoffset() or timedelta()) / timedelta(minutes=15))
    fields = [at.year % 100, at.month, at.day, at.hour, at.minute, at.second, abs(quarters)]
    octets = [field // 10 | field % 10 << 4 for field in fields]
    octets[6] |= 0x08 if quarters < 0 else 0
    return bytes(octets)
