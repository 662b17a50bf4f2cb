"""One model as one provider describes it."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Struct


@dataclass(frozen=True, slots=True)
class Permission:
    """The flags of one `permission` entry. Names and defaults are those of the AiHubMix and One-API documentation."""

    allow_create_engine: bool = True
    allow_sampling: bool = True
    allow_logprobs: bool = True
    allow_search_indices: bool = False
    allow_view: bool = True
    allow_fine_tuning: bool = False
    is_blocking: bool = False


DEFAULT_PERMISSIONS = (Permission(),)


class Entry(Struct, frozen=True, gc=False):
    """One model as its provider lists it, before any rules are applied."""

    id: str
    owner: str = ""
    """The owner as the provider reports it, "" if it reports none."""
    created: int = 0
    """Unix seconds, 0 if unknown."""
    root: str = ""
    parent: str | None = None
    permissions: tuple[Permission, ...] = DEFAULT_PERMISSIONS
    extra: bytes = b"{}"
    """A JSON object with the other fields of the entry, without the seven fields that the proxy sets."""
    raw: bytes = b""
    """The entry as the provider sent it (JSON). Kept only for kinds whose native endpoints are served, else b""."""
    written: str = ""
    """The id as the provider writes it, if a prefix was removed from it, else ""."""
    aliases: tuple[str, ...] = ()
    """Other names that the provider accepts for this model."""
    kept: bytes = b""
    """A JSON object with the values of the fields that the operator's rules read: path -> list. b"" without rules."""
