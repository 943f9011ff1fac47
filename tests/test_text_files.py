"""Every text file that is read or written is UTF-8, whatever the locale says."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*(ROOT / "rlsys").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])


def calls_without_encoding(tree: ast.AST) -> Iterator[ast.Call]:
    """Yields calls that read or write text in the encoding of the locale."""
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and _is_text(call) and all(word.arg != "encoding" for word in call.keywords):
            yield call


def _is_text(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in ("read_text", "write_text"):
        return len(call.args) < (1 if name == "read_text" else 2)
    if name in ("run", "Popen", "check_output", "call"):
        return any(word.arg in ("text", "universal_newlines") for word in call.keywords)
    if name in ("open", "fdopen", "NamedTemporaryFile", "TemporaryFile"):
        first = 0 if isinstance(call.func, ast.Attribute) and name == "open" else 1
        modes = call.args[first : first + 1]
        modes += [word.value for word in call.keywords if word.arg == "mode"]
        texts = [mode.value for mode in modes if isinstance(mode, ast.Constant) and isinstance(mode.value, str)]
        given = [text for text in texts if 0 < len(text) <= 3 and set(text) <= set("rwaxbt+")]
        return any("b" not in text for text in given) or (name == "open" and not call.args and not call.keywords)
    return False


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_encoding_of_every_text_file_is_named(path: Path) -> None:
    calls = calls_without_encoding(ast.parse(path.read_text(encoding="utf-8")))
    assert [call.lineno for call in calls] == []
