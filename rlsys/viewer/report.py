"""The report of a run: one HTML file with its curves, results and configuration, and nothing outside of it."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlsys.files.yaml_tree import at, leaves
from rlsys.viewer.plots import Row, plot_learning, to_svg

_STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: left; padding: .2rem .8rem; border-bottom: 1px solid #ddd; }
td { font-family: monospace; }
svg { max-width: 100%; height: auto; }
"""


@dataclass(frozen=True)
class Table:
    """A table of text: the names of its columns and its rows."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def render_report(
    title: str,
    *,
    rows: Sequence[Row],
    config: Mapping[str, Any],
    versions: Mapping[str, str],
    evaluation: Table | None = None,
    times: Table | None = None,
    advice: str = "",
) -> str:
    """Returns the report as HTML. It loads nothing, runs no script, and shows all text literally.

    Args:
      title: names the run.
      rows: its metrics, oldest first.
      config: its configuration, nested sections.
      versions: of what computed it.
      evaluation: results of the last `rlsys eval`.
      times: where the workers' time went.
      advice: what bound the run at last.
    """
    parts = [f"<h1>{html.escape(title)}</h1>"]
    if rows:
        parts += ["<h2>Learning</h2>", _progress(rows), _curves(rows)]
    if evaluation is not None:
        parts += ["<h2>Evaluation</h2>", _table(evaluation)]
    if times is not None:
        parts += ["<h2>Where time went</h2>", f"<p>{html.escape(advice)}</p>" if advice else "", _table(times)]
    settings = [(path, repr(at(config, path))) for path in leaves(config)]
    parts += ["<h2>Configuration</h2>", _table(Table(("field", "value"), settings))]
    parts += ["<h2>Versions</h2>", _table(Table(("package", "version"), list(versions.items())))]
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    body = "\n".join(parts)
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _curves(rows: Sequence[Row]) -> str:
    try:
        return to_svg(plot_learning(rows))
    except Exception as error:  # noqa: BLE001 - the report is more than its curves
        return f"<p>The curves are left out: {html.escape(str(error) or type(error).__name__)}</p>"


def _progress(rows: Sequence[Row]) -> str:
    """Says how far the run came; the last rows may be of an earlier checkpoint that was evaluated afterwards."""
    steps, env_steps, time_s = (
        max(row.get(name, 0) for row in rows) for name in ("learner_step", "env_steps", "time_s")
    )
    return f"<p>{steps:,.0f} learner steps and {env_steps:,.0f} environment steps in {time_s / 3_600:,.2f} hours.</p>"


def _table(table: Table) -> str:
    header = "".join(f"<th>{html.escape(name)}</th>" for name in table.header)
    rows = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in table.rows]
    return f"<table><tr>{header}</tr>\n" + "\n".join(f"<tr>{row}</tr>" for row in rows) + "</table>"
