"""The copy task: read s bits, then say them. Hochreiter and Schmidhuber's kind of test for long memories, supervised.

Irie, Gopalakrishnan and Schmidhuber 2024, section 4.1, https://arxiv.org/abs/2305.19044, as it was meant. (The code
released with the paper gives ids to targets in the order of their first appearance, while the id that is not scored is
fixed: one of the two bits is never scored, and blanks are.) Here ids are fixed, and what is scored is a mask:

    input    b_1 … b_s  blank … blank  pad …
    target   blank … blank  b_1 … b_s  pad …

Shape legend: B examples, L greatest length, T = 2·L tokens.
"""

from dataclasses import dataclass

import numpy as np

from rlsys.errors import ConfigError
from rlsys.types import Array

BLANK, PAD = 2, 3
NUM_TOKENS = 4
"""Ids 0 and 1 are the bits themselves."""


@dataclass(frozen=True)
class CopyExamples:
    """Examples of the copy task.

    Attributes:
      inputs: `[B, T]` int64, ids.
      targets: `[B, T]` int64, ids.
      is_recalled: `[B, T]` bool, where the target is a bit.
      is_token: `[B, T]` bool, where the target is not `PAD`.
      lengths: `[B]` int64, s.
    """

    inputs: Array
    targets: Array
    is_recalled: Array
    is_token: Array
    lengths: Array

    def __len__(self) -> int:
        return len(self.lengths)


def copy_examples(
    num_examples: int, max_length: int, *, min_length: int = 1, rng: np.random.Generator | int
) -> CopyExamples:
    """Returns examples with lengths s ~ U{min_length … max_length} and bits that are 1 half of the time.

    Args:
      num_examples: B.
      max_length: L; examples have 2·L tokens, whatever lengths are drawn.
      min_length: the same as `max_length` for examples of one length.
      rng: a generator, or the seed of one.

    Raises:
      ConfigError: for a number of examples below 0, or lengths that are not 1 ≤ min_length ≤ max_length.
    """
    if num_examples < 0:
        raise ConfigError(f"num_examples must be at least 0, but is {num_examples}")
    if not 1 <= min_length <= max_length:
        raise ConfigError(
            f"lengths must be 1 ≤ min_length ≤ max_length, but are min_length={min_length} and max_length={max_length}"
        )
    generator = np.random.default_rng(rng)
    length_B1 = generator.integers(min_length, max_length, (num_examples, 1), endpoint=True)
    bits_BL = generator.integers(0, 2, (num_examples, max_length))

    position_T = np.arange(2 * max_length)
    reading_BT = position_T < length_B1
    token_BT = position_T < 2 * length_B1
    recall_BT = token_BT & ~reading_BT
    silent_BT = np.where(token_BT, BLANK, PAD)
    read_BT = np.pad(bits_BL, ((0, 0), (0, max_length)))
    said_BT = np.take_along_axis(bits_BL, np.where(recall_BT, position_T - length_B1, 0), axis=1)
    return CopyExamples(
        inputs=np.where(reading_BT, read_BT, silent_BT),
        targets=np.where(recall_BT, said_BT, silent_BT),
        is_recalled=recall_BT,
        is_token=token_BT,
        lengths=length_B1[:, 0],
    )
