"""Pictures of search trees: Graphviz text, and PNG with Graphviz or without.

A node shows c, its visits, and v, its value; an edge its action, p, the prior, and r, the predicted reward. Actions
that were never tried are red and dotted, or left out where a node has more than 20; the line of most visits is bold.
Shape legend: N nodes, A actions, or other branches of a node.
"""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from rlsys.errors import ConfigError
from rlsys.types import Array
from rlsys.viewer.plots import save

_MOST_UNTRIED = 20


@dataclass(frozen=True)
class SearchTree:
    """One finished search; node 0 is the root. What belongs to an action that was never tried means nothing.

    Attributes:
      child: `[N, A]` the node behind each action, -1 where it was never tried.
      prior: `[N, A]` prior probability of each action.
      reward: `[N, A]` predicted reward of each action.
      visit_count: `[N, A]` simulations that took each action.
      value_sum: `[N, A]` sum of what they backed up into the child.
      q_value: `[N, A]` reward and discounted mean value of each action.
      name: `[N, A]` what each action is called, where that differs from node to node; "" where a node has none there.
    """

    child: Array
    prior: Array
    reward: Array
    visit_count: Array
    value_sum: Array
    q_value: Array
    name: Array | None = None

    @staticmethod
    def from_arrays(arrays: Mapping[str, Array]) -> "SearchTree":
        """Takes a tree from arrays by the names of the fields; others are ignored."""
        needed = [field.name for field in fields(SearchTree) if field.name != "name"]
        return SearchTree(**{name: np.asarray(arrays[name]) for name in needed}, name=arrays.get("name"))

    @property
    def root_value(self) -> float:
        """Mean of what was backed up to the root."""
        visits = self.visit_count[0]
        return float(visits @ self.q_value[0] / max(1, visits.sum()))


def draw_search_tree(
    tree: SearchTree, path: Path, *, actions: Sequence[str] = (), max_depth: int | None = None
) -> None:
    """Writes a picture of a tree; its file's ending says how.

    Args:
      tree: what to draw. The children of nodes with more than one visit are shown.
      path: ends in .png, or in .dot for Graphviz text. Graphviz draws the PNG where it is installed, else matplotlib.
      actions: names of the actions, where the tree has none; by default their numbers.
      max_depth: deepest level that is drawn.

    Raises:
      ConfigError: another ending.
    """
    if path.suffix not in (".png", ".dot"):
        raise ConfigError(f"search tree '{path}' ends in '{path.suffix}'; trees are .png or .dot. Choose one of these.")
    items = _items(tree, actions, max_depth)
    path.parent.mkdir(parents=True, exist_ok=True)
    graphviz = shutil.which("dot")
    if path.suffix == ".dot":
        path.write_text(_dot(items), encoding="utf-8")
    elif graphviz:
        subprocess.run([graphviz, "-Tpng", "-o", str(path)], input=_dot(items), text=True, check=True, encoding="utf-8")
    else:
        save(_figure(items), path)


@dataclass(frozen=True)
class _Item:
    """What is drawn of one node, in preorder.

    Attributes:
      parent: position of the parent's item; -1 for the root.
      node: its node, or -1 for an action that was never tried.
      visits, value: how often simulations went through it, and the mean of what they backed up.
      edge: what is written at the line to it.
      depth: edges between it and the root.
      principal: whether it lies on the line of most visits.
    """

    parent: int
    node: int
    visits: int
    value: float
    edge: tuple[str, ...]
    depth: int
    principal: bool

    @property
    def label(self) -> str:
        """What is written into it."""
        return f"c:{self.visits}, v:{self.value:.2f}" if self.node >= 0 else "nv"


def _items(tree: SearchTree, actions: Sequence[str], max_depth: int | None) -> list[_Item]:
    items: list[_Item] = []
    stack = [_Item(-1, 0, int(tree.visit_count[0].sum()), tree.root_value, (), 0, principal=True)]
    while stack:
        item = stack.pop()
        items.append(item)
        expand = item.node == 0 or item.visits > 1
        if expand and (max_depth is None or item.depth < max_depth):
            visits = tree.visit_count[item.node]
            most = int(visits.argmax()) if item.principal and visits.any() else -1
            for action in reversed(_branches(tree, item.node)):
                stack.append(_child(tree, item, len(items) - 1, action, actions, principal=action == most))
    return items


def _branches(tree: SearchTree, node: int) -> list[int]:
    """Returns which branches of a node are drawn."""
    there = range(tree.child.shape[1]) if tree.name is None else np.flatnonzero(tree.name[node] != "").tolist()
    return [action for action in there if len(there) <= _MOST_UNTRIED or tree.child[node, action] >= 0]


def _child(
    tree: SearchTree, parent: _Item, position: int, action: int, actions: Sequence[str], *, principal: bool
) -> _Item:
    edge = (parent.node, action)
    node, visits = int(tree.child[edge]), int(tree.visit_count[edge])
    name = str(tree.name[edge]) if tree.name is not None else actions[action] if actions else str(action)
    label = [name, f"p:{tree.prior[edge]:.2f}"]
    if node >= 0:
        label.append(f"r:{tree.reward[edge]:.2f}")
    value = float(tree.value_sum[edge]) / max(1, visits)
    return _Item(position, node, visits, value, tuple(label), parent.depth + 1, principal)


def _dot(items: Sequence[_Item]) -> str:
    lines = ["graph search {", "  node [shape=box];"]
    for index, item in enumerate(items):
        style = " color=red" if item.node < 0 else " penwidth=4" if item.principal else ""
        lines.append(f'  n{index} [label="{item.label}"{style}];')
        if item.parent >= 0:
            label = ", ".join(item.edge).replace('"', "'")
            style = " color=red style=dotted" if item.node < 0 else " penwidth=2" if item.principal else ""
            lines.append(f'  n{item.parent} -- n{index} [label="{label}"{style}];')
    return "\n".join([*lines, "}\n"])


def _figure(items: Sequence[_Item]) -> Figure:
    x = _places(items)
    depth = max(item.depth for item in items)
    figure = Figure(figsize=(min(100.0, 1.5 + 0.9 * max(x)), 1.5 + 1.3 * depth), layout="constrained")
    axes = figure.subplots()
    axes.axis("off")
    for index, item in enumerate(items):
        colour = "red" if item.node < 0 else "black"
        if item.parent >= 0:
            parent = items[item.parent]
            line, width = (":", 1.0) if item.node < 0 else ("-", 2.5 if item.principal else 0.8)
            axes.plot([x[item.parent], x[index]], [-parent.depth, -item.depth], line, color=colour, linewidth=width)
            middle = (0.3 * x[item.parent] + 0.7 * x[index], -0.3 * parent.depth - 0.7 * item.depth)
            page = {"facecolor": "white", "linewidth": 0, "pad": 0.5}
            axes.annotate("\n".join(item.edge), middle, fontsize=5, ha="center", va="center", color=colour, bbox=page)
        box = {
            "boxstyle": "round",
            "facecolor": "white",
            "edgecolor": colour,
            "linewidth": 2.5 if item.principal else 0.8,
        }
        axes.annotate(item.label, (x[index], -item.depth), fontsize=6, ha="center", va="center", bbox=box)
    return figure


def _places(items: Sequence[_Item]) -> list[float]:
    """Returns each item's x: leaves stand side by side, parents in the middle of their children."""
    x = [0.0] * len(items)
    children: list[list[int]] = [[] for _ in items]
    for index, item in enumerate(items):
        if item.parent >= 0:
            children[item.parent].append(index)
    leaves = [index for index, below in enumerate(children) if not below]
    for place, index in enumerate(leaves):
        x[index] = float(place)
    for index in reversed(range(len(items))):
        if children[index]:
            x[index] = sum(x[child] for child in children[index]) / len(children[index])
    return x
