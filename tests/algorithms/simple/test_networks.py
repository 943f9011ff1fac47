"""The world model's network, against the specification's numbers."""

import pytest
import torch
from support.worlds import ATARI, DETERMINISTIC, SMALL_DETERMINISTIC, STOCHASTIC, TINY, clips
from torch.utils.flop_counter import FlopCounterMode

from rlsys.algorithms.simple.config import WorldModelConfig
from rlsys.algorithms.simple.networks import WorldModel


def count(network: torch.nn.Module) -> float:
    """Returns millions of parameters."""
    return sum(parameter.numel() for parameter in network.parameters()) / 1e6


@pytest.mark.parametrize(
    ("config", "millions", "gigaflops"),
    [
        (STOCHASTIC, 90.3, 12.36),
        (DETERMINISTIC, 11.2, 3.89),
        (TINY, 0.29, 0.88),
        (STOCHASTIC.model_copy(update={"num_compress_steps": 5}), 73.6, None),
    ],
)
def test_sizes_are_upstreams(config: WorldModelConfig, millions: float, gigaflops: float | None) -> None:
    with torch.device("meta"):
        network = WorldModel(config, 3, ATARI, num_actions=6).eval()
        assert count(network) == pytest.approx(millions, rel=0.02)
        if gigaflops is None:
            return
        memory = torch.zeros(1, 64, *ATARI) if config is STOCHASTIC else torch.zeros(1, 3, 3, *ATARI)
        frame, action = torch.zeros(1, 3, *ATARI), torch.zeros(1, dtype=torch.int64)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            prediction = network(frame, action, memory)
    assert counter.get_total_flops() / 1e9 == pytest.approx(gigaflops, rel=0.01)
    assert prediction.pixel_logits.shape == (1, *ATARI, 3, 256)
    assert prediction.frame.shape == (1, 3, *ATARI)
    assert prediction.reward_logits.shape == (1, 3)


def test_the_deterministic_model_sees_four_frames_and_nothing_else() -> None:
    network = WorldModel(SMALL_DETERMINISTIC, 1, (20, 16), 3).eval()
    frames, actions, _ = clips(2, 5)
    with torch.no_grad():
        ours = network(frames[:, 4], actions[:, 4], network.begin(frames[:, 1:])).pixel_logits
        other = frames.clone()
        other[:, 1] = 255 - other[:, 1]
        theirs = network(frames[:, 4], actions[:, 4], network.begin(other[:, 1:])).pixel_logits
    assert not torch.equal(ours, theirs)
    assert network.begin(frames[:, 1:]).shape == (2, 3, 1, 20, 16)


def test_a_prediction_is_the_likeliest_value_and_reward() -> None:
    network = WorldModel(SMALL_DETERMINISTIC, 1, (20, 16), 3).eval()
    frames, actions, _ = clips(2, 4)
    with torch.no_grad():
        prediction = network(frames[:, 3], actions[:, 3], frames[:, :3])
    assert torch.equal(prediction.frame[0, 0, 3, 5].long(), prediction.pixel_logits[0, 3, 5, 0].argmax())
    assert torch.equal(prediction.reward, prediction.reward_logits.argmax(dim=1).float() - 1.0)
