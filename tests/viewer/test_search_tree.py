import re
import shutil
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from rlsys.errors import ConfigError
from rlsys.planning.tree import Tree
from rlsys.viewer.search_tree import SearchTree, draw_search_tree


def random_tree(seed: int, num_simulations: int = 25, num_actions: int = 3) -> SearchTree:
    """A tree as a search leaves it: each simulation descends at random, adds one node and backs up a value."""
    rng = np.random.default_rng(seed)
    shape = (num_simulations + 1, num_actions)
    child, visits, sums = np.full(shape, -1), np.zeros(shape, int), np.zeros(shape)
    for new in range(1, shape[0]):
        node, path = 0, []
        while node >= 0:
            path.append((node, rng.integers(num_actions)))
            node = child[path[-1]]
        child[path[-1]] = new
        for edge in path:
            visits[edge] += 1
            sums[edge] += rng.normal()
    prior = rng.dirichlet(np.ones(num_actions), shape[0])
    reward = np.where(visits > 0, rng.normal(size=shape), 0.0)
    return SearchTree(child, prior, reward, visits, sums, reward + 0.9 * sums / np.maximum(visits, 1))


def label(tree: SearchTree, edge: tuple[int, int]) -> str:
    """What a drawing must show in the node behind an edge."""
    visits = tree.visit_count[edge]
    return f"c:{visits}, v:{tree.value_sum[edge] / visits:.2f}" if visits else "nv"


def root_label(tree: SearchTree) -> str:
    visits = tree.visit_count[0]
    return f"c:{visits.sum()}, v:{sum(visits * tree.q_value[0]) / visits.sum():.2f}"


def drawn(tree: SearchTree, path: Path, **options: object) -> tuple[list[str], list[str]]:
    """Returns the node and the edge lines of the Graphviz text."""
    draw_search_tree(tree, path / "tree.dot", **options)  # type: ignore[arg-type]
    lines = [line for line in (path / "tree.dot").read_text().splitlines() if "label=" in line]
    return [line for line in lines if "--" not in line], [line for line in lines if "--" in line]


def test_actions_that_differ_from_node_to_node_are_called_by_their_own_names(tmp_path):
    tree = random_tree(0)
    names = np.array([[f"{node}.{action}" for action in range(3)] for node in range(26)])
    _, edges = drawn(replace(tree, name=names), tmp_path, actions=["a", "b", "c"])
    found = {text.partition(",")[0] for text in re.findall(r'label="(.*?)"', "\n".join(edges))}
    expanded = [0, *(int(tree.child[edge]) for edge in np.ndindex(tree.child.shape) if tree.visit_count[edge] > 1)]
    assert found == set(names[expanded].ravel())


def test_nodes_may_have_fewer_branches_than_others_and_more_than_there_are_actions(tmp_path):
    tree = random_tree(0, num_actions=5)
    names = np.where(np.arange(26)[:, None] % 2 > 0, [f"code {i}" for i in range(5)], ["L", "R", "", "", ""])
    _, edges = drawn(replace(tree, name=names), tmp_path, actions=["L", "R"])
    found = [text.partition(",")[0] for text in re.findall(r'label="(.*?)"', "\n".join(edges))]
    assert set(found) == {"L", "R", *(f"code {i}" for i in range(5))}


def test_of_many_branches_those_are_drawn_that_were_tried(tmp_path):
    tree = random_tree(0, num_actions=21)
    nodes, _ = drawn(tree, tmp_path)
    assert not any("nv" in node for node in nodes)
    few = random_tree(0, num_actions=20)
    assert any("nv" in node for node in drawn(few, tmp_path)[0])


@pytest.mark.parametrize("seed", range(5))
def test_nodes_with_more_than_one_visit_show_all_their_children(seed, tmp_path):
    tree = random_tree(seed)
    nodes, edges = drawn(tree, tmp_path)
    expanded = [0, *(int(tree.child[edge]) for edge in np.ndindex(tree.child.shape) if tree.visit_count[edge] > 1)]
    assert len(edges) == len(nodes) - 1 == 3 * len(expanded)
    labels = sorted(re.findall(r'label="(.*?)"', "\n".join(nodes)))
    assert labels == sorted(
        [root_label(tree), *(label(tree, (node, action)) for node in expanded for action in range(3))]
    )


def test_edges_tell_action_prior_and_reward_and_untried_actions_are_red_and_dotted(tmp_path):
    tree = SearchTree(
        child=np.array([[1, -1], [-1, -1]]),
        prior=np.array([[0.25, 0.75], [0.5, 0.5]]),
        reward=np.array([[-2.0, 0.0], [0.0, 0.0]]),
        visit_count=np.array([[1, 0], [0, 0]]),
        value_sum=np.array([[1.5, 0.0], [0.0, 0.0]]),
        q_value=np.array([[-0.5, 0.0], [0.0, 0.0]]),
    )
    nodes, edges = drawn(tree, tmp_path, actions=["LEFT", 'say "hi"'])
    assert nodes == [
        '  n0 [label="c:1, v:-0.50" penwidth=4];',
        '  n1 [label="c:1, v:1.50" penwidth=4];',
        '  n2 [label="nv" color=red];',
    ]
    assert edges == [
        '  n0 -- n1 [label="LEFT, p:0.25, r:-2.00" penwidth=2];',
        """  n0 -- n2 [label="say 'hi', p:0.75" color=red style=dotted];""",
    ]


@pytest.mark.parametrize("seed", range(5))
def test_the_bold_line_follows_the_most_visits_from_the_root(seed, tmp_path):
    tree = random_tree(seed)
    nodes, _ = drawn(tree, tmp_path)
    expected, node, visits = [root_label(tree)], 0, 2
    while visits > 1 and tree.visit_count[node].any():
        edge = (node, int(tree.visit_count[node].argmax()))
        expected.append(label(tree, edge))
        node, visits = tree.child[edge], tree.visit_count[edge]
    bold = [re.search(r'label="(.*?)"', line)[1] for line in nodes if "penwidth=4" in line]
    assert bold == expected


def test_a_depth_limit_cuts_the_tree_there(tmp_path):
    _, edges = drawn(random_tree(0), tmp_path, max_depth=1)
    assert len(edges) == 3


@pytest.mark.parametrize("graphviz", [False, True])
def test_a_png_is_drawn_with_graphviz_where_it_is_and_without_where_it_is_not(graphviz, tmp_path, monkeypatch):
    calls = []

    def run(command, *, input, **_):
        calls.append(command)
        Path(command[-1]).write_bytes(b"\x89PNG by graphviz " + input.encode())

    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/dot" if graphviz else None)
    monkeypatch.setattr("rlsys.viewer.search_tree.subprocess.run", run)
    path = tmp_path / "mcts" / "12.png"
    draw_search_tree(random_tree(1), path)
    assert path.read_bytes().startswith(b"\x89PNG by graphviz graph search {" if graphviz else b"\x89PNG\r\n")
    assert len(calls) == graphviz


def test_a_tree_can_be_taken_from_arrays_by_name():
    tree = random_tree(2)
    arrays = {**vars(tree), "other": np.zeros(3)}
    again = SearchTree.from_arrays(arrays)
    assert all(getattr(again, name) is value for name, value in vars(tree).items())


def test_the_trees_of_the_search_have_all_that_a_picture_needs():
    searched = Tree.allocate(num_roots=2, num_nodes=4, num_actions=3)
    needed = [field.name for field in fields(SearchTree) if field.name != "name"]
    tree = SearchTree.from_arrays({name: getattr(searched, name)[1] for name in needed})
    assert {getattr(tree, name).shape for name in needed} == {(4, 3)}


def test_other_formats_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"search tree 'a\.txt' ends in '\.txt'; trees are \.png or \.dot\."):
        draw_search_tree(random_tree(0), Path("a.txt"))
