"""What a run shows of its world model and of its episodes, as files."""

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from rlsys.config import RunConfig
from rlsys.types import EpisodeRecord, Reconstruction
from rlsys.viewer.episodes import folder_of, kept_in
from rlsys.viewer.media import Media

DREAM = EpisodeRecord(
    np.zeros((3, 4, 4), np.uint8), np.zeros(2, np.int64), np.ones(2, np.float32), np.zeros(2, np.bool_)
)


@pytest.fixture(autouse=True)
def run(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()


def reconstruction(steps: int) -> Reconstruction:
    rng = np.random.default_rng(steps)
    return Reconstruction(*rng.integers(0, 256, (2, steps, 4, 6), np.uint8))


def test_reconstructions_are_a_picture_with_originals_above_them(tmp_path: Path) -> None:
    troubles: list[str] = []
    first, second = reconstruction(5), reconstruction(3)
    assert Media(tmp_path, RunConfig(), troubles.append).show("tokenizer/reconstruction", [first, second], 7) is None
    picture = iio.imread(tmp_path / "media" / "reconstructions" / "tokenizer-reconstruction-000000007.png")
    assert picture.shape == (4 * 4, 5 * 6, 3)
    for row, frames in enumerate([first.observation, first.reconstruction, second.observation, second.reconstruction]):
        for column, frame in enumerate(frames):
            place = picture[4 * row : 4 * row + 4, 6 * column : 6 * column + 6]
            assert np.array_equal(place, np.repeat(frame[..., None], 3, axis=2))
    assert not picture[8:, 18:].any() and troubles == []


@pytest.mark.parametrize(("newest", "kept"), [(2, 3), (0, 0)])
def test_as_many_imagined_episodes_are_kept_as_the_run_says(tmp_path: Path, newest: int, kept: int) -> None:
    media = Media(tmp_path, RunConfig(kept_episodes=newest), print)
    media.show("imagination/episodes", [DREAM] * 4, 7)
    assert len(kept_in(folder_of(tmp_path, "imagination"))) == kept, "and the best besides"


def test_what_cannot_be_written_is_said_and_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "media").write_text("in the way", encoding="utf-8")
    troubles: list[str] = []
    media = Media(tmp_path, RunConfig(), troubles.append)
    media.show("tokenizer/reconstruction", [reconstruction(2)], 7)
    media.keep("train", [DREAM], 7)
    assert troubles[0].startswith("the picture tokenizer/reconstruction is left out: ")
    assert troubles[1] == "train episodes are not kept: File exists" or "Not a directory" in troubles[1]
    Media(tmp_path / "moved", RunConfig(), troubles.append).keep("train", [DREAM], 7)
    assert len(troubles) == 2 and not (tmp_path / "moved").exists()


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").unlink()
    media = Media(tmp_path, RunConfig(), print)
    media.show("tokenizer/reconstruction", [reconstruction(2)], 7)
    media.keep("train", [DREAM], 7)
    assert not list(tmp_path.iterdir())
