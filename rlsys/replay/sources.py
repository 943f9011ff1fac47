"""Remembers which segments have arrived, so that one that is sent twice is stored once."""

from rlsys.types import Source

_REMEMBERED = 64
_MAX_STREAMS = 4096


class SeenSources:
    """A bounded memory of segments, by worker, incarnation and sequence number.

    Per worker and incarnation it is the sliding window by which IPsec refuses packets sent twice (RFC 4303, section
    3.4.3): the newest sequence number, and a bit for each of the 64 up to it. Older numbers count as seen, for a worker
    has far fewer segments on the way. Of all workers and incarnations the 4,096 last heard of are kept.
    """

    def __init__(self) -> None:
        self._streams: dict[tuple[int, int], tuple[int, int]] = {}  # (worker, incarnation) -> (newest, bits)

    def add(self, source: Source) -> bool:
        """Remembers a source; returns False where it had been seen before."""
        stream = (source.worker, source.incarnation)
        newest, bits = self._streams.pop(stream, (source.sequence, 0))
        ahead = source.sequence - newest
        if ahead > 0:
            newest, bits = source.sequence, (bits << min(ahead, _REMEMBERED)) % (1 << _REMEMBERED)
        bit = 1 << max(-ahead, 0)
        is_new = -ahead < _REMEMBERED and not bits & bit
        if is_new:
            bits |= bit
        self._streams[stream] = (newest, bits)
        if len(self._streams) > _MAX_STREAMS:
            del self._streams[next(iter(self._streams))]
        return is_new

    def save(self) -> list[list[int]]:
        """Returns `[worker, incarnation, newest, bits]` per stream, the longest unheard first."""
        return [[*stream, *window] for stream, window in self._streams.items()]

    def load(self, saved: list[list[int]]) -> None:
        """Takes over what `save` returned."""
        self._streams = {(worker, incarnation): (newest, bits) for worker, incarnation, newest, bits in saved}
