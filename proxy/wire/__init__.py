"""The formats clients read: pure encoders, one module per format."""

from proxy.wire.headers import JSON, PRIVATE

__all__ = ["JSON", "PRIVATE"]
