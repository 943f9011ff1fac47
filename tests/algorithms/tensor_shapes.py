"""What tensors there are when an algorithm decides and learns once: name -> tensor or array, for the tables of shapes.

Functions of the learners and networks are called as the learners call them, with a batch that was really collected.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from rlsys.algorithms.iris.imagination import imagine, judge
from rlsys.algorithms.muzero.targets import make_targets
from rlsys.algorithms.simple.phases import unrolls_of_turn
from rlsys.algorithms.simple.simulated_experience import simulate
from rlsys.testing.training import Rank
from rlsys.types import Batch

Tensors = dict[str, Any]


def of_decision(rank: Rank) -> Tensors:
    """What goes into a policy and comes out of it."""
    decision = rank.actor.decide(rank.env.observation, explore=True)
    said = {"action": decision.action, **decision.extras, **decision.state}
    if decision.priority is not None:
        said["priority"] = decision.priority
    return {"decide: observation": rank.env.observation, **{f"decide: {name}": value for name, value in said.items()}}


def of_batch(batch: Batch, *names: str) -> Tensors:
    """What a learner samples."""
    columns = {name: getattr(batch, name) for name in ("observation", "action", "reward", "terminated", "truncated")}
    more = {name: getattr(batch, name) for name in names}
    return {f"batch: {name}": value for name, value in {**columns, **more, **batch.extras, **batch.state}.items()}


def of_muzero(rank: Rank, batch: Batch) -> Tensors:
    learner, policy = rank.learner, rank.policy
    config, network = learner._config, learner._model.network
    root = policy._model.initial(torch.from_numpy(rank.env.observation))
    result = policy._result
    targets = make_targets(
        batch,
        learner._code,
        num_unroll_steps=config.num_unroll_steps,
        td_steps=config.td_steps,
        discount=config.discount,
        rng=np.random.default_rng(0),
    )
    observation, action_BK = torch.from_numpy(batch.observation[:, 0]), torch.from_numpy(targets.action)
    state = network.represent(observation)
    after, features = network.transition(state, action_BK[:, 0])
    _, priority_B = rank.replay.priorities[-1]
    prefix = {}
    if network.prefix is not None:
        prefix = {"input of the LSTM": network.predict_reward(features), "memory": network.prefix.begin(state)}
    return {
        **{f"prefix: {name}": value for name, value in prefix.items()},
        **{f"search: root {name}": value for name, value in root._asdict().items()},
        "search: embeddings of all nodes": result.tree.embedding,
        "search: edges": result.tree.edges,
        "search: visit_counts": result.visit_counts,
        "search: root_value": result.root_value,
        **of_batch(batch, "probability", "key", "num_rows", "age"),
        **{f"target: {name}": value for name, value in vars(targets).items()},
        "network: state": state,
        "network: next state": after,
        "network: input of the reward": features,
        **{f"unroll: {name}": value for name, value in learner._unroll(observation, action_BK)._asdict().items()},
        "update: priorities": priority_B,
    }


def of_impala(rank: Rank, batch: Batch) -> Tensors:
    learner = rank.learner
    network, device = learner._model.network, torch.device("cpu")
    observation = torch.from_numpy(batch.observation)
    first_BT = torch.zeros(observation.shape[:2], dtype=torch.bool, device=device)
    memory = {name: torch.from_numpy(batch.state[name]) for name in batch.state if name != "last_reward"}
    reward_BT = torch.zeros(observation.shape[:2])
    output, unrolled = learner._evaluate(observation, reward_BT, first_BT, memory)
    found = {
        **of_batch(batch),
        "network: features": network.see(observation.flatten(end_dim=1)),
        "unroll: output of the core": unrolled.output,
        **{f"unroll: {name}": value for name, value in output._asdict().items()},
    }
    if learner._history is not None:
        for layer in network.core.each_layer():
            table = layer.no_history(len(batch.reward))
            found |= {f"sensitivities: {name}": value for name, value in table.named().items()}
    return found


def of_ppo(rank: Rank, batch: Batch) -> Tensors:
    updates = rank.learner._updates
    experience = updates.experience(batch, torch.from_numpy)
    rows = updates._prepare(experience)
    minibatch = rows.at(next(iter(updates._minibatches(len(experience.reward)))))
    output = updates.actor_critic.network.judge(minibatch.observation)
    return {
        **of_batch(batch),
        **{f"experience: {name}": value for name, value in vars(experience).items()},
        "iteration: prepared observations": rows.observation,
        "iteration: advantage": rows.advantage,
        "iteration: target": rows.target,
        "minibatch: observation": minibatch.observation,
        "minibatch: action": minibatch.action,
        "minibatch: advantage": minibatch.advantage,
        **{f"minibatch: {name}": value for name, value in output._asdict().items()},
    }


def of_simple(rank: Rank, batch: Batch) -> Tensors:
    learner = rank.learner
    config, model = learner._config, learner._world_updates.model.network
    query = learner._query(config.world_model.batch_size, 4 + config.world_model.target_frames)
    clips = rank.replay.sequences(query)
    frame, action, _ = learner._on_device(clips)
    frame = frame.reshape(*frame.shape[:2], -1, *frame.shape[-2:])
    memory, step = model.no_memory(len(frame)), torch.tensor(0.0)
    prediction = model(frame[:, 0], action[:, 0], memory, frame[:, 1], step)
    history = learner._starts(rank.replay)
    experience = simulate(
        learner._world, learner._policy_updates, history, config.simulated_rollout_length, 1, learner._seen
    )
    standard = frame[:, 0].float()
    read = model.latents.posterior(standard, standard, model.action(action[:, 0]), step)
    return {
        **of_batch(rank.replay.collected(*unrolls_of_turn(config))),
        "clip: observation": clips.observation,
        "clip: action": clips.action,
        "clip: reward": clips.reward,
        "world model: frame": frame[:, 0],
        "world model: memory": prediction.memory,
        "world model: bits": read.bits,
        "world model: pixel_logits": prediction.pixel_logits,
        "world model: reward_logits": prediction.reward_logits,
        "world model: next frame": prediction.frame,
        "world model: reward": prediction.reward,
        **{f"world: {name}": value for name, value in learner._world.begin(*history).items()},
        **{f"simulated experience: {name}": value for name, value in vars(experience).items()},
    }


def of_planet(rank: Rank, drawn: Any) -> Tensors:
    learner = rank.learner
    windows = learner._windows(drawn)
    decoded, states = learner._follow(windows)
    world = learner._world
    state = world.begin(torch.from_numpy(drawn.observation[:, :5]), torch.from_numpy(drawn.action[:, :4]))
    after, step = world.step(state, torch.from_numpy(drawn.action[:, 4]))
    return {
        **{f"window: {name}": getattr(drawn, name) for name in ("observation", "action", "reward")},
        **{f"model: {name}": getattr(windows, name) for name in ("shown", "action", "reward", "is_frame")},
        "model: decoded": decoded,
        "model: prior mean": states.prior["mean"],
        "model: posterior sample": states.posterior["sample"],
        "model: posterior belief": states.posterior["belief"],
        **{f"world: {name}": after[name] for name in ("sample", "belief")},
        "world: observation": world.observe(after),
        "world: reward": step.reward,
    }


def of_iris(rank: Rank, batch: Batch) -> Tensors:
    learner = rank.learner
    tokenizer, model = learner._tokenizer.tokenizer, learner._world_model.model.network
    drawn = {kind: rank.replay.sequences(learner._query(kind)) for kind in ("tokenizer", "world_model", "actor_critic")}
    frames, windows, begun = (learner._windows(sequences) for sequences in drawn.values())
    seen = tokenizer(frames.frame[:, 0])
    tokens = tokenizer.encode(windows.frame)
    agent, horizon = learner._actor_critic.model.network, learner._config.actor_critic.horizon
    dream = imagine(tokenizer, model, agent, begun.frame, begun.mask, horizon)
    dreamed = {name: part for name, part in dream._asdict().items() if name != "memory"}
    shown = torch.from_numpy(drawn["world_model"].observation[:, :2])
    state = learner._world.begin(shown, windows.action[:, :1])
    after, step = learner._world.step(state, windows.action[:, 1])
    return {
        **{f"tokenizer: {name}": getattr(seen, name) for name in ("frames", "encoded", "decoded")},
        **{f"tokenizer: {name}": getattr(seen.quantized, name) for name in ("tokens", "embedded")},
        **{f"window: {name}": part for name, part in windows._asdict().items()},
        "world model: tokens": tokens,
        **{f"world model: {name}": part for name, part in model.foretell(tokens, windows.action)._asdict().items()},
        "dream: frames that it begins after": begun.frame,
        "dream: hidden": dream.memory.hidden,
        **{f"dream: {name}": part for name, part in {**dreamed, **judge(agent, dream)._asdict()}.items()},
        "dream: policy": agent.judge_all(dream.frames, dream.memory).policy,
        **{f"world: {name}": part for name, part in after.items()},
        "world: observation": learner._world.observe(after),
        **{f"world: {name}": part for name, part in step._asdict().items()},
    }


MEASURED: dict[str, Callable[[Rank, Batch], Tensors]] = {
    "muzero": of_muzero,
    "impala": of_impala,
    "ppo": of_ppo,
    "simple": of_simple,
    "planet": of_planet,
    "iris": of_iris,
}
