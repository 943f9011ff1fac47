"""SimPLe: a world model of video, and a policy that learns inside it.

Kaiser et al. 2020, https://arxiv.org/abs/1903.00374. Importing this does not cost torch; it comes with the first policy
or learner.
"""

from rlsys.algorithms.simple.config import SimpleConfig
from rlsys.algorithms.simple.requirements import check, cut, store, turns, values
from rlsys.api import Algorithm, Learner, LearnerContext, Policy, PolicyContext, World, WorldContext


def _make_policy(context: PolicyContext) -> Policy:
    from rlsys.algorithms.simple.policy import SimplePolicy

    return SimplePolicy(context)


def _make_learner(context: LearnerContext) -> Learner:
    from rlsys.algorithms.simple.learner import SimpleLearner

    return SimpleLearner(context)


def _make_world(context: WorldContext) -> World:
    from rlsys.algorithms.simple.world import make_world

    return make_world(context)


ALGORITHM = Algorithm(
    name="simple",
    config_type=SimpleConfig,
    make_policy=_make_policy,
    make_learner=_make_learner,
    cut=cut,
    store=store,
    turns=turns,
    check=check,
    values=values,
    temperature="eval_temperature",
    example_env={"id": "catch", "stack_states": 4, "clip_rewards": True},
    debug={
        "epochs": 1,
        "num_real_env_frames": 128,
        "model_train_steps": 2,
        "ppo_epochs_num": 2,
        "simulated_rollout_length": 5,
        "simulated_batch_size": 2,
        "real_batch_size": 4,
        "real_unrolls": 2,
        "real_unroll_length": 16,
        "wm_eval_batch_size": 2,
        "wm_eval_num_batches": 1,
        "world_model": {
            "hidden_size": 8,
            "num_compress_steps": 2,
            "filter_double_steps": 1,
            "num_hidden_layers": 1,
            "recurrent_state_size": 4,
            "discriminator_size": 4,
            "bottleneck_bits": 8,
            "latent_predictor_state_size": 8,
            "target_frames": 2,
            "batch_size": 2,
        },
        "ppo": {"learning_rate": 1e-4, "use_epochs": True, "hidden_size": 16, "optimization_batch_size": 4},
    },
    make_world=_make_world,
    environments="real_batch_size",
)
"""SimPLe as the runtime sees it."""
