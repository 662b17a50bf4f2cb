"""`config.yaml` -> `Config`."""

from proxy.config.loader import parse, read
from proxy.config.problems import ConfigError
from proxy.config.settings import Config, Key, Provider, Target

__all__ = ["Config", "ConfigError", "Key", "Provider", "Target", "parse", "read"]
