"""What there is to run: experiments, profiles, algorithms and environments, each with what its own file says of it."""

import ast
import importlib.util
from pathlib import Path

from rlsys import config, registry
from rlsys.envs.table import FAMILIES
from rlsys.files.yaml_tree import read_yaml

_SHOWN_IDS = 3


def experiments() -> list[tuple[str, str, str, str]]:
    """Returns name, algorithm, environment and description of every experiment."""
    rows = []
    for name in config.experiment_names():
        path = config.data_folder("configs") / f"{name}.yaml"
        tree = read_yaml(path)
        env = tree.get("env")
        env_id = env.get("id") if isinstance(env, dict) else None
        rows.append((name, str(tree.get("algorithm", "?")), str(env_id or "?"), _first_comment(path)))
    return rows


def profiles() -> list[tuple[str, str]]:
    """Returns name and description of every launch profile."""
    return [(name, _first_comment(config.data_folder("launch") / f"{name}.yaml")) for name in config.profile_names()]


def algorithms() -> list[tuple[str, str]]:
    """Returns name and description of every algorithm and then of every baseline, without importing any."""
    package = Path(registry.__file__).parent
    folders = [package / "algorithms" / name for name in registry.names()]
    folders += [package / "baselines" / name for name in registry.baseline_names()]
    return [(folder.name, _docstring(folder / "__init__.py")) for folder in folders]


def environments() -> list[tuple[str, str, str, str]]:
    """Returns name, first ids, own settings and what is missing of every family of environments."""
    rows = []
    for family in FAMILIES:
        ids = list(family.ids())
        more = f", … {len(ids)} in all" if len(ids) > _SHOWN_IDS else ""
        own = [name for name in family.config_type.model_fields if name not in config.EnvConfig.model_fields]
        is_ready = family.package is None or importlib.util.find_spec(family.package) is not None
        missing = "" if is_ready else f"needs {family.package}. {family.how_to_install}"
        rows.append((family.name, ", ".join(ids[:_SHOWN_IDS]) + more, ", ".join(own), missing))
    return rows


def _first_comment(path: Path) -> str:
    """Returns the comment block at the top of a YAML file, up to its first full stop."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return _first_sentence(" ".join(lines))


def _docstring(path: Path) -> str:
    return _first_sentence(" ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split()))


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].rstrip(".")
