"""Several runs of one experiment: each is trained once, by whoever gets it, and what is left of it goes on."""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.command_line import PATIENCE_S, rlsys, start, wait_for
from support.runs import leave_undone, steps

from rlsys import config
from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.commands import several
from rlsys.commands.several import launch_several
from rlsys.errors import ConfigError, WorkerError
from rlsys.runs import folder as run_folder
from rlsys.runs.heartbeat import Heartbeat, look
from rlsys.runs.lease import Lease
from rlsys.testing.object_store import ObjectStore, serving

LONG = "run.training_steps=1000000"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "simulated")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "simulated")
    with serving() as served:
        yield served


def run(num_runs: int, *overrides: str, resumes: bool = True) -> int:
    loaded = config.load("counting.yaml", overrides=[*overrides, f"run.num_runs={num_runs}"])
    return launch_several(loaded, inline=True, resumes=resumes)


def runs() -> dict[str, Path]:
    return {path.name: path for path in sorted(Path("runs/counting").iterdir())}


def seeds() -> dict[str, int]:
    return {name: run_folder.load(path).experiment.run.seed for name, path in runs().items()}


def test_each_run_has_a_folder_and_a_seed_of_its_own_and_is_trained_once(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(3) == 0
    assert seeds() == {"00001": 1, "00002": 2, "00003": 3}
    assert all(steps(path) == [4, 8, 12] for path in runs().values())
    out = capsys.readouterr().out
    assert len(re.findall(r"^next is counting/0000\d, a new run with seed \d$", out, re.MULTILINE)) == 3
    assert out.splitlines()[-1] == "counting: 3 runs: 3 trained"
    before = {path: path.stat().st_mtime_ns for path in here.glob("runs/counting/*/metrics.jsonl")}
    assert run(4) == 0
    assert "counting: 4 runs: " in (out := capsys.readouterr().out)
    assert "1 trained" in out and "3 complete before" in out and "next is counting/00004, a new run with seed 4" in out
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_seed_that_is_given_is_that_of_all_runs_and_one_of_the_experiment_counts_on(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[config.Loaded] = []

    def launch(loaded: config.Loaded, **options: object) -> int:
        launched.append(loaded)
        return 0

    monkeypatch.setattr(several, "launch", launch)
    run(2, "run.seed=7")
    assert {loaded.experiment.run.seed for loaded in launched} == {7}
    with (here / "counting.yaml").open("a") as experiment:
        experiment.write("  seed: 40\n")
    launched.clear()
    run(3)
    assert {loaded.experiment.run.run_tag: loaded.experiment.run.seed for loaded in launched} == {
        "00001": 41,
        "00002": 42,
        "00003": 43,
    }
    again = f"rlsys launch {here / 'counting.yaml'} run.seed=41 run.num_runs=null run.run_tag=00001 --inline"
    assert again in [run_folder.command_of(loaded, inline=True) for loaded in launched]


def test_a_run_that_ended_before_it_was_complete_goes_on_unless_that_is_not_wanted(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(1, "run.training_steps=7") == 0
    (folder,) = runs().values()
    leave_undone(folder, 7, 12)
    capsys.readouterr()
    assert run(1, resumes=False) == 0
    assert capsys.readouterr().out == "counting: 1 run: 1 begun before\n"
    assert run(1) == 0
    assert steps(folder) == [4, 8, 12]
    assert '{"rewound_to": 7,' in (folder / "metrics.jsonl").read_text()
    assert capsys.readouterr().out.splitlines()[-1] == "counting: 1 run: 1 gone on with"
    assert run(1) == 0
    assert capsys.readouterr().out == "counting: 1 run: 1 complete before\n"


def test_a_run_that_was_interrupted_when_nothing_was_left_is_complete_from_then_on(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(1) == 0
    (folder,) = runs().values()
    sign = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**sign, "is_complete": False}))
    assert run(1) == 0
    found = json.loads((folder / "status.json").read_text())
    assert (found["state"], found["reason"], found["is_complete"]) == ("done", sign["reason"], True)
    assert found["status"] == sign["status"], "its figures are kept"
    capsys.readouterr()
    assert run(1) == 0
    assert capsys.readouterr().out == "counting: 1 run: 1 complete before\n"


def test_a_run_that_died_before_its_first_checkpoint_begins_anew_and_its_rows_count_no_more(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = config.load("counting.yaml", overrides=["run.run_tag=00001", "run.seed=5"])
    folder = run_folder.create(loaded, inline=True)
    row = {"learner_step": 3, "env_steps": 9, "time_s": 60.0, "loss/total": 99.0}
    (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    assert run(1) == 0
    assert steps(folder) == [4, 8, 12]
    assert run_folder.load(folder).experiment.run.seed == 5
    assert json.loads((folder / "metrics.jsonl").read_text().splitlines()[0]) == row
    assert "keeps" not in capsys.readouterr().out


def test_a_folder_that_somebody_only_began_to_make_is_filled(here: Path) -> None:
    (here / "runs" / "counting" / "00002").mkdir(parents=True)
    assert run(2) == 0
    assert seeds() == {"00001": 1, "00002": 2}
    assert all(steps(path) == [4, 8, 12] for path in runs().values())


def test_runs_that_somebody_leads_are_passed_by(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded = config.load("counting.yaml", overrides=["run.run_tag=00001"])
    with Heartbeat(run_folder.create(loaded)):
        other = run_folder.create(config.override(loaded, ["run.run_tag=00002"]))
        with Lease.claim(other):  # so short a time ago that it has given no sign of life
            assert run(3) == 0
    assert capsys.readouterr().out.splitlines()[-1] in (
        "counting: 3 runs: 1 trained, 2 led elsewhere",
        "counting: 3 runs: 2 led elsewhere, 1 trained",
    )
    assert not (other / "metrics.jsonl").exists()


def test_who_loses_a_race_for_a_folder_passes_by(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    create: Callable[..., Path] = run_folder.create

    def create_twice(loaded: config.Loaded, *, inline: bool = False) -> Path:
        create(loaded, inline=inline)
        return create(loaded, inline=inline)

    def create_and_lose(loaded: config.Loaded, *, inline: bool = False) -> Path:
        folder = create(loaded, inline=inline)
        claimed.append(Lease.claim(folder))
        return folder

    claimed: list[Lease] = []
    for index, slow in enumerate((create_twice, create_and_lose)):
        monkeypatch.setattr(run_folder, "create", slow)
        assert run(1, f"run.directory={index}") == 0
        assert capsys.readouterr().out.splitlines()[-1] == "counting: 1 run: 1 led elsewhere"
    assert len(claimed) == 1


def test_a_run_that_fails_is_reported_and_the_others_are_trained(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = config.load("counting.yaml", overrides=["run.run_tag=00002", "checking.fail_at_step=3"])
    run_folder.create(loaded, inline=True)
    with pytest.raises(WorkerError, match=r"^1 of 3 runs of counting failed: 00002; 2 trained\. The same"):
        run(3)
    err = capsys.readouterr().err
    assert err.startswith("error: counting/00002: loss/total is not finite at learner step 3.") and err.count("\n") == 1
    assert {name: steps(path)[-1:] for name, path in runs().items() if name != "00002"} == {
        "00001": [12],
        "00003": [12],
    }
    sighting = look(runs()["00002"])
    assert sighting is not None and (sighting.state, sighting.is_complete) == ("failed", False)


def test_a_bug_in_one_run_is_told_with_its_traceback_and_the_others_are_trained(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    launch = several.launch

    def broken(loaded: config.Loaded, **options: object) -> int:
        if loaded.experiment.run.run_tag == "00001":
            run_folder.create(loaded)
            raise ZeroDivisionError("a bug")
        return launch(loaded, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(several, "launch", broken)
    with pytest.raises(WorkerError, match=r"1 of 2 runs of counting failed: 00001; 1 trained"):
        run(2)
    err = capsys.readouterr().err
    assert "Traceback" in err and err.splitlines()[-1] == "error: counting/00001: a bug"


def test_what_would_end_each_run_alike_is_said_once_and_nothing_is_begun(here: Path) -> None:
    with pytest.raises(ConfigError, match="min_size_to_sample = 200 is larger than max_size = 10"):
        run(3, "checking.window_size=10")
    with pytest.raises(ConfigError, match="run_tag = mine with num_runs or games; each of several runs has a tag"):
        run(3, "run.run_tag=mine")
    assert not Path("runs").exists()


def test_settings_that_do_not_count_for_runs_that_have_begun_are_said(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(1)
    assert run(1, "run.training_steps=20", "run.seed=1", "run.log_every_learner_steps=4") == 0
    first, last = capsys.readouterr().out.splitlines()[-2:]
    assert first == (
        "counting/00001 keeps run.training_steps = 12, with which it began; 'rlsys launch --resume counting/00001 "
        "KEY=VALUE' changes what can be"
    )
    assert last == "counting: 1 run: 1 complete before"


def test_runs_whose_checkpoints_lie_in_an_object_store_go_on_from_there(here: Path, store: ObjectStore) -> None:
    settings = f"run.checkpoints={store.uri}"
    assert run(2, settings, "run.training_steps=6") == 0
    for name, folder in runs().items():
        assert not (folder / "checkpoints").exists()
        assert any(f"counting/{name}/parts/000000006" in key for key in store.objects)
        leave_undone(folder, 6, 12)
    assert run(2, settings) == 0
    for folder in runs().values():
        assert steps(folder) == [4, 8, 12] and '{"rewound_to": 6,' in (folder / "metrics.jsonl").read_text()


def test_two_invocations_at_once_divide_the_runs_among_themselves(here: Path) -> None:
    both = [start(here, "launch", "counting.yaml", "--inline", "--num-runs", "4") for _ in range(2)]
    outputs = [process.communicate(timeout=PATIENCE_S)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    begun = re.findall(r"next is counting/(\d+), a new run", "".join(outputs))
    assert set(begun) == {"00001", "00002", "00003", "00004"}
    for folder in runs().values():
        assert steps(folder) == [4, 8, 12]
        assert "rewound_to" not in (folder / "metrics.jsonl").read_text()
        assert Checkpoints(folder / "checkpoints", keep=1).latest() == 12
    trained = sum(int(count) for count in re.findall(r"(\d+) trained", "".join(outputs)))
    assert trained == 4, outputs


def test_what_was_killed_goes_on_with_the_next_invocation_and_ctrl_c_ends_all_of_it(here: Path) -> None:
    command = ("launch", "counting.yaml", "--inline", "--num-runs", "2", LONG)
    first = start(here, *command)
    wait_for(lambda: list(here.glob("runs/counting/*/checkpoints/0*")), "checkpoint")
    first.kill()
    first.communicate()
    (folder,) = runs().values()
    checkpoints = Checkpoints(folder / "checkpoints", keep=1)
    saved = checkpoints.latest()
    assert saved is not None
    second = start(here, *command)
    rows = here / "runs/counting"
    wait_for(
        lambda: len(list(rows.glob("*/metrics.jsonl"))) == 2 or (checkpoints.latest() or 0) > saved, "other checkpoint"
    )
    os.kill(second.pid, signal.SIGINT)
    output, _ = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 130, output
    assert output.splitlines()[-1] == "counting: interrupted; the same command goes on with what is left of 2 runs"
    assert "Traceback" not in output
    for path in runs().values():
        sighting = look(path)
        assert sighting is not None and not sighting.is_alive and not sighting.is_complete
        latest = Checkpoints(path / "checkpoints", keep=1).latest() or 0
        text = (path / "config.yaml").read_text()
        (path / "config.yaml").write_text(text.replace("training_steps: 1000000", f"training_steps: {latest + 6}"))
    assert run(2) == 0
    assert (checkpoints.latest() or 0) >= saved + 6
    assert all(sighting is not None and sighting.is_complete for sighting in map(look, runs().values()))


def test_ctrl_c_before_a_run_has_taken_signals_over_is_said_and_begins_no_other(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*args: object, **options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(several, "launch", interrupted)
    assert run(3) == 130
    begun, last = capsys.readouterr().out.splitlines()
    assert begun.startswith("next is counting/")
    assert last == "counting: interrupted; the same command goes on with what is left of 3 runs"


@pytest.mark.xdist_group("ray")
def test_runs_on_ray_follow_one_another_in_one_process(here: Path) -> None:
    done = rlsys(here, "launch", "counting.yaml", "--num-runs", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "counting: 2 runs: 2 trained"
    for folder in runs().values():
        assert Checkpoints(folder / "checkpoints", keep=1).latest() == 12
        sighting = look(folder)
        assert sighting is not None and (sighting.state, sighting.is_complete) == ("done", True)
