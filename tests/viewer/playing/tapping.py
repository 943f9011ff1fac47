"""Keys of a player, tapped."""

from rlsys.viewer.playing.player import Player
from rlsys.viewer.screen import KeyEvent


def press(player: Player, *keys: str) -> None:
    """Taps keys together; the next tick sees them."""
    for is_down in (True, False):
        for key in keys:
            player.key(KeyEvent(key, is_down))


def step(player: Player, *keys: str) -> None:
    """Taps keys together, and lets them act."""
    press(player, *keys)
    player.tick()
