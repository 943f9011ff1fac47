"""Plots: how runs learned, how methods compare, what the policy thought in episodes, what latents know of the state.

Figures are made without pyplot, so nothing is shared between them and no screen is needed.
Shape legend: T decisions of an episode, A actions, K components of a state, D of latents.
"""

import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rlsys.api import ValueSpec
from rlsys.loss_names import losses_in
from rlsys.types import Array
from rlsys.viewer.trace import Trace

Row = Mapping[str, float]
"""One row of metrics: "learner_step", "env_steps", "time_s" and metrics named `group/name`."""

Interval = tuple[Array, Array | None, Array | None]
"""A number, or several, and between which they are likely to lie where that is known."""

ENDINGS = (".png", ".svg", ".pdf")
"""What a figure can be saved as."""

_MOST_POINTS = 1_000
_MOST_SHADED, _MOST_NAMED, _NAMES_PER_COLUMN = 6, 40, 9
_EXPECTED = "--"
"""How lines are drawn of what the policy expected, beside what came."""


def plot_learning(rows: Sequence[Row]) -> Figure:
    """Draws returns over environment steps and over hours, losses over learner steps, and rates over hours.

    Args:
      rows: metrics of a run, oldest first; what they lack is left out.
    """
    figure = Figure(figsize=(11, 7), layout="constrained")
    by_steps, by_time, losses, rates = figure.subplots(2, 2).flat
    for axes, over, scale, label in (
        (by_steps, "env_steps", 1, "environment steps"),
        (by_time, "time_s", 3_600, "hours"),
    ):
        _draw(axes, rows, over, ["episodes/return", "evaluation/return"], scale)
        axes.set(xlabel=label, ylabel="return")
    _draw(losses, rows, "learner_step", sorted({name for row in rows for name in losses_in(row)}))
    losses.set(xlabel="learner steps", ylabel="loss")
    if all(bool((line.get_ydata() > 0).all()) for line in losses.get_lines()):
        losses.set_yscale("log")
    _draw(rates, rows, "time_s", [name for name in _names(rows, "throughput/") if name.endswith("_per_s")], 3_600)
    rates.set(xlabel="hours", ylabel="per second")
    return figure


def plot_episodes(
    groups: Mapping[str, Sequence[Trace]],
    *,
    values: Mapping[str, ValueSpec] | None = None,
    actions: Sequence[str] = (),
    bounds: bool = True,
    smooth: int = 1,
    distributions: bool = True,
) -> Figure:
    """Draws what happened in evaluated episodes above what the policy had expected, one axis below the other.

    The axes are the return, the predicted return (where the policy reports predicted rewards), the value, each other
    number that the policy reports per decision, and each distribution over actions, one for each group. A line is the
    median over episodes; shorter episodes count with their last value. Many groups are named once, beside all axes.

    Args:
      groups: label -> episodes played alike; one colour each.
      values: label -> what values are of, and which extras tell them; "value" then shows what really came, and dashed
        what the policy expected.
      actions: names of the actions; by default their numbers.
      bounds: shade the range between the quartiles, where lines are few.
      smooth: decisions over which the curves are averaged.
      distributions: whether those over actions are drawn.
    """
    panels = _panels(groups, values or {}, actions, distributions)
    names = list(groups) if len(groups) > _NAMES_PER_COLUMN else []
    figure = Figure(figsize=(12 + _width(names), 2.2 * len(panels) + 1), layout="constrained")
    for axes, panel in zip(figure.subplots(len(panels), 1, squeeze=False, sharex=True).flat, panels, strict=True):
        for line in panel.lines:
            _draw_quartiles(axes, line, bounds and len(panel.lines) <= _MOST_SHADED, smooth)
        axes.set(xlabel="decision", ylabel=panel.title)
        axes.set_title(panel.group, fontsize="x-small", loc="left")
        axes.label_outer()
        if len(panel.lines) <= _MOST_NAMED and (panel.group or not names):
            columns = math.ceil(len(panel.lines) / _NAMES_PER_COLUMN)
            axes.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1.0, 1.0), ncols=columns)
    if names:
        figure.legend(figure.axes[0].get_lines(), names, fontsize="x-small", loc="outside right upper")
    return figure


def plot_rows(rows: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> Figure:
    """Draws how rows of an evaluation compare: returns as points, and above them means with intervals and deviations.

    Args:
      rows: of eval.json: "returns", "mean", "std" and "interval" of each.
      labels: of the rows.
    """
    figure = Figure(figsize=(8 + _width(labels), 1.6 + 0.45 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        colour, mean, std = f"C{place}", row["mean"], row["std"]
        axes.plot(row["returns"], np.full(len(row["returns"]), place + 0.25), "|", color=colour, alpha=0.4)
        axes.plot([mean - std, mean + std], [place, place], color=colour, linewidth=1)
        axes.plot(row["interval"], [place, place], color=colour, linewidth=7, solid_capstyle="butt", alpha=0.6)
        axes.plot([mean], [place], "|k", markersize=12)
    axes.set(yticks=range(len(rows)), yticklabels=labels, ylim=(len(rows) - 0.5, -0.5))
    axes.set(xlabel="return: mean, 95 % bootstrap interval (thick), standard deviation (thin), games below")
    axes.grid(alpha=0.3, axis="x")
    return figure


def plot_scores(runs: Mapping[str, Mapping[str, tuple[Sequence[int], Sequence[float]]]]) -> Figure:
    """Draws a panel for each key, and in it a line for each run that has it.

    Args:
      runs: name -> key -> steps and values; a run has one colour in all panels.
    """
    keys = list(dict.fromkeys(key for series in runs.values() for key in series))
    columns = min(2, max(1, len(keys)))
    rows = max(1, math.ceil(len(keys) / columns))
    figure = Figure(figsize=(6 * columns, 3.5 * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, key in zip(panels, keys, strict=False):
        for index, (name, series) in enumerate(runs.items()):
            if key in series:
                steps, values = series[key]
                axes.plot(
                    steps, values, label=name, color=f"C{index}", linewidth=1, marker="." if len(steps) < 30 else ""
                )
        axes.set(xlabel="step", ylabel=_words(key))
        axes.grid(alpha=0.3)
        if len(axes.get_lines()) <= _MOST_NAMED:
            axes.legend(fontsize="x-small")
    for axes in panels[len(keys) :]:
        axes.set_axis_off()
    return figure


def plot_suite(
    aggregates: Mapping[str, Mapping[str, Interval]],
    threshold_T: Array,
    profiles: Mapping[str, Interval],
    *,
    emphasised: Sequence[str],
) -> Figure:
    """Draws how methods compare over many games: aggregates as points, and below them their profiles as lines.

    Args:
      aggregates: name of an aggregate -> method -> number with its interval.
      threshold_T: normalised scores, `[T]`.
      profiles: method -> share of runs above each of them, `[T]`.
      emphasised: methods whose names are bold and whose lines are thick, with intervals.
    """
    methods = list(dict.fromkeys(method for found in aggregates.values() for method in found))
    palette = matplotlib.colormaps["tab20"].colors  # type: ignore[attr-defined]
    colours = {method: palette[index % len(palette)] for index, method in enumerate(methods)}
    figure = Figure(figsize=(13, 4.5 + 0.26 * len(methods)), layout="constrained")
    heights = [0.8 + 0.26 * len(methods), 3.7]
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=heights).flat
    for axes, (name, found) in zip(above.subplots(1, len(aggregates), sharey=True), aggregates.items(), strict=True):
        for row, method in enumerate(methods):
            value, low, high = found[method]
            if low is not None and high is not None:
                axes.plot([low, high], [row, row], color=colours[method], linewidth=7, solid_capstyle="butt")
            axes.plot([value], [row], "|k", markersize=10)
        axes.set(title=name, yticks=range(len(methods)), yticklabels=methods, ylim=(len(methods) - 0.5, -0.5))
        axes.grid(alpha=0.3, axis="x")
        for label in axes.get_yticklabels():
            label.set_fontweight("bold" if label.get_text() in emphasised else "normal")
    axes = below.subplots()
    for method, (value, low, high) in profiles.items():
        is_thick = method in emphasised
        axes.plot(threshold_T, value, label=method, color=colours[method], linewidth=3 if is_thick else 1)
        if is_thick and low is not None and high is not None:
            axes.fill_between(threshold_T, low, high, color=colours[method], alpha=0.2, linewidth=0)
    axes.set(xlabel="normalised score", ylabel="share of runs above it", xlim=(threshold_T[0], threshold_T[-1]))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small", ncols=2)
    return figure


def plot_latents(
    correlations: Mapping[str, Array], explained: Mapping[str, Array], components: Sequence[str]
) -> Figure:
    """Draws how latents go with what is known of the state, a row for each component of it.

    Args:
      correlations: kind of latents -> absolute correlations, `[K, D]`; each is a map.
      explained: label -> share of each component's variance that is explained, `[K]`; bars beside them.
      components: names of the K components.
    """
    widths = [max(1.0, found.shape[1] ** 0.5) for found in correlations.values()]
    figure = Figure(figsize=(13, 1.8 + 0.32 * len(components)), layout="constrained")
    *maps, bars = figure.subplots(1, len(widths) + 1, width_ratios=[*widths, 0.45 * sum(widths)], squeeze=False)[0]
    for axes, (name, found) in zip(maps, correlations.items(), strict=True):
        image = axes.imshow(found, vmin=0, vmax=1, aspect="auto", cmap="viridis", interpolation="nearest")
        axes.set(xlabel=f"{name}, {found.shape[1]} numbers", yticks=[])
    maps[0].set_yticks(range(len(components)), components, fontsize="small")
    figure.colorbar(image, ax=maps, label="|correlation|")
    height = 0.8 / len(explained)
    for index, (name, shares) in enumerate(explained.items()):
        bars.barh(np.arange(len(components)) - 0.4 + height * (index + 0.5), np.clip(shares, 0, 1), height, label=name)
    bars.set(xlim=(0, 1), ylim=(len(components) - 0.5, -0.5), xlabel="R²", yticks=[])
    bars.grid(alpha=0.3, axis="x")
    bars.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes a figure; the file's ending, one of `ENDINGS`, says how."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def to_svg(figure: Figure) -> str:
    """Returns a figure as an `<svg>` element; the same figure always as the same text."""
    with matplotlib.rc_context({"svg.hashsalt": "rlsys"}):
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def quartiles(series: Iterable[Array], smooth: int = 1) -> Array:
    """Returns the lower quartile, median and upper quartile over series of different lengths.

    Args:
      series: arrays `[T]`; each is continued with its last value up to the longest.
      smooth: width of the moving average over the result.

    Returns:
      `[3, T - smooth + 1]`, or the plain mean where T is below `smooth`.
    """
    arrays = [np.asarray(values, np.float64) for values in series]
    longest = max(map(len, arrays))
    extended = np.stack([np.pad(values, (0, longest - len(values)), mode="edge") for values in arrays])
    found = np.quantile(extended, [0.25, 0.5, 0.75], axis=0)
    width = min(smooth, longest)
    return np.stack([np.convolve(row, np.full(width, 1 / width), mode="valid") for row in found])


@dataclass(frozen=True)
class _Line:
    """A line of a panel: its name, a series for each episode, and how it is drawn."""

    label: str
    series: Sequence[Array]
    colour: Any
    style: str = "-"


@dataclass(frozen=True)
class _Panel:
    """One axis of a figure; the group that it is of, where it is not of all."""

    title: str
    lines: Sequence[_Line]
    group: str = ""


def _panels(
    groups: Mapping[str, Sequence[Trace]], values: Mapping[str, ValueSpec], actions: Sequence[str], distributions: bool
) -> Sequence[_Panel]:
    extras = {name: value for traces in groups.values() for trace in traces for name, value in trace.extras.items()}
    scalars = {name for name, value in extras.items() if value.ndim == 1 and value.dtype.names is None}
    panels = [_Panel("return", _lines(groups, lambda label, trace: trace.returns))]
    if predicted := _lines(groups, _told(values, "reward_extra", np.cumsum)):
        panels.append(_Panel("predicted return", predicted))
    if came := _lines(groups, lambda label, trace: trace.value(values[label]) if label in values else None):
        expected = _lines(groups, _told(values, "extra"), " expected", _EXPECTED)
        panels.append(_Panel("value", came + expected))
    shown = {name for spec in values.values() for name in (spec.reward_extra, spec.extra)}
    panels += [_Panel(_words(name), _lines(groups, _extra(name))) for name in extras if name in scalars - shown]
    for name in [name for name, value in extras.items() if distributions and _tells_actions(value)]:
        for label, traces in groups.items():
            if found := [trace.extras[name] for trace in traces if name in trace.extras]:
                panels += _panels_of_actions(_words(name), found, actions, label if len(groups) > 1 else "")
    return panels


def _tells_actions(extra: Array) -> bool:
    """Whether an extra is of a number per action; or of a distribution for each number of an action."""
    return extra.ndim == 2 or (extra.ndim == 3 and bool(np.allclose(extra.sum(axis=2), 1.0, atol=1e-3)))


def _panels_of_actions(
    title: str, distributions: Sequence[Array], actions: Sequence[str], group: str
) -> Sequence[_Panel]:
    """Returns a panel of distributions over actions, or one for each number of an action, over its values."""
    if distributions[0].ndim == 2:
        return [_Panel(title, _lines_of_actions(distributions, actions), group)]
    _, count, num_values = distributions[0].shape
    names = [f"value {index}" for index in range(num_values)]
    return [
        _Panel(
            f"{title}, {actions[number] if len(actions) == count else f'number {number}'}",
            _lines_of_actions([values[:, number] for values in distributions], names),
            group,
        )
        for number in range(count)
    ]


def _lines(
    groups: Mapping[str, Sequence[Trace]],
    series: Callable[[str, Trace], Array | None],
    suffix: str = "",
    style: str = "-",
) -> list[_Line]:
    """Returns a line for each group whose episodes have such a series; the colour is the group's."""
    lines = []
    for index, (label, traces) in enumerate(groups.items()):
        found = [values for trace in traces if (values := series(label, trace)) is not None]
        if found:
            lines.append(_Line(label + suffix, found, f"C{index}", style))
    return lines


def _lines_of_actions(distributions: Sequence[Array], actions: Sequence[str]) -> list[_Line]:
    """Returns a line for each action; colours are told apart as far as that is possible, then line styles are."""
    count = distributions[0].shape[1]
    named = len(actions) == count
    colours = matplotlib.colormaps["tab10" if count <= 10 else "tab20"].colors  # type: ignore[attr-defined]
    return [
        _Line(
            actions[action] if named else f"action {action}",
            [values[:, action] for values in distributions],
            colours[action % len(colours)],
            ("-", "--", ":", "-.")[action // len(colours) % 4],
        )
        for action in range(count)
    ]


def _extra(name: str) -> Callable[[str, Trace], Array | None]:
    """Returns the function to an extra of an episode."""
    return lambda label, trace: trace.extras.get(name)


def _told(
    values: Mapping[str, ValueSpec], field: str, change: Callable[[Array], Array] = np.asarray
) -> Callable[[str, Trace], Array | None]:
    """Returns the function to the extra that a field of an episode's `ValueSpec` names."""

    def series(label: str, trace: Trace) -> Array | None:
        told = trace.extras.get(getattr(values[label], field)) if label in values else None
        return None if told is None else change(told)

    return series


def _width(labels: Sequence[str]) -> float:
    """Returns about how wide labels are, in inches."""
    return 0.08 * max(map(len, labels), default=0)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _draw_quartiles(axes: Axes, line: _Line, bounds: bool, smooth: int) -> None:
    low, middle, high = quartiles(line.series, smooth)
    decisions = np.arange(len(middle)) + (smooth - 1) / 2
    axes.plot(decisions, middle, line.style, label=line.label, color=line.colour, linewidth=1)
    if bounds and len(line.series) > 1:
        axes.fill_between(decisions, low, high, color=line.colour, alpha=0.2, linewidth=0)


def _draw(axes: Axes, rows: Sequence[Row], over: str, names: Sequence[str], scale: float = 1.0) -> None:
    for name in names:
        points = [(row[over] / scale, row[name]) for row in rows if math.isfinite(row.get(name, math.nan))]
        if points:
            x, y = np.array(points[:: 1 + len(points) // _MOST_POINTS]).T
            axes.plot(x, y, label=name, linewidth=1, marker="." if len(points) < 30 else "")
    if axes.get_lines():
        axes.legend(fontsize="small")
    axes.grid(alpha=0.3)


def _names(rows: Sequence[Row], prefix: str) -> list[str]:
    return sorted({name for row in rows for name in row if name.startswith(prefix)})
