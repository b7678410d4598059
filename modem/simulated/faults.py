"""What may go wrong with a simulated dongle, by name: each fault has its occasion, fires there by count or by chance, and is counted."""

from __future__ import annotations

COMMAND = {
    "answer_lost": "the command is done, its answer never comes",
    "answer_late": "the command is done, its answer comes `late_by` later",
    "answer_doubled": "the answer comes twice",
    "error_bare": "ERROR in place of doing it",
    "error_text": "an error in words, whatever +CMEE says",
    "error_unsupported": "COMMAND NOT SUPPORT in place of doing it",
    "busy_cme_14": "+CME ERROR: 14, SIM busy",
    "busy_cms_314": "+CMS ERROR: 314, SIM busy",
    "busy_515": "+CMS ERROR: 515, please wait",
    "echo_on": "echo is on again",
    "stuck": "nothing is answered for `back_after`",
    "unplug_idle": "pulled out when a command comes, back after `back_after`",
    "reset_idle": "the stick starts anew without leaving the bus, and answers the command then",
    "network_lost": "not registered for `back_after`",
    "ring": "somebody calls",
}
PROMPT = {
    "prompt_lost": "no prompt, the text is waited for all the same",
    "prompt_late": "the prompt comes `late_by` later",
    "prompt_bare": "`>` without the space",
    "prompt_error": "+CMS ERROR in place of the prompt",
    "unplug_prompt": "pulled out when the text begins to come",
    "reset_prompt": "starts anew when the text begins to come",
}
SUBMIT = {
    "submit_error": "+CMS ERROR after Ctrl-Z, nothing sent",
    "submit_error_cme": "+CME ERROR after Ctrl-Z, nothing sent",
    "submit_error_text": "an error in words after Ctrl-Z, nothing sent",
    "submit_error_bare": "ERROR after Ctrl-Z, nothing sent",
    "submit_error_sent": "+CMS ERROR 332 after Ctrl-Z, although it was sent",
    "silence_unsent": "nothing after Ctrl-Z, nothing sent",
    "silence_sent": "nothing after Ctrl-Z, although it was sent",
    "unplug_unsent": "pulled out after Ctrl-Z, before it was sent",
    "unplug_sent": "pulled out after it was sent, before +CMGS",
    "reset_sent": "starts anew after it was sent, before +CMGS",
    "cmgs_late": "sent, and +CMGS comes `late_by` later",
    "cmgs_lost": "sent, OK comes without +CMGS",
    "cmgs_tight": "+CMGS:5, without the space",
    "cmgs_stamped": "+CMGS: 5 with the centre's time stamp (3GPP TS 27.005 §3.5.1)",
    "cmgs_doubled": "+CMGS comes twice",
    "ok_lost": "+CMGS comes, no OK after it",
}
INBOUND = {
    "cmti_lost": "stored, no indication",
    "cmti_doubled": "two indications of one message",
    "cmti_misplaced": "the indication names another storage",
    "junk_stored": "a PDU that nobody can decode lies in another slot",
    "stamp_zero": "the centre's time stamp is all zero",
    "stamp_bad": "the centre's time stamp is no time",
    "sender_empty": "the sender's address is empty",
    "slot_moved": "an older message that nobody read moves to another slot, and the new one takes its place",
    "storage_filled": "the storage is full of old advertisements after it",
}
LINE = {
    "noise": "bytes of line noise before what is said",
    "noise_inside": "bytes of line noise within a line",
    "chatter": "unasked lines between the lines of an answer",
    "split": "what is said comes in pieces",
}
RARE = {
    "sim_changed": "another SIM is in the stick, put in under power",
}
FAULTS: dict[str, str] = COMMAND | PROMPT | SUBMIT | INBOUND | LINE | RARE
"""Every fault by name, with what happens. `chaos` sets all off by chance but those of RARE."""

HIDING = frozenset(
    (
        "unplug_prompt",
        "reset_prompt",
        "submit_error_sent",
        "silence_unsent",
        "silence_sent",
        "unplug_unsent",
        "unplug_sent",
        "reset_sent",
        "cmgs_late",
        "cmgs_lost",
        "ok_lost",
    )
)
"""Faults after which somebody at the port who wrote the text cannot be sure whether it went out."""
