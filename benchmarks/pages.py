"""Writes the tables of README.md and pages/*.md from the rows in results/; all else on a page is written by hand.

    python benchmarks/pages.py [--check]

A page says where a table stands, by a name of tables.py, and `python benchmarks/pages.py` writes what is between:

    <!-- table NAME -->
    <!-- end -->

Where a row has an older one like it of the same machine, a cell shows both and their ratio; rows of several machines
have a column that names it. Three names are not of tables.py: `headlines`; `pages`, a list of the pages; and `compared
NAME`, what compare.py found about a benchmark.
"""

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fields import Field, Row
from headlines import HEADLINES, MACHINE
from rows import RESULTS, read
from tables import TABLES, Table

FOLDER = Path(__file__).parent
_BLOCK = re.compile(r"(<!-- table (?P<name>[\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_COMPARISONS = RESULTS / "comparisons.jsonl"


def rows_of(pattern: str) -> list[dict[str, Any]]:
    """Returns the rows of all files whose names match, each with the file's name."""
    found = []
    for path in sorted(RESULTS.glob(pattern)):
        rows = read(path) if path.suffix == ".jsonl" else list(_evaluations(path))
        found += [{**row, "file": path.stem} for row in rows]
    return found


def _evaluations(path: Path) -> Sequence[dict[str, Any]]:
    """Returns each result of the final evaluation of each run of a file of curves; a run without any as it is."""
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
    return [
        {**run, **result} for run in runs for result in ((run.get("final_evaluation") or {}).get("results") or [{}])
    ]


def table(spec: Table) -> str:
    """Returns a table, and beneath it what repeats its rows."""
    chosen = [row for row in rows_of(spec.files) if spec.command in row["command"] and spec.where(row)]
    names = dict(spec.names)
    if len({row.get("machine") for row in chosen}) > 1 and not spec.seeds:
        names["machine"] = "machine"
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in chosen:
        key = (*(_value(row, field) for field in names.values()), None if spec.seeds else row.get("machine"))
        groups.setdefault(key, []).append(row)
    cell = _seeds if spec.seeds else _beside
    lines = [
        [*(_text("", name) for name in key[:-1]), *(cell(rows, field) for field in spec.figures.values())]
        for key, rows in groups.items()
    ]
    return _markdown([*names, *spec.figures], lines) + (_origins(chosen) if spec.repeats else "")


def _beside(rows: Sequence[Row], field: Field) -> str:
    """Returns the newest row's figure, and that of the one before with what came of it."""
    name = field if isinstance(field, str) else ""
    dated = sorted(rows, key=lambda row: str(row["date"]), reverse=True)
    new, *old = [_value(row, field) for row in dated[:2]]
    if not old or old[0] is None or old[0] == new or name == "load":
        return _text(name, new)
    numbers = isinstance(new, int | float) and isinstance(old[0], int | float) and old[0] != 0
    ratio = f" ({new / old[0]:.2f}×)" if numbers else ""  # type: ignore[operator]
    return f"{_text(name, new)}; before {_text(name, old[0])}{ratio}"


def _seeds(rows: Sequence[Row], field: Field) -> str:
    name = field if isinstance(field, str) else ""
    cells = [_text(name, _value(row, field)) for row in rows]
    cells = [text for text in cells if text]
    return f"{cells[0]}, all {len(cells)} times" if len(cells) > 1 and len(set(cells)) == 1 else "; ".join(cells)


def _value(row: Row, field: Field) -> object:
    if callable(field):
        return field(row)
    inner: Any = row
    for word in field.split("."):
        inner = inner.get(word) if isinstance(inner, Mapping) else None
    return inner


def _text(name: str, value: object) -> str:
    """Returns a cell: a number with three or four digits that count, a share in percent."""
    if value is None:
        return "–"
    if isinstance(value, bool | str):
        return str(value)
    assert isinstance(value, int | float)
    if re.fullmatch(r"(.*_)?share(_of_.*)?|roofline", name):
        return f"{value:.1%}".replace("%", " %")
    if name.endswith("ratio"):
        return f"{value:.2f}×" if value < 10 else f"{value:.0f}×"
    if isinstance(value, int) or abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _markdown(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    ruler = ["---" for _ in titles]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (titles, ruler, *lines))


def _origins(rows: Sequence[Row]) -> str:
    """Returns a line for each command: commits and dates of its rows, and the load beside them where it was kept."""
    commands: dict[str, list[Row]] = {}
    for row in rows:
        commands.setdefault(row["command"], []).append(row)
    lines = []
    for command, made in commands.items():
        when = dict.fromkeys(f"{row['commit'].removesuffix('-dirty')[:7]} of {row['date'][:10]}" for row in made)
        loads = [row["load"] for row in made if row.get("load") is not None]
        bounds = dict.fromkeys(f"{load:.1f}" for load in (min(loads), max(loads))) if loads else ()
        load = f"; load {' to '.join(bounds)}" if loads else ""
        lines.append(f"`{command}`: {', '.join(when)}{load}.\n")
    return "\n" + "\n".join(lines)


def headlines() -> str:
    """Returns the headlines: of each the newest row of the machine that headlines are of."""
    rows = [row for name in ("speed.jsonl", "cluster.jsonl") for row in rows_of(name) if row["machine"] == MACHINE]
    lines = []
    for line in HEADLINES:
        row = max((row for row in rows if line.row.items() <= row.items()), key=lambda row: str(row["date"]))
        figure = f"{_text(line.figure, row[line.figure])} {line.unit}".strip()
        others = row.get("peers") or row.get("peer") or "–"
        if row.get("peer_value"):
            others += f" {row['peer_value']:,}"
        page = f"[{line.page.replace('_', ' ')}](pages/{line.page}.md)"
        lines.append([f"{page}: {line.words}", figure, line.goal, others, row["date"][:10]])
    return _markdown(["what", "here", "to reach", "others", "measured"], lines)


def compared(benchmark: str) -> str:
    """Returns what was measured before and after, alternately, of one benchmark."""
    rows = [row for row in read(_COMPARISONS) if row["benchmark"] == benchmark]
    lines = [
        [
            f"{row['what']}: {row['figure']}",
            *(_text("", row[side]) for side in ("old", "new")),
            f"{row['ratio']:.2f}×",
            _text("share", row["spread"]),
            f"{row['old_commit'][:7]} → {row['commit'][:7]}",
            f"{row['machine']}, load {row['load']:.1f}",
        ]
        for row in rows
    ]
    titles = ["before and after, in turns", "before", "after", "times as fast", "spread", "commits", "on"]
    if not rows:
        return f"Nothing has been kept of `python benchmarks/compare.py OLD_CHECKOUT {benchmark}`.\n"
    return _markdown(titles, lines) + _origins(rows)


def list_pages() -> str:
    """Returns a link to each page, with the first word of its heading."""
    paths = sorted((FOLDER / "pages").glob("*.md"))
    titles = [path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ").split(":")[0] for path in paths]
    return " · ".join(f"[{title}](pages/{path.name})" for title, path in zip(titles, paths, strict=True)) + "\n"


def render(text: str) -> str:
    """Returns a page with its tables made from the results as they are now.

    Raises:
      SystemExit: it wants a table that does not exist.
    """

    def block(found: re.Match[str]) -> str:
        name = found["name"]
        made: dict[str, Callable[[], str]] = {"headlines": headlines, "pages": list_pages}
        if name.startswith("compared "):
            content = compared(name.removeprefix("compared "))
        elif name in made:
            content = made[name]()
        elif name in TABLES:
            content = table(TABLES[name])
        else:
            raise SystemExit(f"a page wants the table '{name}'; there are {', '.join([*TABLES, *made])}.")
        return f"{found[1]}{content}{found[3]}"

    return _BLOCK.sub(block, text)


def main() -> None:
    """Writes all pages, or says which one is not what the results make it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if a page is not up to date")
    check = parser.parse_args().check
    for path in (FOLDER / "README.md", *sorted((FOLDER / "pages").glob("*.md"))):
        text = path.read_text(encoding="utf-8")
        if (made := render(text)) == text:
            continue
        if check:
            raise SystemExit(f"{path.relative_to(FOLDER)} is not what results/ make it: python benchmarks/pages.py")
        path.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
