import math
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from rlsys.viewer.plots import plot_episodes, plot_learning, quartiles, save, to_svg
from rlsys.viewer.trace import Trace, mean_of_extras


def trace(length: int, seed: int, num_actions: int = 3) -> Trace:
    rng = np.random.default_rng(seed)
    extras = {
        "predicted_reward": rng.normal(size=length),
        "root_value": rng.normal(size=length),
        "visit_probabilities": rng.dirichlet(np.ones(num_actions), length),
        "embedding": np.zeros((length, 2, 2)),
    }
    return Trace(rng.normal(size=length), extras)


def metric_rows(count: int) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []
    for index in range(count):
        row = {"learner_step": 10.0 * index, "env_steps": 100.0 * index, "time_s": 3_600.0 * index}
        row |= {"episodes/return": index - 5.0, "loss/value": 1.0 / (index + 1), "throughput/updates_per_s": 3.0}
        rows.append(row)
    return rows


def test_the_value_of_a_trace_is_the_discounted_return_to_go():
    rewards = np.random.default_rng(0).normal(size=20)
    naive = [sum(0.9**k * rewards[t + k] for k in range(20 - t)) for t in range(20)]
    assert np.allclose(Trace(rewards, {}).value(0.9), naive)
    assert np.allclose(Trace(rewards, {}).returns, [sum(rewards[: t + 1]) for t in range(20)])


def test_the_mean_of_extras_is_over_episodes_and_predicted_rewards_are_summed():
    traces = [trace(5, 0), trace(9, 1)]
    means = mean_of_extras(traces)
    assert means.keys() == {"predicted_return", "root_value"}
    assert means["root_value"] == pytest.approx(np.mean([t.extras["root_value"].mean() for t in traces]))
    assert means["predicted_return"] == pytest.approx(np.mean([t.extras["predicted_reward"].sum() for t in traces]))


@pytest.mark.parametrize("smooth", [1, 3])
def test_quartiles_continue_short_series_with_their_last_value(smooth):
    rng = np.random.default_rng(1)
    series = [rng.normal(size=length) for length in (3, 8, 5, 8)]
    expected = np.empty((3, 8))
    for step in range(8):
        column = sorted(values[min(step, len(values) - 1)] for values in series)
        expected[:, step] = [np.percentile(column, q) for q in (25, 50, 75)]
    if smooth > 1:
        expected = np.array([[row[i : i + smooth].mean() for i in range(8 - smooth + 1)] for row in expected])
    assert np.allclose(quartiles(series, smooth), expected)


def test_an_average_wider_than_the_episode_is_the_mean_of_the_episode():
    assert np.allclose(quartiles([np.array([1.0, 2.0, 6.0])], smooth=50), [[3.0], [3.0], [3.0]])


def test_episodes_get_one_axis_per_thing_reported_and_one_line_per_group_or_action():
    figure = plot_episodes({"T=0": [trace(9, 0), trace(4, 1)], "T=1": [trace(6, 2)]}, discount=0.9)
    titles = [axes.get_ylabel() for axes in figure.axes]
    assert titles == ["return", "predicted return", "value", "root value", "visit probabilities"]
    assert [len(axes.get_lines()) for axes in figure.axes] == [2, 2, 2, 2, 6]
    assert [len(axes.collections) for axes in figure.axes] == [1, 1, 1, 1, 3], "bounds need more than one episode"
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["T=0", "T=1"]
    line = figure.axes[0].get_lines()[1]
    assert np.allclose(line.get_ydata(), np.cumsum(trace(6, 2).reward))


def test_a_policy_that_reports_nothing_still_gets_its_return_drawn():
    figure = plot_episodes({"random": [Trace(np.ones(4), {})]}, bounds=False)
    assert [axes.get_ylabel() for axes in figure.axes] == ["return"]


def test_learning_is_drawn_over_steps_and_hours_without_what_is_not_finite():
    rows = metric_rows(10)
    rows[3]["episodes/return"] = math.nan
    del rows[4]["episodes/return"]
    rows[9]["evaluation/return"] = 7.0
    by_steps, by_time, losses, rates = plot_learning(rows).axes
    assert [line.get_label() for line in by_steps.get_lines()] == ["episodes/return", "evaluation/return"]
    assert list(by_steps.get_lines()[0].get_xdata()) == [100.0 * i for i in range(10) if i not in (3, 4)]
    assert list(by_time.get_lines()[1].get_xdata()) == [9.0]
    assert losses.get_yscale() == "log"
    assert [line.get_label() for line in rates.get_lines()] == ["throughput/updates_per_s"]


def test_losses_that_are_not_positive_are_drawn_on_a_linear_scale():
    rows = metric_rows(5)
    rows[2]["loss/value"] = -1.0
    assert plot_learning(rows).axes[2].get_yscale() == "linear"


def test_a_run_without_rows_is_an_empty_plot_and_a_long_one_is_thinned():
    assert len(plot_learning([]).axes) == 4
    lines = plot_learning(metric_rows(5_000)).axes[0].get_lines()
    assert 500 <= len(lines[0].get_xdata()) <= 1_000


def test_svg_is_one_element_that_parses_and_repeats_exactly():
    svg = to_svg(plot_learning(metric_rows(5)))
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert svg == to_svg(plot_learning(metric_rows(5)))


def test_a_figure_is_saved_in_the_form_of_its_ending(tmp_path):
    figure = plot_episodes({"a": [trace(3, 0)]})
    save(figure, tmp_path / "new" / "a.png")
    save(figure, tmp_path / "a.svg")
    assert (tmp_path / "new" / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "a.svg").read_text()


def test_the_viewer_imports_neither_torch_nor_ray_nor_wandb_nor_pyplot():
    program = (
        "import sys, pkgutil, importlib, rlsys.viewer as v;"
        "[importlib.import_module(f'rlsys.viewer.{m.name}') for m in pkgutil.iter_modules(v.__path__)"
        " if m.name in ('film', 'plots', 'report', 'search_tree', 'trace')];"
        "print([m for m in ('torch', 'ray', 'wandb', 'matplotlib.pyplot') if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "[]"
