import torch

from rlsys.algorithms.iris.world_models.drawing import draw


def test_classes_are_drawn_as_often_as_they_are_likely() -> None:
    probabilities = torch.tensor([0.1, 0.0, 0.6, 0.3])
    drawn = draw(probabilities.log().expand(100_000, 4), torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn, minlength=4) / len(drawn)
    torch.testing.assert_close(shares, probabilities, atol=0.005, rtol=0.0)
    assert shares[1] == 0.0


def test_temperature_flattens_and_at_zero_the_likeliest_is_taken() -> None:
    logits = torch.tensor([0.0, 2.0]).expand(50_000, 2)
    share = draw(logits, torch.Generator().manual_seed(0), temperature=2.0).float().mean()
    torch.testing.assert_close(share, torch.tensor(1.0).sigmoid(), atol=0.01, rtol=0.0)
    assert draw(logits, temperature=0.0).all()


def test_rounded_logits_never_lead_past_the_last_class() -> None:
    logits = torch.zeros(2_000, 7, dtype=torch.bfloat16)
    drawn = draw(logits, torch.Generator().manual_seed(0))
    assert sorted(set(drawn.tolist())) == list(range(7))
