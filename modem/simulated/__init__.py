"""The simulated dongle and the network behind it. Importing this package teaches pyserial `simulated://NAME`."""

import serial

from modem.simulated.channel import Channel
from modem.simulated.dongle import Dongle
from modem.simulated.faults import FAULTS, HIDING
from modem.simulated.knobs import Knobs
from modem.simulated.menus import Menu
from modem.simulated.network import Network
from modem.simulated.personality import Personality, personalities
from modem.simulated.ports import Ticker, attach, detach, lookup
from modem.simulated.sim import Sim
from modem.simulated.traffic import Delivery, Entry, Person, Reply

if __name__ not in serial.protocol_handler_packages:
    serial.protocol_handler_packages.append(__name__)

__all__ = [
    "FAULTS",
    "HIDING",
    "Channel",
    "Delivery",
    "Dongle",
    "Entry",
    "Knobs",
    "Menu",
    "Network",
    "Person",
    "Personality",
    "Reply",
    "Sim",
    "Ticker",
    "attach",
    "detach",
    "lookup",
    "personalities",
]
