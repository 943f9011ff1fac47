"""Who learns: once per data-parallel rank."""

import abc
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlsys.api.replay import Replay
from rlsys.api.saved import Saved
from rlsys.types import Array, EnvSpec, Shown


@dataclass(frozen=True)
class LearnerContext:
    """What a learner is built from.

    Attributes:
      config: the algorithm's section of the experiment.
      env: the environment's spec.
      seed: the same on every rank: initial weights must agree. Ranks draw different batches, not different weights.
      rank: of this learner, from 0; see `draw_seed`.
      device: torch device name.
      num_ranks: data-parallel learners; each samples 1/num_ranks of the batch.
      batch_size: items of this rank's batches, where the number of environments decides it: unrolls of a turn.
      unroll_length: rows of an unroll or a segment, where likewise.
      average: averages a list of torch tensors over the ranks in place; the identity with one rank.
      read_weights: run, export, or folder of a checkpoint -> the weights that its policy acts with. Raises RlsysError.
      read_world: the same for what its learner saved under "world".
      is_resumed: `load` comes next, so nothing has to be read from elsewhere.
      timed: name of a part of `step` that is worth telling apart -> a context around it; "copy" moves batches to the
        device.
    """

    config: Any
    env: EnvSpec
    seed: int
    device: str = "cpu"
    rank: int = 0
    num_ranks: int = 1
    batch_size: int = 1
    unroll_length: int = 0
    average: Callable[[list[Any]], None] = lambda tensors: None
    read_weights: Callable[[str], Mapping[str, Array]] = lambda source: {}
    read_world: Callable[[str], Saved] = lambda source: {}
    is_resumed: bool = False
    timed: Callable[[str], AbstractContextManager[Any]] = nullcontext

    @property
    def draw_seed(self) -> int:
        """Seed of what each rank draws for itself; of the first rank it is `seed`."""
        return self.seed if not self.rank else int(np.random.SeedSequence([self.seed, self.rank]).generate_state(1)[0])


class Learner(abc.ABC):
    """Turns batches into better weights; lives in a learner worker, once per data-parallel rank."""

    @abc.abstractmethod
    def step(self, replay: Replay) -> Mapping[str, float]:
        """Does one unit of the current phase (an update) and returns its metrics, named `group/name`.

        Sampling comes before any change of state, so that a step that ends in `ReplayNotReady` can be repeated.
        """

    @abc.abstractmethod
    def weights(self) -> Mapping[str, Array]:
        """Returns what acting needs: name -> array, detached from the learner's memory."""

    @abc.abstractmethod
    def load_weights(self, weights: Mapping[str, Array], world: Saved | None) -> None:
        """Takes over the networks of another run before the first step; all else stays as it is at the beginning.

        Target networks, if there are any, become equal to them. A part that a setting of the algorithm takes from
        elsewhere stays as that says.

        Args:
          weights: what the other learner's `weights` returned; names and shapes are those of this one's.
          world: what it saved under "world"; None where it has no world model.

        Raises:
          RlsysError: the world model does not fit.
        """

    def turns(self) -> int | None:
        """Returns how many turns of collecting it has asked for, where they alternate with learning.

        See `Turns`. None, the default, asks for one with every step. Workers collect with the weights as they are when
        the number grows, and rest until it does again; weights are published then, and at no other time.
        """
        return None

    def steps_left(self) -> int | None:
        """Returns after how many more steps all is done, which ends the run; None, the default: it never is.

        The number falls by one with every step.
        """
        return None

    def histograms(self) -> Mapping[str, Array]:
        """Returns copies of what `run.debug_histograms` shows, named `group/name`: by default the weights."""
        return {f"weights/{name}": array for name, array in self.weights().items()}

    def shown(self) -> Mapping[str, Shown]:
        """Returns what is new for `run.video` to show of a world model, named `group/name`; by default nothing.

        Comparisons become films, reconstructions pictures, and episodes are kept as imagined ones.
        """
        return {}

    @abc.abstractmethod
    def save(self) -> Saved:
        """Returns everything needed to go on exactly from here.

        What is under "world" becomes a part of its own in a checkpoint, from which `Algorithm.make_world` builds; it is
        the same on all ranks. What an optimizer remembers is under names with "optimizer", and the states of random
        generators under names with "rng": a run that begins with the networks of another begins both anew.
        """

    @abc.abstractmethod
    def load(self, saved: Saved) -> None:
        """Takes over what `save` returned."""
