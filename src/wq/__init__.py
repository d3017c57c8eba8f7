"""wq: a work queue for the machines of a research group."""

__version__ = "0.3.0"
