"""The command line: what it imports, what it prints, and with which status it ends."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import rlsys
import rlsys.testing.environments
from rlsys import cli, config, registry
from rlsys.commands import play as play_module
from rlsys.commands.play import PlayOptions
from rlsys.evaluation import run as evaluation_module
from rlsys.evaluation.run import EvaluationOptions
from rlsys.runtime.launch import launch as launch_module
from rlsys.terminal import as_text, plain_table
from rlsys.testing.algorithm import CHECKING

TYPERS = {"typer", "click", "shellingham", "annotated_doc", "typing_extensions"}
RICHS = {"rich", "pygments", "markdown_it", "mdurl", "attr"}
PYDANTICS = {"pydantic", "pydantic_core", "annotated_types", "typing_inspection"}
LIGHT = TYPERS | RICHS | PYDANTICS
"""All that help may import besides the standard library: what draws it, and what typer checks options with."""

EXPERIMENT = """\
# Counts steps. Not shown: the second sentence.
algorithm: checking
env: {id: rlsys/Counting-v0}
run:
  training_steps: 12
  checkpoint_every_learner_steps: 6
  evaluate_every_learner_steps: 6
  evaluation_episodes: 2
  wandb: disabled
  tensorboard: false
"""
PROFILE = """\
# One small worker.
runtime: {rollout_workers: 1, environments_per_worker: 4}
"""

Invoke = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The experiment 'counting', the profile 'laptop', and an empty current folder."""
    for kind, name, text in (("configs", "counting", EXPERIMENT), ("launch", "laptop", PROFILE)):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / f"{name}.yaml").write_text(text)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for module in ("rlsys.config", "rlsys.config.experiment"):
        monkeypatch.setattr(f"{module}.data_folder", lambda kind: tmp_path / kind)
    monkeypatch.setattr(registry, "get", lambda name: replace(CHECKING, name=name))
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Invoke:
    """Returns a function that runs the command line and returns status, standard output and standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rlsys", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Puts a recorder in the place of the runtime's launch; returns what it was called with."""
    calls: list[dict[str, Any]] = []

    def launch(loaded: config.Loaded | None, **options: Any) -> int:
        calls.append({"loaded": loaded, **options})
        return 0

    monkeypatch.setattr(launch_module, "launch", launch)
    return calls


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["launch", "--help"], ["eval", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = f"""
import sys
from rlsys.cli import app
try:
    app({arguments!r})
except SystemExit as ended:
    status = ended.code
import io
import json
from importlib.metadata import packages_distributions
installed = set(packages_distributions())
print(json.dumps([status, sorted({{name.partition(".")[0] for name in sys.modules}} & installed)]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    status, modules = json.loads(done.stdout.splitlines()[-1])
    assert status == 0
    imported = {name for name in modules if not name.startswith("_")} - {"rlsys"}
    assert "typer" in imported
    assert imported <= LIGHT


def test_help_names_every_command(invoke: Invoke) -> None:
    status, out, _ = invoke("--help")
    assert status == 0
    assert all(command in out for command in ("launch", "list", "show", "eval", "play", "doctor"))


def test_version(invoke: Invoke) -> None:
    assert invoke("--version") == (0, f"rlsys {rlsys.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["launch", "countin"], "error: no experiment 'countin'. Did you mean 'counting'? 'rlsys list' shows all."),
        (["launch", "counting", "--profile", "lapdog"], "error: no profile 'lapdog'. Did you mean 'laptop'?"),
        (
            ["launch", "counting", "run.sead=1"],
            "error: unknown key 'run.sead' on the command line. Did you mean 'seed'?",
        ),
        (["launch", "counting", "run.seed=x"], "error: run.seed = 'x'; it must be a valid integer. Correct it on"),
        (
            ["launch", "counting", "--minutes", "0"],
            "error: run.minutes = 0.0; it must be greater than 0. Correct it on",
        ),
        (["launch", "counting", "oops"], "error: override 'oops' is not KEY=VALUE."),
        (["launch"], "error: no experiment; name one, or a run with --resume RUN."),
        (["launch", "--resume", "r", "--profile", "gpu"], "error: --profile gpu with --resume r; a resumed run keeps"),
        (["launch", "counting", "--submit"], "error: --submit with runtime.address = null; a job needs a cluster that"),
        (["launch", "counting", "--submit", "--inline"], "error: --submit with --inline; a job trains on a cluster."),
        (["show", "counting", "--section", "rum"], "error: no setting of 'counting' begins with 'rum'."),
    ],
)
def test_a_mistake_is_one_line_and_status_2_before_anything_starts(
    invoke: Invoke, launched: list[dict[str, Any]], arguments: list[str], message: str
) -> None:
    status, out, err = invoke(*arguments)
    assert status == 2
    assert err.startswith(message)
    assert err.count("\n") == 1 and err[-2:] in (".\n", "?\n")
    assert out == "" and launched == []
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [["lanch"], ["launch", "counting", "--profil", "x"], ["eval", "r", "--episodes", "0"]]
)
def test_a_wrong_command_or_option_ends_with_status_2(invoke: Invoke, arguments: list[str]) -> None:
    status, _, err = invoke(*arguments)
    assert status == 2
    assert "Usage: rlsys" in err and "Traceback" not in err


def test_launch_hands_over_experiment_and_overrides(invoke: Invoke, launched: list[dict[str, Any]]) -> None:
    status, _, _ = invoke("launch", "counting", "run.seed=7", "--inline", "--minutes", "2", "--address", "auto")
    assert status == 0
    (call,) = launched
    assert (call["inline"], call["resume"]) == (True, None)
    assert call["overrides"] == ["run.seed=7", "run.minutes=2.0", "runtime.address=auto"]
    experiment = call["loaded"].experiment
    assert (experiment.run.seed, experiment.run.minutes, experiment.runtime.address) == (7, 2.0, "auto")
    assert call["loaded"].profile == "laptop"


def test_a_resumed_run_needs_no_name(invoke: Invoke, launched: list[dict[str, Any]]) -> None:
    assert invoke("launch", "--resume", "counting/run-1", "run.minutes=5")[0] == 0
    expected = {"loaded": None, "inline": False, "resume": "counting/run-1", "checkpoint": "latest"}
    assert launched == [{**expected, "overrides": ["run.minutes=5"]}]


def test_the_status_of_a_run_is_the_status_of_the_command(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch_module, "launch", lambda loaded, **options: 130)
    assert invoke("launch", "counting")[0] == 130


def test_ctrl_c_ends_with_status_130_and_no_traceback(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(loaded: config.Loaded | None, **options: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(launch_module, "launch", interrupted)
    status, _, err = invoke("launch", "counting")
    assert status == 130
    assert "Traceback" not in err


def test_list_shows_experiments_profiles_and_algorithms_in_plain_columns(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "algorithms" / "muzero").mkdir(parents=True)
    (tmp_path / "algorithms" / "muzero" / "__init__.py").write_text(
        '"""MuZero: plans in\na model. More."""\nimport nothing'
    )
    monkeypatch.setattr(registry, "__file__", str(tmp_path / "registry.py"))
    monkeypatch.setattr(registry, "names", lambda: ["muzero"])
    monkeypatch.setattr(registry, "baseline_names", list)
    status, out, _ = invoke("list")
    assert status == 0
    lines = out.splitlines()
    assert "counting  checking   rlsys/Counting-v0  Counts steps" in lines
    assert "laptop  One small worker" in lines
    assert "muzero  MuZero: plans in a model" in lines


def test_show_tells_value_layer_default_and_meaning_of_every_field(invoke: Invoke) -> None:
    status, out, _ = invoke("show", "counting", "run.seed=7")
    assert status == 0
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines() if "." in line.split("  ")[0]}
    assert rows["run.seed"].startswith("7 override 0 Seed of everything random")
    assert rows["runtime.rollout_workers"].startswith("1 profile auto Processes that step environments")
    assert rows["run.tensorboard"].startswith("false experiment true ")
    assert rows["checking.batch_size"] == "16 default 16 Windows per update, over all ranks."
    assert set(rows) >= {f"env.{name}" for name in config.EnvConfig.model_fields}
    only_env = invoke("show", "counting", "--section", "env.")[1]
    assert "env.id" in only_env and "run.seed" not in only_env


def test_eval_hands_over_every_option(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[EvaluationOptions] = []

    def evaluate(options: EvaluationOptions) -> int:
        asked.append(options)
        return 0

    monkeypatch.setattr(evaluation_module, "evaluate_run", evaluate)
    assert invoke("eval", "r")[0] == 0
    arguments = (
        "--episodes 3 --temperature 0 --temperature 0.5 --seed 4 --checkpoint best --num-simulations 9 --only-prior "
        "--only-value --noise --apply-mcts-steps 2 --gif a.gif --video a.mp4 --plot a.png --save-mcts trees "
        "--parallel 2 --noops 0 --noops 8 --max-steps 70 --agent random --all-checkpoints --films 4 --film-folder f"
    )
    assert invoke("eval", "r", *arguments.split())[0] == 0
    assert asked == [
        EvaluationOptions(run="r"),
        EvaluationOptions(
            run="r",
            episodes=3,
            temperatures=(0.0, 0.5),
            seed=4,
            checkpoint="best",
            num_simulations=9,
            only_prior=True,
            only_value=True,
            noise=True,
            apply_mcts_steps=2,
            gif=Path("a.gif"),
            video=Path("a.mp4"),
            plot=Path("a.png"),
            save_mcts=Path("trees"),
            parallel=2,
            noops=(0, 8),
            max_steps=70,
            agent="random",
            all_checkpoints=True,
            films=4,
            film_folder=Path("f"),
        ),
    ]


def test_a_run_is_launched_resumed_evaluated_and_played(invoke: Invoke) -> None:
    status, out, err = invoke("launch", "counting", "--inline", "run.run_tag=a")
    assert (status, err) == (0, "")
    assert "12 learner steps are done" in out
    status, out, _ = invoke("launch", "--resume", "counting/a", "--inline", "run.training_steps=18")
    assert status == 0
    assert "18 learner steps are done" in out
    status, out, _ = invoke("eval", "counting/a", "--episodes", "3")
    assert status == 0
    assert "learner step 18" in out
    status, out, _ = invoke("play", "counting", "--seed", "5")
    assert status == 0
    assert invoke("export", "counting", "--to", "given.zip", "--half")[0] == 0
    assert "learner step 18" in invoke("eval", "given.zip", "--episodes", "1")[1]
    assert invoke("eval", "gopher://host/given.zip")[0] == 2
    assert out.startswith("rlsys/Counting-v0 at learner step 18, seed 5: return ")
    assert (Path("runs") / "counting" / "a" / "media" / "play.mp4").stat().st_size > 0
    assert invoke("launch", "counting", "--inline", "run.run_tag=a")[0] == 2
    assert invoke("eval", "nowhere")[0] == 2


def test_play_hands_over_every_option(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[PlayOptions] = []

    def play(options: PlayOptions) -> str:
        asked.append(options)
        return "played"

    monkeypatch.setattr(play_module, "play_run", play)
    assert invoke("play", "r")[:2] == (0, "played\n")
    arguments = (
        "--checkpoint best --seed 4 --watch --web --port 8000 --fps 12.5 --film a.gif --record kept --no-real --zoom 6 "
        "--episode-steps 99"
    )
    assert invoke("play", "r", *arguments.split())[0] == 0
    assert asked == [
        PlayOptions("r"),
        PlayOptions(
            "r",
            checkpoint="best",
            seed=4,
            watch=True,
            web=True,
            port=8_000,
            fps=12.5,
            film=Path("a.gif"),
            record=Path("kept"),
            no_real=True,
            zoom=6.0,
            episode_steps=99,
        ),
    ]
    assert invoke("play", "r", "--zoom", "0")[0] == 2


def test_what_cannot_be_played_is_answered_by_one_line(invoke: Invoke) -> None:
    invoke("launch", "counting", "--inline", "run.run_tag=a")
    status, out, err = invoke("play", "counting/a", "--no-real")
    assert (status, out) == (2, "")
    assert err == (
        "error: --no-real with algorithm = checking, which has no world model; it is for playing in a world model. "
        "Leave it out.\n"
    )


def test_a_closed_window_ends_the_episode_but_not_the_film(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []

    class ClosedAfterThree:
        def __init__(self, title: str, fps: float) -> None: ...

        def __enter__(self) -> "ClosedAfterThree":
            return self

        def __exit__(self, *error: object) -> None: ...

        def show(self, frame: Any) -> None:
            shown.append(frame)
            if len(shown) == 3:
                raise play_module.WindowClosed

    monkeypatch.setattr(play_module, "has_screen", lambda: True)
    monkeypatch.setattr(play_module, "Window", ClosedAfterThree)
    invoke("launch", "counting", "--inline", "run.run_tag=a")
    status, out, _ = invoke("play", "counting/a", "--film", "film.gif")
    assert (status, len(shown)) == (0, 3)
    assert "the window was closed. The film so far: film.gif" in out
    assert Path("film.gif").stat().st_size > 0


def test_plain_tables_align_all_columns_and_truncate_none() -> None:
    long = "x" * 300
    assert plain_table("T", ("a", "b"), [("1", long), ("22", "")]) == f"# T\na   b\n1   {long}\n22"


@pytest.mark.parametrize(
    ("value", "text"), [("auto", "auto"), ("", '""'), (None, "null"), (True, "true"), ([0, 255.0], "[0, 255.0]")]
)
def test_values_are_shown_as_they_would_be_given(value: Any, text: str) -> None:
    assert as_text(value) == text


def test_a_terminal_that_cannot_write_a_character_gets_a_question_mark(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "configs" / "counting.yaml").write_text(f"# 12 × 2\n{EXPERIMENT}")
    raw = io.BytesIO()
    ascii_only = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", ascii_only)
    status, _, err = invoke("list")
    assert (status, err) == (0, "")
    assert b"12 ? 2" in raw.getvalue()


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["eval", "counting/x", "--checkpoint", "10", "--checkpoint", "20"], "--checkpoint"),
        (["launch", "counting", "--minutes=1", "--minutes", "2"], "--minutes"),
        (["launch", "counting", "--profile", "laptop", "run.seed=1", "--profile", "laptop"], "--profile"),
        (["show", "counting", "--section", "a", "--section", "b"], "--section"),
        (["status", "--directory", "a", "--directory", "b"], "--directory"),
    ],
)
def test_an_option_of_one_value_is_given_once(arguments: list[str], option: str, invoke: Invoke) -> None:
    status, _, err = invoke(*arguments)
    assert status == 2
    assert err == f"error: {option} is given 2 times; it takes one value. Leave one.\n"


def test_an_option_of_several_values_is_given_several_times(invoke: Invoke) -> None:
    assert "no run" in invoke("eval", "counting/x", "--temperature", "0", "--temperature", "1")[2]


def test_an_argument_that_is_not_utf_8_is_refused_in_one_line(invoke: Invoke) -> None:
    status, _, err = invoke("launch", "counting", "run.group_tag=\udcff")
    assert status == 2
    assert err.startswith("error: 'run.group_tag=\\udcff' on the command line is not valid UTF-8")


def test_an_argument_is_utf_8_in_a_locale_that_cannot_read_it(invoke: Invoke, launched: list[dict[str, Any]]) -> None:
    assert invoke("launch", "counting", "run.group_tag=caf\udcc3\udca9")[0] == 0
    assert launched[0]["loaded"].experiment.run.group_tag == "café"


@pytest.mark.parametrize("option", ["--directory=~/runs", "--directory"])
def test_a_path_may_begin_with_the_home_folder(
    option: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    words = [option] if "=" in option else [option, "~/runs"]
    assert f"under {tmp_path}/runs. Give" in invoke("status", "counting/x", *words)[2]
    (tmp_path / "mine.yaml").write_text(EXPERIMENT)
    assert invoke("show", "~/mine.yaml")[0] == 0


@pytest.mark.parametrize("command", [["status"], ["eval"], ["play"], ["export", "--to=x.zip"], ["launch", "--resume"]])
@pytest.mark.parametrize("name", ["x" * 5_000, "**", "[", "a\nb", "", "..", "/proc/none/**", "#best", "a#1"])
def test_a_name_that_no_run_can_have_is_refused_in_one_line(invoke: Invoke, command: list[str], name: str) -> None:
    status, _, err = invoke(*command, name)
    assert status == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
