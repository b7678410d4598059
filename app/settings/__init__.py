"""Settings: one TOML file under the environment under the command line, checked whole before anything starts."""

from app.settings.loading import find_config, load_settings, masked, merged
from app.settings.sections import Client, LaneSettings, Log, Phone, Sealing, Server, ServiceOverride, Settings

__all__ = [
    "Client",
    "LaneSettings",
    "Log",
    "Phone",
    "Sealing",
    "Server",
    "ServiceOverride",
    "Settings",
    "find_config",
    "load_settings",
    "masked",
    "merged",
]
