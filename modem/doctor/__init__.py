"""The doctor: what is wrong with the hardware in front of somebody, from /sys, /dev, /proc and what the modem answers."""

from modem.doctor.facts import QUERIES, Line, PortFacts, gather
from modem.doctor.findings import ADVICE, FAULT, SEVERITIES, WARNING, Finding, masked, worst
from modem.doctor.host import (
    Held,
    control_port,
    held_finding,
    held_ports,
    host_findings,
    shown,
    wrong_port_finding,
)
from modem.doctor.line import BAUDS, examine_port
from modem.doctor.loop import Looped, credit_in, loop, valid_until
from modem.doctor.port import check_digit_fits, port_findings
from modem.doctor.surroundings import data_findings, kernel_findings, surrounding
from modem.doctor.texts import Both, Texts, decimal, few, joined, told

__all__ = [
    "ADVICE",
    "BAUDS",
    "FAULT",
    "QUERIES",
    "SEVERITIES",
    "WARNING",
    "Both",
    "Finding",
    "Held",
    "Line",
    "Looped",
    "PortFacts",
    "Texts",
    "check_digit_fits",
    "control_port",
    "credit_in",
    "data_findings",
    "decimal",
    "examine_port",
    "few",
    "gather",
    "held_finding",
    "held_ports",
    "host_findings",
    "joined",
    "kernel_findings",
    "loop",
    "masked",
    "port_findings",
    "shown",
    "surrounding",
    "told",
    "valid_until",
    "worst",
    "wrong_port_finding",
]
