"""Positions of keys in a YAML text, and the characters that an edit of them inserts and removes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    _Loader = yaml.SafeLoader
else:
    _Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


Entry = Mapping[str, Any]
"""A key as written in the file."""
BOM = "\ufeff"
_COMMENT_OR_BLANK = re.compile(r"[ \t]*(?:#.*)?")
_DASH = re.compile(r"( *)-(?=\s|$)")


class NotEditable(Exception):
    """The text uses a form of YAML that the edit does not support, such as an alias for the value to change."""


@dataclass(frozen=True)
class Edit:
    """Replace the characters from `start` to `end`."""

    start: int
    end: int
    text: str = ""


class KeyPositions:
    """A text and the nodes in it. Raises NotEditable if `keys` has a form that is not supported."""

    def __init__(self, text: str) -> None:
        self._text = text.removeprefix(BOM)
        self._root = yaml.compose(self._text, Loader=_Loader)
        self._newline = "\r\n" if "\r\n" in text else "\n"
        if self._root is not None and not isinstance(self._root, yaml.MappingNode):
            raise NotEditable

    # -- edits of the list ---------------------------------------------------------------------------------------

    def appended_key(self, entry: Entry) -> Sequence[Edit]:
        pair = self._pair(self._root, "keys")
        if pair is None:
            return self._new_section(entry)
        key, value = pair
        assert self._root is not None
        if _is_flow(self._root):
            return self._appended_flow(value, json.dumps(entry, default=str))
        if isinstance(value, yaml.SequenceNode) and value.value:
            if _is_flow(value):
                return self._appended_flow(value, _flow(entry))
            lines = _block(entry) if _is_block_mapping(value.value[-1]) else [_flow(entry)]
            return self._appended_block(value, lines)
        if not re.fullmatch(r"(?:\[\s*\]|~|null|)", self._source(value)):
            return self._appended_flow(value, _flow(entry))
        indent = " " * key.start_mark.column
        start = len(self._text[: value.start_mark.index].rstrip(" "))
        line = f"{indent}  - {_flow(entry)}"
        return [Edit(start, value.end_mark.index), self._line_after(value.end_mark.index, [line])]

    def removed_key(self, index: int) -> Sequence[Edit]:
        pair = self._pair(self._root, "keys")
        assert pair is not None
        key, value = pair
        edits = self._removed(value, [index])
        if len(value.value) == 1 and not _is_flow(value):
            colon = self._text.index(":", key.end_mark.index) + 1
            edits = [*edits, Edit(colon, colon, " []")]
        return edits

    # -- edits of one key ----------------------------------------------------------------------------------------

    def appended_digest(self, index: int, digest: str) -> Sequence[Edit]:
        entry = self._entry(index)
        new = f'"{digest}"'
        if pair := self._pair(entry, "hash"):
            key, value = pair
            at = key.start_mark.index + self._source(key).index("hash") + len("hash")
            start, end = value.start_mark.index, value.end_mark.index
            return [Edit(at, at, "es"), Edit(start, end, f"[{self._source(value)}, {new}]")]
        _, value = self._pair_of(entry, "hashes")
        if isinstance(value, yaml.SequenceNode) and not _is_flow(value):
            return self._appended_block(value, [new])
        return self._appended_flow(value, new)

    def removed_digests(self, index: int) -> Sequence[Edit]:
        _, value = self._pair_of(self._entry(index), "hashes")
        return self._removed(value, range(len(value.value) - 1))

    # -- sequences -----------------------------------------------------------------------------------------------

    def _new_section(self, entry: Entry) -> Sequence[Edit]:
        if self._root is None:
            at = len(self._text)
            indent = ""
        elif _is_flow(self._root):
            if not self._root.value:
                raise NotEditable
            last = self._root.value[-1][1].end_mark.index
            return [Edit(last, last, f', "keys": [{json.dumps(entry, default=str)}]')]
        else:
            at = self._root.end_mark.index
            indent = " " * self._root.start_mark.column
        lines = [f"{indent}keys:", f"{indent}  - {_flow(entry)}"]
        before = "" if not self._text[:at].strip() else self._newline
        if at and not self._text[:at].endswith(("\n", "\r")):
            before += self._newline
        return [Edit(at, at, before + "".join(line + self._newline for line in lines))]

    def _appended_block(self, node: yaml.SequenceNode, lines: Sequence[str]) -> Sequence[Edit]:
        """`lines`: of the new item, without indentation."""
        item = node.value[-1]
        indent = self._dash(item)[1]
        first, *others = lines
        text = [f"{indent}- {first}", *(f"{indent}  {line}" for line in others)]
        return [self._line_after(self._last_of(item, len(indent)), text)]

    def _appended_flow(self, node: yaml.Node, item: str) -> Sequence[Edit]:
        if not isinstance(node, yaml.SequenceNode) or not _is_flow(node):
            raise NotEditable
        if not node.value:
            at = self._text.rindex("[", node.start_mark.index, node.end_mark.index) + 1
            return [Edit(at, at, item)]
        last = node.value[-1]
        end = last.end_mark.index
        line = self._line_start(last.start_mark.index)
        indent = self._text[line : last.start_mark.index]
        comma = re.compile(r"\s*,").match(self._text, end)
        rest = self._text[comma.end() if comma else end : self._line_end(comma.end() if comma else end)]
        if indent.strip() or not _COMMENT_OR_BLANK.fullmatch(rest.rstrip("\r\n")):
            return [Edit(end, end, f", {item}")]
        new = self._line_after(end, [f"{indent}{item}{',' if comma else ''}"])
        return [new] if comma else [Edit(end, end, ","), new]

    def _removed(self, node: yaml.Node, indexes: Sequence[int]) -> Sequence[Edit]:
        if not isinstance(node, yaml.SequenceNode):
            raise NotEditable
        if _is_flow(node):
            return [self._removed_flow(node.value, index) for index in indexes]
        return [self._removed_block(node.value[index]) for index in indexes]

    def _removed_block(self, item: yaml.Node) -> Edit:
        start, indent = self._dash(item)
        return Edit(start, self._line_end(self._last_of(item, len(indent))))

    def _removed_flow(self, items: Sequence[yaml.Node], index: int) -> Edit:
        """Remove an item: up to the next one, or from the comma before the last one."""
        start, end = items[index].start_mark.index, items[index].end_mark.index
        if index + 1 < len(items):
            return Edit(start, items[index + 1].start_mark.index)
        if comma := re.compile(r"\s*,").match(self._text, end):
            end = comma.end()
        elif index:
            start = items[index - 1].end_mark.index
            if "#" in self._text[start : items[index].start_mark.index]:
                start = items[index].start_mark.index  # a comment of the previous item stays, and its comma too
        line = self._line_start(start)
        if not self._text[line:start].strip() and not self._text[end : self._line_end(end)].strip():
            return Edit(line, self._line_end(end))
        return Edit(start, end)

    # -- lines ---------------------------------------------------------------------------------------------------

    def _line_start(self, at: int) -> int:
        return self._text.rfind("\n", 0, at) + 1

    def _line_end(self, at: int) -> int:
        """The start of the next line."""
        end = self._text.find("\n", at)
        return len(self._text) if end < 0 else end + 1

    def _line_after(self, at: int, lines: Sequence[str]) -> Edit:
        """Insert lines after the one that contains a position."""
        end = self._line_end(at)
        before = "" if self._text[:end].endswith("\n") else self._newline
        return Edit(end, end, before + "".join(line + self._newline for line in lines))

    def _dash(self, item: yaml.Node) -> tuple[int, str]:
        """The start of the line with the `-` of an item in block style, and its indentation."""
        start = self._line_start(item.start_mark.index)
        while not (match := _DASH.match(self._text, start)):
            if not start:
                raise NotEditable
            start = self._line_start(start - 1)
        return start, match[1]

    def _last_of(self, item: yaml.Node, indent: int) -> int:
        """A position in the last line of an item: that of its last value, or of a comment indented below its `-`."""
        at = self._content_end(item)
        end = self._line_end(at)
        while end < len(self._text):
            line = self._text[end : self._line_end(end)]
            stripped = line.lstrip(" ")
            if stripped.startswith("#") and len(line) - len(stripped) > indent:
                at = end
            elif stripped.strip():
                break
            end = self._line_end(end)
        return at

    def _content_end(self, node: yaml.Node) -> int:
        """Where the last value in a node ends. In block style, the parser reports the next token instead."""
        if isinstance(node, yaml.ScalarNode):
            end = node.end_mark.index
            return len(self._text[:end].rstrip()) if node.style in ("|", ">") else end
        if _is_flow(node) or not node.value:
            return node.end_mark.index
        last = node.value[-1]
        return self._content_end(last[1] if isinstance(node, yaml.MappingNode) else last)

    # -- nodes ---------------------------------------------------------------------------------------------------

    def _source(self, node: yaml.Node) -> str:
        return self._text[node.start_mark.index : node.end_mark.index]

    def _entry(self, index: int) -> yaml.Node:
        _, listed = self._pair_of(self._root, "keys")
        entry: yaml.Node = listed.value[index]
        return entry

    def _pair_of(self, node: yaml.Node | None, name: str) -> tuple[yaml.Node, yaml.Node]:
        """The nodes of a setting that must be written at this place. Raises NotEditable if a merge key adds it."""
        if pair := self._pair(node, name):
            return pair
        raise NotEditable

    @staticmethod
    def _pair(node: yaml.Node | None, name: str) -> tuple[yaml.Node, yaml.Node] | None:
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        return next(((key, value) for key, value in pairs if key.value == name), None)


def _flow(entry: Entry) -> str:
    return "{" + ", ".join(_block(entry)) + "}"


def _block(entry: Entry) -> Sequence[str]:
    """The settings of a key, one per line."""
    return [f"{name}: {_written(value)}" for name, value in entry.items()]


def _written(value: object) -> str:
    # A date is written without quotes. JSON is YAML.
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | list | bool) else str(value)


def _is_block_mapping(node: yaml.Node) -> bool:
    return isinstance(node, yaml.MappingNode) and not _is_flow(node)


def _is_flow(node: yaml.Node) -> bool:
    """Whether a list or mapping is in brackets."""
    return isinstance(node, yaml.CollectionNode) and bool(node.flow_style)
