"""Simulated experience: it is what the policy says, and what the world model answers."""

import torch
from algorithms.simple.small_learners import SMALL, Collected, make_learner

from rlsys.algorithms.simple.simulated_experience import simulate


def test_rows_hold_what_the_policy_said_and_what_the_world_model_answered() -> None:
    learner, replay = make_learner(), Collected()
    for _ in range(2):
        learner.step(replay)
    policy, history = learner._policy_updates, learner._starts(replay)
    size = SMALL.simulated_batch_size
    torch.manual_seed(0)
    done = simulate(learner._world, policy, history, 5, 1, learner._seen)
    assert done.observation.shape == (5, size, 4, 20, 16)
    assert torch.equal(done.observation[0], history[0])
    assert torch.equal(done.observation[1:, :, :-1], done.observation[:-1, :, 1:]), "each sees the last four frames"
    epochs = torch.ones(size, dtype=torch.int64)
    with torch.no_grad():
        for t in range(5):
            output = policy.actor_critic.network(done.observation[t], epochs)
            log_policy = torch.log_softmax(output.policy, dim=1).gather(1, done.action[t][:, None])[:, 0]
            torch.testing.assert_close(done.log_probability[t], log_policy)
            torch.testing.assert_close(done.value[t], output.value)
    assert done.value.shape == (6, size)
    assert done.mask.all()
    assert not done.terminated.any()
