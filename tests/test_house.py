"""The house stays one in which a stranger finds the way: short files and functions, small folders, true directions."""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MOST_LINES = 400
MOST_FILES = 16
LONGEST_FUNCTION = 90
LONGEST_OF_NINE_IN_TEN = 20
MOST_RUNTIME_LINES = 6_500


def python_files(folder: str) -> list[Path]:
    return [path for path in sorted((ROOT / folder).rglob("*.py")) if "__pycache__" not in path.parts]


def num_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def functions(folder: str) -> Iterator[tuple[int, str]]:
    """Yields (lines, name) of every function."""
    for path in python_files(folder):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                yield node.end_lineno - node.lineno + 1, f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


@pytest.mark.parametrize("folder", ["rlsys", "tests", "benchmarks"])
def test_no_file_is_longer_than_400_lines(folder: str) -> None:
    long = {str(path.relative_to(ROOT)): num_lines(path) for path in python_files(folder)}
    assert not {path: lines for path, lines in long.items() if lines > MOST_LINES}, "split it by nouns"


@pytest.mark.parametrize("folder", ["rlsys", "tests"])
def test_nine_functions_of_ten_have_20_lines_at_most_and_none_has_more_than_90(folder: str) -> None:
    found = sorted(functions(folder))
    assert found[int(0.9 * len(found))][0] <= LONGEST_OF_NINE_IN_TEN
    assert found[-1][0] <= LONGEST_FUNCTION, found[-1]


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process has them all")
@pytest.mark.xdist_group("ray")
def test_tests_of_a_group_share_a_process(request: pytest.FixtureRequest) -> None:
    assert request.node.nodeid.endswith("@ray"), "xdist tells groups by the ends of names, which another pytest drops"


@pytest.mark.parametrize("folder", ["rlsys", "tests"])
def test_no_folder_holds_more_than_16_files(folder: str) -> None:
    counts: dict[Path, int] = {}
    for path in python_files(folder):
        if path.name != "__init__.py":
            counts[path.parent.relative_to(ROOT)] = counts.get(path.parent.relative_to(ROOT), 0) + 1
    assert not {str(path): count for path, count in counts.items() if count > MOST_FILES}, "group it by what belongs"


def test_the_runtime_holds_what_knows_ray_and_no_more() -> None:
    assert sum(map(num_lines, python_files("rlsys/runtime"))) < MOST_RUNTIME_LINES


def test_tests_lie_where_what_they_test_does() -> None:
    packages = {path.parent.relative_to(ROOT / "rlsys") for path in (ROOT / "rlsys").rglob("__init__.py")}
    others = {Path("benchmarks"), Path("cluster"), Path("support"), Path("own/dreams")}
    folders = {path.parent.relative_to(ROOT / "tests") for path in python_files("tests")}
    assert folders - others <= packages, "a folder of tests without one of the package"


def test_the_architecture_draws_every_room_and_points_to_files_that_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {path.parent.name for path in (ROOT / "rlsys").glob("*/__init__.py")}
    runtime = {path.parent.name for path in (ROOT / "rlsys" / "runtime").glob("*/__init__.py")}
    drawing = text.partition("```")[2].partition("```")[0]
    assert not {name for name in rooms | runtime if not re.search(rf"\b{name}\b", drawing)}, "draw it"
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert links and not [link for link in links if not (ROOT / "docs" / link).exists()]
    for name in re.findall(r"`(_?[a-zA-Z]\w+)` in \[([^\]]+)\]", text):
        (path,) = [link for link in links if link.endswith(name[1])][:1]
        assert re.search(rf"(class|def) {name[0]}\b", (ROOT / "docs" / path).resolve().read_text(encoding="utf-8")), (
            name
        )
