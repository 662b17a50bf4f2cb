"""`config.yaml` -> `Config`."""

from proxy.config.loader import parse, read
from proxy.config.problems import ConfigError
from proxy.config.provider_settings import Provider, Target
from proxy.config.settings import Config, Key

__all__ = ["Config", "ConfigError", "Key", "Provider", "Target", "parse", "read"]
