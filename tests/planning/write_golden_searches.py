"""Writes golden/searches.json: what mctx finds in random models, as numbers. Run it where mctx is installed:

    python tests/planning/write_golden_searches.py

A model is a world of numbered states, as `table` draws it from a seed. Gumbel's searches are
`mctx.gumbel_muzero_policy`, given the noise instead of drawing it. PUCT's are `mctx.search` with the score of
`rlsys.planning.puct` in double precision: mctx's own counts the root's evaluation as a visit and normalises values by
siblings, and ours by the bounds of all values that the search has met.

Shape legend: B roots, A actions, N nodes.
"""

import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import mctx
import numpy as np

NUM_STATES, NUM_ROOTS = 97, 4
PB_C_INIT, PB_C_BASE = 1.25, 19652.0


def table(seed: int, num_actions: int, *, masked: bool) -> dict[str, Any]:
    """Draws a model, Gumbel noise and which root actions are masked; the test does the same."""
    rng = np.random.default_rng(seed)
    model = {
        "value": rng.standard_normal(NUM_STATES).astype(np.float32),
        "reward": rng.standard_normal((NUM_STATES, num_actions)).astype(np.float32),
        "prior_logits": rng.standard_normal((NUM_STATES, num_actions)).astype(np.float32),
        "successor": rng.integers(NUM_STATES, size=(NUM_STATES, num_actions)),
        "gumbel": rng.gumbel(size=(NUM_ROOTS, num_actions)),
        "is_masked": (rng.random((NUM_ROOTS, num_actions)) < 0.4) & masked,
    }
    model["is_masked"][np.arange(NUM_ROOTS), rng.integers(num_actions, size=NUM_ROOTS)] = False
    return model


def functions(model: dict[str, Any], discount: float) -> tuple[mctx.RootFnOutput, Any]:
    tables = {name: jnp.asarray(model[name]) for name in ("value", "reward", "prior_logits", "successor")}
    state_B = jnp.arange(NUM_ROOTS)

    def recurrent(params: Any, key: Any, action_B: Any, state_B: Any) -> Any:
        next_B = tables["successor"][state_B, action_B]
        output = mctx.RecurrentFnOutput(
            reward=tables["reward"][state_B, action_B],
            discount=jnp.full(NUM_ROOTS, discount),
            prior_logits=tables["prior_logits"][next_B],
            value=tables["value"][next_B],
        )
        return output, next_B

    masked_logits = jnp.where(model["is_masked"], -jnp.inf, tables["prior_logits"][state_B])
    return mctx.RootFnOutput(prior_logits=masked_logits, value=tables["value"][state_B], embedding=state_B), recurrent


def gumbel(model: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    root, recurrent = functions(model, case["discount"])
    root = root.replace(prior_logits=jnp.asarray(model["prior_logits"])[:NUM_ROOTS])  # mctx masks by itself
    draw, jax.random.gumbel = jax.random.gumbel, lambda *_, **__: jnp.asarray(model["gumbel"])
    output = mctx.gumbel_muzero_policy(
        None,
        jax.random.PRNGKey(0),
        root,
        recurrent,
        case["num_simulations"],
        invalid_actions=jnp.asarray(model["is_masked"]),
        max_num_considered_actions=case["max_num_considered_actions"],
        qtransform=functools.partial(mctx.qtransform_completed_by_mix_value, value_scale=case["value_scale"]),
    )
    jax.random.gumbel = draw
    policy_BA = np.round(np.asarray(output.action_weights, np.float64), 5).tolist()
    return {**told(output.search_tree), "action": output.action.tolist(), "policy": policy_BA}


def puct(model: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    root, recurrent = functions(model, case["discount"])

    def select(key: Any, tree: Any, node: Any, depth: Any) -> Any:
        low, high = tree.extra_data
        visits = jnp.where(node == 0, tree.node_visits[0] - 1, tree.node_visits[node])
        weight = (jnp.log((visits + PB_C_BASE + 1) / PB_C_BASE) + PB_C_INIT) * jnp.sqrt(visits)
        weight = jnp.where(visits == 0, 1.0, weight)
        count_A = tree.children_visits[node]
        value_A = jnp.where(high > low, (tree.qvalues(node) - low) / jnp.where(high > low, high - low, 1.0), 1.0)
        prior_A = jax.nn.softmax(tree.children_prior_logits[node])
        score_A = weight / (count_A + 1) * prior_A + jnp.where(count_A > 0, value_A, 0.0)
        return jnp.argmax(jnp.where((depth == 0) & (tree.root_invalid_actions > 0), -jnp.inf, score_A))

    def widen(tree: Any) -> Any:
        q_BNA = tree.children_rewards + tree.children_discounts * tree.children_values
        low_BNA, high_BNA = (jnp.where(tree.children_visits > 0, q_BNA, end) for end in (jnp.inf, -jnp.inf))
        low_B, high_B = tree.extra_data
        bounds = jnp.minimum(low_B, low_BNA.min(axis=(1, 2))), jnp.maximum(high_B, high_BNA.max(axis=(1, 2)))
        return tree.replace(extra_data=bounds)

    def loop(lower: int, upper: int, body: Any, state: Any) -> Any:
        def simulate(index: Any, state: Any) -> Any:
            key, tree = body(index, state)
            return key, widen(tree)

        return jax.lax.fori_loop(lower, upper, simulate, state)

    tree = mctx.search(
        None,
        jax.random.PRNGKey(0),
        root=root,
        recurrent_fn=recurrent,
        root_action_selection_fn=functools.partial(select, depth=0),
        interior_action_selection_fn=select,
        num_simulations=case["num_simulations"],
        invalid_actions=jnp.asarray(model["is_masked"]),
        extra_data=(jnp.full(NUM_ROOTS, jnp.inf), jnp.full(NUM_ROOTS, -jnp.inf)),
        loop_fn=loop,
    )
    return told(tree)


def told(tree: Any) -> dict[str, Any]:
    """Returns where each node hangs `[B, N]`, and q values of the roots' actions `[B, A]`, 0 where never taken."""
    summary = tree.summary()
    q_BA = np.where(summary.visit_counts > 0, summary.qvalues, 0.0).astype(np.float64)
    return {
        "parent": tree.parents[:, 1:].tolist(),
        "parent_action": tree.action_from_parent[:, 1:].tolist(),
        "q_values": np.round(q_BA, 4).tolist(),
    }


def main() -> None:
    """Writes all cases, a line each."""
    jax.config.update("jax_enable_x64", True)
    lines = []
    for seed, (num_actions, num_simulations) in enumerate([(2, 8), (5, 24), (9, 20), (18, 40)]):
        for masked, discount in [(False, 0.97), (True, 0.97), (False, -1.0), (True, -0.97)]:
            case = {
                "seed": seed,
                "num_actions": num_actions,
                "num_simulations": num_simulations,
                "masked": masked,
                "discount": discount,
                "max_num_considered_actions": 16 if seed % 2 else 4,
                "value_scale": 0.1 if seed < 2 else 1.0,
            }
            model = table(seed, num_actions, masked=masked)
            lines.append(json.dumps({**case, "gumbel": gumbel(model, case), "puct": puct(model, case)}))
    text = "[\n" + ",\n".join(lines) + "\n]\n"
    (Path(__file__).parent / "golden" / "searches.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
