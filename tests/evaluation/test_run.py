import json
import math

import imageio.v3 as iio
import numpy as np
import pytest
from support.games import COUNTING, ZeroPolicy, checking_policy, evaluation_of, making_runs, played_alone

from rlsys.api import Decision, Policy
from rlsys.config import EnvConfig
from rlsys.errors import CheckpointError, ConfigError, RlsysError
from rlsys.evaluation.run import EvaluationOptions, bootstrap_interval, evaluate_run, play_episodes, result_row
from rlsys.metrics.report import evaluation_table, write_report


@pytest.mark.parametrize("max_environments", [1, 3, 32])
def test_each_seed_is_played_once_to_its_end_however_many_play_at_once(max_environments):
    statistics = play_episodes(checking_policy(), COUNTING, 9, seed=40, max_environments=max_environments)
    expected = [played_alone(COUNTING, seed) for seed in range(40, 49)]
    assert statistics.returns.tolist() == [total for total, _ in expected]
    assert statistics.lengths.tolist() == [length for _, length in expected]
    assert len(set(statistics.lengths.tolist())) > 2, "the games must differ in length for this to say something"


def test_rewards_are_raw_games_are_whole_and_repeated_actions_are_several_frames():
    config = EnvConfig(id="rlsys/Counting-v0", clip_rewards=True, sticky_actions=3)
    statistics = play_episodes(ZeroPolicy(), config, 4, seed=0)
    for index in range(4):
        frames = played_alone(COUNTING, index)[1]
        assert statistics.returns[index] == frames * (frames + 1) / 2
        assert statistics.lengths[index] == math.ceil(frames / 3)
    assert (statistics.frames == 3 * statistics.lengths).all()


class _AlwaysRight(Policy):
    """Never presses FIRE by itself."""

    def initial_state(self, batch_size):
        return {}

    def act(self, observation, state, *, explore):
        return Decision(np.full(len(observation), 2, np.int64), state)

    def set_weights(self, weights):
        raise AssertionError("no weights here")

    def weights(self):
        return {}


def test_fire_is_pressed_after_each_lost_life_so_that_games_come_to_their_end():
    config = EnvConfig(
        id="Breakout-ramNoFrameskip-v4", sticky_actions=4, episode_life=True, fire_reset=True, max_episode_steps=8_000
    )
    statistics = play_episodes(_AlwaysRight(), config, 2, seed=0)
    assert (statistics.frames < 4_000).all(), "without FIRE the game would wait until the limit"


def test_traces_hold_each_step_of_each_episode():
    statistics = play_episodes(checking_policy(), COUNTING, 5, seed=7, traces=True, max_environments=2)
    for index, trace in enumerate(statistics.traces):
        length = statistics.lengths[index]
        assert trace.reward.tolist() == list(range(1, length + 1))
        assert trace.returns[-1] == statistics.returns[index]
        assert trace.extras["seen"][:, 0].tolist() == [7 + index] * length
        assert trace.extras["value"].tolist() == list(range(length))


def test_the_first_episode_alone_is_shown_from_its_first_to_its_last_frame():
    pictures, decisions = [], []
    statistics = play_episodes(
        checking_policy(),
        COUNTING,
        4,
        seed=3,
        on_frame=lambda picture: pictures.append(picture[0, :, 0].astype(bool).sum()),
        on_decision=lambda decision, row: decisions.append((decision, row)),
    )
    assert pictures == list(range(statistics.lengths[0] + 1))
    assert decisions == [(decision, 0) for decision in range(statistics.lengths[0])]


def test_statistics_are_those_of_the_returns():
    statistics = play_episodes(checking_policy(), COUNTING, 6, seed=0)
    values = statistics.returns
    assert statistics.mean == pytest.approx(sum(values) / 6)
    assert statistics.median == pytest.approx((sorted(values)[2] + sorted(values)[3]) / 2)
    assert statistics.std == pytest.approx(math.sqrt(sum((v - values.mean()) ** 2 for v in values) / 5))
    assert statistics.mean_length == pytest.approx(statistics.lengths.sum() / 6)
    assert statistics.interval == bootstrap_interval(values)
    assert play_episodes(checking_policy(), COUNTING, 1, seed=0).std == 0.0


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_bootstrap_interval_of_many_values_is_the_normal_one(confidence):
    quantile = {0.8: 1.2816, 0.95: 1.95996}[confidence]
    for seed in range(5):
        values = np.random.default_rng(seed).normal(3.0, 2.0, 400)
        half = quantile * values.std() / math.sqrt(400)
        low, high = bootstrap_interval(values, confidence=confidence)
        assert low == pytest.approx(values.mean() - half, abs=0.08 * half)
        assert high == pytest.approx(values.mean() + half, abs=0.08 * half)


def test_the_bootstrap_interval_moves_and_stretches_with_the_values_and_repeats_exactly():
    values = np.random.default_rng(1).exponential(size=7)
    low, high = bootstrap_interval(values)
    assert values.min() <= low < values.mean() < high <= values.max()
    assert bootstrap_interval(values) == (low, high)
    assert np.allclose(bootstrap_interval(10 - 2 * values), (10 - 2 * high, 10 - 2 * low), atol=0.03)
    assert np.allclose(bootstrap_interval(5 + 3 * values), (5 + 3 * low, 5 + 3 * high))
    assert bootstrap_interval(np.array([4.0])) == (4.0, 4.0)


def test_resampling_in_pieces_is_as_good_as_at_once():
    values = np.random.default_rng(2).normal(size=3_000)
    half = 1.96 * values.std() / math.sqrt(3_000)
    low, high = bootstrap_interval(values, resamples=1_000)
    assert (low, high) == (
        pytest.approx(values.mean() - half, abs=0.2 * half),
        pytest.approx(values.mean() + half, abs=0.2 * half),
    )


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


def test_a_row_is_normalized_where_the_environment_has_reference_scores():
    statistics = play_episodes(checking_policy(), COUNTING, 2, seed=0)
    pong = result_row("a", EnvConfig(id="Pong-ramNoFrameskip-v4"), statistics)
    assert pong["normalized"] == pytest.approx(100 * (statistics.mean + 20.7) / (14.6 + 20.7))
    plain = result_row("b", COUNTING, statistics)
    assert "normalized" not in plain
    table = evaluation_table({"results": [pong, plain]})
    column = table.header.index("normalized %")
    assert [row[column] for row in table.rows] == [f"{pong['normalized']:,.1f}", ""]
    assert "normalized %" not in evaluation_table({"results": [plain]}).header


def test_one_row_per_temperature_with_the_options_in_the_algorithms_section(run):
    folder = run("searching")
    options = EvaluationOptions(
        str(folder),
        episodes=2,
        temperatures=(0.0, 0.5),
        seed=9,
        checkpoint="best",
        num_simulations=8,
        only_prior=True,
        noise=True,
        apply_mcts_steps=2,
    )
    assert evaluate_run(options) == 0
    found = evaluation_of(folder)
    assert found["checkpoint"] == 10
    assert [result["label"] for result in found["results"]] == [
        f"temperature {t}, num_simulations 8, apply_mcts_steps 2, only_prior, use_exploration_noise"
        for t in ("0", "0.5")
    ]
    for result in found["results"]:
        assert result["reported"]["simulations"] == 8
        assert result["reported"]["flags"] == 3
        assert result["reported"]["predicted_return"] == pytest.approx(0.5 * np.mean(result["lengths"]))
        assert result["returns"] == [played_alone(COUNTING, seed)[0] for seed in (9, 10)]


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


def test_episodes_divided_among_processes_are_those_of_one_process(run):
    folder = run("checking")
    evaluate_run(EvaluationOptions(str(folder), episodes=5, seed=2))
    alone = evaluation_of(folder)
    evaluate_run(EvaluationOptions(str(folder), episodes=5, seed=2, parallel=2))
    assert evaluation_of(folder) == alone


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_simulations": 5}, r"num_simulations = 5 cannot be used here; algorithm 'checking' has no such option\."),
        ({"temperatures": (0.5,)}, r"eval_temperature = 0\.5 cannot be used here"),
        ({"only_value": True}, r"only_value = True cannot be used here"),
        ({"episodes": 0}, r"episodes = 0, parallel = 1; both must be at least 1\."),
        ({"temperatures": (-1.0,)}, r"temperatures = \[-1\.0\]; each must be 0 or more\."),
        ({"noops": (0, 3)}, r"no-ops = 3 with 'rlsys/Counting-v0'; only Atari games have them\."),
        ({"agent": "random", "temperatures": (0.5,)}, r"agent = random with temperatures; random actions have no such"),
        ({"all_checkpoints": True, "checkpoint": "best"}, r"checkpoint = best with all_checkpoints; give one"),
        ({"gif": "a.mp4"}, r"gif = a\.mp4; its name must end in \.gif\."),
        ({"plot": "a.jpeg"}, r"plot = a\.jpeg; its name must end in \.png or \.svg or \.pdf\."),
        ({"save_mcts": "trees"}, r"save_mcts = trees, but CheckingPolicy does not search"),
    ],
)
def test_options_that_cannot_work_are_refused_before_anything_is_written(run, changes, message, tmp_path):
    folder = run("checking")
    before = sorted(folder.rglob("*"))
    files = changes.keys() & {"gif", "plot", "save_mcts"}
    paths = {name: type(tmp_path)(changes[name]) for name in files}
    with pytest.raises(RlsysError, match=message):
        evaluate_run(EvaluationOptions(str(folder), **{**changes, **paths}))
    assert sorted(folder.rglob("*")) == before


def test_a_value_outside_of_a_sections_bounds_is_refused_by_name(run):
    folder = run("searching")
    with pytest.raises(ConfigError, match=r"searching\.num_simulations = 0"):
        evaluate_run(EvaluationOptions(str(folder), num_simulations=0))


def test_an_unknown_or_damaged_checkpoint_is_refused(run):
    folder = run("checking")
    with pytest.raises(CheckpointError, match="no checkpoint '15'"):
        evaluate_run(EvaluationOptions(str(folder), checkpoint="15"))
    damaged = folder / "checkpoints" / "000000020" / "weights.json"
    damaged.write_text(damaged.read_text().replace("20", "21"))
    with pytest.raises(CheckpointError, match=r"weights\.json does not match its checksum\. Use --checkpoint 10, "):
        evaluate_run(EvaluationOptions(str(folder)))
    assert not (folder / "eval.json").exists()


def test_a_report_can_be_written_of_a_run_that_was_never_evaluated(run):
    folder = run("checking")
    row = {"learner_step": 3, "env_steps": 9, "time_s": 1.5, "episodes/return": 2.0, "loss/total": None}
    (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    page = write_report(folder).read_text()
    assert "checking-counting/" in page
    assert "3 learner steps and 9 environment steps" in page
    assert "Evaluation" not in page


@pytest.mark.parametrize("name", ["config.yaml", "versions.json", "eval.json"])
@pytest.mark.parametrize("damage", ["", "[1", '{"results": [{}]}', "\0"])
def test_a_report_goes_without_what_is_damaged_and_says_so(run, name, damage):
    folder = run("checking")
    (folder / "metrics.jsonl").write_text('{"learner_step": 3, "env_steps": 9, "time_s": 1.5}\n')
    (folder / name).write_text(damage)
    said = []
    page = write_report(folder, said.append).read_text()
    assert "3 learner steps and 9 environment steps" in page
    assert [line.partition(": ")[0] for line in said] == [f"report.html goes without {name}"] * len(said)
    assert said or (name, damage) in {("config.yaml", ""), ("config.yaml", '{"results": [{}]}')}
