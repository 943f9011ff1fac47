"""What the record of an algorithm says, without building anything."""

from rlsys.api import Segments, TableSpec
from rlsys.files.yaml_tree import leaves
from rlsys.replay.limiter import RateLimiter
from rlsys.testing.requirement import require
from rlsys.testing.training import Rank, Training


def check_record(training: Training) -> None:
    """Requires that the record's parts fit each other: fields that exist, a table of the right kind."""
    algorithm, rank = training.algorithm, training.ranks[0]
    fields = {*algorithm.config_type.model_fields, *leaves(training.section.model_dump(mode="json"))}
    for name in (algorithm.environments, algorithm.temperature, algorithm.refreshes, *algorithm.kept):
        require(
            not name or name in fields,
            f"`environments`, `temperature`, `refreshes` and `kept` name fields of its section; '{name}' is none",
        )
    require(
        isinstance(training.section, algorithm.config_type),
        f"its settings are a {algorithm.config_type.__name__}; they are a {type(training.section).__name__}",
    )
    discount = algorithm.values(training.section).discount
    require(0.0 <= discount <= 1.0, f"values have a discount from 0 to 1; it is {discount}")
    _check_replay(rank)


def _check_replay(rank: Rank) -> None:
    cut, store = rank.cut, rank.store
    if isinstance(store, TableSpec) and isinstance(cut, Segments):
        RateLimiter(store).check(store.batch_size, cut.length + cut.overlap)
