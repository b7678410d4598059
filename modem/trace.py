"""What of the exchange may be shown to a stranger: each line with identifiers, numbers, PINs, texts and PDUs replaced."""

from __future__ import annotations

import re

from modem import at

_CONTROLS = {"\x1b": "<esc>", "\x1a": "<ctrl-z>", at.PROMPT: ">"}
_SECRET = re.compile(
    r"(AT[+^#%*]?(?:CPIN2?|CPWD|CLCK|SPIC|PCT|QPINC)=)(?![?])(.*)", re.IGNORECASE | re.DOTALL
)
_TEXTS = re.compile(
    r"(?:AT)?[+^*#](?:CUSD|CNUM|CMT|CMGL|CMGR|CMGW|CMSS|CDS|CLIP|CRING|CCWA|CPBR|CPBF|CPBW|CBM|COPN|CSCA|CLCC|COLP|CMGS)[:=]",
    re.IGNORECASE,
)
_PLACES = re.compile(
    r"[+^*#](?:C(?:G|E)?REG|CGREG|LOCINFO|CENG|QENG|CPSI|MONSC|ZCELLINFO|CGED|HCSQ|CGPADDR|CGCONTRDP):"
)
_QUOTED = re.compile(r'"[^"]*"?', re.DOTALL)
_HEX = re.compile(r"[0-9A-Fa-f]{12,}")
_DIGITS = re.compile(r"\+?\d(?:[ -]?\d){5,}")
_NAMED = re.compile(
    r"[+^*#%$!&][A-Z0-9]+(?::|$)|(?:AT|at)(?:[+^*#%$!&][A-Za-z0-9]+.*|[A-Za-z0-9&]{0,12})$", re.DOTALL
)
_NAMES_OF = {
    "AT+CGSN": "<imei>",
    "AT+GSN": "<imei>",
    "AT+CIMI": "<imsi>",
    "AT+CCID": "<iccid>",
    "AT+ICCID": "<iccid>",
    "AT^ICCID?": "<iccid>",
    "AT+QCCID": "<iccid>",
    "AT+CNUM": "<number>",
    "AT+CSCA?": "<number>",
}
_TELLS_ITS_KIND = frozenset({"AT+CGMI", "AT+CGMM", "AT+CGMR", "AT+GMI", "AT+GMM", "AT+GMR", "ATI"})
_LONGEST = 200  # characters; longer lines tell a stranger nothing more


def redacted(line: str, asked: str = "") -> str:
    """The line as it may be shown; `asked` is the command in flight. No PIN, no text, no PDU, never more than five digits in a row."""
    if line in _CONTROLS:
        return _CONTROLS[line]
    line = line.removesuffix("\r")
    if at.is_hex(line) and len(line) >= 8 and not line.isdecimal():
        return _NAMES_OF.get(asked.upper()) or f"<pdu {len(line) // 2} octets>"
    if secret := _SECRET.fullmatch(line):
        return f"{secret[1]}<pin>"
    known = _NAMED.match(line) or at.is_final(line) or at.is_urc(line) or asked.upper() in _TELLS_ITS_KIND
    if not (known or _DIGITS.fullmatch(line.strip('" ')) or _HEX.fullmatch(line)):
        return f"<{len(line)} characters>"
    if _PLACES.match(line):
        return _without_numbers(_QUOTED.sub('"<cell>"', line), asked)
    if _TEXTS.match(line):
        line = _QUOTED.sub(lambda found: f'"<{len(found[0].strip(chr(34)))} characters>"', line)
        if line.count('"') % 2:
            line += '"'
    return _without_numbers(line, asked)


def _without_numbers(line: str, asked: str) -> str:
    name = _NAMES_OF.get(asked.upper())
    line = _HEX.sub(lambda found: name or f"<{len(found[0])} hex digits>", line)
    line = _DIGITS.sub(lambda found: name or f"<{len(found[0])} digits>", line)
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "…"
