"""The learning curves that are kept, and what each shows."""

CURVES = {
    "muzero-cartpole": "MuZero, CartPole",
    "muzero-lunarlander": "MuZero, LunarLander",
    "muzero-breakout": "MuZero, RAM Breakout",
    "muzero-breakout-precision": "MuZero, RAM Breakout, fp32 and bf16",
    "impala-cartpole": "IMPALA, CartPole",
    "impala-pong": "IMPALA, Pong by pixels",
    "impala-pong-deep-queue": "the same with a queue of 32 unrolls",
    "r2ac-procgen-chaser": "R2AC, ProcGen chaser, RTRL",
    "ppo-cartpole": "PPO, CartPole",
    "ppo-breakout": "PPO, Breakout by pixels",
    "ppo-pong": "PPO, Pong by pixels, 40 × 52 in grey",
    "ppo-pendulum": "PPO, Pendulum",
    "ppo-lunarlander-continuous": "PPO, LunarLander by throttles",
    "ppo-taxi": "PPO, Taxi",
    "ppo-halfcheetah": "PPO, HalfCheetah from its state",
    "impala-pendulum": "IMPALA, Pendulum",
    "planet-cartpole-swingup": "PlaNet, cartpole swing-up by pixels, 32 × 32",
    "planet-cartpole-balance-small": "PlaNet, cartpole balance by pixels, 32 × 32",
    "planet-cartpole-balance-da-small": "PlaNet, cartpole balance by pixels, five pushes, 32 × 32",
    "iris-catch": "IRIS, Catch",
    "iris-catch-ncp": "IRIS, Catch, neural circuit",
    "iris-catch-frozen": "IRIS, Catch, frozen trunk",
    "simple-catch": "SimPLe, Catch",
    "simple-catch-without-sampling": "SimPLe, Catch, without scheduled sampling",
}
"""File of results/learning -> what it shows."""
