import torch

from rlsys.algorithms.iris.world_models.rewards import make_reward_code


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
    logits = torch.zeros(5, code.size, requires_grad=True)
    for _ in range(3_000):
        (gradient,) = torch.autograd.grad(code.loss(logits, reward).sum(), logits)
        logits = (logits - 2.0 * gradient).detach().requires_grad_()
    torch.testing.assert_close(code.draw(logits, None), reward, rtol=0.02, atol=0.02)
    assert code.is_right(logits, reward).all()
