"""What the record of an algorithm says, without building anything."""

from rlsys.replay.limiter import RateLimiter
from rlsys.testing.requirement import require
from rlsys.testing.training import Rank, Training


def check_record(training: Training) -> None:
    """Requires that the record's parts fit each other: fields that exist, a table of the right kind."""
    algorithm, rank = training.algorithm, training.ranks[0]
    fields = algorithm.config_type.model_fields
    for name in (algorithm.environments, algorithm.temperature, *algorithm.kept):
        require(
            not name or name in fields,
            f"`environments`, `temperature` and `kept` name fields of its section; '{name}' is none",
        )
    require(
        isinstance(training.section, algorithm.config_type),
        f"its settings are a {algorithm.config_type.__name__}; they are a {type(training.section).__name__}",
    )
    discount = algorithm.values(training.section).discount
    require(0.0 <= discount <= 1.0, f"values have a discount from 0 to 1; it is {discount}")
    _check_table(rank)


def _check_table(rank: Rank) -> None:
    segments, table = rank.segments, rank.table_spec
    is_queue = table.sampler == "fifo"
    require(
        segments.unroll == is_queue,
        f"unrolls go into a queue and segments into a table; unroll = {segments.unroll}, sampler = {table.sampler}",
    )
    for name, given in (("on_policy", segments.on_policy), ("state", segments.state), ("encoded", segments.encoded)):
        require(segments.unroll or not given, f"only unrolls have `{name}`; segments have {given}")
    if not is_queue:
        RateLimiter(table).check(table.batch_size, segments.length + segments.overlap)
