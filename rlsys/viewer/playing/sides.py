"""The picture of what is played: a world model, the real game, and by how much they differ, side by side."""

from rlsys.types import Array
from rlsys.viewer.columns import Column, compose
from rlsys.viewer.comparison import column, difference_column
from rlsys.viewer.playing.game import Game, ImaginedGame, Reconstruction


class Sides:
    """Draws what there is to see of a step, each time anew."""

    def __init__(
        self,
        game: Game | None,
        model: ImaginedGame | None,
        reconstruction: Reconstruction | None = None,
        *,
        zoom: float = 4.0,
    ) -> None:
        """Takes what is shown, at least one of both sides.

        Args:
          game: the real one.
          model: the imagined one.
          reconstruction: also shows how the real game draws itself, and what the model makes of its frames.
          zoom: how much frames are enlarged.
        """
        self._game, self._model, self._reconstruction, self._zoom = game, model, reconstruction, zoom

    def draw(self, bar: tuple[int, int, int], *, is_over: bool) -> Array:
        """Returns `[H, W, 3]` uint8, under a bar of a colour."""
        columns = [] if self._model is None else [_of_model(self._model)]
        if self._game is not None:
            columns += self._of_game(self._game, is_over)
        return compose(columns, self._zoom, bar)

    def _of_game(self, game: Game, is_over: bool) -> list[Column]:
        title = "game (over)" if is_over else "game"
        columns = [column(title, game.tally, game.picture)]
        drawn = game.drawn()
        if self._reconstruction is not None:
            seen = Column(f"{title}, as it is seen", columns[0].lines, game.picture)
            made_of_it = Column("reconstruction", ("", ""), self._reconstruction.picture(game))
            columns = [seen, made_of_it] if drawn is None else [column(title, game.tally, drawn), seen, made_of_it]
        if self._model is not None:
            columns.append(difference_column(self._model.tally, self._model.picture, game.tally, game.picture))
        if self._reconstruction is None and drawn is not None:
            columns.append(Column("as it draws itself", ("", ""), drawn))
        return columns


def _of_model(model: ImaginedGame) -> Column:
    return column("world model (over)" if model.is_over else "world model", model.tally, model.picture)
