"""Playing in a world model: keys go to the model and to the real game, which are shown beside each other.

    model   what the model makes of the actions, each frame from its own last ones
    game    what the real environment makes of the same actions; its episode ends for both
    difference   where they differ, and by how much reward

Either may be left out. In a game for two the policy answers each move, and who begins changes with each game. Frames
that are no pictures are shown as bars, one for each number, and beside them how the game draws itself.

A `Player` knows neither windows nor browsers: a `Stage` shows its picture on a screen, and brings the keys.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from rlsys.actor import Actor
from rlsys.api import Policy
from rlsys.envs.step import action_of
from rlsys.types import Array
from rlsys.viewer.comparison import Tally
from rlsys.viewer.header import with_header
from rlsys.viewer.playing.game import Action, Game, GameStep, ImaginedGame, PassedStep, Reconstruction
from rlsys.viewer.playing.keys import Keys
from rlsys.viewer.playing.recording import PlayedStep, Recording, next_stem
from rlsys.viewer.playing.sides import Sides
from rlsys.viewer.screen import KeyEvent, Legend

_WAITING, _REAL_TIME = (40, 200, 90), (225, 60, 60)
_SHOW_END_S = 1.0

_COMMANDS: Legend = (
    ("C", "wait for keys / real time"),
    ("X", "begin the model anew from the real game"),
    ("P", "the policy plays / you play"),
)
_PASS, _MOVE = ("N", "let a step pass while it waits"), ("N", "let the policy make this move")
_SIDES = ("first", "second")
_RESET, _ALSO_RESET = "return", "r"
_YES, _NO = ("y", "return"), "n"


class Pilot:
    """A policy that plays one game, greedily, or follows how somebody else plays it."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.restart()

    def restart(self, passed: Sequence[PassedStep] = ()) -> None:
        """Forgets what it has seen, but for the steps of this episode that are past."""
        self._actor = Actor(self._policy, 1)
        for step in passed:
            self.follow(step.seen)
            self.after_step(step.action, step.reward)

    def decide(self, observation: Array) -> Action:
        """Returns its action for what it sees, `[*policy_observation]`."""
        action: Action = action_of(self._actor.decide(observation[None].copy(), explore=False).action, 0)
        return action

    def follow(self, observation: Array) -> None:
        """Sees what somebody else decides on; a policy that remembers nothing need not look."""
        if self._actor.state:
            self.decide(observation)

    def after_step(self, action: Action, reward: float) -> None:
        """Tells what was done after what it has seen last, by whomever, and what came of it."""
        self._actor.observe(np.array([action]), np.array([reward], np.float32), np.zeros(1, np.bool_))


class Player:
    """Plays episodes with keys or with the policy; begins in WAIT mode, in which time stands still without a key.

    Attributes:
      troubles: a sentence for each film that could not be made.
    """

    def __init__(
        self,
        keys: Keys,
        game: Game,
        model: ImaginedGame | None,
        pilot: Pilot,
        *,
        folder: Path,
        shows_game: bool = True,
        reconstruction: Reconstruction | None = None,
        has_header: bool = False,
        policy_plays: bool = False,
        asks: bool = False,
        zoom: float = 4.0,
        fps: float = 20.0,
        episode_steps: int | None = None,
    ) -> None:
        """Begins the first episode.

        Args:
          keys: of the environment's actions.
          game: the real environment.
          model: the imagined one; None plays the real one alone.
          pilot: plays while P is on.
          folder: where episodes are recorded.
          shows_game: play the real game, too; else it gives only what the model begins from, and the model says when an
            episode ends.
          reconstruction: what a model makes of the real game's frames is shown, too.
          has_header: write action, reward, end, step and return above the picture.
          policy_plays: begin with P on.
          asks: at the end of each episode, whether to keep its recording; else all are kept.
          zoom: how much frames are enlarged.
          fps: ticks per second, and pictures per second of the films.
          episode_steps: steps after which an episode ends at the latest.
        """
        assert shows_game or model is not None, "one of both is played"
        self._keys, self._game, self._model, self._pilot = keys, game, model, pilot
        self._folder, self._shows_game, self._has_header, self._asks = folder, shows_game, has_header, asks
        self._sides = Sides(game if shows_game else None, model, reconstruction, zoom=zoom)
        self._fps, self._episode_steps = fps, episode_steps
        self._held: set[str] = set()
        self._tapped: set[str] = set()
        self._waits, self._policy_plays = True, policy_plays
        self._side = 1
        self._recording: Recording | None = None
        self._doubtful: Recording | None = None
        self._recorded: list[Path] = []
        self.troubles: list[str] = []
        self._commands: dict[str, Callable[[], None]] = {
            "c": self._toggle_waiting,
            "p": self._toggle_policy,
            _RESET: self.reset,
            **({} if model is None else {"x": self.restart_model}),
            **({} if _ALSO_RESET in keys.letters else {_ALSO_RESET: self.reset}),
        }
        self.reset()

    @property
    def legend(self) -> Legend:
        """All keys and what they do."""
        resets = " ".join(key.upper() for key in (_ALSO_RESET, _RESET) if key in self._commands)
        commands = [row for row in _COMMANDS if row[0].lower() in self._commands]
        commands.insert(1, _MOVE if self._game.has_rules else _PASS)
        return [*self._keys.legend, *commands, (resets, "new episode")]

    @property
    def picture(self) -> Array:
        """`[H, W, 3]` uint8, what is to be shown now; the same array until something changes."""
        return self._picture

    @property
    def status(self) -> str:
        """One line about who plays, how, and since when."""
        who = "the policy plays" if self._policy_plays else "you play"
        if self._game.has_two_players and not self._policy_plays:
            who += f" {_SIDES[self._side]}"
        parts = ["WAIT" if self._stands_still else "real time", who, f"step {self._steps}"]
        parts += [numbers] if (numbers := self._keys.show(self._action)) else []
        parts += ["episode over"] if self._is_over else []
        parts += [f"recorded {self._recorded[-1].name}"] if self._recorded else []
        parts += ["keep this episode? Y / N"] if self._doubtful is not None else []
        return " | ".join(parts)

    @property
    def recorded(self) -> tuple[Path, ...]:
        """The recordings so far, without their endings (.mp4, .npz)."""
        return tuple(self._recorded)

    def key(self, event: KeyEvent) -> None:
        """Takes a key; a command acts at once, an action with the next tick. A question is answered before all else."""
        if not event.is_down:
            self._held.discard(event.key)
        elif event.key not in self._held:
            self._held.add(event.key)
            if self._doubtful is not None:
                self._answer(event.key)
                return
            self._tapped.add(event.key)
            self._commands.get(event.key, lambda: None)()

    def tick(self) -> None:
        """Lets 1 / fps seconds pass: makes a step, unless it waits for a key."""
        held, self._tapped = self._held | self._tapped, set()
        if self._doubtful is not None:
            return
        action = None if self._policy_moves or self._pause else self._keys.action(held)
        wants_step = not self._stands_still or action is not None or "n" in held
        if self._pause:
            self._pause -= 1
        elif wants_step and self._is_over:
            self._begin(new_game=False)
        elif wants_step and self._policy_moves:
            self._step(self._pilot.decide(self._seen()), by_policy=True)
        elif wants_step and self._game.has_rules:
            self._move(action, lets_policy="n" in held)
        elif wants_step:
            self._pilot.follow(self._seen())
            self._step(self._keys.noop if action is None else action)

    def reset(self) -> None:
        """Begins a new game in both."""
        self._begin(new_game=True)

    def restart_model(self) -> None:
        """Begins only the model anew, from the last real frames; its counters begin again."""
        if self._recording is not None and self._model is not None:  # not after the episode's end
            self._model.begin(self._game)
            self._restarted = True
            if not self._shows_game:
                self._pilot.restart(self._game.passed)
            self._recording.restart(self._model.frame)
            self._draw()

    def close(self) -> None:
        """Ends the recording and the game; an episode that nobody was asked about any more is kept."""
        self._keep(self._doubtful)
        self._keep(self._recording)
        self._doubtful = self._recording = None
        self._game.close()

    @property
    def _stands_still(self) -> bool:
        """Whether nothing happens without a key."""
        return self._waits and not self._policy_moves

    @property
    def _policy_moves(self) -> bool:
        """Whether the next decision is the policy's: it plays, or answers in a game for two."""
        answers = self._game.has_two_players and not self._is_over and self._steps % 2 != self._side
        return self._policy_plays or answers

    def _seen(self) -> Array:
        """Returns what a policy sees."""
        return self._game.stacked() if self._shows_game or self._model is None else self._model.stacked()

    def _move(self, action: Action | None, *, lets_policy: bool) -> None:
        """Makes a legal move, or one of the policy's; nothing happens in a game with rules where nobody moves."""
        if action is None and lets_policy:
            self._step(self._pilot.decide(self._seen()), by_policy=True)
        elif action is not None and self._game.allows(action):
            self._pilot.follow(self._seen())
            self._step(action)

    def _toggle_waiting(self) -> None:
        self._waits = not self._waits
        self._draw()

    def _toggle_policy(self) -> None:
        self._policy_plays = not self._policy_plays
        self._draw()

    def _begin(self, *, new_game: bool) -> None:
        self._keep(self._recording)
        self._game.reset(new_game=new_game)
        if self._model is not None:
            self._model.begin(self._game)
        self._pilot.restart(self._game.passed)
        self._keys.restart()
        self._action: Action = self._keys.noop
        self._steps = self._pause = 0
        self._side = 1 - self._side
        self._is_over = self._restarted = False
        self._draw()
        self._recording = Recording(next_stem(self._folder), self._fps)
        self._recording.begin(self._picture, *self._frames)

    def _keep(self, recording: Recording | None) -> None:
        if recording is not None and recording.close():
            self._recorded.append(recording.stem)
            self.troubles += [recording.trouble] if recording.trouble else []

    def _answer(self, key: str) -> None:
        """Keeps the recording of the episode that has just ended, or not."""
        if key in _YES:
            self._keep(self._doubtful)
            self._doubtful = None
        elif key == _NO:
            assert self._doubtful is not None, "it was asked about"
            self._doubtful.discard()
            self._doubtful = None

    def _step(self, action: Action, *, by_policy: bool = False) -> None:
        self._action = action
        real = self._game.step(action) if self._shows_game else None
        if self._model is not None:
            self._model.step(action)
        self._pilot.after_step(action, self._tally.reward if real is None else real.reward)
        self._steps += 1
        ended = self._model_over if real is None else real.terminated or real.truncated
        self._is_over = bool(ended) or self._steps == self._episode_steps
        self._pause = round(_SHOW_END_S * self._fps) if self._is_over and not self._asks else 0
        self._draw()
        self._record(action, real, by_policy)
        if self._is_over:
            ended_recording, self._recording = self._recording, None
            if self._asks:
                self._doubtful = ended_recording
            else:
                self._keep(ended_recording)

    @property
    def _tally(self) -> Tally:
        """What counts: of the real game, if it is played."""
        return self._game.tally if self._shows_game or self._model is None else self._model.tally

    @property
    def _model_over(self) -> bool | None:
        return None if self._model is None else self._model.is_over

    @property
    def _frames(self) -> tuple[Array | None, Array | None]:
        """Where both sides are, as they are recorded."""
        return None if self._model is None else self._model.frame, self._game.frame if self._shows_game else None

    def _record(self, action: Action, real: GameStep | None, by_policy: bool) -> None:
        model = self._model
        step = PlayedStep(
            action=action,
            model_reward=None if model is None else model.tally.reward,
            reward=None if real is None else real.reward,
            raw_reward=None if real is None else real.raw_reward,
            model_over=self._model_over,
            restarted=None if model is None else self._restarted,
            by_policy=by_policy,
        )
        self._restarted = False
        assert self._recording is not None, "an episode is recorded until it is over"
        self._recording.append(step, self._picture, *self._frames)

    def _draw(self) -> None:
        self._picture = self._sides.draw(_WAITING if self._stands_still else _REAL_TIME, is_over=self._is_over)
        if self._has_header:
            tally = self._tally
            done = f"action {self._keys.name(self._action)}   reward {tally.reward:g}   over {self._is_over}"
            self._picture = with_header(self._picture, done, f"step {self._steps}   return {tally.total:g}")
