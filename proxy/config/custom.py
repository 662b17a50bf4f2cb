"""`list:` of a `custom` provider: a dialect that is defined in the configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from itertools import chain
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from proxy.config.fields import (
    HEADER_NAME,
    DottedPath,
    DottedPaths,
    NotEmpty,
    Prefixes,
    QueryParameters,
    Settings,
    Text,
    TokenCount,
    alternatives,
    dotted,
    whole,
)
from proxy.dialects import EXTRA_NAMES, Auth, Dialect, Paging


def _items_path(path: str) -> str:
    return dotted(path) if path else path


def _id_path(path: str) -> str:
    return "/".join(map(dotted, path.split("/")))


def _path(path: str) -> str:
    if not path.startswith("/") or re.search(r"[?#\s\\]", path):
        raise ValueError("must be a path below base_url, like /catalog, without `?` and `#`")
    return path


def _known_name(name: str) -> str:
    if name not in EXTRA_NAMES:
        raise ValueError(f"must be one of {', '.join(EXTRA_NAMES)}")
    return name


def _auth_style(value: object) -> object:
    """`bearer`, `basic`, `none`, `{header: NAME}` or `{query: NAME}` -> how the credential is sent."""
    if isinstance(value, str) and value in ("bearer", "basic", "none"):
        return Auth(value)  # type: ignore[arg-type]  # one of the three
    if isinstance(value, dict) and len(value) == 1 and {"header", "query"} & value.keys():
        ((style, name),) = value.items()
        if isinstance(name, str) and HEADER_NAME.fullmatch(name):
            return Auth(style, name)
    raise ValueError("must be bearer, basic, none, {header: NAME} or {query: NAME}, with a NAME like X-Api-Key")


AuthChoice = Annotated[Any, BeforeValidator(_auth_style)]
"""An `Auth`, as written in the file."""


class CustomPaging(Settings):
    """How further pages are found and requested: the fields of `dialects.Paging`."""

    style: Literal["url", "cursor", "offset", "page"]
    read: DottedPath = ""
    send: NotEmpty = ""
    more: DottedPath = ""
    total: DottedPath = ""
    pages: DottedPath = ""
    first: Annotated[int, whole(0, 1)] = 1
    size: QueryParameters = Field(default_factory=dict)
    """Parameters of the first request that set the page size."""

    @model_validator(mode="after")
    def _fits_its_style(self) -> Self:
        required, optional = _PAGING[self.style]
        given = self.model_fields_set - {"style", "size"}
        for name in required:
            if name not in given:
                raise ValueError(f"style {self.style} requires `{name}`: {_MEANINGS[name]}")
        for name in sorted(given.difference(required, optional)):
            raise ValueError(f"style {self.style} does not support `{name}`; remove it or choose another style")
        if self.style == "cursor" and not given & {"read", "more"}:
            raise ValueError(f"style cursor requires `read`: {_MEANINGS['read']}")
        return self


_PAGING: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # Style -> its required settings, and its optional ones.
    "url": (("read",), ()),
    "cursor": (("send",), ("read", "more")),
    "offset": (("send",), ("total",)),
    "page": (("send",), ("total", "pages", "first")),
}
_MEANINGS = {
    "read": "the path of the next URL or cursor in the response",
    "send": "the query parameter that selects the next page",
}


class CustomList(Settings):
    """The fields of a `Dialect`, under names for operators."""

    path: Annotated[str, AfterValidator(_path)]
    items: Annotated[
        tuple[Annotated[Text, AfterValidator(_items_path)], ...],
        BeforeValidator(alternatives),
        Field(min_length=1),
    ] = ("",)
    id: Annotated[
        tuple[Annotated[Text, AfterValidator(_id_path)], ...], BeforeValidator(alternatives), Field(min_length=1)
    ] = ("id",)
    strip_prefix: Prefixes = ()
    owned_by: DottedPaths = ()
    created: DottedPaths = ()
    fields: Mapping[Annotated[str, AfterValidator(_known_name)], DottedPaths] = Field(default_factory=dict)
    """Name of a field for clients -> its paths in an entry."""
    price_per: TokenCount = 1
    private: DottedPaths = ()
    params: QueryParameters = Field(default_factory=dict, repr=False)
    paging: CustomPaging | None = None
    auth: AuthChoice = Auth()

    @model_validator(mode="after")
    def _counts_its_pages(self) -> Self:
        paging = self.paging
        first = {**self.params, **paging.size}.get(paging.send, "0") if paging and paging.style == "page" else "0"
        if not re.fullmatch("[0-9]{1,9}", first):
            raise ValueError("the first page number, in `params` or `paging.size`, must be a whole number")
        return self

    @cached_property
    def dialect(self) -> Dialect:
        """The dialect for the reader."""
        paging = self.paging
        return Dialect(
            kind="custom",
            path=self.path,
            params={**self.params, **(paging.size if paging else {})},
            auth=self.auth,
            items=self.items,
            id=self.id,
            strip_prefix=self.strip_prefix,
            owner=self.owned_by,
            created=self.created,
            extra=self.fields,
            facts=False,
            price_per=self.price_per,
            private=self.private,
            only_named=True,
            chosen=(*self.owned_by, *self.created, *chain.from_iterable(self.fields.values())),
            paging=(Paging(**paging.model_dump(exclude={"size"})),) if paging else (),
        )
