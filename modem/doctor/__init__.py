"""The doctor: what is wrong with the hardware in front of somebody, from /sys, /dev, /proc and what the modem answers."""

from modem.doctor.facts import QUERIES, Line, PortFacts, gather
from modem.doctor.findings import (
    ADVICE,
    FAULT,
    SEVERITIES,
    WARNING,
    Finding,
    advice,
    fault,
    masked,
    warning,
    worst,
)
from modem.doctor.host import Held, control_port, held_finding, held_ports, host_findings, shown
from modem.doctor.line import BAUDS, examine_port
from modem.doctor.loop import Looped, credit_in, loop, valid_until
from modem.doctor.port import check_digit_fits, port_findings
from modem.doctor.surroundings import data_findings, kernel_findings, surrounding

__all__ = [
    "ADVICE",
    "BAUDS",
    "FAULT",
    "QUERIES",
    "SEVERITIES",
    "WARNING",
    "Finding",
    "Held",
    "Line",
    "Looped",
    "PortFacts",
    "advice",
    "check_digit_fits",
    "control_port",
    "credit_in",
    "data_findings",
    "examine_port",
    "fault",
    "gather",
    "held_finding",
    "held_ports",
    "host_findings",
    "kernel_findings",
    "loop",
    "masked",
    "port_findings",
    "shown",
    "surrounding",
    "valid_until",
    "warning",
    "worst",
]
