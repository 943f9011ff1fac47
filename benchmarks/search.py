"""Search speed per CPU-second on one thread: simulations with the FC network, and with no network at all.

    OMP_NUM_THREADS=1 python benchmarks/search.py [--chance] [--json FILE]

A simulation is one walk, one call of the model and one backup for one root; 30 of them make a move. The network is
MuZero's FCNetwork on 128-byte observations with random weights, packed as the policy packs it. *share* is the rate of
the search over that of the network's recurrent inference alone on the same batch, both measured in turns. The tree
alone is given outputs drawn beforehand. Each figure is the best of many repetitions: whatever else a machine does only
takes time away. With masks, for two players, with chance, or among drawn actions it is the median of the ratios to the
same search without, in neighbouring turns, times that one's median; of drawn actions it is one among as many fixed
ones, and with chance a simulation is half a step. Peers, on the same kind of machine: upstream's Python tree, mctx
(JAX), and EfficientZero's C++ tree, which are best compared with the rows of their own batch size and number of
actions.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from rows import json_option, publish

from rlsys.algorithms.muzero.actions import action_code
from rlsys.algorithms.muzero.architectures import make_network
from rlsys.algorithms.muzero.branches import make_branches
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.fused.dispatch import Inference, make_inference
from rlsys.algorithms.muzero.networks import Network
from rlsys.planning import puct
from rlsys.planning.mcts import Workspace, gumbel_search, puct_search
from rlsys.planning.model import RecurrentFn, RootOutput
from rlsys.planning.tree import Tree, grow, plant
from rlsys.types import Array, ArraySpec, EnvSpec

_SIMULATIONS, _DISCOUNT = 30, 0.997
_COMMAND = "OMP_NUM_THREADS=1 python benchmarks/search.py"


@dataclass(frozen=True)
class Row:
    """One measurement, in simulations per CPU-second.

    Attributes:
      what: rule, or the tree alone.
      num_roots: roots searched together.
      num_actions: actions that a search branches to.
      precision: of the network's products; empty without a network.
      value: simulations per CPU-second.
      target: what was to be reached; None for rows that stand beside those with a target.
      network: recurrent inferences per CPU-second of the network alone, in the same run.
      share: value / network.
      peers: what others do.
    """

    what: str
    num_roots: int
    num_actions: int
    precision: str
    value: float
    target: float | None
    network: float | None
    share: float | None
    peers: str


def _env(num_actions: int) -> EnvSpec:
    return EnvSpec("ram", ArraySpec((128,), "uint8"), ArraySpec((), "int64"), num_actions, 1, 4, (0.0,), (255.0,))


def _network(env: EnvSpec, config: MuZeroConfig) -> Network:
    torch.manual_seed(0)
    return make_network(config, env)


def _inference(num_actions: int, precision: str) -> Inference:
    config = MuZeroConfig.model_validate({"acting_precision": precision})
    return make_inference(_network(_env(num_actions), config), config)


def _turns(works: list[tuple[Callable[[], object], int]], repetitions: int = 100, seconds: float = 0.01) -> Array:
    """Returns, for each repetition and (work, amount per call), the amount per CPU-second; works take turns."""
    rates = np.zeros((repetitions, len(works)))
    for repetition in range(repetitions):
        for i, (work, amount) in enumerate(works):
            work()
            start, calls = time.process_time(), 0
            while (spent := time.process_time() - start) < seconds:
                work()
                calls += 1
            rates[repetition, i] = calls * amount / spent
    return rates


def _rates(works: list[tuple[Callable[[], object], int]]) -> list[float]:
    """Returns, for each (work, amount per call), the amount per CPU-second in its best repetition."""
    best: list[float] = _turns(works).max(axis=0).tolist()
    return best


def _root(inference: Inference, num_roots: int, generator: torch.Generator) -> RootOutput:
    return inference.initial(torch.randint(256, (num_roots, 128), generator=generator, dtype=torch.uint8))


def _searching(
    rule: str, recurrent_fn: RecurrentFn, begin: Callable[[], RootOutput], **options: object
) -> Callable[[], object]:
    """Returns a search that can be repeated, in memory of its own, each time from what `begin` makes of the roots."""
    size = begin().prior_logits.shape
    options = {"num_simulations": _SIMULATIONS, "discount": _DISCOUNT, "workspace": Workspace(), **options}
    noise_BA = np.random.default_rng(2).dirichlet(np.full(size[1], 0.25), size=size[0])
    gumbel_BA = np.random.default_rng(3).gumbel(size=size)

    def search() -> object:
        if rule == "gumbel":
            return gumbel_search(recurrent_fn, begin(), gumbel_BA=gumbel_BA, **options)
        return puct_search(recurrent_fn, begin(), noise_BA=noise_BA, **options)

    return search


def _variant_rows(rule: str, num_roots: int, num_actions: int) -> list[Row]:
    """Measures masks, and two players, against neither: medians of the ratios of neighbouring turns."""
    inference, generator = _inference(num_actions, "fp32"), torch.Generator().manual_seed(1)
    root = _root(inference, num_roots, generator)
    root = RootOutput(*(part.clone() for part in root))
    mask_BA = torch.rand((num_roots, num_actions), generator=generator) < 0.7
    mask_BA[:, 0] = True

    def masked() -> RootOutput:
        return root._replace(prior_logits=root.prior_logits.masked_fill(~mask_BA, -torch.inf))

    searches = [
        _searching(rule, inference.recurrent, lambda: root),
        _searching(rule, inference.recurrent, masked),
        _searching(rule, inference.recurrent, lambda: root, discount=-_DISCOUNT),
    ]
    amount = num_roots * _SIMULATIONS
    with torch.inference_mode():
        rates = _turns([(search, amount) for search in searches])
    plain = float(np.median(rates[:, 0]))
    shares = np.median(rates[:, 1:] / rates[:, :1], axis=0)
    return [
        Row(
            f"{rule}, {name}",
            num_roots,
            num_actions,
            "fp32",
            share * plain,
            0.95 * plain,
            None,
            None,
            f"{share:.1%} of the same without",
        )
        for name, share in zip(("masks", "two players"), shares.tolist(), strict=True)
    ]


def _drawn_row(rule: str, num_roots: int, num_samples: int, num_numbers: int) -> Row:
    """Measures a search among draws of actions that are numbers, against one among as many discrete actions."""
    bounds = {"action_low": (-1.0,) * num_numbers, "action_high": (1.0,) * num_numbers}
    env = EnvSpec("ram", ArraySpec((128,), "uint8"), ArraySpec((num_numbers,), "float32"), 0, 1, 4, (0.0,), (255.0,))
    env, config = replace(env, **bounds), MuZeroConfig(sampled_actions=num_samples)
    network = _network(env, config)
    plain, drawing = _inference(num_samples, "fp32"), make_inference(network, config)
    generator, rng = torch.Generator().manual_seed(1), np.random.default_rng(4)
    branches = make_branches(network, drawing, config, action_code(config, env))
    roots = [RootOutput(*(part.clone() for part in _root(kind, num_roots, generator))) for kind in (plain, drawing)]
    searches = [
        _searching(rule, plain.recurrent, lambda: roots[0]),
        _searching(rule, branches.recurrent, lambda: branches.root(roots[1], rng)),
    ]
    with torch.inference_mode():
        rates = _turns([(search, num_roots * _SIMULATIONS) for search in searches])
    plain_rate, share = float(np.median(rates[:, 0])), float(np.median(rates[:, 1] / rates[:, 0]))
    what = f"{rule}, drawn, {num_numbers} number{'s' * (num_numbers > 1)}"
    peers = f"{share:.1%} of as many fixed ones"
    return Row(what, num_roots, num_samples, "fp32", share * plain_rate, 0.8 * plain_rate, None, None, peers)


def _chance_row(rule: str, num_roots: int, num_actions: int, num_codes: int) -> Row:
    """Measures a search with chance against one without, of as many simulations."""
    env, config = _env(num_actions), MuZeroConfig(chance_codes=num_codes)
    network, generator = _network(env, config), torch.Generator().manual_seed(1)
    plain, inference = _inference(num_actions, "fp32"), make_inference(network, config)
    branches = make_branches(network, inference, config, action_code(config, env))
    roots = [RootOutput(*(part.clone() for part in _root(kind, num_roots, generator))) for kind in (plain, inference)]
    halves = {"discount": branches.discount, "chance_after": branches.chance_after}
    searches = [
        _searching(rule, plain.recurrent, lambda: roots[0]),
        _searching(rule, branches.recurrent, lambda: branches.root(roots[1], None), **halves),
    ]
    with torch.inference_mode():
        rates = _turns([(search, num_roots * _SIMULATIONS) for search in searches])
    plain_rate, share = float(np.median(rates[:, 0])), float(np.median(rates[:, 1] / rates[:, 0]))
    what, peers = f"{rule}, chance of {num_codes}", f"{share:.1%} of the same without"
    return Row(what, num_roots, num_actions, "fp32", share * plain_rate, None, None, None, peers)


def _search_row(rule: str, num_roots: int, num_actions: int, precision: str, target: float | None, peers: str) -> Row:
    """Measures search and network, the latter on the embeddings and actions of one search."""
    inference = _inference(num_actions, precision)
    generator = torch.Generator().manual_seed(1)
    root = _root(inference, num_roots, generator)
    action_B = torch.randint(num_actions, (num_roots,), generator=generator)
    search = _searching(rule, inference.recurrent, lambda: root)

    def network() -> None:
        for _ in range(_SIMULATIONS):
            inference.recurrent(root.embedding, action_B)

    amount = num_roots * _SIMULATIONS
    with torch.inference_mode():
        value, alone = _rates([(search, amount), (network, amount)])
    return Row(rule, num_roots, num_actions, precision, value, target, alone, value / alone, peers)


def _tree_row(num_roots: int, num_actions: int, target: float | None, peers: str) -> Row:
    """Measures the tree with values, rewards and priors that were drawn before."""
    rng = np.random.default_rng(0)
    num_nodes = _SIMULATIONS + 1
    value_NB = rng.standard_normal((num_nodes, num_roots)).astype(np.float32)
    reward_NB = rng.standard_normal((num_nodes, num_roots)).astype(np.float32)
    logits_NBA = rng.standard_normal((num_nodes, num_roots, num_actions)).astype(np.float32)
    outputs = list(zip(value_NB, reward_NB, logits_NBA, strict=True))
    no_embedding = np.empty((num_roots, 0), np.float32)
    tree = Tree.allocate(num_roots, num_nodes, num_actions, num_features=0)
    exploration = puct.exploration_weights(_SIMULATIONS, 19652.0, 1.25)

    def search() -> None:
        plant(tree, value_NB[0], logits_NBA[0], no_embedding)
        for leaf in range(1, num_nodes):
            puct.select(tree, exploration, 0.0)
            value_B, reward_B, logits_BA = outputs[leaf]
            grow(tree, leaf, value_B, reward_B, logits_BA, no_embedding, _DISCOUNT)

    (value,) = _rates([(search, num_roots * _SIMULATIONS)])
    return Row("tree alone", num_roots, num_actions, "", value, target, None, None, peers)


def measure_chance() -> list[Row]:
    """Measures the rows with chance."""
    torch.set_num_threads(1)
    return [_chance_row("puct", 64, 4, 32), _chance_row("gumbel", 64, 4, 32)]


def measure() -> list[Row]:
    """Measures all rows."""
    torch.set_num_threads(1)
    return [
        _search_row("puct", 64, 4, "fp32", 150_000, "upstream 2,900 · mctx 89,000"),
        _search_row("puct", 64, 4, "bf16", None, "upstream 2,900 · mctx 89,000"),
        _search_row("gumbel", 64, 4, "fp32", None, "mctx 167,000"),
        _search_row("puct", 1, 4, "fp32", 12_000, "upstream 2,900 · mctx 16,000"),
        _search_row("puct", 64, 18, "fp32", 60_000, "mctx 26,000"),
        _search_row("puct", 128, 4, "fp32", None, ""),
        _search_row("puct", 128, 4, "bf16", None, ""),
        _search_row("puct", 256, 4, "bf16", None, ""),
        _tree_row(64, 4, 4_000_000, "EfficientZero's C++ 802,000"),
        _tree_row(64, 18, 1_500_000, "EfficientZero's C++ 235,000"),
        _tree_row(1, 4, None, ""),
        *_variant_rows("puct", 64, 9),
        *_variant_rows("gumbel", 64, 9),
        _drawn_row("puct", 64, 18, 1),
        _drawn_row("puct", 64, 18, 6),
        _drawn_row("gumbel", 64, 18, 1),
        *measure_chance(),
    ]


def main() -> None:
    """Prints a line per row; `--json FILE` appends them as JSON lines, too."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    json_option(parser)
    parser.add_argument("--chance", action="store_true", help="the rows with chance alone")
    options = parser.parse_args()
    header = f"{'':20} roots actions       simulations/s   to reach   network alone  share  peers"
    command = f"{_COMMAND} --chance" if options.chance else _COMMAND
    publish(options.json, measure_chance() if options.chance else measure(), _line, header=header, command=command)


def _line(row: Row) -> str:
    target = f"{row.target:,.0f}" if row.target else ""
    network = f"{row.network:,.0f} {row.share:6.1%}" if row.network and row.share else " " * 6
    return (
        f"{row.what:20} {row.num_roots:5} {row.num_actions:7} {row.precision:4} {row.value:14,.0f} {target:>10} "
        f"{network:>22}  {row.peers}"
    )


if __name__ == "__main__":
    main()
