"""README.md and pages/ say what results/ hold."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Load = Callable[[str], ModuleType]
FOLDER = Path(__file__).parents[2] / "benchmarks"
PAGES = [FOLDER / "README.md", *sorted((FOLDER / "pages").glob("*.md"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_is_what_the_results_make_it(path: Path, load: Load) -> None:
    text = path.read_text(encoding="utf-8")
    assert load("pages").render(text) == text, "python benchmarks/pages.py makes it so"


def test_the_headlines_fit_on_one_screen() -> None:
    assert len(PAGES[0].read_text(encoding="utf-8").splitlines()) <= 50


def test_every_table_stands_on_a_page_and_shows_rows(load: Load) -> None:
    pages, text = load("pages"), "".join(path.read_text(encoding="utf-8") for path in PAGES)
    for name, spec in load("tables").TABLES.items():
        assert f"<!-- table {name} -->" in text
        assert "| --- |" in pages.table(spec)


def test_every_row_of_speed_and_clusters_is_on_a_page_or_said_to_be_in_the_file(load: Load) -> None:
    pages, tables = load("pages"), load("tables").TABLES.values()
    for file in ("speed.jsonl", "cluster.jsonl"):
        for row in pages.rows_of(file):
            assert any(table.files == file and table.command in row["command"] for table in tables), row["command"]


@pytest.fixture
def kept(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Returns a function that renders rows as a table of what they are of and their speed."""
    pages, tables = load("pages"), load("tables")
    monkeypatch.setattr(pages, "RESULTS", tmp_path)

    def render(*rows: dict[str, Any], **options: Any) -> str:
        origin = {"what": "x", "command": "python x.py", "commit": "0123456789ab", "date": "2030-01-01 00:00"}
        lines = [json.dumps(origin | {"machine": "2 × A", "load": 1.0} | row) + "\n" for row in rows]
        (tmp_path / "rows.jsonl").write_text("".join(lines))
        spec = tables.Table("rows.jsonl", "x.py", {"what": "what"}, {"per s": "per_s"}, **options)
        made: str = pages.table(spec)
        return made

    return render


def test_an_older_row_stands_beside_the_newer_one_with_their_ratio(kept: Callable[..., str]) -> None:
    newer, older = {"per_s": 30.0, "date": "2030-01-02 00:00"}, {"per_s": 20.0}
    assert "| x | 30; before 20 (1.50×) |" in kept(newer, older)
    assert "| x | 30; before 20 (1.50×) |" in kept(older, newer)


def test_rows_of_two_machines_are_not_compared(kept: Callable[..., str]) -> None:
    made = kept({"per_s": 20.0}, {"per_s": 30.0, "machine": "4 × B"})
    assert "| what | machine | per s |" in made
    assert "| x | 2 × A | 20 |" in made
    assert "| x | 4 × B | 30 |" in made
    assert "before" not in made


def test_seeds_stand_beside_each_other(kept: Callable[..., str]) -> None:
    rows = [{"per_s": 3.0, "seed": 1}, {"per_s": 2.0, "seed": 0}]
    assert "| x | 3; 2 |" in kept(*rows, seeds=True), "in the order in which they were kept"
    assert "| x | 3, all 2 times |" in kept(rows[0], rows[0], seeds=True)


def test_beneath_a_table_stand_command_commit_date_and_load(kept: Callable[..., str]) -> None:
    made = kept({"per_s": 1.0}, {"what": "y", "per_s": 1.0, "load": 4.0})
    assert made.endswith("\n`python x.py`: 0123456 of 2030-01-01; load 1.0 to 4.0.\n")
    assert "`python x.py`" not in kept({"per_s": 1.0}, repeats=False)


def test_what_was_compared_stands_on_its_page(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = load("pages")
    row = {"benchmark": "x", "what": "all", "figure": "per_s", "old": 1.0, "new": 2.0, "ratio": 2.0, "spread": 0.1}
    row |= {"old_commit": "a" * 12, "commit": "b" * 12, "machine": "2 × A", "load": 1.0, "command": "compare x"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row | {"date": "2030-01-01 00:00"}) + "\n")
    monkeypatch.setattr(pages, "_COMPARISONS", tmp_path / "rows.jsonl")
    assert "| all: per_s | 1 | 2 | 2.00× | 10.0 % | aaaaaaa → bbbbbbb | 2 × A, load 1.0 |" in pages.compared("x")
    assert pages.compared("y").startswith("Nothing has been kept of `python benchmarks/compare.py OLD_CHECKOUT y`")


def test_a_page_that_is_not_up_to_date_is_named_with_what_makes_it_so(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = load("pages")
    monkeypatch.setattr(pages, "FOLDER", tmp_path)
    (tmp_path / "pages").mkdir()
    (tmp_path / "README.md").write_text("# All\n\n<!-- table search -->\n<!-- end -->\n")
    monkeypatch.setattr(sys, "argv", ["pages.py", "--check"])
    with pytest.raises(SystemExit, match=r"README\.md is not what results/ make it: python benchmarks/pages\.py"):
        pages.main()
    monkeypatch.setattr(sys, "argv", ["pages.py"])
    pages.main()
    monkeypatch.setattr(sys, "argv", ["pages.py", "--check"])
    pages.main()
    assert "| puct | 64 | 4 | fp32 |" in (tmp_path / "README.md").read_text()


def test_a_table_that_does_not_exist_is_refused(load: Load) -> None:
    with pytest.raises(SystemExit, match="the table 'serch'; there are search, rollouts"):
        load("pages").render("<!-- table serch -->\n<!-- end -->\n")
