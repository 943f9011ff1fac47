"""An installation that cannot be written, for a user without a home: compiled functions are kept elsewhere."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rlsys import compiled_cache
from rlsys.commands import doctor
from rlsys.files import places

PACKAGE = Path(compiled_cache.__file__).parent
_FUSED = "rlsys.algorithms.muzero.fused"
KERNELS = f"import rlsys.planning.gumbel, rlsys.replay.table, {_FUSED}.kernels, {_FUSED}.unroll"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package without permission to write."""
    folder = tmp_path_factory.mktemp("installed")
    shutil.copytree(PACKAGE, folder / "rlsys", ignore=shutil.ignore_patterns("__pycache__"))
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    return folder


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Run:
    """Returns a function that runs a program with that copy, as somebody whom permissions hold for."""
    as_anybody = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    if as_anybody and shutil.which("setpriv") is None:
        pytest.skip("permissions do not hold for this user, and there is no setpriv")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    (tmp_path / "no home").touch()

    def start(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "NUMBA_", "RAY_"))}
        own = {"HOME": str(tmp_path / "no home"), "PYTHONPATH": str(installed), "TMPDIR": str(temporary)}
        return subprocess.run(
            [*as_anybody, sys.executable, "-c", code],
            env={**kept, "PYTHONDONTWRITEBYTECODE": "1", **own, **variables},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return start


def test_everything_that_is_compiled_can_be_imported_and_is_kept_in_a_private_folder(run: Run, tmp_path: Path) -> None:
    done = run(f"{KERNELS}; print(rlsys.__file__, os.environ['NUMBA_CACHE_DIR'])".replace("import", "import os,", 1))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    cache = tmp_path / "temporary" / f"rlsys-{os.getuid()}"
    assert done.stdout.split()[1] == str(cache / "numba")
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    again = run("import rlsys.replay.sum_tree as tree, numpy; tree.SumTree(8).set(numpy.arange(2), numpy.ones(2))")
    assert again.returncode == 0, again.stderr
    assert list(cache.rglob("*.nbi")), "what has been compiled is there for the next process"


def test_a_cache_that_cannot_be_written_is_replaced_with_one_line(run: Run, tmp_path: Path) -> None:
    done = run(KERNELS, NUMBA_CACHE_DIR=str(tmp_path / "no home" / "x"))
    assert done.returncode == 0, done.stderr
    assert "NUMBA_CACHE_DIR = " in done.stderr and "cannot be written" in done.stderr


def test_where_nothing_can_be_written_each_process_compiles_and_says_so(run: Run, tmp_path: Path) -> None:
    code = (
        "import tempfile, rlsys.compiled_cache as cache\n"
        "def nowhere(name): raise PermissionError\n"
        "cache.cache_folder = nowhere\n"
        "import numpy, rlsys.replay.sum_tree as tree\n"
        "tree.SumTree(8).set(numpy.arange(2), numpy.ones(2))"
    )
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert "compiled functions cannot be kept: each process compiles them again" in done.stderr


def test_doctor_says_where_compiled_functions_are_kept(run: Run, tmp_path: Path) -> None:
    code = "from rlsys.commands import doctor; print(*doctor.check_numba_cache())"
    done = run(code)
    assert f"rlsys-{os.getuid()}/numba can be written" in done.stdout, done.stderr
    done = run(code, NUMBA_CACHE_DIR=str(tmp_path / "no home" / "x"))
    assert "verdict='warn'" in done.stdout and "is used instead" in done.stdout


def test_where_no_folder_can_be_written_doctor_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "choose_cache", lambda: None)
    (found,) = doctor.check_numba_cache()
    assert (found.verdict, "Every process compiles again" in found.advice) == ("warn", True)


def test_a_folder_that_somebody_else_has_prepared_is_not_used(tmp_path: Path) -> None:
    mine = places.private_folder(tmp_path)
    assert mine == places.private_folder(tmp_path) == tmp_path / f"rlsys-{os.getuid()}"
    mine.chmod(0o777)
    assert stat.S_IMODE(places.private_folder(tmp_path).stat().st_mode) == 0o700
    mine.rmdir()
    (tmp_path / "theirs").mkdir()
    mine.symlink_to(tmp_path / "theirs")
    other = places.private_folder(tmp_path)
    assert other not in (mine, tmp_path / "theirs") and stat.S_IMODE(other.stat().st_mode) == 0o700
