"""What every algorithm must keep to; a new folder under rlsys/algorithms is tested without a new test."""

import subprocess
import sys

import pytest

from rlsys import registry
from rlsys.config.fields import described_fields
from rlsys.testing.contract import check_algorithm


@pytest.mark.parametrize("name", registry.names())
def test_an_algorithm_keeps_its_contract(name: str) -> None:
    algorithm = registry.get(name)
    assert algorithm.name == name
    check_algorithm(algorithm)


@pytest.mark.parametrize("name", registry.names())
def test_a_record_is_cheap_to_import(name: str) -> None:
    imported = "print({'torch', 'ray', 'wandb'} & set(sys.modules))"
    code = f"import sys; from rlsys import registry; registry.get('{name}'); {imported}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", registry.names())
def test_every_option_is_described(name: str) -> None:
    fields = described_fields(registry.get(name).config_type)
    assert [field for field, meaning in fields if not meaning] == []
