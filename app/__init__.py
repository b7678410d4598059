"""The gateway: what the words mean, what is stored, who works, who asks."""

__version__ = "0.1.0"
