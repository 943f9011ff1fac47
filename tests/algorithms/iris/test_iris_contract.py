"""IRIS keeps the contract with what debug settings leave out: a circuit, codes that are means, a critic; and deltas."""

from algorithms.iris.small_learners import settings

from rlsys.algorithms.iris import ALGORITHM
from rlsys.config import read_env
from rlsys.testing.contract import check_algorithm


def test_a_circuit_with_moving_codes_and_a_critic_keeps_the_contract() -> None:
    section = settings(
        epochs=2,
        tokenizer={"codebook": "ema", "revive_dead_codes": 1, "critic_weight": 0.1, "critic_units": 4},
        tokenizer_training={"gradient_accumulation": 2},
        world_model={"kind": "ncp_multi_step", "ncp_units": 40, "rewards": "two_hot"},
        actor_critic={"use_original_frames": True},
        returns_rows=7,
        age_weights=(),
    )
    check_algorithm(ALGORITHM, section, read_env(ALGORITHM.example_env))


def test_differences_between_frames_keep_the_contract() -> None:
    section = settings(
        epochs=2,
        tokenizer={"deltas": True, "channel_multipliers": (1, 1), "patch": 2},
        world_model={"frame_channels": (4, 4)},
        actor_critic={"use_original_frames": True},
    )
    check_algorithm(ALGORITHM, section, read_env(ALGORITHM.example_env))
