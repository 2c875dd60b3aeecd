"""Logging: one event per line on standard error; every event, field and level stands in `table`."""

from dispatcher.logs.writing import configure

__all__ = ["configure"]
