"""Pictures of search trees: Graphviz text, and PNG with Graphviz or without.

A node shows c, its visits, and v, its value; an edge its action, p, the prior, and r, the predicted reward. Actions
that were never tried are red and dotted; the line of most visits is bold.
Shape legend: N nodes, A actions.
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


@dataclass(frozen=True)
class SearchTree:
    """One finished search; node 0 is the root.

    Attributes:
      child: `[N, A]` the node behind each action, -1 where it was never tried.
      prior: `[N, A]` prior probability of each action.
      visit_count: `[N]` how often a simulation went through the node.
      value: `[N]` mean of what was backed up through it.
      reward: `[N]` predicted reward of the step into it.
    """

    child: Array
    prior: Array
    visit_count: Array
    value: Array
    reward: Array

    @staticmethod
    def from_arrays(arrays: Mapping[str, Array]) -> "SearchTree":
        """Takes a tree from arrays by the names of the fields; others are ignored."""
        return SearchTree(**{field.name: np.asarray(arrays[field.name]) for field in fields(SearchTree)})


def draw_search_tree(
    tree: SearchTree, path: Path, *, actions: Sequence[str] = (), max_depth: int | None = None
) -> None:
    """Writes a picture of a tree; its file's ending says how.

    Args:
      tree: what to draw. The children of nodes with more than one visit are shown.
      path: ends in .png, or in .dot for Graphviz text. Graphviz draws the PNG where it is installed, else matplotlib.
      actions: names of the actions; by default their numbers.
      max_depth: deepest level that is drawn.

    Raises:
      ConfigError: another ending.
    """
    if path.suffix not in (".png", ".dot"):
        raise ConfigError(f"search tree '{path}' ends in '{path.suffix}'; trees are .png or .dot. Choose one of these.")
    items = _items(tree, max_depth)
    path.parent.mkdir(parents=True, exist_ok=True)
    graphviz = shutil.which("dot")
    if path.suffix == ".dot":
        path.write_text(_dot(tree, items, actions))
    elif graphviz:
        subprocess.run([graphviz, "-Tpng", "-o", str(path)], input=_dot(tree, items, actions), text=True, check=True)
    else:
        save(_figure(tree, items, actions), path)


@dataclass(frozen=True)
class _Item:
    """What is drawn of one node, in preorder.

    Attributes:
      parent: position of the parent's item; -1 for the root.
      node: its node, or -1 for an action that was never tried.
      action, prior: of the edge to it.
      depth: edges between it and the root.
      principal: whether it lies on the line of most visits.
    """

    parent: int
    node: int
    action: int
    prior: float
    depth: int
    principal: bool


def _items(tree: SearchTree, max_depth: int | None) -> list[_Item]:
    items: list[_Item] = []
    stack = [_Item(-1, 0, -1, 1.0, 0, principal=True)]
    while stack:
        item = stack.pop()
        items.append(item)
        expand = item.node == 0 or (item.node > 0 and tree.visit_count[item.node] > 1)
        if expand and (max_depth is None or item.depth < max_depth):
            children = tree.child[item.node]
            visits = np.where(children >= 0, tree.visit_count[children], 0)
            first = int(visits.argmax()) if item.principal and visits.any() else -1
            for action in reversed(range(len(children))):
                prior = float(tree.prior[item.node, action])
                node = int(children[action])
                stack.append(_Item(len(items) - 1, node, action, prior, item.depth + 1, principal=action == first))
    return items


def _node_label(tree: SearchTree, item: _Item) -> str:
    return f"c:{tree.visit_count[item.node]}, v:{tree.value[item.node]:.2f}" if item.node >= 0 else "nv"


def _edge_label(tree: SearchTree, item: _Item, actions: Sequence[str]) -> list[str]:
    name = actions[item.action] if actions else str(item.action)
    label = [name, f"p:{item.prior:.2f}"]
    return [*label, f"r:{tree.reward[item.node]:.2f}"] if item.node >= 0 else label


def _dot(tree: SearchTree, items: Sequence[_Item], actions: Sequence[str]) -> str:
    lines = ["graph search {", "  node [shape=box];"]
    for index, item in enumerate(items):
        style = " color=red" if item.node < 0 else " penwidth=4" if item.principal else ""
        lines.append(f'  n{index} [label="{_node_label(tree, item)}"{style}];')
        if item.parent >= 0:
            label = ", ".join(_edge_label(tree, item, actions)).replace('"', "'")
            style = " color=red style=dotted" if item.node < 0 else " penwidth=2" if item.principal else ""
            lines.append(f'  n{item.parent} -- n{index} [label="{label}"{style}];')
    return "\n".join([*lines, "}\n"])


def _figure(tree: SearchTree, items: Sequence[_Item], actions: Sequence[str]) -> Figure:
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
            label = "\n".join(_edge_label(tree, item, actions))
            page = {"facecolor": "white", "linewidth": 0, "pad": 0.5}
            axes.annotate(label, middle, fontsize=5, ha="center", va="center", color=colour, bbox=page)
        box = {
            "boxstyle": "round",
            "facecolor": "white",
            "edgecolor": colour,
            "linewidth": 2.5 if item.principal else 0.8,
        }
        axes.annotate(_node_label(tree, item), (x[index], -item.depth), fontsize=6, ha="center", va="center", bbox=box)
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
