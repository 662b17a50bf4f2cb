"""List the texts that users and operators read, or compare them between two git revisions, as a Markdown table.

    .venv/bin/python -m scripts.list_messages
    .venv/bin/python -m scripts.list_messages BEFORE AFTER

Texts are string literals of `proxy/` with at least two words (errors, logs, help, JSON) and docstrings of commands,
comments of `config.yaml`, and headings of `README.md` and `docs/`. A text is matched with the same text, then with the
most similar one in the same function (files can have moved), in a function of the same name, and in any other place.
Other texts are listed as removed or added.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_DOCSTRINGS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_SUFFIXES = (".py", ".md", ".yaml")
_WORD = re.compile(r"[^\W_]+")
_WORDS = re.compile(r"\w\S*\s+\S*\w")


class Message(NamedTuple):
    """A text and the place where it is written."""

    file: str
    name: str
    """The qualified name of the function or class, "" at the top level."""
    text: str

    @property
    def place(self) -> str:
        return f"{self.file}: {self.name}" if self.name else self.file


class Change(NamedTuple):
    """A text before and after; None if it was added or removed."""

    before: Message | None
    after: Message | None


# -- texts of files ----------------------------------------------------------------------------------------------------


def messages_of(files: Mapping[str, str]) -> list[Message]:
    """All texts of a tree, in the order of its files. `files`: path -> content."""
    return [message for path in sorted(files) for message in _of_file(path, files[path])]


def _of_file(path: str, content: str) -> Iterator[Message]:
    if path.startswith("proxy/") and path.endswith(".py"):
        yield from _of_python(path, "", ast.parse(content))
    elif path == "config.yaml":
        for comment in re.findall(r"(?m)(?:^|\s)# ?(.*)$", content):
            if _WORDS.search(comment):
                yield Message(path, "", comment.strip())
    elif path == "README.md" or (path.startswith("docs/") and path.endswith(".md")):
        for heading in re.findall(r"(?m)^#+ (.+)$", re.sub(r"(?ms)^ *```.*?^ *```", "", content)):
            yield Message(path, "", heading)


def _of_python(path: str, name: str, node: ast.AST) -> Iterator[Message]:
    """The texts below a node, in the order of the source. A text in several parts is one text."""
    skipped = _unread(node)
    for child in ast.iter_child_nodes(node):
        if child in skipped:
            continue
        text = _text(child)
        if text is not None:
            if _WORDS.search(text):
                yield Message(path, name, text.strip())
        elif isinstance(child, _DOCSTRINGS):
            yield from _of_python(path, f"{name}.{child.name}".removeprefix("."), child)  # type: ignore[union-attr]  # no module is below another
        else:
            yield from _of_python(path, name, child)


def _unread(node: ast.AST) -> Sequence[ast.AST]:
    """Nodes that are not shown to users: docstrings, except those of commands, and patterns of regular expressions."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re."):
        return node.args
    body = getattr(node, "body", None)
    if not isinstance(body, list):
        return ()
    strings = [line for line in body if isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)]
    return strings[1:] if _is_command(node) else strings


def _is_command(node: ast.AST) -> bool:
    decorators = getattr(node, "decorator_list", ())
    return any(re.match(r"\w+\.(command|group)\b", ast.unparse(decorator)) for decorator in decorators)


def _text(node: ast.AST) -> str | None:
    """The text of a string literal; Values in an f-string are in braces. None for other nodes."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(
            f"{{{ast.unparse(part.value)}}}" if isinstance(part, ast.FormattedValue) else ast.literal_eval(part)
            for part in node.values
        )
    return None


def _words(text: str) -> Sequence[str]:
    return _WORD.findall(text.lower())


# -- before and after --------------------------------------------------------------------------------------------------


def compare(before: Sequence[Message], after: Sequence[Message], moves: Mapping[str, str]) -> list[Change]:
    """The changes: in the order of `after`, then the removed texts. `moves`: old path -> new path of moved files."""
    old, new = list(before), list(after)
    pairs: dict[int, Message] = {}

    def match(score: Callable[[Message, Message], float]) -> None:
        """Pair the texts with the highest scores; 0 is no pair."""
        scores = [
            (-value, index, other)
            for index, message in enumerate(new)
            if index not in pairs
            for other, candidate in enumerate(old)
            if (value := score(candidate, message))
        ]
        used: set[int] = set()
        for _, index, other in sorted(scores):
            if index not in pairs and other not in used:
                pairs[index] = old[other]
                used.add(other)
        old[:] = [message for other, message in enumerate(old) if other not in used]

    def moved(message: Message) -> tuple[str, str]:
        return moves.get(message.file, message.file), message.name

    match(lambda a, b: (a.text == b.text) * (1 + (moved(a) == moved(b))))
    match(lambda a, b: _similarity(a, b, 0.2) if moved(a) == moved(b) else 0)
    match(lambda a, b: _similarity(a, b, 0.4) if a.name and a.name == b.name else 0)
    match(lambda a, b: _similarity(a, b, 0.6))
    changes = [Change(pairs.get(index), message) for index, message in enumerate(new)]
    return [*changes, *(Change(message, None) for message in old)]


def _similarity(a: Message, b: Message, least: float) -> float:
    """The share of common words, from 0 to 1; 0 if it is less than `least`."""
    words, others = Counter(_words(a.text)), Counter(_words(b.text))
    share = 2 * (words & others).total() / (words.total() + others.total())
    return share if share >= least else 0


def table(changes: Sequence[Change]) -> str:
    """The changes as a Markdown table."""
    lines = ["| place | before | after |", "|---|---|---|"]
    for before, after in changes:
        place = (after or before).place  # type: ignore[union-attr]  # one of them exists
        old = "(added)" if before is None else "(unchanged)" if after and before.text == after.text else before.text
        lines.append("| " + " | ".join(map(_cell, (place, old, after.text if after else "(removed)"))) + " |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return re.sub(r"\s*\n\s*", "<br>", text).replace("|", "\\|")


# -- git ---------------------------------------------------------------------------------------------------------------


def files_at(revision: str, repository: Path) -> dict[str, str]:
    """Path -> content of all files of a revision that can have texts."""
    content = io.BytesIO(_git(repository, "archive", "--format=tar", revision))
    with tarfile.open(fileobj=content) as archive:
        files = {member.name: archive.extractfile(member) for member in archive if member.name.endswith(_SUFFIXES)}
        return {name: file.read().decode() for name, file in files.items() if file}


def moves_between(before: str, after: str, repository: Path) -> dict[str, str]:
    """Old path -> new path of the files that were moved."""
    lines = _git(repository, "diff", "--name-status", "-M30%", before, after).decode().splitlines()
    return {old: new for status, old, *rest in map(str.split, lines) if status.startswith("R") for new in rest}


def _git(repository: Path, *arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(repository), *arguments], check=True, stdout=subprocess.PIPE).stdout  # noqa: S603, S607  # git, as installed


def main(revisions: Sequence[str], repository: Path) -> str:
    """The table of two revisions, or of the last commit alone."""
    before, after = revisions if revisions else ("", "HEAD")
    now = messages_of(files_at(after, repository))
    if not before:
        return table([Change(message, message) for message in now])
    return table(compare(messages_of(files_at(before, repository)), now, moves_between(before, after, repository)))


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1:], Path(__file__).parents[1]))
