import torch

from rlsys.algorithms.iris.world_models.rewards import make_reward_code
from rlsys.ops.support import two_hot
from rlsys.ops.value_transform import symlog


def test_signs_are_three_classes() -> None:
    code, reward = make_reward_code("sign"), torch.tensor([-7.0, 0.0, 0.5])
    logits = torch.log_softmax(torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 1.0, 0.0]]), dim=-1)
    torch.testing.assert_close(code.loss(logits, reward), -logits[[0, 1, 2], [0, 1, 2]])
    assert code.is_right(logits, reward).tolist() == [True, True, False]
    sure = torch.nn.functional.one_hot(torch.tensor([0, 1, 2]), 3) * 100.0
    assert code.draw(sure, None).tolist() == [-1.0, 0.0, 1.0]


def test_two_hot_rewards_come_back_as_they_were() -> None:
    code = make_reward_code("two_hot")
    reward = torch.tensor([-500.0, -1.0, 0.0, 0.3, 20_000.0])
    target = two_hot(symlog(reward) * 4.0, -40, 40)
    logits = target.clamp_min(1e-12).log().requires_grad_()
    torch.testing.assert_close(code.draw(logits, None), reward, rtol=1e-4, atol=1e-5)
    assert code.is_right(logits, reward).all()
    (gradient,) = torch.autograd.grad(code.loss(logits, reward).sum(), logits)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-6, rtol=0.0, msg="nothing is better")
