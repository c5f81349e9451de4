"""Support for the labs: data, models, training, methods, measurements, results, reports."""

__version__ = "0.1.0"
