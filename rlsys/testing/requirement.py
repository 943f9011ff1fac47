"""What a contract demands, as a sentence that says so where it is not kept."""


class ContractError(AssertionError):
    """Something does not keep its contract; the message says what it should have kept to, and what it did instead."""


def require(is_kept: bool, sentence: str) -> None:
    """Raises ContractError with the sentence unless it is kept."""
    if not is_kept:
        raise ContractError(sentence)
