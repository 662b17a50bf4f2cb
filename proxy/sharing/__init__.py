"""State that processes share: lists of models, hints about calls, and ids."""

from proxy.sharing.interface import MAX_HINT, MAX_RECORD, Busy, Kind, Known, Published, Sharing, StoreState, Turn

__all__ = ["MAX_HINT", "MAX_RECORD", "Busy", "Kind", "Known", "Published", "Sharing", "StoreState", "Turn"]
