"""The settings: flag, then environment, credential, TOML file, default; each with where it came from.

`load` is the only way in. It refuses everything it does not understand, all faults at once, and says of
each the setting, the value, where that came from and what to do. Components never see `Settings`: the
daemon hands each the few numbers it needs.
"""

from dispatcher.settings.model import WORK, Settings, env_name, flag_name
from dispatcher.settings.sources import CONFIG_VARIABLE, DEFAULT, InForce, Row, load, misspelt

__all__ = [
    "CONFIG_VARIABLE",
    "DEFAULT",
    "WORK",
    "InForce",
    "Row",
    "Settings",
    "env_name",
    "flag_name",
    "load",
    "misspelt",
]
