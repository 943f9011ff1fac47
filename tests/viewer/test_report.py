import html
from html.parser import HTMLParser

from rlsys.viewer.report import Table, render_report

ROWS = [
    {
        "learner_step": 10.0 * i,
        "env_steps": 50.0 * i,
        "time_s": 60.0 * i,
        "episodes/return": float(i),
        "loss/value": 1.0,
    }
    for i in range(5)
]
NASTY = "<script>alert('x')</script> & \"quoted\""


class Reader(HTMLParser):
    """Collects tags, attributes that load something, and the text of table cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.cells: list[str] = []
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._cell = tag in ("td", "th")
        self.cells += [""] * self._cell
        self.loads += [
            str(v) for k, v in attrs if k in ("src", "href") or (k == "xlink:href" and not str(v).startswith("#"))
        ]

    def handle_endtag(self, tag: str) -> None:
        self._cell = False

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.cells[-1] += data


def report(**changes: object) -> str:
    arguments = {
        "rows": ROWS,
        "config": {"algorithm": "muzero", "muzero": {"num_simulations": 30, "name": NASTY}},
        "versions": {"torch": "2.13.0"},
        "evaluation": Table(("temperature", "mean"), [("0", "12.5"), (NASTY, "3")]),
        **changes,
    }
    return render_report(f"run {NASTY}", **arguments)


def test_a_report_loads_nothing_runs_nothing_and_shows_text_literally():
    text = report()
    reader = Reader(text)
    assert "script" not in reader.tags
    assert reader.loads == []
    assert html.escape(f"run {NASTY}") in text
    assert reader.cells.count(NASTY) == 1
    assert repr(NASTY) in reader.cells


def test_a_report_holds_every_setting_version_and_result_and_the_curves():
    reader = Reader(report())
    cells = reader.cells
    assert cells[cells.index("muzero.num_simulations") + 1] == "30"
    assert cells[cells.index("torch") + 1] == "2.13.0"
    assert cells[cells.index("0") + 1] == "12.5"
    assert reader.tags.count("svg") == 1
    assert "40 learner steps and 200 environment steps in 0.07 hours." in report()


def test_a_report_says_where_time_went_and_what_bound_the_run():
    text = report(times=Table(("worker", "part", "share"), [("rollout", NASTY, "82 %")]), advice=f"binds: {NASTY}")
    assert "<h2>Where time went</h2>" in text
    assert f"<p>{html.escape(f'binds: {NASTY}')}</p>" in text
    assert Reader(text).cells.count(NASTY) == 2
    assert "Where time went" not in report(), "a run of another system tells nothing of it"


def test_a_run_that_has_neither_rows_nor_an_evaluation_still_has_a_report():
    reader = Reader(report(rows=[], evaluation=None))
    assert "svg" not in reader.tags
    assert "algorithm" in reader.cells


def test_curves_that_cannot_be_drawn_leave_the_rest_of_the_report(monkeypatch):
    monkeypatch.setattr("rlsys.viewer.report.plot_learning", lambda rows: 1 / 0)
    text = report()
    assert "The curves are left out: division by zero" in text
    assert Reader(text).tags.count("svg") == 0
    assert "40 learner steps and 200 environment steps" in text
