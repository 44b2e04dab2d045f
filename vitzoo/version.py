"""The version, once: the package, the wheel and what it writes into files read it here."""

__version__ = "0.2.0"
