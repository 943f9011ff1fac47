import math
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from rlsys.api import ValueSpec
from rlsys.viewer.plots import plot_episodes, plot_learning, plot_suite, quartiles, save, to_svg
from rlsys.viewer.trace import Trace, mean_of_extras


def trace(length: int, seed: int, num_actions: int = 3) -> Trace:
    rng = np.random.default_rng(seed)
    extras = {
        "predicted_reward": rng.normal(size=length),
        "root_value": rng.normal(size=length),
        "visit_probabilities": rng.dirichlet(np.ones(num_actions), length),
        "embedding": np.zeros((length, 2, 2)),
    }
    return whole(rng.normal(size=length), extras)


def whole(raw_reward: np.ndarray, extras: dict[str, np.ndarray] | None = None, **columns: np.ndarray) -> Trace:
    """An episode that terminates with its last step, unless columns say something else."""
    ends = np.arange(len(raw_reward)) == len(raw_reward) - 1
    given = {"reward": raw_reward, "terminated": ends, "truncated": np.zeros_like(ends), **columns}
    return Trace(raw_reward, extras or {}, **given)


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
    assert np.allclose(whole(rewards).value(ValueSpec(0.9, "v")), naive)
    assert np.allclose(whole(rewards).returns, [sum(rewards[: t + 1]) for t in range(20)])


def test_a_value_ends_with_a_lost_life_and_is_of_rewards_as_they_are_learned_from():
    raw, told = np.array([3.0, 0.0, 7.0, 2.0, 5.0]), np.array([1.0, 0.0, 1.0, 1.0, 1.0])
    lost = np.array([False, False, True, False, True])
    lives = whole(raw, reward=told, terminated=lost)
    assert lives.returns.tolist() == [3.0, 3.0, 10.0, 12.0, 17.0], "scores are raw, and of the whole game"
    assert lives.value(ValueSpec(0.5, "v")).tolist() == [1.25, 0.5, 1.0, 1.5, 1.0]
    assert whole(raw, terminated=lost).value(ValueSpec(0.5, "v", reward_bound=1.0)).tolist() == [
        1.25, 0.5, 1.0, 1.5, 1.0,
    ]  # fmt: skip


def test_after_an_episode_that_was_cut_short_the_policys_own_value_stands_for_the_rest():
    reward, never = np.ones(3), np.zeros(3, bool)
    cut = whole(reward, {"v": np.array([7.0, 8.0, 9.0])}, terminated=never, truncated=np.array([False, False, True]))
    assert cut.value(ValueSpec(0.5, "v")).tolist() == [1 + 0.5 * 5.5, 1 + 0.5 * 9.0, 9.0]
    assert cut.value(ValueSpec(0.5, "another")).tolist() == [1.75, 1.5, 1.0], "nothing is known of what would come"


def test_the_mean_of_extras_is_over_episodes_and_predicted_rewards_are_summed():
    traces = [trace(5, 0), trace(9, 1)]
    means = mean_of_extras(traces, "predicted_reward")
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


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_episodes_get_one_axis_per_thing_reported_and_one_line_per_group_or_action():
    groups = {"T=0": [trace(9, 0), trace(4, 1)], "T=1": [trace(6, 2)]}
    values = ValueSpec(0.9, "root_value", reward_extra="predicted_reward")
    figure = plot_episodes(groups, values=dict.fromkeys(groups, values))
    titles = [axes.get_ylabel() for axes in figure.axes]
    assert titles == ["return", "predicted return", "value", "visit probabilities", "visit probabilities"]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["", "", "", "T=0", "T=1"]
    assert [len(axes.get_lines()) for axes in figure.axes] == [2, 2, 4, 3, 3]
    assert [len(axes.collections) for axes in figure.axes] == [1, 1, 2, 3, 0], "bounds need more than one episode"
    assert legend(figure.axes[0]) == ["T=0", "T=1"]
    assert legend(figure.axes[2]) == ["T=0", "T=1", "T=0 expected", "T=1 expected"]
    assert [line.get_linestyle() for line in figure.axes[2].get_lines()] == ["-", "-", "--", "--"]
    line = figure.axes[0].get_lines()[1]
    assert np.allclose(line.get_ydata(), np.cumsum(trace(6, 2).reward))


def test_of_actions_that_are_numbers_each_has_an_axis_with_a_line_per_value():
    visits = np.random.default_rng(0).dirichlet(np.ones(5), (6, 2))
    traces = {"a run": [whole(np.ones(6), {"visit_probabilities": visits})]}
    figure = plot_episodes(traces, actions=("number 0", "number 1"))
    titles = [axes.get_ylabel() for axes in figure.axes]
    assert titles == ["return", "visit probabilities, number 0", "visit probabilities, number 1"]
    assert [len(axes.get_lines()) for axes in figure.axes] == [1, 5, 5]
    assert legend(figure.axes[2]) == [f"value {index}" for index in range(5)]
    np.testing.assert_allclose(figure.axes[2].get_lines()[4].get_ydata(), visits[:, 1, 4])
    assert len(plot_episodes(traces, distributions=False).axes) == 1


def test_a_policy_that_reports_nothing_still_gets_its_return_drawn():
    figure = plot_episodes({"random": [whole(np.ones(4))]}, bounds=False)
    assert [axes.get_ylabel() for axes in figure.axes] == ["return"]


@pytest.mark.parametrize("num_actions", [3, 10, 18])
def test_each_line_of_a_policy_is_named_and_told_apart(num_actions):
    names = [f"NAME {action}" for action in range(num_actions)]
    axes = plot_episodes({"a": [trace(5, 0, num_actions)]}, actions=names).axes[-1]
    assert legend(axes) == names
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.get_lines()}
    assert len(looks) == num_actions
    unnamed = plot_episodes({"a": [trace(5, 0, num_actions)]}, actions=names[1:]).axes[-1]
    assert legend(unnamed) == [f"action {action}" for action in range(num_actions)]


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


def test_methods_are_rows_of_each_aggregate_and_lines_of_the_profile() -> None:
    one = np.float64(1.0)
    aggregates = {
        name: {"mine": (one, one - 0.5, one + 0.5), "other": (one, one, one), "third": (one, None, None)}
        for name in ("mean", "median")
    }
    threshold_T = np.linspace(0.0, 2.0, 5)
    profiles = {"other": (threshold_T / 2, None, None), "mine": (threshold_T / 2, threshold_T / 3, threshold_T)}
    figure = plot_suite(aggregates, threshold_T, profiles, emphasised=["mine"])
    *panels, below = figure.get_axes()
    assert [axes.get_title() for axes in panels] == ["mean", "median"]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["mine", "other", "third"]
    assert [label.get_fontweight() for label in panels[0].get_yticklabels()] == ["bold", "normal", "normal"]
    assert len(panels[0].get_lines()) == 3 + 2, "a mark for each method, and a bar where there is an interval"
    assert [line.get_label() for line in below.get_lines()] == ["other", "mine"]
    assert len(below.collections) == 1, "only what is emphasised shows how certain it is"
    assert to_svg(figure).startswith("<svg")
