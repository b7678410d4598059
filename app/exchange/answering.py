"""What a lane does when a face asks it for something: a restart, a diagnosis, a USSD code, a pause."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from app.store.requests import Request
from modem import Modem, ModemError
from modem.doctor import gather, port_findings

KINDS = ("restart", "diagnosis", "ussd", "pause", "loop")
USSD_WAITS = timedelta(seconds=25)  # less than the 30 s that a face waits for the answer
USSD_CODE = r"[0-9*#+]{1,160}"  # an answer to a menu too; 3GPP TS 23.038 §5.3 packs 182 characters at most


def answer(modem: Modem, request: Request, url: str, *, pin_given: bool) -> Mapping[str, Any]:
    """Do what a request wants of an open modem, but restart, pause and loop, which are the lane's. Raises ModemError."""
    if request.kind == "ussd":
        code = str(request.arguments.get("code", ""))
        if not re.fullmatch(USSD_CODE, code):
            raise ModemError("invalid", "a USSD code has digits, * and #, such as *888#")
        said = modem.ussd(code, USSD_WAITS)
        pushed = modem.pushed()  # the network's own texts, or an answer that came too late for its code
        return {"text": said.text, "more": said.more, **({"pushed": pushed} if pushed else {})}
    if request.kind == "diagnosis":
        facts = gather(modem, url)
        findings = port_findings(facts, pin_given=pin_given)
        return {"findings": [one.as_json() for one in findings], "facts": facts.as_json()}
    raise ModemError(
        "unknown_kind", f"this lane knows no request {request.kind!r}: it knows {', '.join(KINDS)}"
    )
