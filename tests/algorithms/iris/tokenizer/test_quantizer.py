"""The codebook against its definition, written plainly."""

from typing import Any

import pytest
import torch
from torch import Tensor

from rlsys.algorithms.iris.tokenizer.config import TokenizerConfig
from rlsys.algorithms.iris.tokenizer.quantizer import Quantizer, Ranks

NUM_CODES, SIZE = 7, 4


def quantizer(**settings: Any) -> Quantizer:
    torch.manual_seed(0)
    config = {"vocabulary_size": NUM_CODES, "embedding_size": SIZE, **settings}
    made = Quantizer(TokenizerConfig.model_validate(config))
    with torch.no_grad():
        made.codes.normal_()
    return made


def encodings(*leading: int) -> Tensor:
    return torch.randn(*leading, SIZE, generator=torch.Generator().manual_seed(1))


def test_codes_begin_between_one_over_their_number() -> None:
    codes = Quantizer(TokenizerConfig(vocabulary_size=50)).codes
    assert codes.shape == (50, 512)
    assert 0.019 < codes.max() <= 0.02 and -0.02 <= codes.min() < -0.019


def test_tokens_are_of_the_nearest_codes() -> None:
    made, encoded = quantizer(), encodings(2, 5, 3)
    distances = (encoded[..., None, :] - made.codes).square().sum(dim=-1)
    tokens = made.nearest(encoded)
    assert tokens.dtype == torch.int64
    torch.testing.assert_close(tokens, distances.argmin(dim=-1))
    torch.testing.assert_close(made.embed(tokens), made.codes[tokens])


def test_tokens_do_not_depend_on_the_precision_of_networks() -> None:
    made, encoded = quantizer(), encodings(2_000)
    with torch.autocast("cpu", torch.bfloat16):
        tokens = made.nearest(encoded)
    assert torch.equal(tokens, made.nearest(encoded))
    rounded = (made.codes.square().sum(dim=1) - 2 * (encoded.bfloat16() @ made.codes.bfloat16().t())).argmin(dim=1)
    assert not torch.equal(tokens, rounded), "there are ties that rounding decides"


def test_gradients_pass_straight_through() -> None:
    made, encoded = quantizer(), encodings(3, 2).requires_grad_()
    towards = torch.randn(3, 2, SIZE)
    embedded = made(encoded).embedded
    (embedded * towards).sum().backward()
    assert encoded.grad is not None
    torch.testing.assert_close(encoded.grad, towards)
    assert made.codes.grad is None
    torch.testing.assert_close(embedded, made.embed(made.nearest(encoded)))


@pytest.mark.parametrize("beta", [1.0, 0.25])
def test_the_loss_draws_codes_to_encodings_and_encodings_to_codes(beta: float) -> None:
    made, encoded = quantizer(beta=beta), encodings(6).requires_grad_()
    quantized = made(encoded)
    apart = encoded.detach() - made.codes.detach()[quantized.tokens]
    torch.testing.assert_close(quantized.loss, (1 + beta) * apart.square().mean())
    quantized.loss.backward()
    towards = 2 * apart / apart.numel()
    torch.testing.assert_close(encoded.grad, beta * towards)
    torch.testing.assert_close(made.codes.grad, torch.zeros_like(made.codes).index_add_(0, quantized.tokens, -towards))


def test_codes_that_are_means_are_no_parameters_and_only_encodings_are_drawn() -> None:
    made, encoded = quantizer(codebook="ema", beta=0.5), encodings(6).requires_grad_()
    assert list(made.parameters()) == []
    quantized = made(encoded)
    torch.testing.assert_close(quantized.loss, 0.5 * (encoded - made.codes[quantized.tokens]).square().mean())


def test_moving_means_are_those_of_sums_and_counts() -> None:
    made, decay = quantizer(codebook="ema", ema_decay=0.9), 0.9
    counts, sums, codes = torch.zeros(NUM_CODES), torch.zeros(NUM_CODES, SIZE), made.codes.clone()
    generator = torch.Generator().manual_seed(2)
    for _ in range(4):
        encoded = torch.randn(3, SIZE, generator=generator)
        tokens = made.nearest(encoded)
        made.observe(tokens, encoded)
        for code in range(NUM_CODES):
            of_code = encoded[tokens == code]
            counts[code] = decay * counts[code] + (1 - decay) * len(of_code)
            sums[code] = decay * sums[code] + (1 - decay) * of_code.sum(dim=0)
            codes[code] = sums[code] / counts[code] if counts[code] > 0 else codes[code]
        torch.testing.assert_close(made.codes, codes)
        torch.testing.assert_close(made.size, counts)


def test_a_code_that_is_not_used_for_long_stays_where_it_is() -> None:
    made = quantizer(codebook="ema", ema_decay=0.01)
    encoded = made.codes[:1].clone()
    before = made.codes.clone()
    made.observe(torch.tensor([3]), encoded)
    torch.testing.assert_close(made.codes[3], encoded[0])
    for _ in range(40):
        made.observe(torch.tensor([0]), encoded)
    assert made.size[3] == 0.0
    torch.testing.assert_close(made.codes[3], encoded[0])
    torch.testing.assert_close(made.codes[4:], before[4:])


def test_use_is_told_of_each_batch() -> None:
    made = quantizer()
    told = made.observe(torch.tensor([[0, 1], [2, 3]]), encodings(2, 2))
    assert told["codes_used"].item() == pytest.approx(4 / NUM_CODES)
    assert told["perplexity"].item() == pytest.approx(4.0)
    assert made.observe(torch.tensor([2, 2]), encodings(2))["perplexity"].item() == pytest.approx(1.0)
    assert made.idle.tolist() == [1, 1, 0, 1, 2, 2, 2]
    assert told["codes_revived"].item() == 0.0


@pytest.mark.parametrize("codebook", ["learned", "ema"])
def test_dead_codes_become_encodings_of_the_day(codebook: str) -> None:
    made = quantizer(codebook=codebook, revive_dead_codes=2)
    encoded, tokens = encodings(3), torch.tensor([0, 0, 1])
    assert made.observe(tokens, encoded)["codes_revived"].item() == 0.0
    told = made.observe(tokens, encoded, generator=torch.Generator().manual_seed(0))
    assert told["codes_revived"].item() == NUM_CODES - 2
    for code in made.codes[2:]:
        assert any(torch.equal(code, one) for one in encoded)
    assert not any(torch.equal(made.codes[0], one) for one in encoded)
    assert made.idle.tolist() == [0] * NUM_CODES
    assert made.observe(tokens, encoded)["codes_revived"].item() == 0.0


def test_nothing_is_revived_unless_asked_for() -> None:
    made = quantizer()
    before = made.codes.detach().clone()
    for _ in range(5):
        made.observe(torch.tensor([0]), encodings(1))
    assert torch.equal(made.codes, before)


@pytest.mark.parametrize("codebook", ["learned", "ema"])
def test_ranks_come_to_the_same_codes_as_one_learner_of_all(codebook: str) -> None:
    """Ranks take turns: what each gives to be averaged is known from a first pass without averaging."""
    encoded = [encodings(4), encodings(4) + 1.0]
    tokens = [torch.tensor([0, 1, 1, 2]), torch.tensor([2, 2, 3, 1])]
    alone = quantizer(codebook=codebook)
    told = alone.observe(torch.cat(tokens), torch.cat(encoded))

    given: list[list[Tensor]] = []
    for rank in range(2):
        ranks = Ranks(rank, 2, lambda tensors: given.append([tensor.clone() for tensor in tensors]))
        quantizer(codebook=codebook).observe(tokens[rank], encoded[rank], ranks)

    def average(tensors: list[Tensor]) -> None:
        for place, tensor in enumerate(tensors):
            tensor.copy_((given[0][place] + given[1][place]) / 2)

    for rank in range(2):
        made = quantizer(codebook=codebook)
        told_here = made.observe(tokens[rank], encoded[rank], Ranks(rank, 2, average))
        torch.testing.assert_close(made.codes, alone.codes)
        assert {name: value.item() for name, value in told_here.items()} == pytest.approx(
            {name: value.item() for name, value in told.items()}
        )


def test_each_dead_code_begins_as_an_encoding_of_one_rank() -> None:
    given: list[Tensor] = []
    encoded = [encodings(4), encodings(4) + 1.0]
    for rank in range(2):
        made = quantizer(revive_dead_codes=1)
        made.observe(torch.zeros(4, dtype=torch.int64), encoded[rank], Ranks(rank, 2, given.extend))
    _, first, _, second = given
    begun = (first + second) / 2
    for code, value in enumerate(begun, start=1):
        assert any(torch.equal(value, one) for one in encoded[code % 2])
