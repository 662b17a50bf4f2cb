"""Untrusted text that is safe to print."""

from __future__ import annotations

import pytest

from proxy.printable import printable, printable_json, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("测试 [bold] é", "测试 [bold] é", id="text of any language"),
        pytest.param("a\x1b[31mb", "a\\x1b[31mb", id="an escape sequence"),
        pytest.param("a\nb\tc", "a\\nb\\tc", id="characters that move the cursor"),
        pytest.param("a\u202eb", "a\\u202eb", id="characters that change the direction"),
    ],
)
def test_untrusted_text_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_lines_of_a_text_are_kept_only_where_it_may_have_several() -> None:
    assert (printable("a\nb\x1b"), printable_lines("a\nb\x1b")) == ("a\\nb\\x1b", "a\nb\\x1b")


def test_json_is_escaped_without_changing_its_values() -> None:
    assert printable_json('{\n "a": "\u009b31m\u202e"}') == '{\n "a": "\\u009b31m\\u202e"}'
