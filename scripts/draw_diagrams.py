"""Draw the diagrams of the documentation: docs/overview.svg, docs/call.svg and docs/layers.svg.

    .venv/bin/python -m scripts.draw_diagrams

Plain SVG without fonts or scripts from elsewhere, readable on light and dark pages. The layers are those that
`tests/test_layout.py` checks; `tests/docs/test_diagrams.py` fails while a picture is out of date.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[1] / "docs"
_STYLE = """\
<style>
.page{fill:#ffffff}.box{fill:#f3f6fa;stroke:#8795a8}.key{fill:#e3edfb;stroke:#2f6fd0}
text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:#1c2530}.title{font-weight:600}
.note{font-size:12px;fill:#55606e}.list{stroke:#2f6fd0;fill:none}.call{stroke:#b3541e;fill:none}
.list-text{font-size:12px;fill:#2f6fd0}.call-text{font-size:12px;fill:#b3541e}.list-head{fill:#2f6fd0}.call-head{fill:#b3541e}
@media (prefers-color-scheme:dark){.page{fill:#0f141a}.box{fill:#1a222c;stroke:#5b6b7f}.key{fill:#18304f;stroke:#6ea3ee}
text{fill:#e4eaf1}.note{fill:#a4b0be}.list{stroke:#6ea3ee}.call{stroke:#e8965f}
.list-text{fill:#6ea3ee}.call-text{fill:#e8965f}.list-head{fill:#6ea3ee}.call-head{fill:#e8965f}}
</style>"""
_MARKERS = "".join(
    f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    f'<path class="{name}-head" d="M0 0 8 4 0 8z"/></marker>'
    for name in ("list", "call")
)


class Box(NamedTuple):
    """A rectangle with a title and lines of text below it."""

    x: int
    y: int
    width: int
    height: int
    title: str
    lines: Sequence[str] = ()
    style: str = "box"


class Arrow(NamedTuple):
    """A line between two points, with its label above the middle; `path` is `list` or `call`."""

    start: tuple[int, int]
    end: tuple[int, int]
    path: str
    label: str = ""


def picture(width: int, height: int, description: str, *shapes: Box | Arrow) -> str:
    """An SVG document. The description is its accessible name."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(description)}">',
        f"<title>{escape(description)}</title>",
        _STYLE,
        f"<defs>{_MARKERS}</defs>",
        f'<rect class="page" width="{width}" height="{height}" rx="8"/>',
    ]
    for shape in shapes:
        parts += _box(shape) if isinstance(shape, Box) else _arrow(shape)
    return "\n".join([*parts, "</svg>", ""])


def _box(box: Box) -> Iterator[str]:
    yield f'<rect class="{box.style}" x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="6"/>'
    yield _text(box.x + 12, box.y + 22, "title", box.title)
    for number, line in enumerate(box.lines):
        yield _text(box.x + 12, box.y + 42 + 18 * number, "note", line)


def _arrow(arrow: Arrow) -> Iterator[str]:
    (x1, y1), (x2, y2) = arrow.start, arrow.end
    yield f'<path class="{arrow.path}" stroke-width="1.6" marker-end="url(#{arrow.path})" d="M{x1} {y1} {x2} {y2}"/>'
    if arrow.label:
        yield _text((x1 + x2) // 2, (y1 + y2) // 2 - 7, f"{arrow.path}-text", arrow.label, anchor="middle")


def _text(x: int, y: int, style: str, text: str, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def overview() -> str:
    """Clients, the proxy and providers, with the list path and the call path."""
    return picture(
        860,
        330,
        "Clients send requests to models-proxy. Lists are served from memory and refreshed in the background; "
        "calls are forwarded to the provider of the model.",
        Box(20, 30, 150, 270, "Clients", ["OpenAI SDKs", "Anthropic SDKs", "curl, chat UIs", "models-proxy models"]),
        Box(310, 30, 270, 270, "models-proxy", [], "key"),
        Box(326, 66, 82, 218, "Access", ["API key", "and rules"]),
        Box(422, 66, 142, 102, "Model list", ["merged, in memory,", "one view for", "each set of rules"]),
        Box(422, 182, 142, 102, "Calls", ["routing, failover,", "circuit breakers"]),
        Box(
            710,
            30,
            130,
            270,
            "Providers",
            ["OpenAI-compatible", "Anthropic", "Gemini", "Ollama, vLLM", "custom dialects"],
        ),
        Arrow((170, 118), (322, 118), "list", "GET /v1/models"),
        Arrow((170, 234), (322, 234), "call", "POST /v1/..."),
        Arrow((564, 118), (690, 118), "list", "refresh by TTL"),
        Arrow((564, 234), (690, 234), "call", "forward"),
    )


def call() -> str:
    """The stages of one call."""
    stages = (
        ("identify", ["key -> caller,", "or 401"]),
        ("read body", ["size, model,", "guards"]),
        ("route", ["offers that the", "rules allow"]),
        ("failover", ["circuits, limits,", "next provider"]),
        ("relay", ["rename model,", "stream bytes"]),
    )
    boxes = [Box(20 + 166 * n, 40, 136, 84, title, lines, "key") for n, (title, lines) in enumerate(stages)]
    arrows = [Arrow((156 + 166 * n, 82), (182 + 166 * n, 82), "call") for n in range(len(stages) - 1)]
    provider = Box(518, 170, 136, 48, "provider")
    ways = [Arrow((570, 124), (570, 166), "call"), Arrow((654, 190), (740, 128), "call")]
    return picture(860, 240, "The stages of a call: " + ", ".join(title for title, _ in stages), *boxes, *arrows,
                   provider, *ways)  # fmt: skip


def _share(name: str) -> int:
    """The share of a name in the width of its row."""
    return len(name) + 4


def layers(table: Sequence[Mapping[str, str]]) -> str:
    """The packages by layer, the highest on top."""
    boxes: list[Box] = []
    for row, names in enumerate(reversed(table)):
        parts = sum(map(_share, names))
        x = 20
        for name in names:
            width = 820 * _share(name) // parts
            boxes.append(Box(x, 20 + 42 * row, width - 6, 34, name, (), "key" if len(names) < 4 else "box"))
            x += width
    return picture(860, 30 + 42 * len(table), "The packages by layer; imports go down only.", *boxes)


def pictures() -> Mapping[str, str]:
    """File name -> picture."""
    from tests.test_layout import LAYERS

    return {"overview.svg": overview(), "call.svg": call(), "layers.svg": layers(LAYERS)}


if __name__ == "__main__":
    for name, svg in pictures().items():
        (DOCS / name).write_text(svg, encoding="utf-8")
