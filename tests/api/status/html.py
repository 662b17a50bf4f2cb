"""Pages, parsed: what a reader, a keyboard or a screen reader finds in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise

VOID = frozenset({"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "track", "wbr"})


@dataclass
class Element:
    """An element of a page."""

    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Its text, with single spaces."""
        return " ".join("".join(self._texts()).split())

    def _texts(self) -> Iterator[str]:
        for child in self.children:
            if isinstance(child, str):
                yield child
            else:
                yield from child._texts()
                if child.tag in ("br", "td", "th", "li", "dt", "dd", "p", "tr", "h2", "h3"):
                    yield " "

    def all(self, tag: str = "", **attributes: str) -> Sequence[Element]:
        """The elements in it, in their order. `class_`: one of its classes."""
        return [*self._all(tag, attributes)]

    def _all(self, tag: str, attributes: dict[str, str]) -> Iterator[Element]:
        for child in self.children:
            if isinstance(child, Element):
                if tag in ("", child.tag) and all(child._has(*pair) for pair in attributes.items()):
                    yield child
                yield from child._all(tag, attributes)

    def _has(self, name: str, value: str) -> bool:
        if name == "class_":
            return value in self.attributes.get("class", "").split()
        return self.attributes.get(name) == value

    def one(self, tag: str = "", **attributes: str) -> Element:
        found = self.all(tag, **attributes)
        assert len(found) == 1, f"{len(found)} of {tag} {attributes}"
        return found[0]

    def rows(self) -> Sequence[Sequence[str]]:
        """The texts of the cells of a table's body."""
        (body,) = self.all("tbody")
        return [[cell.text for cell in row.children if isinstance(cell, Element)] for row in body.all("tr")]


class _Reader(HTMLParser):
    """Elements must be closed where they were opened."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.stack = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute of <{tag}> is repeated: {names}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.stack[-1].children.append(element)
        if tag not in VOID:
            self.stack.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        element = self.stack.pop()
        assert element.tag == tag, f"</{tag}> closes <{element.tag}>"

    def handle_data(self, data: str) -> None:
        self.stack[-1].children.append(data)


def parsed(body: bytes) -> Element:
    reader = _Reader()
    reader.feed(body.decode())
    reader.close()
    (root,) = reader.stack
    return root


def faults(page: Element) -> list[str]:
    """What makes a page unusable without a mouse, without sight, or with its Content-Security-Policy."""
    found: list[str] = []
    ids = [each.attributes["id"] for each in page.all() if "id" in each.attributes]
    found += [f"the id {each} is repeated" for each in set(ids) if ids.count(each) > 1]
    for each in page.all():
        attributes = each.attributes
        found += [
            f"inline code in <{each.tag} {name}>" for name in attributes if name.startswith("on") or name == "style"
        ]
        if each.tag == "style" or (each.tag == "script" and each.children):
            found.append(f"inline <{each.tag}>")
        for name in ("href", "src", "action"):
            if not attributes.get(name, "/").startswith(("/", "#", "?")) or attributes.get(name, "").startswith("//"):
                found.append(f"a foreign address: {attributes[name]}")
        for name in ("for", "aria-labelledby", "aria-describedby", "list"):
            found += [
                f"{name} of <{each.tag}> is unknown: {one}"
                for one in attributes.get(name, "").split()
                if one not in ids
            ]
    targets = [each.attributes.get("href", "") for each in page.all("a")]
    found += [f"the target {each} is missing" for each in targets if each.startswith("#") and each[1:] not in ids]
    found += _unnamed(page)
    found += _headings(page)
    return found


def _unnamed(page: Element) -> Iterator[str]:
    labels = {label.attributes["for"] for label in page.all("label")}
    for tag in ("input", "select"):
        for each in page.all(tag):
            if each.attributes.get("type") != "hidden" and each.attributes.get("id") not in labels:
                yield f"a <{tag}> has no label"
    for tag in ("a", "button", "caption", "th", "option", "summary"):
        for each in page.all(tag):
            if not each.text and "value" not in each.attributes:
                yield f"a <{tag}> has no text"
    for table in page.all("table"):
        if not table.all("caption") or any(not th.attributes.get("scope") for th in table.all("th")):
            yield "a table has no caption, or a header has no scope"
    for svg in page.all("svg"):
        if not (svg.all("title") and svg.all("desc") and svg.attributes.get("role") == "img"):
            yield "a chart has no text"
    if page.one("html").attributes.get("lang") != "en" or not page.one("head").one("title").text:
        yield "the page has no language or title"
    if len(page.all("main")) != 1 or not page.all("header") or page.all("", class_="skip") == []:
        yield "a landmark is missing"
    for nav in page.all("nav"):
        if not nav.attributes.get("aria-label"):
            yield "a <nav> has no name"


def _headings(page: Element) -> Iterator[str]:
    levels = [int(each.tag[1]) for each in page.all() if each.tag in ("h1", "h2", "h3", "h4")]
    if levels.count(1) != 1 or levels[:1] != [1]:
        yield "there is not one <h1> in front"
    if any(later > earlier + 1 for earlier, later in pairwise(levels)):
        yield f"a level of headings is left out: {levels}"
