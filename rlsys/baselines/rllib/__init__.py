"""RLlib's IMPALA, APPO and PPO, as RLlib runs them.

IMPALA: Espeholt et al. 2018, https://arxiv.org/abs/1802.01561; APPO: Luo et al. 2019,
https://arxiv.org/abs/1912.00167; PPO: Schulman et al. 2017, https://arxiv.org/abs/1707.06347. Importing this costs
neither torch nor Ray; they come with `check`.
"""

from rlsys.api import Spaces
from rlsys.baseline import Baseline, BaselineContext, BaselineRun
from rlsys.baselines.rllib.config import RllibConfig


def _make_run(context: BaselineContext) -> BaselineRun:
    from rlsys.baselines.rllib.run import RllibRun

    return RllibRun(context)


def _check(context: BaselineContext) -> None:
    from rlsys.baselines.rllib.settings import build

    build(context)


BASELINE = Baseline(
    name="rllib",
    config_type=RllibConfig,
    make_run=_make_run,
    check=_check,
    spaces=Spaces(actions=("discrete", "numbers")),
    debug={"train_batch_size": 512, "hidden_sizes": [16]},
)
"""RLlib as the runtime sees it."""
