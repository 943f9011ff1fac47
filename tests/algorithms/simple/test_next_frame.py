"""The next-frame models against the specification's numbers and against slower ways to the same."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from rlsys.algorithms.simple.adafactor import Adafactor
from rlsys.algorithms.simple.config import WorldModelConfig
from rlsys.algorithms.simple.latents import Posterior, _bits, _symbols
from rlsys.algorithms.simple.next_frame import NextFrame
from rlsys.algorithms.simple.simulation import Simulation
from rlsys.algorithms.simple.world_model import WorldModelUpdates, _clipped
from rlsys.api import LearnerContext
from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec
from rlsys.nets.precision import autocast

ATARI = (105, 80)
STOCHASTIC = WorldModelConfig()
DETERMINISTIC = WorldModelConfig(
    generative_model="deterministic", target_frames=1, hidden_size=64, filter_double_steps=2, dropout=0.1
)
TINY = DETERMINISTIC.model_copy(
    update={"hidden_size": 32, "num_hidden_layers": 1, "num_compress_steps": 2, "filter_double_steps": 1}
)
SMALL = WorldModelConfig(
    hidden_size=8,
    num_compress_steps=2,
    filter_double_steps=1,
    recurrent_state_size=4,
    bottleneck_bits=8,
    discriminator_size=4,
    latent_predictor_state_size=8,
    target_frames=3,
)
SMALL_DETERMINISTIC = SMALL.model_copy(update={"generative_model": "deterministic", "target_frames": 2})
CATCH = env_spec(EnvConfig(id="catch", stack_states=4, clip_rewards=True))
FLOAT = autocast("fp32", torch.device("cpu"))


def count(network: torch.nn.Module) -> float:
    """Returns millions of parameters."""
    return sum(parameter.numel() for parameter in network.parameters()) / 1e6


def clips(batch: int, length: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (batch, length, 1, 20, 16), dtype=torch.uint8, generator=generator)
    actions = torch.randint(0, 3, (batch, length), generator=generator)
    return frames, actions, torch.randint(-1, 2, (batch, length), generator=generator).float()


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
        network = NextFrame(config, 3, ATARI, num_actions=6).eval()
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


def test_a_state_kept_is_the_state_of_the_whole_history() -> None:
    network = NextFrame(SMALL, 1, (20, 16), 3).eval()
    frames, actions, _ = clips(2, 7)
    simulation = Simulation(network, network, FLOAT)
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
    network = NextFrame(SMALL_DETERMINISTIC, 1, (20, 16), 3).eval()
    frames, actions, _ = clips(2, 4)
    rewards = []
    for scale in (0.0, 1e-3):
        simulation = Simulation(network, network, FLOAT, intrinsic_reward_scale=scale)
        simulation.begin(frames)
        rewards.append(simulation.step(actions[:, 3])[1])
    with torch.no_grad():
        logits = network(frames[:, 3], actions[:, 3], frames[:, :3]).pixel_logits
    surprise = -torch.log_softmax(logits, dim=-1).amax(dim=-1)
    expected = 1e-3 * (surprise - 0.02).clamp_min(0).flatten(start_dim=1).sum(dim=1) / 10
    torch.testing.assert_close(rewards[1] - rewards[0], expected.clamp(max=1.0))


def test_the_deterministic_model_sees_four_frames_and_nothing_else() -> None:
    network = NextFrame(SMALL_DETERMINISTIC, 1, (20, 16), 3).eval()
    frames, actions, _ = clips(2, 5)
    with torch.no_grad():
        ours = network(frames[:, 4], actions[:, 4], network.begin(frames[:, 1:])).pixel_logits
        other = frames.clone()
        other[:, 1] = 255 - other[:, 1]
        theirs = network(frames[:, 4], actions[:, 4], network.begin(other[:, 1:])).pixel_logits
    assert not torch.equal(ours, theirs)
    assert network.begin(frames[:, 1:]).shape == (2, 3, 1, 20, 16)


def test_a_prediction_is_the_likeliest_value_and_reward() -> None:
    network = NextFrame(SMALL_DETERMINISTIC, 1, (20, 16), 3).eval()
    frames, actions, _ = clips(2, 4)
    with torch.no_grad():
        prediction = network(frames[:, 3], actions[:, 3], frames[:, :3])
    assert torch.equal(prediction.frame[0, 0, 3, 5].long(), prediction.pixel_logits[0, 3, 5, 0].argmax())
    assert torch.equal(prediction.reward, prediction.reward_logits.argmax(dim=1).float() - 1.0)


def test_what_is_good_enough_has_no_gradient() -> None:
    loss = torch.tensor([0.029, 0.01, 0.5], requires_grad=True)
    _clipped(loss, 0.03).backward()
    assert loss.grad is not None
    assert loss.grad.tolist() == pytest.approx([0.0, 0.0, 1 / 3])


def test_bits_and_symbols_are_the_same_code() -> None:
    symbols = torch.arange(256)[:, None].repeat(1, 2)
    bits = _bits(symbols)
    assert bits.shape == (256, 16)
    assert torch.equal(_symbols(bits), symbols)
    assert bits[1, :8].tolist() == [1, -1, -1, -1, -1, -1, -1, -1], "the lowest bit comes first"


def posterior(config: WorldModelConfig) -> Posterior:
    torch.manual_seed(0)
    return Posterior(config, num_channels=1, num_features=8, size=(20, 16))


def test_bits_are_read_rounded_in_the_end_and_pass_gradients() -> None:
    reader = posterior(SMALL.model_copy(update={"bottleneck_noise": 0.0}))
    frame, after, action = torch.randn(6, 1, 20, 16), torch.randn(6, 1, 20, 16), torch.randn(6, 8)
    soft = reader(frame, after, action, torch.tensor(0.0)).bits
    assert (soft.abs() < 1).float().mean() > 0.9
    read = reader(frame, after, action, torch.tensor(40_000.0))
    assert set(read.bits.detach().flatten().tolist()) <= {-1.0, 1.0}
    read.bits.sum().backward()
    gradient = reader.embed.weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0
    reader._bits.weight.data *= 100  # the noise no longer turns a sign
    read = reader(frame, after, action, torch.tensor(40_000.0))
    assert torch.equal(read.bits.detach(), read.clean)


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_the_noise_before_rounding_does_not_depend_on_the_share_of_bits_that_are_flipped(share: float) -> None:
    reader = posterior(SMALL.model_copy(update={"bottleneck_noise": share}))
    for parameter in reader._bits.parameters():
        parameter.data.zero_()
    frames = torch.randn(2, 500, 1, 20, 16)
    bits = reader(*frames, torch.randn(500, 8), torch.tensor(0.0)).bits.detach()
    noise = bits[bits.abs() < 1].atanh()
    assert noise.abs().max() <= 0.4 + 1e-6, "two deviations"
    assert noise.std() == pytest.approx(0.2 * 0.88, rel=0.05)


@pytest.mark.parametrize("config", [SMALL, SMALL_DETERMINISTIC])
def test_a_model_learns_a_clip(config: WorldModelConfig) -> None:
    changes = {"learning_rate": 0.02, "learning_rate_warmup_steps": 5, "dropout": 0.0, "residual_dropout": 0.0}
    updates = WorldModelUpdates(config.model_copy(update=changes), LearnerContext(None, CATCH, seed=0))
    frames, actions, rewards = clips(2, 4 + config.target_frames)
    frames = frames // 128 * 255
    torch.manual_seed(0)
    losses = [updates.step(frames, actions, rewards) for _ in range(60)]
    assert losses[-1]["world/loss_pixels"] < 0.5 * losses[0]["world/loss_pixels"]
    assert losses[-1]["world/loss_reward"] < losses[0]["world/loss_reward"]
    expected = {"world/loss", "world/loss_pixels", "world/loss_reward", "world/gradient_norm", "world/learning_rate"}
    if config is SMALL:
        expected |= {"world/loss_bits", "world/loss_given"}
    assert set(losses[0]) == expected


@pytest.mark.parametrize("config", [SMALL, SMALL_DETERMINISTIC.model_copy(update={"scheduled_sampling": "none"})])
def test_frames_that_are_predicted_from_all_at_once_are_predicted_alike(config: WorldModelConfig) -> None:
    changes = {"dropout": 0.0, "residual_dropout": 0.0, "latent_use_max_probability": 0.0, "scheduled_sampling": "none"}
    config = config.model_copy(update=changes)
    updates = WorldModelUpdates(config, LearnerContext(None, CATCH, seed=0))
    frames, actions, rewards = clips(2, 4 + config.target_frames)
    is_recurrent = config is not SMALL_DETERMINISTIC and config.generative_model == "stochastic_discrete"
    updates.num_updates = 100_000
    losses = updates._losses(frames, actions, rewards)
    network, step = updates.model.network, torch.tensor(100_000.0)
    memory = network.no_memory(2) if is_recurrent else frames[:, :3]
    pixels, values = [], []
    for index in range(0 if is_recurrent else 3, frames.shape[1] - 1):
        after = frames[:, index + 1]
        prediction = network(frames[:, index], actions[:, index], memory, after if is_recurrent else None, step)
        memory = prediction.memory
        expected = torch.nn.functional.cross_entropy(
            prediction.pixel_logits.movedim(-1, 1), after.movedim(1, -1).long(), reduction="none"
        )
        pixels.append(_clipped(expected, config.loss_cutoff))
        classes = (rewards[:, index] + 1).long()
        chosen = torch.nn.functional.cross_entropy(prediction.reward_logits, classes, reduction="none")
        values.append(_clipped(chosen, config.loss_cutoff))
    targets = config.target_frames
    torch.testing.assert_close(losses["world/loss_pixels"], torch.stack(pixels[-targets:]).mean())
    torch.testing.assert_close(losses["world/loss_reward"], torch.stack(values[-targets:]).mean())
    if is_recurrent:
        torch.testing.assert_close(losses["world/loss_given"], torch.stack(pixels[:-targets]).mean())


def test_noise_replaces_pixels_of_the_given_frames_by_the_median() -> None:
    config = SMALL_DETERMINISTIC.model_copy(update={"input_noise": 0.3})
    updates = WorldModelUpdates(config, LearnerContext(None, CATCH, seed=0))
    frames, _, _ = clips(3, 6)
    noisy = updates._with_noise(frames)
    assert torch.equal(noisy[:, 4:], frames[:, 4:])
    changed = noisy[:, :4] != frames[:, :4]
    assert 0.2 < changed.float().mean() < 0.35
    assert noisy[:, :4][changed].unique().tolist() == [int(frames[:, :4].float().median())]


def test_an_update_that_is_not_finite_changes_nothing() -> None:
    updates = WorldModelUpdates(SMALL, LearnerContext(None, CATCH, seed=0))
    before = updates.save()[0]["parameters"]
    frames, actions, rewards = clips(2, 7)
    updates.model.network.pixels.bias.data.fill_(math.nan)
    metrics = updates.step(frames, actions, rewards)
    assert math.isnan(metrics["world/loss"])
    after = updates.save()[0]["parameters"]
    assert all(np.array_equal(before[name], after[name]) for name in before if name != "pixels.bias")


def test_adafactor_follows_its_equations() -> None:
    rng = np.random.default_rng(0)
    shapes = {"kernel": (4, 3, 2, 2), "matrix": (5, 3), "bias": (6,)}
    start = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    parameters = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in start.items()}
    optimizer = Adafactor(parameters)
    moments: dict[str, list[np.ndarray]] = {}
    for step in range(1, 4):
        keep = 1 - step**-0.8
        for name, parameter in parameters.items():
            gradient = rng.normal(size=shapes[name])
            parameter.grad = torch.tensor(gradient)
            square = gradient**2 + 1e-30
            by_rows_and_columns = (1, 0)
            seen = [square] if name == "bias" else [square.mean(axis=axis) for axis in by_rows_and_columns]
            old = moments.get(name, [np.zeros_like(each) for each in seen])
            moments[name] = [keep * was + (1 - keep) * now for was, now in zip(old, seen, strict=True)]
            if name == "bias":
                second = moments[name][0]
            else:
                by_output, by_input = moments[name]
                second = by_output[:, None] * by_input[None] / by_output.mean(axis=0)
            update = gradient / np.sqrt(second)
            update /= max(1.0, np.sqrt((update**2).mean()))
            start[name] = start[name] - 0.01 * max(1e-3, np.sqrt((start[name] ** 2).mean())) * update
        optimizer.step(0.01)
    for name, parameter in parameters.items():
        np.testing.assert_allclose(parameter.detach().numpy(), start[name], rtol=1e-9)
    twins = {name: parameter.detach().clone().requires_grad_() for name, parameter in parameters.items()}
    again = Adafactor(twins)
    again.load(optimizer.save())
    for name, parameter in parameters.items():
        parameter.grad = torch.tensor(rng.normal(size=shapes[name]))
        twins[name].grad = parameter.grad.clone()
    optimizer.step(0.01)
    again.step(0.01)
    assert all(torch.equal(parameters[name], twins[name]) for name in parameters)


def test_the_first_update_of_a_model_moves_nothing() -> None:
    updates = WorldModelUpdates(SMALL, LearnerContext(None, CATCH, seed=0))
    before = updates.save()[0]["parameters"]
    assert updates.step(*clips(2, 7))["world/learning_rate"] == 0.0
    after = updates.save()[0]["parameters"]
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert updates.step(*clips(2, 7))["world/learning_rate"] == 0.002 / 2_000
