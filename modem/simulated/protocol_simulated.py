"""What pyserial looks for when it opens `simulated://…` (serial.protocol_handler_packages)."""

from modem.simulated.ports import SimulatedPort


def serial_class_for_url(url: str) -> tuple[str, type[SimulatedPort]]:
    """The URL as it is, and the class that opens it."""
    return url, SimulatedPort
