"""What an error result says went wrong: every code of 3GPP TS 27.005 and 27.007 as a stable word, who is to blame, and a sentence."""

from __future__ import annotations

import re
from dataclasses import dataclass

from modem import at


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
    **dict.fromkeys(
        range(40, 48),
        Verdict(
            "sim_network_locked",
            "sim",
            False,
            "the stick is locked to another operator: use its own SIM or unlock it",
        ),
    ),
    100: Verdict("unknown", "modem", True, "the modem does not say why: the SMS may have gone out"),
}

NETWORK_LOCKED = CME[40]

BUSY = frozenset({"sim_busy", "please_wait"})
"""Codes that ask to repeat the command a little later."""

TORN_PDU = frozenset({CMS[304].code, CMS[305].code})
"""What a modem says of a PDU that its UART lost a part of (3GPP TS 27.005 §3.2.5)."""

EMPTY_SLOT = frozenset({"invalid_memory_index", "invalid_index", "not_found"})

UNKNOWN_COMMAND = frozenset({"error", "operation_not_supported"})

_IN_DOUBT = re.compile(r"network_timeout|unknown_error|unknown|error|cm[es]_error|cms_[3-9]\d\d+|cme_\d+")

_ERROR = re.compile(r"\+(CM(?:[ES]|GS)) ERROR:\s*(.*)")
_BY_TEXT = {verdict.code: verdict for table in (CME, CMS) for verdict in table.values()} | {
    f"{lock}_{code}_required": NETWORK_LOCKED  # as 3GPP TS 27.007 §9.2.2.3 spells them
    for lock in (
        "network_personalization",
        "network_subset_personalization",
        "service_provider_personalization",
        "corporate_personalization",
    )
    for code in ("pin", "puk")
}


def verdict(line: str) -> Verdict | None:
    """What a final result says went wrong, `+CMS ERROR` and `+CME ERROR` as number or text; None for OK and other lines."""
    found = _ERROR.fullmatch(line)
    if not found:
        if line == "OK" or not at.is_final(line):
            return None
        return Verdict("error", "modem", False, f"the modem answered {line}")
    family, said = "CME" if found[1] == "CME" else "CMS", found[2].strip().strip('"')
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


def leaves_doubt(verdict: Verdict) -> bool:
    """True if, after Ctrl-Z, it does not say that nothing went out: a time-out of the network, and what no standard names."""
    return _IN_DOUBT.fullmatch(verdict.code) is not None
