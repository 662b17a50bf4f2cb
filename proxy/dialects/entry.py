"""One model as one provider describes it."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Struct


@dataclass(frozen=True, slots=True)
class Permission:
    """The flags of one `permission` entry, named and defaulted as in the AiHubMix and One-API documents."""

    allow_create_engine: bool = True
    allow_sampling: bool = True
    allow_logprobs: bool = True
    allow_search_indices: bool = False
    allow_view: bool = True
    allow_fine_tuning: bool = False
    is_blocking: bool = False


DEFAULT_PERMISSIONS = (Permission(),)


class Entry(Struct, frozen=True, gc=False):
    """One model as its provider lists it, before any rule."""

    id: str
    owner: str = ""
    """The maker, as the provider writes it; "" where it names none."""
    created: int = 0
    """Unix seconds; 0 is unknown."""
    root: str = ""
    parent: str | None = None
    permissions: tuple[Permission, ...] = DEFAULT_PERMISSIONS
    extra: bytes = b"{}"
    """A JSON object: the other fields of the entry, never one of the seven that this proxy sets."""
    raw: bytes = b""
    """The entry as the provider sent it (JSON), kept only for kinds whose own endpoints are served too."""
