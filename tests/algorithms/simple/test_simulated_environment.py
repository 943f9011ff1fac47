"""The simulated environment, against calls of the network one by one."""

import torch
from support.simple_models import FLOAT, SMALL, SMALL_DETERMINISTIC, clips

from rlsys.algorithms.simple.networks import WorldModel
from rlsys.algorithms.simple.simulated_environment import SimulatedEnvironment


def test_a_state_kept_is_the_state_of_the_whole_history() -> None:
    network = WorldModel(SMALL, 1, (20, 16), 3).eval()
    frames, actions, _ = clips(2, 7)
    simulation = SimulatedEnvironment(network, network, FLOAT)
    simulation.begin(frames[:, :4])
    torch.manual_seed(0)
    first, _ = simulation.step(actions[:, 3])
    second = simulation.step(actions[:, 4])[0]
    torch.manual_seed(0)
    with torch.no_grad():
        assert torch.equal(first, network(frames[:, 3], actions[:, 3], network.begin(frames[:, :4])).frame)
        history = torch.cat([frames[:, :4], first[:, None]], dim=1)
        assert torch.equal(second, network(history[:, -1], actions[:, 4], network.begin(history)).frame)
    assert torch.equal(simulation.stack[:, :2], frames[:, 2:4])


def test_what_the_model_is_unsure_of_can_be_rewarded() -> None:
    network = WorldModel(SMALL_DETERMINISTIC, 1, (20, 16), 3).eval()
    frames, actions, _ = clips(2, 4)
    rewards = []
    for scale in (0.0, 1e-3):
        simulation = SimulatedEnvironment(network, network, FLOAT, intrinsic_reward_scale=scale)
        simulation.begin(frames)
        rewards.append(simulation.step(actions[:, 3])[1])
    with torch.no_grad():
        logits = network(frames[:, 3], actions[:, 3], frames[:, :3]).pixel_logits
    surprise = -torch.log_softmax(logits, dim=-1).amax(dim=-1)
    expected = 1e-3 * (surprise - 0.02).clamp_min(0).flatten(start_dim=1).sum(dim=1) / 10
    torch.testing.assert_close(rewards[1] - rewards[0], expected.clamp(max=1.0))
