"""launch/pbs.sh outside of a job: it submits itself. What it does within one: test_site_scripts.py."""

import os
import subprocess
from pathlib import Path

import pytest
from site_jobs import LAUNCH, install

QSUB = {"qsub": 'printf "%s\\n" "$@" >> asked; echo "$LAUNCH" >> launch'}


def submit(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    install(folder, QSUB)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PBS_")}
    variables["PATH"] = f"{folder / 'bin'}:{variables['PATH']}"
    command = ["bash", str(LAUNCH / "pbs.sh"), *words]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=60, check=False)


def test_outside_of_a_job_it_submits_itself_with_its_words(tmp_path: Path) -> None:
    done = submit(tmp_path, "-l", "select=1:ngpus=1", "--", "iris-breakout", "env.id=A B", "run.note=it's, $HOME")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "asked").read_text().splitlines() == ["-V", "-l", "select=1:ngpus=1", str(LAUNCH / "pbs.sh")]
    asked = (tmp_path / "launch").read_text()
    words = subprocess.run(["xargs", "printf", r"%s\n"], input=asked, capture_output=True, text=True, check=True)
    assert words.stdout.splitlines() == ["iris-breakout", "env.id=A B", "run.note=it's, $HOME"], "as the job reads them"


def test_without_options_of_qsub_all_words_are_of_the_launch(tmp_path: Path) -> None:
    assert submit(tmp_path, "--resume", "iris/job-1").returncode == 0
    assert (tmp_path / "asked").read_text().splitlines() == ["-V", str(LAUNCH / "pbs.sh")]
    assert (tmp_path / "launch").read_text().split() == ["--resume", "iris/job-1"]


@pytest.mark.parametrize("words", [[], ["-l", "select=1", "--"]])
def test_what_says_nothing_is_one_line(tmp_path: Path, words: list[str]) -> None:
    done = submit(tmp_path, *words)
    assert done.returncode == 2
    assert done.stderr.startswith("error: say what to launch: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "asked").exists()
