"""The sections that every experiment has: the environment, the runtime, the run.

Every field has a type with bounds (`rlsys.config.quantities`) and a docstring, which `rlsys show` prints.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import pydantic
from pydantic import AfterValidator, BaseModel, Field

from rlsys.config.location import Location, expanded, folder_name, without_secret
from rlsys.config.quantities import (
    Bytes,
    Cores,
    Count,
    Flag,
    Index,
    Minutes,
    Number,
    Numbers,
    Probability,
    Repeats,
    Seconds,
    Seed,
    Steps,
    Temperature,
    Text,
    Threads,
    Workers,
)
from rlsys.config.values import PartOf
from rlsys.files.yaml_tree import read_yaml as read_yaml  # noqa: PLC0414 - part of this module's interface


class Section(BaseModel):
    """Base of all sections: frozen, unknown keys refused, every field described."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


_MOST_FEATURES = 100_000
_MOST_KWARGS = 100
_MOST_ACTIONS = 10_000
_MOST_TASKS = 1_000


class EnvConfig(Section):
    """What every environment has; a family's type adds the settings of its own (`rlsys.config.environment`).

    Names are upstream's (model-based-rl).
    """

    id: Text = "CartPole-v1"
    """gymnasium's or ALE's id, an old Atari id ('Breakout-ramNoFrameskip-v4'), 'procgen-chaser', 'tmaze-20',
    'dm_control/cheetah-run', or MODULE:NAME of a module that has a family of its own or registers NAME, …"""
    kwargs: Annotated[dict[Text, Any], Field(max_length=_MOST_KWARGS)] = Field(default_factory=dict)
    """What else the environment's constructor is given, such as {gravity: -5.0}; it knows what that can be."""
    max_episode_steps: Annotated[Steps, Field(ge=1)] | None = None
    """Raw simulator steps after which an episode is truncated; none keeps the environment's own limit."""
    sticky_actions: Repeats = 1
    """Simulator steps per decision with the same action; rewards are summed. (Action repeat; not ALE's stickiness.)"""
    stack_states: Annotated[Repeats, Field(le=128)] = 1
    """Consecutive observations that the policy sees at once."""
    state_range: Annotated[tuple[Number, ...], Field(max_length=_MOST_FEATURES)] | None = None
    """lo hi pairs, one for all features or one per feature: the range that norm_states maps to [0, 1]. Observations of
    integers or of named parts have none."""
    norm_states: Flag = False
    """Rescale observations by state_range before the networks; replay keeps raw values."""
    clip_rewards: Flag = False
    """Learn from the sign of the reward; returns are reported unclipped."""
    avoid_repeat: Flag = False
    """After 500 raw steps without a reward, replace 5 % of the actions by random ones (while exploring)."""
    observation_noise: Probability = 0.0
    """Deviation of normal noise on observations of bytes, as a share of 255; in evaluations, too."""
    action_set: Annotated[tuple[Numbers, ...], Field(max_length=_MOST_ACTIONS)] | None = None
    """Where actions are numbers: the vectors to choose from, as discrete actions, such as [[-1, 0], [1, 0]]; numbers,
    such as [-1, 0, 1], where an action is one. None acts with numbers."""
    tasks: Annotated[tuple[Text | dict[str, Any], ...], Field(max_length=_MOST_TASKS)] = ()
    """Environments that one agent plays, spread evenly: ids, or mappings of the fields in which they differ from this
    section. All have as many discrete actions, or numbers to act with, as the one that has most."""
    task: Index | None = None
    """The only one of tasks that is played, counted from 0; none plays all."""
    task_in_observation: Flag = False
    """Show which of tasks it is, as the part "task" of the observation."""

    @property
    def name(self) -> str:
        """What the id names in its module; the id itself where it names none."""
        return self.id.partition(":")[2] or self.id

    @pydantic.model_validator(mode="after")
    def _check_task(self) -> Self:
        if self.task is not None and self.task >= len(self.tasks):
            raise ValueError(f"task = {self.task} of {len(self.tasks)} tasks, which are counted from 0. Leave it out")
        if self.task_in_observation and not self.tasks:
            raise ValueError("task_in_observation = true without tasks; name them, or leave it out")
        return self

    @pydantic.model_validator(mode="after")
    def _check_actions(self) -> Self:
        if self.action_set == ():
            raise ValueError("action_set = []; it must have at least one action. Leave it out to act with numbers")
        return self

    @pydantic.model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.norm_states and not self.state_range:
            raise ValueError("norm_states = true needs state_range; give lo hi, for example state_range=[0,255]")
        if self.state_range is not None:
            low, high = self.state_range[0::2], self.state_range[1::2]
            if len(low) != len(high) or not low or any(a >= b for a, b in zip(low, high, strict=True)):
                raise ValueError(
                    f"state_range = {list(self.state_range)}; it must be pairs lo hi with lo < hi. "
                    "Give one pair for all features or one per feature"
                )
        return self


ENVIRONMENTS_PER_WORKER = 32
"""What runtime.environments_per_worker = auto stands for, where nothing else says how many environments there are."""


class RuntimeConfig(Section):
    """How many workers of each kind, where they run and how they are bounded; a launch profile sets these."""

    rollout_workers: Workers | Literal["auto"] = "auto"
    """Processes that step environments; auto: one per CPU core of the cluster. Where all of them share a number of
    environments that the algorithm sets, there are at most so many: the most that can share them equally."""
    environments_per_worker: Workers | Literal["auto"] = "auto"
    """Environments that one rollout worker steps in lockstep, acting once for all of them; auto: 32, or an equal share
    of those that the algorithm sets (ppo.num_environments, simple.real_batch_size), which then has to stay auto."""
    rollout_cpus: Cores = 1.0
    """CPU cores that Ray reserves per rollout worker (0: any number fits on one machine)."""
    rollout_threads: Threads = 1
    """torch threads of a rollout worker."""
    replay_shards: Workers = 1
    """Processes that replay is spread over; where episodes are kept whole at most one for each rollout worker."""
    replay_bytes: Bytes | None = None
    """Memory that replay may take in all shards; the oldest segments leave earlier then. None: as much as its items."""
    learners: Workers = 1
    """Data-parallel learner ranks (torch.distributed: NCCL on GPUs, gloo on CPUs)."""
    learner_device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where learners compute; auto takes a GPU where the cluster has one."""
    learner_gpus: Cores = Field(1.0, gt=0.0)
    """GPUs that Ray reserves per learner when it computes on one; below 1 learners share a GPU."""
    learner_threads: Threads | Literal["auto"] = 1
    """torch threads of a learner on a CPU; auto: all cores of the machine, shared by the learners, which pays for large
    networks where rollout workers rest meanwhile; small ones it makes slower."""
    inference_workers: Annotated[Steps, Field(le=1_024)] | Literal["auto"] = 0
    """Processes that decide for the rollout workers, batched; 0: each decides itself; auto: one if there is a GPU."""
    inference_device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where inference workers compute; auto takes a GPU where the cluster has one."""
    inference_gpus: Cores = Field(0.5, gt=0.0)
    """GPUs that Ray reserves per inference worker when it computes on one."""
    inference_batch_size: Count = 512
    """Most environments that are decided for at once (upstream: 512)."""
    reanalyse_workers: Annotated[Steps, Field(le=1_024)] = 0
    """Processes that only refresh what replay keeps of stored rows, with the newest weights, where the algorithm says
    which share of all searches that shall be (muzero.reanalyse_fraction); 0: rollout workers take turns with it."""
    reanalyse_batch_size: Annotated[Count, Field(ge=64)] = 128
    """Stored rows that are refreshed at once, and sent back at once."""
    reanalyse_device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where reanalyse workers compute; auto takes a GPU where the cluster has one."""
    reanalyse_gpus: Cores = Field(0.5, gt=0.0)
    """GPUs that Ray reserves per reanalyse worker when it computes on one."""
    segments_in_flight: Repeats = 2
    """Segments that a rollout worker may have on the way to replay before it waits."""
    batches_in_flight: Repeats = 3
    """Batches that a learner asks for in advance (upstream: batches_per_fetch, 15)."""
    tick_s: Seconds = Field(1.0, gt=0.0)
    """Longest that a worker works before it reports, in seconds."""
    send_weights_frequency: Steps = Field(500, ge=1)
    """Learner steps between two publications of weights; where collecting and learning take turns, those decide."""
    weight_sync_frequency: Steps = Field(1_000, ge=1)
    """Decisions of one rollout worker between two looks for newer weights."""
    max_version_lag: Annotated[Steps, Field(ge=1)] | None = None
    """Versions by which anybody who acts may be behind before the learner waits for them; none: no bound."""
    worker_restarts: Annotated[Steps, Field(le=1_000_000)] = 5
    """Restarts of one worker within ten minutes after which the run stops with an error."""
    rollout_timeout_s: Seconds = Field(300.0, gt=0.0)
    """Seconds without a report after which a rollout worker that has been built counts as hanging and is restarted."""
    address: Annotated[Text, AfterValidator(without_secret)] | None = None
    """Ray cluster to join: 'auto' for the one on this machine, or host:port; none starts one here."""


_PART_OF_ENV = PartOf("env", EnvConfig)
EnvChanges = Annotated[dict[str, Any], _PART_OF_ENV, AfterValidator(_PART_OF_ENV.check)]
"""Some fields of the env section."""
NoOps = Annotated[Steps, Field(le=1_000)]
_MOST_CELLS = 100


class FinalEvaluation(Section):
    """One set of games that is played when a run is complete."""

    name: Text = Field(pattern=r"^[\w-]+$", max_length=100)
    """What the results are called, in metrics as final/<name>."""
    episodes: Count = 100
    """Whole games of each repetition."""
    repetitions: Repeats = 1
    """How often, each time on other seeds; the spread of their means is reported."""
    env: EnvChanges = Field(default_factory=dict)
    """Fields of the env section that differ, such as start_level."""


class RunConfig(Section):
    """Budget, seeds, evaluation, checkpoints and tracking."""

    games: Annotated[tuple[Text, ...], Field(max_length=_MOST_TASKS)] = ()
    """Environments, each of which is played in place of env.id by runs of its own: ids, or atari100k for the 26 of that
    suite; none: env.id alone."""
    num_runs: Annotated[Steps, Field(ge=1, le=99_999)] | None = None
    """Runs, each with its own seed, of each of games: 00001 and on; none: one (upstream: --num_runs)."""
    seed: Seed = 0
    """Seed of everything random; workers derive their own from it."""
    training_steps: Steps = Field(100_000_000, ge=1)
    """Learner steps after which the run is complete (upstream default 1e8)."""
    env_steps: Annotated[Steps, Field(ge=1)] | None = None
    """Decisions after which the run is complete; none: no limit."""
    minutes: Minutes | None = None
    """Wall time after which the run is complete, this session; none: no limit."""
    target_return: Number | None = None
    """Mean evaluation return at which the run is complete; none: no target."""
    evaluate_every_learner_steps: Steps = 2_000
    """Learner steps between evaluations with frozen weights; 0: none."""
    evaluate_every_env_steps: Steps = 0
    """Decisions between evaluations, for budgets in environment steps (upstream: validate_step_every); 0: none."""
    evaluation_episodes: Count = 10
    """Episodes of each evaluation, on fixed seeds (upstream: valid_num_episodes × valid_num_runs)."""
    evaluation_max_steps: Annotated[Steps, Field(ge=1)] | None = None
    """Decisions after which a game of an evaluation is cut, and counts with what it has earned; none: at its end."""
    evaluation_explore: Flag = False
    """Choose actions in evaluations as while collecting, sampled or with noise, rather than greedily."""
    evaluation_temperatures: Annotated[tuple[Temperature, ...], Field(max_length=_MOST_CELLS)] = ()
    """Sampling temperatures of a grid of evaluations; its first cell is the run's return. None: the section's own."""
    evaluation_noops: Annotated[tuple[NoOps, ...], Field(max_length=_MOST_CELLS)] = ()
    """Atari: most decisions of no-ops at the start, the other side of that grid; none: as the environment has it."""
    evaluation_env: EnvChanges = Field(default_factory=dict)
    """Fields of the env section that differ in evaluations, such as other levels."""
    final_evaluation: Annotated[tuple[FinalEvaluation, ...], Field(max_length=_MOST_CELLS)] = ()
    """Games played with the last weights when the run is complete."""
    checkpoint_every_learner_steps: Steps = 1_000
    """Learner steps between checkpoints (upstream: save_state_frequency); 0: only at the end."""
    checkpoint_every_s: Seconds = 0.0
    """Seconds between checkpoints, for learners whose steps differ in size; 0: by learner steps alone."""
    keep_checkpoints: Count = 2
    """Latest checkpoints kept, besides the best by evaluation."""
    save_extra_checkpoint: Annotated[tuple[Annotated[Steps, Field(ge=1)], ...], Field(max_length=1_000)] = ()
    """Decisions at which one more checkpoint is written, and kept for good."""
    log_every_s: Seconds = Field(5.0, gt=0.0)
    """Seconds between rows of metrics."""
    log_every_learner_steps: Steps = 0
    """Learner steps between rows of metrics; 0: by the clock. With --inline they come at just these steps, so that runs
    can be compared; else as soon as such a step is past."""
    directory: Annotated[Text, AfterValidator(expanded)] = "runs"
    """Folder of all runs; a run lives in <directory>/<experiment>/<run-id>."""
    init_from: Location | None = None
    """Run, checkpoint or export, by name, path or URI, with whose networks the run begins; RUN#1000 or RUN#best names a
    checkpoint of a run (upstream: --load_state). Counters and optimizer begin anew."""
    dataset: Text | None = None
    """Episodes with which replay begins: a folder that `rlsys eval --record` or a run (media/episodes/train) has
    written, or minari:ID; for algorithms that refresh rows (muzero.reanalyse_fraction, at 1 without anything else)."""
    checkpoints: Text | None = None
    """Folder or URI (s3://bucket/path, gs://…) of all runs' checkpoints; none: each run's are in its own folder."""
    wandb: Literal["auto", "online", "offline", "disabled"] = "auto"
    """Weights & Biases: auto is online with a login, else offline."""
    wandb_project: Text = "rlsys"
    """Weights & Biases project."""
    group_tag: Text = "default"
    """Groups runs in Weights & Biases (upstream: --group_tag); elsewhere it is only written down, in config.yaml."""
    run_tag: Annotated[Text, AfterValidator(folder_name)] | None = None
    """The run's id; none makes one from date and time (upstream: --run_tag)."""
    tensorboard: Flag = True
    """Write TensorBoard files."""
    video: Flag = True
    """Film one episode of each evaluation where the environment can be drawn, and what a world model foretells."""
    video_frames: Annotated[Steps, Field(ge=1)] = 1_800
    """Pictures after which a film ends, however long the game: at 30 a second, a minute."""
    video_seconds: Seconds = Field(20.0, gt=0.0)
    """Seconds of drawing after which a film ends: MuJoCo without a GPU needs a tenth of one or more for a picture."""
    kept_episodes: Annotated[int, Field(ge=0, le=1_000)] = 10
    """Of episodes in media/episodes, how many of the newest are kept besides the best: of those collected by the first
    environment, of evaluations, and of imagined ones; 0 keeps none (IRIS: num_episodes_to_save)."""
    debug_histograms: Flag = False
    """Log distributions of weights and gradients (upstream: --debug), and of what a policy tells of each decision of an
    evaluation, such as what a planner expects (upstream: summarise_plan_returns)."""

    @property
    def are_several(self) -> bool:
        """Whether an experiment is more than one run."""
        return self.num_runs is not None or bool(self.games)

    @pydantic.model_validator(mode="after")
    def _check_tag(self) -> Self:
        if self.run_tag is not None and self.are_several:
            raise ValueError(
                f"run_tag = {self.run_tag} with num_runs or games; each of several runs has a tag of its own, from "
                "00001 on. Leave it out"
            )
        return self

    @pydantic.field_validator("checkpoints")
    @classmethod
    def _check_checkpoints(cls, value: str | None) -> str | None:
        """Makes a folder absolute: workers may run elsewhere."""
        if value is None or "://" not in value:
            return None if value is None else str(Path(expanded(value)).absolute())
        uri = urlsplit(without_secret(value))
        if uri.scheme not in _OBJECT_STORES or not uri.netloc:
            raise ValueError(
                f"'{uri.scheme}://{uri.netloc}' is none of {', '.join(_OBJECT_STORES)}; name a bucket there"
            )
        return value


_OBJECT_STORES = ("s3", "gs", "gcs")
