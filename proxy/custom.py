"""`list:` of a `custom` provider: a dialect's row, written by the operator."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from proxy.dialects import EXTRA_NAMES, Auth, Dialect, Paging
from proxy.fields import NotEmpty, Settings, Text, header_name, whole


def _alternatives(value: object) -> object:
    """One path, or a list of paths of which the first that is there counts."""
    return (value,) if isinstance(value, str) else value


def _path(path: str) -> str:
    if not path.startswith("/") or re.search(r"[?#\s\\]", path):
        raise ValueError("must be a path below base_url like /catalog, without `?` and `#`")
    return path


def _known_name(name: str) -> str:
    if name not in EXTRA_NAMES:
        raise ValueError(f"must be one of {', '.join(EXTRA_NAMES)}")
    return name


def _auth(value: object) -> object:
    """`bearer`, `basic`, `none`, `{header: NAME}` or `{query: NAME}` -> how the credential is sent."""
    if isinstance(value, str) and value in ("bearer", "basic", "none"):
        return Auth(value)  # type: ignore[arg-type]  # one of the three
    if isinstance(value, dict) and len(value) == 1 and {"header", "query"} & value.keys():
        ((style, name),) = value.items()
        if isinstance(name, str) and name:
            return Auth(style, header_name(name))
    raise ValueError("must be bearer, basic, none, {header: NAME} or {query: NAME}")


Paths = Annotated[tuple[Text, ...], BeforeValidator(_alternatives)]
Scalar = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]


class CustomPaging(Settings):
    """How there is more, and how it is asked for: the fields of `dialects.Paging`."""

    style: Literal["url", "cursor", "offset", "page"]
    read: Text = ""
    send: Text = ""
    more: Text = ""
    total: Text = ""
    pages: Text = ""
    first: Annotated[int, whole(0, 1)] = 1
    size: Mapping[NotEmpty, Scalar] = Field(default_factory=dict)
    """Parameters of the first question: how many entries a page should have."""


class CustomList(Settings):
    """The fields of a dialect's row, under the names of an operator's world."""

    path: Annotated[str, AfterValidator(_path)]
    items: Paths = ("",)
    id: Paths = ("id",)
    cut: Paths = ()
    owned_by: Paths = ()
    created: Paths = ()
    fields: Mapping[Annotated[str, AfterValidator(_known_name)], Paths] = Field(default_factory=dict)
    """Name that clients read -> where it stands here."""
    price_per: Annotated[int, whole(1, 1_000_000_000)] = 1
    private: Paths = ()
    params: Mapping[NotEmpty, Scalar] = Field(default_factory=dict)
    paging: CustomPaging | None = None
    auth: Annotated[Any, BeforeValidator(_auth)] = Auth()

    @cached_property
    def dialect(self) -> Dialect:
        """The row, as the reader takes it."""
        paging = self.paging
        return Dialect(
            kind="custom",
            path=self.path,
            params={**self.params, **(paging.size if paging else {})},
            auth=self.auth,
            items=self.items,
            id=self.id,
            cut=self.cut,
            owner=self.owned_by,
            created=self.created,
            extra=self.fields,
            price_per=self.price_per,
            private=self.private,
            paging=(Paging(**paging.model_dump(exclude={"size"})),) if paging else (),
        )
