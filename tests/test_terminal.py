"""Tables and values as they are shown."""

from typing import Any

import pytest

from rlsys.terminal import as_text, plain_table


def test_plain_tables_align_all_columns_and_truncate_none() -> None:
    long = "x" * 300
    assert plain_table("T", ("a", "b"), [("1", long), ("22", "")]) == f"# T\na   b\n1   {long}\n22"


@pytest.mark.parametrize(
    ("value", "text"), [("auto", "auto"), ("", '""'), (None, "null"), (True, "true"), ([0, 255.0], "[0, 255.0]")]
)
def test_values_are_shown_as_they_would_be_given(value: Any, text: str) -> None:
    assert as_text(value) == text
