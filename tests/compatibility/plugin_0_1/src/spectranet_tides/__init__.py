"""Water levels of tide gauges for SpectraNet."""

__version__ = "0.1.0"
