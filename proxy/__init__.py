"""models-proxy: one OpenAI-compatible model list in front of many providers."""

__version__ = "0.2.0"
