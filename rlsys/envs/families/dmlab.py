"""The levels of DMLab-30 through the module `deepmind_lab`, under the ids `dmlab-<level>`, or just `<level>`.

Observes `[3, H, W]` uint8 (env.dmlab_size) and acts with the nine actions of IMPALA. A step repeats its action for
env.frame_skip frames, sums their rewards and shows the maximum of the last two frames. Each episode has a seed of its
own, drawn from the environment's.

**Ends.** The module says that an episode ended, not why. The levels of DMLab-30 end by their clock (a goal that is
reached brings the agent to the next map of the same episode), so each end counts as truncated.

**The last observation.** An ended episode shows nothing any more. Where the last frame of a step ended it, the frame
before is its last observation; where an earlier frame did, the observation before the step is.

Beattie et al. 2016, https://arxiv.org/abs/1612.03801; Espeholt et al. 2018, https://arxiv.org/abs/1802.01561.
"""

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from rlsys.config import EnvConfig
from rlsys.config.location import OF_A_MACHINE, Folder
from rlsys.config.quantities import Pixels, Repeats
from rlsys.envs.family import Family
from rlsys.envs.wrappers import Reset, Step, check_repeats, limited
from rlsys.errors import EnvError
from rlsys.types import Array

LEVELS = (
    "rooms_collect_good_objects_train",
    "rooms_collect_good_objects_test",
    "rooms_exploit_deferred_effects_train",
    "rooms_exploit_deferred_effects_test",
    "rooms_select_nonmatching_object",
    "rooms_watermaze",
    "rooms_keys_doors_puzzle",
    "language_select_described_object",
    "language_select_located_object",
    "language_execute_random_task",
    "language_answer_quantitative_question",
    "lasertag_one_opponent_small",
    "lasertag_three_opponents_small",
    "lasertag_one_opponent_large",
    "lasertag_three_opponents_large",
    "natlab_fixed_large_map",
    "natlab_varying_map_regrowth",
    "natlab_varying_map_randomized",
    "skymaze_irreversible_path_hard",
    "skymaze_irreversible_path_varied",
    "psychlab_arbitrary_visuomotor_mapping",
    "psychlab_continuous_recognition",
    "psychlab_sequential_comparison",
    "psychlab_visual_search",
    "explore_object_locations_small",
    "explore_object_locations_large",
    "explore_obstructed_goals_small",
    "explore_obstructed_goals_large",
    "explore_goal_locations_small",
    "explore_goal_locations_large",
    "explore_object_rewards_few",
    "explore_object_rewards_many",
)
"""The 30 levels, two of which are trained in another version than they are tested in."""

ACTIONS = {
    "FORWARD": (0, 0, 0, 1, 0, 0, 0),
    "BACKWARD": (0, 0, 0, -1, 0, 0, 0),
    "STRAFE LEFT": (0, 0, -1, 0, 0, 0, 0),
    "STRAFE RIGHT": (0, 0, 1, 0, 0, 0, 0),
    "LOOK LEFT": (-20, 0, 0, 0, 0, 0, 0),
    "LOOK RIGHT": (20, 0, 0, 0, 0, 0, 0),
    "LOOK LEFT, FORWARD": (-20, 0, 0, 1, 0, 0, 0),
    "LOOK RIGHT, FORWARD": (20, 0, 0, 1, 0, 0, 0),
    "FIRE": (0, 0, 0, 0, 1, 0, 0),
}
"""Look left/right and up/down (pixels per frame), strafe, move, fire, jump, crouch."""

_FOLDER = "contributed/dmlab30/"
_PREFIXES = ("dmlab-", "dmlab:", _FOLDER)
_PIXELS = "RGB_INTERLEAVED"
_SEEDS = 2**31 - 1


class DMLabConfig(EnvConfig):
    """A level, and how it is drawn."""

    frame_skip: Repeats = 4
    """Frames per step with the same action, of which the last two are max-pooled."""
    dmlab_size: tuple[Pixels, Pixels] = (72, 96)
    """Height and width of frames."""
    dmlab_level_cache: Annotated[Folder | None, OF_A_MACHINE] = None
    """Folder that keeps the maps that levels build, for all workers of a machine; none builds each anew."""
    dmlab_renderer: Literal["software", "hardware"] = "software"
    """Draw on the CPU or on the GPU."""


def level_of(name: str) -> str | None:
    """Returns the level that an id names, or None if it names none of DMLab-30's."""
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            name = name.removeprefix(prefix)
            break
    return name if name in LEVELS else None


class FolderCache:
    """Maps that levels have built, kept in a folder that any number of processes share.

    Some levels build a map for each episode, which takes seconds; `deepmind_lab` asks here first.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder).expanduser()
        self._folder.mkdir(parents=True, exist_ok=True)

    def fetch(self, key: str, pk3_path: str) -> bool:
        """Copies the map of a key to a path; False if there is none."""
        try:
            shutil.copyfile(self._path(key), pk3_path)
        except FileNotFoundError:
            return False
        return True

    def write(self, key: str, pk3_path: str) -> None:
        """Keeps a map; readers see all of it or nothing."""
        with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
            part = Path(file.name)
        shutil.copyfile(pk3_path, part)
        part.replace(self._path(key))

    def _path(self, key: str) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()}.pk3"


class DMLabLevel(gymnasium.Env):
    """One level."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012 - as gymnasium declares it

    def __init__(self, config: DMLabConfig, seed: int, render_mode: str | None = None) -> None:
        import deepmind_lab  # noqa: PLC0415 - optional

        level = level_of(config.id)
        assert level is not None, config.id
        height, width = config.dmlab_size
        self.render_mode = render_mode
        self.observation_space = Box(0, 255, (3, height, width), np.uint8)
        self.action_space = Discrete(len(ACTIONS))
        self.np_random = np.random.default_rng(seed)
        self._actions = np.array(list(ACTIONS.values()), np.intc)
        self._frame_skip = config.frame_skip
        self._observation = np.zeros(self.observation_space.shape, np.uint8)
        settings = {"width": str(width), "height": str(height), "logLevel": "WARN"}
        if level.endswith("_test"):
            settings["allowHoldOutLevels"] = "true"
        cache = FolderCache(config.dmlab_level_cache) if config.dmlab_level_cache else None
        self._lab = deepmind_lab.Lab(
            _FOLDER + level, [_PIXELS], config=settings, renderer=config.dmlab_renderer, level_cache=cache
        )

    def get_action_meanings(self) -> list[str]:
        """Returns a word per action."""
        return list(ACTIONS)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Begins the next episode with the next seed of this environment."""
        super().reset(seed=seed)
        self._lab.reset(seed=int(self.np_random.integers(_SEEDS)))
        self._observation = self._frame()
        return self._observation, {}

    def step(self, action: Any) -> Step:
        """Repeats the action."""
        reward, frames = 0.0, []
        for num_frames in (self._frame_skip - 1, 1):  # what comes before the last two frames need not be drawn
            if num_frames and self._lab.is_running():
                reward += self._lab.step(self._actions[action], num_steps=num_frames)
                if self._lab.is_running():
                    frames.append(self._frame())
        if frames:
            self._observation = np.maximum(frames[0], frames[-1])
        return self._observation, reward, False, not self._lab.is_running(), {}

    def render(self) -> Array:  # type: ignore[override]
        """Returns the observation as a picture, `[H, W, 3]`."""
        return np.ascontiguousarray(self._observation.transpose(1, 2, 0))

    def close(self) -> None:
        """Frees the level."""
        self._lab.close()

    def _frame(self) -> Array:
        return np.ascontiguousarray(self._lab.observations()[_PIXELS].transpose(2, 0, 1))


def _make(config: DMLabConfig, seed: int, render_mode: str | None) -> tuple[gymnasium.Env, int]:
    if min(config.dmlab_size) < 1:
        raise EnvError(
            f"env.dmlab_size = {list(config.dmlab_size)}; height and width must be at least 1. Give for example "
            "[72,96]."
        )
    check_repeats(config, "frame_skip", config.frame_skip)
    return limited(DMLabLevel(config, seed, render_mode), config, config.frame_skip)


DMLAB = Family(
    "DMLab levels",
    lambda name: level_of(name) is not None,
    lambda: [f"dmlab-{level}" for level in LEVELS],
    _make,
    DMLabConfig,
    package="deepmind_lab",
    how_to_install="No package index has it: build it with docker/dmlab.Dockerfile",
)
