"""The AT dialect, pure: bytes to lines, which line is what, and what an answer says (ITU-T V.250, 3GPP TS 27.005, 27.007)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

PROMPT = "\r\n>"
"""The event for the prompt of +CMGS; no line can look like it."""

_LONGEST = 4096  # no line of PDU mode comes near; longer is noise, and only its end is kept
_NOISE = bytes(code for code in range(0x20) if code not in b"\t\r\n") + b"\x7f\xff"
_RIM = "".join(chr(code) for code in range(0x21)) + "".join(chr(code) for code in range(0x7F, 0x100))
_BREAK = re.compile(rb"[\r\n]+")
_PROMPTED = re.compile(r"(?:AT\+CMGS=\d+\s*)?>(.*)", re.DOTALL)  # some put it right behind the echo


class LineBuffer:
    """Bytes in, in any pieces; lines and PROMPT out. A prompt is seen only while `prompt` is set, and unsets it."""

    def __init__(self) -> None:
        self.prompt = False
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The events these bytes complete. NUL, 0xFF and other control characters are dropped, noise at a line's rims too."""
        *whole, self._rest = _BREAK.split(self._rest + data.translate(None, _NOISE))
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
        line = piece[-_LONGEST:].decode("latin-1").strip(_RIM)
        return [*events, line] if line else events

    def _after_prompt(self, piece: bytes) -> bytes | None:
        found = _PROMPTED.match(piece.decode("latin-1").lstrip(_RIM))
        if found is None:
            return None
        self.prompt = False
        return found[1].encode("latin-1")


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
    ),
)
"""Beginnings of lines that nobody asked for; the operator may add more (`PortSettings.urcs`)."""

RESTARTED = frozenset({"RDY", "^SYSSTART", "+WIND: 3"})
"""What SIMCom and Quectel, Cinterion, Wavecom say once, when they have started: every setting is gone then."""

DIRECT = ("+CMT:", "+CDS:")
"""URCs whose next line is a PDU."""

_FINAL = re.compile(r"OK|ERROR|\+CM[ES] ERROR:.*|COMMAND NOT SUPPORT|TOO MANY PARAMETERS")
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


def _with_pdu(pattern: re.Pattern[str], lines: Iterable[str]) -> Iterator[tuple[tuple[int, ...], str]]:
    numbers: tuple[int, ...] | None = None
    pdu = ""
    for line in lines:
        found = pattern.fullmatch(line)
        if found or is_final(line):
            if numbers is not None and pdu:
                yield numbers, pdu
            numbers, pdu = (tuple(map(int, found.groups())) if found else None), ""
        elif numbers is not None and not Listed(0, 0, numbers[-1], pdu).whole:
            pdu += line.upper()
    if numbers is not None and pdu:
        yield numbers, pdu


def listed(lines: Iterable[str]) -> list[Listed]:
    """What +CMGL says, in PDU mode; a PDU may go over several lines. What is no hex is kept as it is."""
    return [Listed(index, stat, length, pdu) for (index, stat, length), pdu in _with_pdu(_CMGL, lines)]


def read(index: int, lines: Iterable[str]) -> Listed | None:
    """What +CMGR says of the slot it was asked for; None for an empty one."""
    for (stat, length), pdu in _with_pdu(_CMGR, lines):
        return Listed(index, stat, length, pdu)
    return None


_SLOT = re.compile(r'\+(?:CMTI|CDSI):\s*"?([A-Z]{2,3})"?\s*,\s*(\d+).*')


def slot(line: str) -> tuple[str, int] | None:
    """Storage and index that +CMTI or +CDSI names (3GPP TS 27.005 §3.4.1)."""
    found = _SLOT.fullmatch(line)
    return (found[1], int(found[2])) if found else None


_CMGS = re.compile(r"\+CMGS:\s*(\d{1,3})(?:\s*,.*)?")


def message_reference(line: str) -> int | None:
    """TP-MR of `+CMGS: 5`, with or without the space and with or without `,"…"` behind it (3GPP TS 27.005 §3.5.1)."""
    found = _CMGS.fullmatch(line)
    return int(found[1]) if found else None


_MEMORY = re.compile(r'"([A-Z]{2,3})"\s*,\s*(\d+)\s*,\s*(\d+)')
_GROUP = re.compile(r"\(([^()]*)\)")
_NAME = re.compile(r"[A-Z]{2,3}")


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


def registration(line: str) -> str | None:
    """What +CREG, +CGREG or +CEREG says, asked for (`n,stat,…`) or not (`stat,…`); None for another line."""
    found = re.fullmatch(r"\+C(?:G|E)?REG:\s*(.*)", line)
    if not found:
        return None
    # A location, which a URC has in the second place, is quoted or has four hex digits.
    fields = [field.strip() for field in found[1].split(",")]
    stat = fields[1] if len(fields) > 1 and re.fullmatch(r"\d{1,2}", fields[1]) else fields[0]
    if not re.fullmatch(r"\d{1,2}", stat) or int(stat) >= len(REGISTRATIONS):
        return "unknown"
    return REGISTRATIONS[int(stat)]


def signal(lines: Iterable[str]) -> int | None:
    """<rssi> of +CSQ, 0 to 31 (3GPP TS 27.007 §8.5); None where it is not known."""
    for body in bodies("+CSQ", lines):
        found = re.match(r"\d{1,3}", body)
        if found and int(found[0]) <= 31:
            return int(found[0])
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


def imei(lines: Iterable[str]) -> str | None:
    """The answer to +CGSN, with or without its name in front (3GPP TS 27.007 §5.4)."""
    return _number(lines, r'(?:\+C?GSN:\s*)?"?(\d{14,16})"?')


def imsi(lines: Iterable[str]) -> str | None:
    """The answer to +CIMI (3GPP TS 27.007 §5.6)."""
    return _number(lines, r'(?:\+CIMI:\s*)?"?(\d{14,15})"?')


def iccid(lines: Iterable[str]) -> str | None:
    """The answer to +CCID, +ICCID, ^ICCID, +QCCID or +CRSM of EF_ICCID, digits swapped back where the modem did not (ITU-T E.118)."""
    found = _number(
        lines,
        r'(?:[+^]?(?:Q?C?CID|ICCID):\s*)?(?:\+CRSM:\s*144,\s*\d+,\s*)?"?((?:89|98)\d{16,18}[0-9Ff]{0,2})"?',
    )
    if found and found.startswith("98"):
        even = found + "F" * (len(found) % 2)
        found = "".join(even[place + 1] + even[place] for place in range(0, len(even), 2))
    return found.upper().rstrip("F") if found else None


def own_number(lines: Iterable[str]) -> str | None:
    """The first number in +CNUM (3GPP TS 27.007 §7.1)."""
    return _number(lines, r'\+CNUM:.*?"(\+?\d+)".*')


def _number(lines: Iterable[str], pattern: str) -> str | None:
    for line in lines:
        if found := re.fullmatch(pattern, line):
            return found[1]
    return None


def plain(lines: Iterable[str]) -> str | None:
    """The one line of +CGMI, +CGMM or +CGMR, without its name and quotes; echoes and results are passed over."""
    for line in lines:
        if is_final(line) or line.upper().startswith("AT"):
            continue
        text = re.sub(r"\+CGM[IMR]:\s*", "", line).strip('" ')
        if text:
            return text
    return None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an error result means: a stable code, who is to blame, whether trying again may help, a sentence."""

    code: str
    blame: str
    retryable: bool
    detail: str


_WAIT = "wait, the gateway tries again"

# 3GPP TS 27.005 §3.2.5: 1 to 127 from 24.011 Annex E-2, 128 to 255 from 23.040 §9.2.3.22. A code is the standard's text, so that
# `+CMS ERROR: SIM busy` finds it too. 515 is Wavecom's and Huawei's.
CMS: dict[int, Verdict] = {
    1: Verdict(
        "unassigned_number", "gateway", False, "the number does not exist: check the service's address"
    ),
    8: Verdict("operator_determined_barring", "sim", False, "the operator barred this SIM: ask the operator"),
    10: Verdict("call_barred", "sim", False, "SMS is barred on this SIM: check its barring and its credit"),
    21: Verdict(
        "short_message_transfer_rejected", "network", False, "the network refused the SMS: check the credit"
    ),
    22: Verdict("memory_capacity_exceeded", "network", True, f"the network has no room: {_WAIT}"),
    27: Verdict("destination_out_of_service", "network", True, f"the addressee is out of service: {_WAIT}"),
    28: Verdict(
        "unidentified_subscriber", "sim", False, "the network does not know this SIM: check its registration"
    ),
    29: Verdict(
        "facility_rejected", "network", False, "the network refused the SMS: check the SIM's credit and plan"
    ),
    30: Verdict(
        "unknown_subscriber", "sim", False, "the network does not know this SIM: check its registration"
    ),
    38: Verdict("network_out_of_order", "network", True, f"the network is out of order: {_WAIT}"),
    41: Verdict("temporary_failure", "network", True, f"a temporary failure of the network: {_WAIT}"),
    42: Verdict("congestion", "network", True, f"the network is congested: {_WAIT}"),
    47: Verdict("resources_unavailable", "network", True, f"the network has no resources: {_WAIT}"),
    50: Verdict(
        "requested_facility_not_subscribed", "sim", False, "this SIM's plan has no SMS: ask the operator"
    ),
    69: Verdict(
        "requested_facility_not_implemented", "network", False, "the network cannot do this: ask the operator"
    ),
    95: Verdict("invalid_message", "gateway", False, "the network found the SMS malformed: report it"),
    96: Verdict(
        "invalid_mandatory_information", "gateway", False, "the network found the SMS malformed: report it"
    ),
    111: Verdict("protocol_error", "network", True, f"a protocol error of the network: {_WAIT}"),
    127: Verdict("interworking", "network", True, f"the other network failed: {_WAIT}"),
    192: Verdict("sc_busy", "network", True, f"the service centre is busy: {_WAIT}"),
    193: Verdict(
        "no_sc_subscription",
        "sim",
        False,
        "this SIM may not use its service centre: check the centre's number",
    ),
    194: Verdict("sc_system_failure", "network", True, f"the service centre failed: {_WAIT}"),
    195: Verdict(
        "invalid_sme_address", "gateway", False, "the address is not valid: check the service's address"
    ),
    196: Verdict("destination_sme_barred", "network", False, "the addressee takes no SMS from this SIM"),
    197: Verdict("sm_rejected_duplicate_sm", "network", False, "the service centre took it for a repetition"),
    208: Verdict(
        "sim_sms_storage_full", "sim", True, "the SIM is full: the gateway empties it and tries again"
    ),
    300: Verdict(
        "me_failure", "modem", True, f"the modem failed: {_WAIT}; if it goes on, plug the stick in again"
    ),
    301: Verdict("sms_service_of_me_reserved", "modem", True, f"the modem is in use: {_WAIT}"),
    302: Verdict("operation_not_allowed", "modem", True, f"the modem does not allow it now: {_WAIT}"),
    303: Verdict("operation_not_supported", "modem", False, "the modem cannot do this: use another stick"),
    304: Verdict(
        "invalid_pdu_mode_parameter", "gateway", False, "the modem found the PDU malformed: report it"
    ),
    305: Verdict(
        "invalid_text_mode_parameter", "gateway", False, "the modem is not in PDU mode: open it again"
    ),
    310: Verdict("sim_not_inserted", "sim", False, "there is no SIM: put one in"),
    311: Verdict("sim_pin_required", "sim", False, "the SIM wants its PIN: set pin_file for this lane"),
    312: Verdict(
        "ph_sim_pin_required", "modem", False, "the stick is locked to another SIM or operator: unlock it"
    ),
    313: Verdict("sim_failure", "sim", True, "the SIM fails: take it out, clean it, put it in again"),
    314: Verdict("sim_busy", "sim", True, f"the SIM is busy: {_WAIT}"),
    315: Verdict("sim_wrong", "sim", False, "the stick refuses this SIM: use another one"),
    316: Verdict("sim_puk_required", "sim", False, "the SIM wants its PUK: enter it in a phone"),
    317: Verdict("sim_pin2_required", "sim", False, "the SIM wants its PIN2: enter it in a phone"),
    318: Verdict("sim_puk2_required", "sim", False, "the SIM wants its PUK2: enter it in a phone"),
    320: Verdict("memory_failure", "modem", True, f"the storage failed: {_WAIT}"),
    321: Verdict("invalid_memory_index", "gateway", False, "the slot is empty or does not exist"),
    322: Verdict("memory_full", "sim", True, "the storage is full: the gateway empties it and tries again"),
    330: Verdict(
        "smsc_address_unknown", "sim", False, "the SIM has no service centre's number: set it with AT+CSCA"
    ),
    331: Verdict("no_network_service", "network", True, f"no network: {_WAIT}; check antenna and place"),
    332: Verdict("network_timeout", "network", True, "the network did not answer: the SMS may have gone out"),
    340: Verdict("no_cnma_acknowledgement_expected", "gateway", False, "nothing was to be acknowledged"),
    500: Verdict("unknown_error", "modem", True, "the modem does not say why: the SMS may have gone out"),
    515: Verdict("please_wait", "modem", True, f"the modem is busy: {_WAIT}"),
}

# 3GPP TS 27.007 §9.2.
CME: dict[int, Verdict] = {
    0: Verdict(
        "phone_failure", "modem", True, f"the modem failed: {_WAIT}; if it goes on, plug the stick in again"
    ),
    1: Verdict("no_connection_to_phone", "modem", True, f"the modem has no connection inside: {_WAIT}"),
    3: CMS[302],
    4: CMS[303],
    5: CMS[312],
    10: CMS[310],
    11: CMS[311],
    12: CMS[316],
    13: CMS[313],
    14: CMS[314],
    15: CMS[315],
    16: Verdict(
        "incorrect_password",
        "sim",
        False,
        "the SIM refused the PIN: correct pin_file before the tries run out",
    ),
    17: CMS[317],
    18: CMS[318],
    20: CMS[322],
    21: Verdict("invalid_index", "gateway", False, "the slot is empty or does not exist"),
    22: Verdict("not_found", "gateway", False, "the slot is empty or does not exist"),
    23: CMS[320],
    30: CMS[331],
    31: CMS[332],
    32: Verdict(
        "network_not_allowed",
        "network",
        False,
        "only emergency calls are allowed: check the SIM with its operator",
    ),
    100: Verdict("unknown", "modem", True, "the modem does not say why: the SMS may have gone out"),
}

BUSY = frozenset({"sim_busy", "please_wait"})
"""Codes that ask to repeat the command a little later."""

EMPTY_SLOT = frozenset({"invalid_memory_index", "invalid_index", "not_found"})

UNKNOWN_COMMAND = frozenset({"error", "operation_not_supported"})

IN_DOUBT = frozenset({"network_timeout", "unknown_error", "unknown"})
"""Codes that, after Ctrl-Z, do not say that nothing went out."""

_ERROR = re.compile(r"\+(CM[ES]) ERROR:\s*(.*)")
_BY_TEXT = {verdict.code: verdict for table in (CME, CMS) for verdict in table.values()}


def verdict(line: str) -> Verdict | None:
    """What a final result says went wrong, `+CMS ERROR` and `+CME ERROR` as number or text; None for OK and other lines."""
    found = _ERROR.fullmatch(line)
    if not found:
        if line == "OK" or not is_final(line):
            return None
        return Verdict("error", "modem", False, f"the modem answered {line}")
    family, said = found[1], found[2].strip().strip('"')
    if said.isascii() and said.isdigit():
        number = int(said)
        known = (CMS if family == "CMS" else CME).get(number)
        blame = "network" if family == "CMS" and number < 300 else "modem"
        return known or Verdict(
            f"{family.lower()}_{number}", blame, True, f"the modem reported {family} error {number}"
        )
    slug = re.sub(r"[^a-z0-9]+", "_", said.lower()).strip("_")
    return _BY_TEXT.get(slug) or Verdict(
        f"{family.lower()}_error", "modem", True, f"the modem reported: {said[:80]}"
    )
