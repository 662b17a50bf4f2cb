"""Update the expected parts of a payload: `python -m tests.dialects.expected tests/payloads/kinds/acme.1.json ...`

Requires `settings` and `answer` in every page of the list. Writes and prints `request`, `entries`, `dropped`, `next`
and `call` with the current results of the code: compare them with the documentation of the provider.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio

from tests.dialects.payloads import EXPECTED, Case, Page, case_of, cases, expected


def main(paths: Sequence[Path]) -> None:
    for path in paths:
        name = case_of(path)
        for number, page in enumerate(filled(cases(path.parent)[name]), 1):
            path.with_name(f"{name}.{number}.json").write_text(text_of(page), encoding="utf-8")
            print(f"{name}.{number}.json", text_of({part: page[part] for part in EXPECTED if part in page}), sep="\n")
    print("Compare every value above with the provider's documentation before you commit it.")


def filled(case: Case) -> list[Page]:
    """All pages of a list with their expected parts."""
    config = case.config
    made = anyio.run(expected, case, config, config.providers[0])
    return [{**page, **_changed(page, parts)} for page, parts in zip(case.pages, made, strict=True)]


def _changed(page: Page, parts: Page) -> Page:
    """Only the parts that differ, so that the others keep the order of their fields."""
    return {part: value for part, value in parts.items() if part not in page or page[part] != value}


def text_of(page: Page) -> str:
    return json.dumps(page, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
