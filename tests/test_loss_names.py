"""Which metrics are taken for losses."""

import pytest

from rlsys.loss_names import losses_in, read_loss_name


@pytest.mark.parametrize(
    ("metric", "found"),
    [
        ("loss/value", ("value", False)),
        ("loss/held_out_value", ("value", True)),
        ("world/image_loss", ("image", False)),
        ("world/loss_bits", ("bits", False)),
        ("world/held_out_image_loss", ("image", True)),
        ("tokenizer/commitment_loss", ("commitment", False)),
        ("held_out/reward_loss", ("reward", True)),
        ("world/loss", None),
        ("world/gradient_norm", None),
        ("world/held_out_windows", None),
        ("real/loss_reward", None),
        ("learner_step", None),
    ],
)
def test_a_loss_is_known_by_its_name(metric: str, found: tuple[str, bool] | None) -> None:
    assert read_loss_name(metric) == found


def test_losses_of_a_row_keep_their_names() -> None:
    assert losses_in({"env_steps": 3.0, "loss/value": 0.5, "world/image_loss": 2.0}) == {
        "loss/value": 0.5,
        "world/image_loss": 2.0,
    }
