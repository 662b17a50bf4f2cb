"""The section `store`: where model lists and other state are kept outside the process."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from proxy.config.fields import NotEmpty, Settings
from proxy.config.misplaced import no_secret


def _is_path(text: str) -> str:
    if "\0" in text:
        raise ValueError("must be the path of a directory")
    return no_secret(text)


class StoreSettings(Settings):
    """Where state is kept outside the process."""

    directory: Annotated[NotEmpty, AfterValidator(_is_path)] | None = None
    """A directory for this process alone, which contains the last lists for the next start."""
