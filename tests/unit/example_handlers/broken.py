"""A module whose import fails."""

raise RuntimeError("this module always fails")
