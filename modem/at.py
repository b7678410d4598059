"""The AT dialect, pure: bytes to lines, which line is what, and what an answer says (ITU-T V.250, 3GPP TS 27.005, 27.007)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

PROMPT = "\r\n>"
"""The event for the prompt of +CMGS; no line can look like it."""

_LONGEST = 4096  # no line of PDU mode comes near; longer is noise, and only its end is kept
_PRINTABLE = b"\t" + bytes(range(0x20, 0x7F))
_NOISE = re.compile(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f\xff]+")
_NOISE_AT_DIGIT = re.compile(rf"(?<=[0-9]){_NOISE.pattern}|{_NOISE.pattern}(?=[0-9])")
_RIM = "".join(chr(code) for code in range(0x21)) + "".join(chr(code) for code in range(0x7F, 0x100))
_SMUDGE = "\xbf"  # stands for noise beside a digit, which may have been another digit: no pattern of a value takes it
_PACES = (b"\x11", b"\x13")  # DC1, DC3: ITU-T V.250 §6.2.12
_BREAK = re.compile(rb"[\r\n]+")
_PROMPTED = re.compile(r"(?:AT\+CMGS=\d+\s*)?>(.*)", re.DOTALL)  # some put it right behind the echo


class LineBuffer:
    """Bytes in, in any pieces; lines and PROMPT out. A prompt is seen only while `prompt` is set, and unsets it."""

    def __init__(self) -> None:
        self.prompt = False
        self.paced = False
        """XON or XOFF came: the other side controls the flow by characters, which may stand anywhere in a line."""
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The events these bytes complete. NUL is dropped; other noise too, within a line or at its rims, but beside a digit."""
        self.paced = self.paced or any(pace in data for pace in _PACES)
        *whole, self._rest = _BREAK.split(self._rest + data.translate(None, b"\0"))
        events = []
        for piece in whole:
            events += self._prompted(piece)
        if self.prompt and (rest := self._after_prompt(self._rest)) is not None:
            events.append(PROMPT)
            self._rest = rest
        self._rest = self._rest[-_LONGEST:]
        return events

    def _prompted(self, piece: bytes) -> list[str]:
        events = []
        if self.prompt and (rest := self._after_prompt(piece)) is not None:
            events.append(PROMPT)
            piece = rest
        line = _cleaned(piece[-_LONGEST:])
        return [*events, line] if line else events

    def _after_prompt(self, piece: bytes) -> bytes | None:
        found = _PROMPTED.match(piece.decode("latin-1").lstrip(_RIM))
        if found is None:
            return None
        self.prompt = False
        return found[1].encode("latin-1")


def _cleaned(piece: bytes) -> str:
    text = piece.decode("latin-1")
    if not piece.translate(None, _PRINTABLE):
        return text.strip()
    text = _NOISE.sub("", _NOISE_AT_DIGIT.sub(_SMUDGE, text))
    line = text.strip(_RIM)
    if line:
        before, after = text.split(line, 1)
        line += _SMUDGE if line[-1] in "0123456789" and after[:1] > "~" else ""
        line = (_SMUDGE if line[0] in "0123456789" and before[-1:] > "~" else "") + line
    return line


URCS: tuple[str, ...] = (
    # 3GPP TS 27.005 §3.4.1, 27.007 §6, §7, §8 and V.250 §6.3
    *("+CMTI:", "+CDSI:", "+CMT:", "+CDS:", "+CBM:", "+CBMI:"),
    *(
        "RING",
        "+CRING:",
        "+CLIP:",
        "+CCWA:",
        "+CSSI:",
        "+CSSU:",
        "NO CARRIER",
        "BUSY",
        "NO ANSWER",
        "NO DIALTONE",
    ),
    *("+CREG:", "+CGREG:", "+CEREG:", "+CUSD:", "+CTZV:", "+CTZE:", "+CIEV:", "+CGEV:", "+CPIN:", "+CFUN:"),
    # Huawei
    *("^RSSI:", "^HCSQ:", "^MODE:", "^SRVST:", "^SIMST:", "^STIN:", "^BOOT:", "^DSFLOWRPT:", "^NDISSTAT:"),
    *("^CSNR:", "^EARST:", "^SMMEMFULL:", "^THERM:", "^NWTIME:", "^ORIG:", "^CONF:", "^CONN:", "^CEND:"),
    # ZTE
    *("+ZDONR:", "+ZPASR:", "+ZUSIMR:", "+ZPSTM:", "+ZEND:"),
    # SIMCom, Quectel, Telit, Wavecom, Sierra, u-blox, Ericsson
    *(
        "RDY",
        "^SYSSTART",
        "SMS Ready",
        "Call Ready",
        "SMS DONE",
        "PB DONE",
        "+QIND:",
        "+QUSIM:",
        "+SIM:",
        "*PSUTTZ:",
        "DST:",
    ),
    *(
        "NORMAL POWER DOWN",
        "UNDER-VOLTAGE",
        "OVER-VOLTAGE",
        "+WIND:",
        "+STIN:",
        "#STN:",
        "+UUSTS:",
        "*EMRDY:",
        "*ATREADY:",
        "*ISIMAID:",
        "*COPN:",
        "+MSTK:",
    ),
)
"""Beginnings of lines that nobody asked for; the operator may add more (`PortSettings.urcs`)."""

RESTARTED = frozenset({"RDY", "*ATREADY: 1", "^SYSSTART", "+WIND: 3"})
"""What SIMCom and Quectel, SIMCom's A76, Cinterion, Wavecom say once, when they have started: every setting is gone then."""

DIRECT = ("+CMT:", "+CDS:")
"""URCs whose next line is a PDU."""

_ANNOUNCED = re.compile(r"\+(?:CMT|CDS):(?:.*,)?\s*(\d{1,3})")


def is_announced(header: str, pdu: str) -> bool:
    """True if the PDU is as long as this +CMT or +CDS says (3GPP TS 27.005 §3.4.1), or if it does not say."""
    found = _ANNOUNCED.fullmatch(header)
    return found is None or Listed(0, 0, int(found[1]), pdu).whole


# +CMGS ERROR: Fibocom's G510 (its AT manual, +CMGS).
_FINAL = re.compile(r"OK|ERROR|\+CM(?:[ES]|GS) ERROR:.*|COMMAND NOT SUPPORT|TOO MANY PARAMETERS")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")


def is_final(line: str) -> bool:
    """True if it ends an answer. What ends a call does not: the gateway dials nobody."""
    return _FINAL.fullmatch(line) is not None


def is_urc(line: str, extra: Iterable[str] = ()) -> bool:
    """True if it begins like one; whether the command in flight asked for it is the caller's to know."""
    return line.startswith(URCS) or line.startswith(tuple(extra))


def is_hex(line: str) -> bool:
    return _HEX.fullmatch(line) is not None


@dataclass(frozen=True, slots=True)
class Listed:
    """One PDU of +CMGL or +CMGR (3GPP TS 27.005 §4.1, §4.2). `length` counts the TPDU without its service centre."""

    index: int
    stat: int
    length: int
    pdu: str

    @property
    def whole(self) -> bool:
        """True if the hex is hex and as long as announced."""
        return is_hex(self.pdu) and len(self.pdu) // 2 == 1 + int(self.pdu[:2], 16) + self.length


_CMGL = re.compile(r"\+CMGL:\s*(\d+)\s*,\s*(\d+)\s*,(?:.*,)?\s*(\d+)")
_CMGR = re.compile(r"\+CMGR:\s*(\d+)\s*,(?:.*,)?\s*(\d+)")
_GLUED = re.compile(r"(?<=[0-9A-Fa-f])(?=\+CMGL:)")  # some leave out the end of line behind a PDU
_TORN = re.compile(r"[0-9A-F]{8,}")  # so much hex at its beginning, and the line was a PDU's


def _with_pdu(pattern: re.Pattern[str], lines: Iterable[str]) -> Iterator[tuple[tuple[int, ...], str]]:
    numbers: tuple[int, ...] | None = None
    pieces: list[str] = []
    for line in (*(part for glued in lines for part in _GLUED.split(glued)), "OK"):
        found = pattern.fullmatch(line)
        if found or is_final(line):
            if numbers is not None and any(pieces):
                yield numbers, _joined(pieces, numbers[-1])
            numbers, pieces = (tuple(map(int, found.groups())) if found else None), []
        elif numbers is not None:
            pieces.append(line.upper())


def _joined(pieces: list[str], length: int) -> str:
    """The PDU, without the lines around it that are none; all of them where it is not whole."""
    hexes = [piece for piece in pieces if is_hex(piece) or _TORN.match(piece)]
    for end in range(1, len(hexes) + 1):
        if Listed(0, 0, length, pdu := "".join(hexes[:end])).whole:
            return pdu
    return "".join(pieces)


def listed(lines: Iterable[str]) -> list[Listed]:
    """What +CMGL says, in PDU mode; a PDU may go over several lines. What is no hex is kept as it is."""
    return [Listed(index, stat, length, pdu) for (index, stat, length), pdu in _with_pdu(_CMGL, lines)]


def read(index: int, lines: Iterable[str]) -> Listed | None:
    """What +CMGR says of the slot it was asked for; None for an empty one."""
    for (stat, length), pdu in _with_pdu(_CMGR, lines):
        return Listed(index, stat, length, pdu)
    return None


def is_empty_slot(lines: Iterable[str]) -> bool:
    """True if +CMGR says that nothing is there as some sticks do: a header of length 0, with or without an empty line."""
    return any(re.fullmatch(r"\+CMGR:\s*\d*\s*,.*,?\s*0", line) for line in lines)


_SLOT = re.compile(r'\+(?:CMTI|CDSI):\s*"?([A-Z][A-Z0-9_]{1,7})"?\s*,\s*(\d+).*')


def slot(line: str) -> tuple[str, int] | None:
    """Storage and index that +CMTI or +CDSI names (3GPP TS 27.005 §3.4.1)."""
    found = _SLOT.fullmatch(line)
    return (found[1], int(found[2])) if found else None


_CMGS = re.compile(r"\+CMGS:\s*(\d{1,3})(?:\s*,.*)?")


def message_reference(line: str) -> int | None:
    """TP-MR of `+CMGS: 5`, with or without the space and with or without `,"…"` behind it (3GPP TS 27.005 §3.5.1)."""
    found = _CMGS.fullmatch(line)
    return int(found[1]) if found else None


_MEMORY = re.compile(r'"([A-Z][A-Z0-9_]{1,7})"\s*,\s*(\d+)\s*,\s*(\d+)(?=\s*(?:,|$))')
_GROUP = re.compile(r"\(([^()]*)\)")
_NAME = re.compile(r"[A-Z][A-Z0-9_]{1,7}")


def memories(lines: Iterable[str]) -> list[tuple[str, int, int]]:
    """Storage, used, total, of the answer to `AT+CPMS?` (3GPP TS 27.005 §3.2.2)."""
    return [
        (name, int(used), int(total))
        for body in bodies("+CPMS", lines)
        for name, used, total in _MEMORY.findall(body)
    ]


def memories_offered(lines: Iterable[str]) -> list[tuple[str, ...]]:
    """The storages that mem1, mem2 and mem3 may be, of the answer to `AT+CPMS=?`; fewer where the modem knows fewer."""
    for body in bodies("+CPMS", lines):
        return [tuple(_NAME.findall(group)) for group in _GROUP.findall(body)]
    return []


def values_offered(name: str, lines: Iterable[str]) -> list[frozenset[int]]:
    """The numbers each parameter may be, of the answer to `AT+…=?`: `(0-2),(0,1)`."""
    for body in bodies(name, lines):
        return [
            frozenset(
                value
                for low, high in re.findall(r"(\d{1,3})(?:-(\d{1,3}))?", group)
                for value in range(int(low), int(high or low) + 1)
            )
            for group in _GROUP.findall(body)
        ]
    return []


def numbers(name: str, lines: Iterable[str]) -> tuple[int, ...]:
    """The numbers of the answer to `AT+…?`, `2,1,0,2,0`; none where one of them is no number."""
    for body in bodies(name, lines):
        if re.fullmatch(r"\d{1,3}(?:\s*,\s*\d{1,3})*", body):
            return tuple(map(int, body.split(",")))
    return ()


def bodies(name: str, lines: Iterable[str]) -> list[str]:
    """What follows `NAME:` in the lines that begin so."""
    return [line[len(name) + 1 :].strip() for line in lines if line.startswith(f"{name}:")]


REGISTRATIONS = (
    "idle",
    "home",
    "searching",
    "denied",
    "unknown",
    "roaming",
    "home",
    "roaming",
    "denied",
    "home",
    "roaming",
)
"""<stat> 0 to 10 (3GPP TS 27.007 §7.2, §10.1.22); 6, 7: SMS only; 8: emergency calls only; 9, 10: CSFB not preferred."""


_LOCATION = re.compile(r'".*"|[0-9A-Fa-f]{4,8}')


def registration(line: str) -> str | None:
    """What +CREG, +CGREG or +CEREG says, asked for (`n,stat,…`) or not (`stat,…`); None for another line."""
    found = re.fullmatch(r"\+C(?:G|E)?REG:\s*(.*)", line)
    if not found:
        return None
    # A location, which a URC has in the second place, is quoted or has four hex digits.
    fields = [field.strip() for field in found[1].split(",")]
    stat = fields[0] if len(fields) == 1 or _LOCATION.fullmatch(fields[1]) else fields[1]
    if not re.fullmatch(r"0*\d{1,2}", stat) or int(stat) >= len(REGISTRATIONS):
        return "unknown"
    return REGISTRATIONS[int(stat)]


def signal(lines: Iterable[str]) -> int | None:
    """<rssi> of +CSQ, 0 to 31 (3GPP TS 27.007 §8.5); None where it is not known."""
    for body in bodies("+CSQ", lines):
        found = re.fullmatch(r"(\d{1,3})\s*,\s*\d{1,3}", body)
        if found and int(found[1]) <= 31:
            return int(found[1])
    return None


def operator(lines: Iterable[str]) -> str | None:
    """The name in +COPS (3GPP TS 27.007 §7.3), also where the modem gives it as UCS2 in hex."""
    for body in bodies("+COPS", lines):
        found = re.search(r'"([^"]+)"', body)
        if found:
            name = found[1]
            if re.fullmatch(r"(?:00[2-7][0-9A-Fa-f]){2,}", name):
                name = bytes.fromhex(name).decode("utf-16-be")
            return name.strip() or None
    return None


def pin_state(lines: Iterable[str]) -> str | None:
    """`READY`, `SIM PIN`, `SIM PUK`, … of +CPIN (3GPP TS 27.007 §8.3); the last one, as a starting SIM also says it unasked."""
    said = bodies("+CPIN", lines)
    return said[-1].strip('"').upper() if said else None


def pin_tries(lines: Iterable[str], pattern: str | None = None) -> int | None:
    """How often the SIM PIN may still be tried, of the answer to +CPINR (3GPP TS 27.007 §8.65), or by a pattern with the group `tries`."""
    wanted = re.compile(pattern or r'\+CPINR:\s*"?SIM PIN"?\s*,\s*(?P<tries>\d{1,2})\b')
    for line in lines:
        if found := wanted.search(line):
            return int(found["tries"])
    return None


def imei(lines: Iterable[str]) -> str | None:
    """The answer to +CGSN, with or without its name in front and a serial number behind (3GPP TS 27.007 §5.4)."""
    return _number(lines, r'(?:\+C?GSN:\s*)?"?(?:IMEI)?(\d{14,16})(?:,.*|"?)')


def imsi(lines: Iterable[str]) -> str | None:
    """The answer to +CIMI (3GPP TS 27.007 §5.6)."""
    return _number(lines, r'(?:\+CIMI:\s*)?"?(\d{14,15})"?')


def iccid(lines: Iterable[str]) -> str | None:
    """The answer to +CCID, +ICCID, +CICCID, ^ICCID, +QCCID, #CCID or +CRSM of EF_ICCID, digits swapped back where the modem did not (ITU-T E.118)."""
    found = _number(
        lines,
        r'(?:[+^#]?(?:Q?C?CID|ICCID):\s*)?(?:\+CRSM:\s*144,\s*\d+,\s*)?"?((?:89|98)\d{16,18}[0-9Ff]{0,2})"?',
    )
    if found and found.startswith("98"):
        even = found + "F" * (len(found) % 2)
        found = "".join(even[place + 1] + even[place] for place in range(0, len(even), 2))
    return found.upper().rstrip("F") if found else None


def own_number(lines: Iterable[str]) -> str | None:
    """The first number in +CNUM (3GPP TS 27.007 §7.1)."""
    return _number(lines, r'\+CNUM:\s*(?:"[^"]*"|[^",]*),\s*"(\+?\d+)".*')


def _number(lines: Iterable[str], pattern: str) -> str | None:
    for line in lines:
        if found := re.fullmatch(pattern, line):
            return found[1]
    return None


_NAMED = re.compile(r"(?!\+CGM[IMR]:)[+^*#$%!&_][A-Z]+:")  # what a modem says unasked, known or not


def plain(lines: Iterable[str]) -> str | None:
    """The one line of +CGMI, +CGMM or +CGMR, without its name and quotes; echoes and results are passed over."""
    for line in lines:
        if (
            is_final(line)
            or line.upper().startswith("AT")
            or not re.fullmatch(r"[ -~]*[0-9A-Za-z][ -~]*", line)
            or _NAMED.match(line)
        ):
            continue
        text = re.sub(r"\+CGM[IMR]:\s*", "", line).strip('" ')
        if text:
            return text
    return None


@dataclass(frozen=True, slots=True)
class Cusd:
    """What +CUSD says (3GPP TS 27.007 §7.15): <m>, the string as it came, its data coding scheme."""

    state: int
    payload: str | None
    dcs: int | None


_CUSD = re.compile(
    r'\+CUSD:\s*([0-5])(?:\s*,\s*(?:"(.*)"|([^",]*))(?:\s*,\s*(\d{1,3}))?)?\s*,?\s*', re.DOTALL
)
_CUSD_WHOLE = re.compile(r'.*".*"\s*,\s*\d{1,3}\s*')
_CUSD_END = re.compile(r'.*"(?:\s*,\s*\d{1,3})?\s*')


def cusd(line: str) -> Cusd | None:
    """The parts of a +CUSD, whose text may go over several lines; None for another line."""
    found = _CUSD.fullmatch(line)
    if found is None:
        return None
    return Cusd(int(found[1]), found[2] or found[3] or None, int(found[4]) if found[4] else None)


def is_open_text(line: str) -> bool:
    """True if it is a +CUSD whose text goes on in the next line; one that ends in its coding scheme is whole, whatever quotes it has."""
    return line.startswith("+CUSD:") and line.count('"') % 2 == 1 and not _CUSD_WHOLE.fullmatch(line)


def ends_text(line: str) -> bool:
    """True if it closes the text that an earlier line opened."""
    return _CUSD_END.fullmatch(line) is not None


_READ_ONLY = re.compile(
    r"AT(?:[+^*#%$!&][A-Z0-9]+(?:=\?|\?)|I\d?|\+(?:CSQ|CIMI|CGSN|GSN|CCID|ICCID|QCCID|CGMI|CGMM|CGMR|GMI|GMM|GMR|CNUM|CPAS|CLAC|CPINR|CLCK=\"[A-Z]{2}\",2)|#CCID)"
)


def is_read_only(command: str) -> bool:
    """True for one query that changes nothing: `AT+…?`, `AT+…=?`, and the actions that only tell, such as AT+CSQ; 2 in +CLCK asks (27.007 §7.4)."""
    return _READ_ONLY.fullmatch(command.upper()) is not None
