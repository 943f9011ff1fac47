"""`rlsys eval` of a run: what is played, what becomes of it, and what is refused."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from support.games import COUNTING, evaluation_of, making_runs, played_alone

from rlsys.api import ValueSpec
from rlsys.envs.families.atari import AtariConfig
from rlsys.errors import CheckpointError, ConfigError, RlsysError
from rlsys.evaluation.agents.planning_policy import Planning
from rlsys.evaluation.options import EvaluationOptions
from rlsys.evaluation.run import evaluate_run
from rlsys.metrics.rows import read_metrics
from rlsys.viewer import plots
from rlsys.viewer.episodes import read_episode

BREAKOUT = AtariConfig(id="BreakoutNoFrameskip-v4", frame_size=(12, 12), frame_skip=4)


@pytest.fixture
def run(tmp_path, monkeypatch):
    return making_runs(tmp_path, monkeypatch)


def test_a_run_is_evaluated_on_its_own_seed_and_the_results_are_printed_and_kept(run, capsys):
    folder = run("checking")
    assert evaluate_run(EvaluationOptions(str(folder), episodes=4)) == 0
    found = evaluation_of(folder)
    (result,) = found["results"]
    assert (found["checkpoint"], found["seed"], found["environment"]) == (20, 5, "rlsys/Counting-v0")
    assert result["returns"] == [played_alone(COUNTING, 5 + index)[0] for index in range(4)]
    assert result["mean"] == pytest.approx(np.mean(result["returns"]))
    assert result["interval"][0] <= result["mean"] <= result["interval"][1]
    output = capsys.readouterr().out
    assert f"{result['mean']:,.2f}" in output
    assert "learner step 20, seeds from 5" in output
    assert "<td>temperature 0</td>" in (folder / "report.html").read_text()


def test_a_run_is_evaluated_in_the_environment_of_its_evaluations_unless_settings_say_more(run):
    folder = run("checking", evaluation_env={"max_episode_steps": 4})
    for overrides, length in (((), 4), (("env.max_episode_steps=3",), 3)):
        evaluate_run(EvaluationOptions(str(folder), episodes=1, overrides=overrides))
        assert evaluation_of(folder)["results"][0]["lengths"] == [length]


def test_one_row_per_temperature_with_the_overrides_in_each(run):
    folder = run("searching")
    (folder / "metrics.jsonl").touch()
    overrides = ("searching.num_simulations=8", "searching.only_prior=true", "searching.use_exploration_noise=true")
    options = EvaluationOptions(
        str(folder), overrides=overrides, episodes=2, temperatures=(0.0, 0.5), seed=9, checkpoints=("best",)
    )
    assert evaluate_run(options) == 0
    found = evaluation_of(folder)
    assert found["checkpoint"] == 10
    assert found["overrides"] == {
        "searching.num_simulations": 8,
        "searching.only_prior": True,
        "searching.use_exploration_noise": True,
    }
    assert [result["label"] for result in found["results"]] == [
        f"temperature {t}, {', '.join(overrides)}" for t in ("0", "0.5")
    ]
    for result in found["results"]:
        assert result["reported"]["simulations"] == 8
        assert result["reported"]["flags"] == 3
        assert result["reported"]["predicted_return"] == pytest.approx(0.5 * np.mean(result["lengths"]))
        assert result["returns"] == [played_alone(COUNTING, seed)[0] for seed in (9, 10)]
    assert read_metrics(folder) == [], "a metric means the same in every row of a run"
    page = (folder / "report.html").read_text()
    header = ("temperature", *(text.partition("=")[0] for text in overrides))
    assert "".join(f"<th>{name}</th>" for name in header) in page
    assert "<tr><td>0.5</td><td>8</td><td>true</td><td>true</td>" in page


def test_the_environment_of_an_evaluation_may_differ(run):
    folder = run("checking")
    evaluate_run(EvaluationOptions(str(folder), overrides=("env.max_episode_steps=3",), episodes=2, agent="random"))
    found = evaluation_of(folder)
    assert found["overrides"] == {"env.max_episode_steps": 3}
    (result,) = found["results"]
    assert (result["label"], result["lengths"]) == ("random, env.max_episode_steps=3", [3, 3])


def test_a_plot_is_of_the_values_that_the_algorithm_states(run, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "plot_episodes", lambda traces, *, values, **others: drawn.append(values))
    monkeypatch.setattr(plots, "save", lambda figure, path: None)
    for overrides, discount in (((), 0.9), (("searching.discount=0.5",), 0.5)):
        options = EvaluationOptions(str(run("searching")), overrides=overrides, episodes=1, plot=tmp_path / "a.png")
        evaluate_run(options)
        (values,) = drawn.pop().values()
        assert values == ValueSpec(discount, "root_value", reward_extra="predicted_reward")


def test_films_plots_and_search_trees_are_made_of_the_first_episode(run, tmp_path):
    folder = run("searching")
    paths = {"gif": tmp_path / "a.gif", "video": tmp_path / "a.mp4", "plot": tmp_path / "a.png"}
    trees = tmp_path / "trees"
    evaluate_run(EvaluationOptions(str(folder), episodes=2, temperatures=(0.0, 1.0), save_mcts=trees, **paths))
    length = played_alone(COUNTING, 5)[1]
    assert len(iio.imread(paths["gif"], plugin="pillow", mode="RGB")) == length + 1
    assert len(iio.imread(paths["video"], plugin="FFMPEG")) == length + 1
    assert paths["plot"].read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in sorted(trees.iterdir())] == [f"{decision:06d}.png" for decision in range(length)]


def test_episodes_are_added_to_a_data_set_as_they_were_played(run, tmp_path):
    folder, played = run("checking"), tmp_path / "played"
    for agent in ("policy", "random"):
        evaluate_run(EvaluationOptions(str(folder), episodes=3, agent=agent, record=played))
    episodes = [read_episode(path) for path in sorted(played.iterdir())]
    assert [len(episode.reward) for episode in episodes[:1] + episodes[3:4]] == [played_alone(COUNTING, 5)[1]] * 2
    assert len(episodes) == 6
    for episode in episodes:
        length = len(episode.reward)
        assert episode.observation[:, 2].tolist() == list(range(length + 1))
        assert episode.reward.tolist() == list(range(1, length + 1))
        assert episode.terminated.tolist() == [False] * (length - 1) + [True]


def test_films_end_where_asked_or_where_the_runs_own_would_and_a_line_each_says_so(run, tmp_path, capsys):
    folder = run("checking")
    film, length = tmp_path / "a.mp4", played_alone(COUNTING, 5)[1]
    evaluate_run(EvaluationOptions(str(folder), episodes=3, video=film, films=2, video_frames=4))
    assert len(iio.imread(film, plugin="FFMPEG")) == 4
    told = [line for line in capsys.readouterr().out.splitlines() if "the film" in line]
    first = f"temperature 0: the film is the first 4 of {length + 1} pictures, video_frames = 4. Raise --video-frames"
    assert len(told) == 2 and told[0].startswith(first)
    evaluate_run(EvaluationOptions(str(folder), episodes=1, video=film))
    assert len(iio.imread(film, plugin="FFMPEG")) == length + 1
    assert "the film" not in capsys.readouterr().out


def test_episodes_divided_among_processes_are_those_of_one_process(run):
    folder = run("checking")
    evaluate_run(EvaluationOptions(str(folder), episodes=5, seed=2))
    alone = evaluation_of(folder)
    evaluate_run(EvaluationOptions(str(folder), episodes=5, seed=2, parallel=2))
    assert evaluation_of(folder) == alone


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperatures": (0.5,)}, r"temperature = 0\.5; checking always takes the best action in evaluations\."),
        ({"agent": "random", "overrides": ("checking.batch_size=3",)}, r"agent = random with checking\.batch_size;"),
        ({"noops": (0,), "overrides": ("env.noop_max=30",)}, r"--noops with env\.noop_max; both say the same\."),
        ({"episodes": 0}, r"episodes = 0, parallel = 1; both must be at least 1\."),
        ({"temperatures": (-1.0,)}, r"temperatures = \[-1\.0\]; each must be 0 or more\."),
        ({"noops": (0, 3)}, r"no-ops = 3 with 'rlsys/Counting-v0'; only Atari games have them\."),
        ({"agent": "random", "temperatures": (0.5,)}, r"agent = random with temperatures; random actions have no such"),
        ({"all_checkpoints": True, "checkpoints": ("best",)}, r"checkpoint = best with all_checkpoints; give one"),
        ({"gif": "a.mp4"}, r"gif = a\.mp4; its name must end in \.gif\."),
        (
            {"video_frames": 5},
            r"video_frames or video_seconds without a film; they end one\. Add gif, video or films\.",
        ),
        ({"plot": "a.jpeg"}, r"plot = a\.jpeg; its name must end in \.png or \.svg or \.pdf\."),
        ({"save_mcts": "trees"}, r"save_mcts = trees, but CheckingPolicy does not search"),
        ({"latents": "a.csv"}, r"latents = a\.csv; its name must end in \.npz\."),
        ({"latents": "a.npz"}, r"--latents, but CheckingPolicy remembers nothing of where it is"),
        ({"latents": "a.npz", "parallel": 2}, r"latents with parallel or all_checkpoints"),
        ({"record": "a", "parallel": 2}, r"record with parallel or all_checkpoints"),
        ({"latents": "a.npz", "agent": "random"}, r"latents with agent = random; only a run's own policy has any\."),
    ],
)
def test_options_that_cannot_work_are_refused_before_anything_is_written(run, changes, message, tmp_path):
    folder = run("checking")
    before = sorted(folder.rglob("*"))
    files = changes.keys() & {"gif", "plot", "save_mcts", "latents"}
    paths = {name: type(tmp_path)(changes[name]) for name in files}
    with pytest.raises(RlsysError, match=message):
        evaluate_run(EvaluationOptions(str(folder), **{**changes, **paths}))
    assert sorted(folder.rglob("*")) == before


def test_a_temperature_is_said_once(run):
    options = EvaluationOptions(
        str(run("searching")), overrides=("searching.eval_temperature=1.0",), temperatures=(0.5,)
    )
    with pytest.raises(ConfigError, match=r"--temperature with searching\.eval_temperature; both say the same\."):
        evaluate_run(options)


def test_an_unknown_or_damaged_checkpoint_is_refused(run):
    folder = run("checking")
    with pytest.raises(CheckpointError, match="no checkpoint '15'"):
        evaluate_run(EvaluationOptions(str(folder), checkpoints=("15",)))
    damaged = folder / "checkpoints" / "000000020" / "weights.json"
    damaged.write_text(damaged.read_text().replace("20", "21"))
    with pytest.raises(CheckpointError, match=r"weights\.json does not match its checksum\. Use --checkpoint 10, "):
        evaluate_run(EvaluationOptions(str(folder)))
    assert not (folder / "eval.json").exists()


def test_each_cell_is_a_row_and_two_metrics_of_the_run_at_the_checkpoints_step(run: Callable[..., Path]) -> None:
    folder = run("searching", BREAKOUT)
    row = {"learner_step": 30, "env_steps": 3_000, "time_s": 1.5, "loss/total": 1.0}
    (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    options = EvaluationOptions(str(folder), episodes=2, temperatures=(0.0, 0.5), noops=(0, 8), max_steps=3)
    assert evaluate_run(options) == 0
    results = evaluation_of(folder)["results"]
    assert [result["label"] for result in results] == [
        f"temperature {t}, noops {n}, max_steps 3" for t in ("0", "0.5") for n in (0, 8)
    ]
    assert all(result["lengths"] == [3, 3] for result in results)
    _, evaluated = read_metrics(folder)
    assert (evaluated["learner_step"], evaluated["env_steps"]) == (20, 2_000)
    assert evaluated["time_s"] == 1.5, "no time of the run passes while it is evaluated"
    names = {
        f"mean_reward/eval/sampling_temp_{t}_max_noops_{n}_{kind}"
        for t in ("0.0", "0.5")
        for n in (0, 8)
        for kind in ("clipped", "unclipped")
    }
    assert evaluated.keys() - {"learner_step", "env_steps", "time_s"} == names
    page = (folder / "report.html").read_text()
    assert "<tr><td>0.5</td><td>8</td><td>3</td>" in page
    assert "30 learner steps and 3,000 environment steps" in page


def test_clipped_returns_are_sums_of_signs(run: Callable[..., Path]) -> None:
    folder = run("checking")
    evaluate_run(EvaluationOptions(str(folder), episodes=3))
    (result,) = evaluation_of(folder)["results"]
    assert result["clipped"] == result["lengths"], "every reward of the counting environment is positive"
    assert result["metrics"] == {
        "mean_reward/eval/sampling_temp_0.0_max_noops_0_unclipped": pytest.approx(np.mean(result["returns"])),
        "mean_reward/eval/sampling_temp_0.0_max_noops_0_clipped": pytest.approx(np.mean(result["lengths"])),
    }


def test_an_episode_is_cut_after_max_steps_and_counts_with_what_it_has_earned(run: Callable[..., Path]) -> None:
    folder = run("checking")
    evaluate_run(EvaluationOptions(str(folder), episodes=6, max_steps=12))
    (result,) = evaluation_of(folder)["results"]
    lengths = [played_alone(COUNTING, 5 + index)[1] for index in range(6)]
    assert min(lengths) < 12 < max(lengths), "some must be cut and some not for this to say something"
    assert result["lengths"] == [min(length, 12) for length in lengths]
    assert result["returns"] == [length * (length + 1) / 2 for length in result["lengths"]]


def test_every_kept_checkpoint_is_a_row_at_its_own_step(run: Callable[..., Path]) -> None:
    folder = run("checking")
    (folder / "metrics.jsonl").touch()
    evaluate_run(EvaluationOptions(str(folder), episodes=2, all_checkpoints=True))
    found = evaluation_of(folder)
    assert [result["label"] for result in found["results"]] == ["step 10, temperature 0", "step 20, temperature 0"]
    assert [row["learner_step"] for row in read_metrics(folder)] == [10, 20]


def test_the_planner_plays_with_the_model_of_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = EvaluationOptions("simple-catch", episodes=3, agent="planner", planning=Planning(3, 2), max_steps=5)
    evaluate_run(dataclasses.replace(options, parallel=2))
    [row] = json.loads((tmp_path / "runs/exports/simple-catch/eval.json").read_text())["results"]
    assert row["label"] == "planner, temperature 0, max_steps 5"
    assert row["lengths"] == [5, 5, 5]
    names = [f"mean_reward/eval/planner_sampling_temp_0.0_max_noops_0_{kind}" for kind in ("unclipped", "clipped")]
    assert [*row["metrics"]] == names
    evaluate_run(dataclasses.replace(options, planning=Planning(8, 2, kind="cem")))
    [row] = json.loads((tmp_path / "runs/exports/simple-catch/eval.json").read_text())["results"]
    assert row["lengths"] == [5, 5, 5]


def test_a_planner_without_a_model_is_refused(run: Callable[..., Path]) -> None:
    with pytest.raises(CheckpointError, match="holds no world model; it was written without one"):
        evaluate_run(EvaluationOptions(str(run("searching", COUNTING)), agent="planner"))
    with pytest.raises(ConfigError, match="planner, rollouts or horizon with agent = policy; only agent planner"):
        evaluate_run(EvaluationOptions(str(run("searching", COUNTING)), planning=Planning(3, 2)))


def test_random_actions_need_no_checkpoint_and_have_names_of_their_own(
    run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run("checking")
    for manifest in folder.glob("checkpoints/*/manifest.json"):
        manifest.unlink()
    evaluate_run(EvaluationOptions(str(folder), episodes=2, agent="random"))
    assert not (folder / "metrics.jsonl").exists(), "they are of no learner step"
    (result,) = evaluation_of(folder)["results"]
    assert result["label"] == "random"
    assert [*result["metrics"]] == [f"mean_reward/eval/random_max_noops_0_{kind}" for kind in ("unclipped", "clipped")]
    assert "rlsys/Counting-v0, seeds from 5" in capsys.readouterr().out


def test_random_actions_need_no_run_but_an_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("algorithm: ppo\nenv: {id: rlsys/Counting-v0}\nrun: {seed: 3}\n")
    for name, path in {"mine.yaml": "mine", "ppo-cartpole": "ppo-cartpole"}.items():
        evaluate_run(EvaluationOptions(name, episodes=5, agent="random", parallel=1))
        found = evaluation_of(tmp_path / "runs" / path / "random")
        (result,) = found["results"]
        assert len(result["returns"]) == result["episodes"] == 5 and found["checkpoint"] is None
    assert "ppo-cartpole/random: CartPole-v1, seeds from " in capsys.readouterr().out
    with pytest.raises(CheckpointError, match="no run 'ppo-cartpole' under runs"):
        evaluate_run(EvaluationOptions("ppo-cartpole", episodes=1))
    with pytest.raises(CheckpointError, match="no run 'nothing' under runs"):
        evaluate_run(EvaluationOptions("nothing", episodes=1, agent="random"))


def test_the_first_episodes_of_each_cell_are_filmed_below_a_header(run: Callable[..., Path], tmp_path: Path) -> None:
    folder = run("searching")
    options = EvaluationOptions(str(folder), episodes=4, temperatures=(0.0, 1.0), films=3, parallel=2)
    evaluate_run(options)
    names = [
        f"evaluation-000000020-sampling_temp_{t}_max_noops_0-{index}.mp4" for t in ("0.0", "1.0") for index in range(3)
    ]
    assert sorted(path.name for path in (folder / "media").iterdir()) == names
    for index in range(3):
        pictures = iio.imread(folder / "media" / names[index], plugin="FFMPEG")
        assert len(pictures) == played_alone(COUNTING, 5 + index)[1] + 1
