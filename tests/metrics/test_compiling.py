"""What many runs came to: ours and others', whatever their names, and what is said of those that lack something."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.runs import planet_run, run_with_metrics
from tensorboardX import SummaryWriter

from rlsys.errors import ConfigError
from rlsys.metrics.compiling import SCORES, as_tree, compile_histograms, compile_scores, find_runs


def names(folder: Path) -> list[tuple[str, str]]:
    return [(run.label, run.name) for run in find_runs(folder)]


def test_runs_are_found_at_any_depth_under_any_number(tmp_path: Path) -> None:
    for path in ("cc_t0_h0_p0/00001", "cc_t0_h0_p0/00017", "deep/er/ch/7"):
        planet_run(tmp_path / path)
    run_with_metrics(tmp_path / "ppo-cartpole" / "2026-11-20_10-00-00")
    run_with_metrics(tmp_path / "alone")
    assert sorted(names(tmp_path)) == [
        ("cc_t0_h0_p0", "00001"),
        ("cc_t0_h0_p0", "00017"),
        ("deep/er/ch", "7"),
        ("ppo-cartpole", "2026-11-20_10-00-00"),
        (tmp_path.name, "alone"),
    ]
    assert names(tmp_path / "alone") == [(tmp_path.name, "alone")]
    assert names(tmp_path / "cc_t0_h0_p0") == [("cc_t0_h0_p0", "00001"), ("cc_t0_h0_p0", "00017")]


def test_where_there_are_no_runs_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no runs below .*empty: neither metrics\.jsonl nor event files of"):
        find_runs(tmp_path / "empty")
    with pytest.raises(ConfigError, match="is no folder"):
        find_runs(tmp_path / "nowhere")


def test_scores_of_planet_have_its_five_keys(tmp_path: Path) -> None:
    planet_run(tmp_path / "cc" / "00003", scores=[100.0, 200.0, 300.0])
    (run,) = find_runs(tmp_path)
    found = compile_scores(run, {})
    assert found.troubles == []
    tree = json.loads(json.dumps(as_tree(found), allow_nan=False))
    assert tree == {
        "test_score": [100.0, 200.0, 300.0],
        "image_loss": [11.0, 12.0, 13.0],
        "reward_loss": [1.0, 2.0, 3.0],
        "image_loss_te": [21.0, 22.0, 23.0],
        "reward_loss_te": [5.0, 6.0, 7.0],
        "steps": {key: [50, 100, 150] for key in SCORES},
    }


def test_scores_of_our_runs_are_their_evaluations_and_losses_by_name(tmp_path: Path) -> None:
    rows = [
        {"learner_step": 10, "env_steps": 100, "time_s": 1.0, "loss/image": 5.0, "loss/value": 2.0},
        {"learner_step": 20, "env_steps": 200, "time_s": 2.0, "evaluation/return": 7.0},
        {"learner_step": 20, "env_steps": 200, "time_s": 2.0, "loss/image": None, "loss/held_out_image": 6.0},
    ]
    run_with_metrics(tmp_path / "mine" / "a", rows)
    (run,) = find_runs(tmp_path)
    found = compile_scores(run, {"trained_score": "episodes/return"})
    assert as_tree(found) == {
        "test_score": [7.0],
        "image_loss": [5.0],
        "image_loss_te": [6.0],
        "value_loss": [2.0],
        "steps": {"test_score": [20], "image_loss": [10], "image_loss_te": [20], "value_loss": [10]},
        "env_steps": {"test_score": [200], "image_loss": [100], "image_loss_te": [200], "value_loss": [100]},
    }
    assert found.troubles == ["no reward_loss, reward_loss_te, trained_score"]


@pytest.mark.parametrize(
    ("metric", "key"),
    [
        ("loss/reward", "reward_loss"),
        ("loss/held_out_reward", "reward_loss_te"),
        ("world/reward_loss", "reward_loss"),
        ("world/loss_reward", "reward_loss"),
        ("world/held_out_reward_loss", "reward_loss_te"),
        ("held_out/reward_loss", "reward_loss_te"),
        ("world/frame_error_at_10", None),
        ("world/held_out_windows", None),
        ("real/loss_reward", None),
        ("learner/gradient_norm", None),
        ("learner_step", None),
    ],
)
def test_losses_are_known_by_their_names_in_every_algorithm(tmp_path: Path, metric: str, key: str | None) -> None:
    run_with_metrics(tmp_path / "mine" / "a", [{"learner_step": 1, "env_steps": 1, "time_s": 1.0, metric: 3.0}])
    assert list(compile_scores(find_runs(tmp_path)[0], {}).series) == ([] if key is None else [key])


def test_rows_that_a_run_gave_up_count_no_more(tmp_path: Path) -> None:
    row = {"env_steps": 1, "time_s": 1.0}
    rows = [
        {**row, "learner_step": 1, "evaluation/return": 1.0},
        {**row, "learner_step": 2, "evaluation/return": 2.0},
        {"rewound_to": 1, "time_s": 1.0},
        {**row, "learner_step": 2, "evaluation/return": 3.0},
    ]
    run_with_metrics(tmp_path / "mine" / "a", rows)
    assert compile_scores(find_runs(tmp_path)[0], {}).series["test_score"].values == [1.0, 3.0]


def test_other_metrics_are_taken_by_their_names(tmp_path: Path) -> None:
    row = {"learner_step": 1, "env_steps": 1, "time_s": 1.0, "episodes/return": 3.0, "evaluation/return": 4.0}
    run_with_metrics(tmp_path / "mine" / "a", [row])
    planet_run(tmp_path / "theirs" / "b")
    ours, theirs = find_runs(tmp_path)
    assert compile_scores(ours, {"test_score": "episodes/return"}).series["test_score"].values == [3.0]
    found = compile_scores(theirs, {"gradient": "optimizer/gradient_norm"})
    assert found.series["gradient"].values == [0.5, 0.5, 0.5]
    both = compile_scores(ours, {"any": "return"})
    assert both.series["any"].values == [3.0]
    assert "any could also be evaluation/return" in both.troubles


def test_event_files_without_our_metrics_are_read_with_our_names(tmp_path: Path) -> None:
    for path in ("lost/a/tensorboard", "plain/b"):
        with SummaryWriter(str(tmp_path / path)) as writer:
            writer.add_scalar("evaluation/return", 3.0, 8)
            writer.add_scalar("loss/image", 4.0, 8)
    assert names(tmp_path) == [("lost", "a"), ("plain", "b")]
    for run in find_runs(tmp_path):
        assert {key: series.values for key, series in compile_scores(run, {}).series.items()} == {
            "test_score": [3.0],
            "image_loss": [4.0],
        }


def test_what_is_damaged_or_missing_is_said_and_absent(tmp_path: Path) -> None:
    planet_run(tmp_path / "cc" / "1")
    (damaged,) = (tmp_path / "cc" / "1" / "test").iterdir()
    damaged.write_bytes(damaged.read_bytes()[:10])
    (tmp_path / "cc" / "2").mkdir()
    (tmp_path / "cc" / "2" / "config.yaml").write_text("a: run that never wrote anything\n")
    run_with_metrics(tmp_path / "cc" / "3")
    (tmp_path / "cc" / "3" / "metrics.jsonl").write_text("no row\n")
    first, second, third = (compile_scores(run, {}) for run in find_runs(tmp_path))
    assert list(first.series) == ["image_loss", "reward_loss"]
    assert first.troubles == [
        f"test/{damaged.name}: it ends within a record",
        "no test_score, image_loss_te, reward_loss_te",
    ]
    assert (second.series, second.troubles) == (
        {},
        ["no test_score, image_loss, reward_loss, image_loss_te, reward_loss_te"],
    )
    assert third.series == {} and "1 of 1 lines cannot be read, and are left out" in third.troubles[0]


def test_histograms_are_lists_of_samples_by_summary(tmp_path: Path) -> None:
    samples = np.array([1.0, 2.0, 2.0, 8.0])
    for part in ("train", "test"):
        with SummaryWriter(str(tmp_path / "cc" / "4" / part)) as writer:
            for step in (50, 100):
                shift = 0.0 if part == "test" else 100.0
                for name in ("return_hist", "plan_returns_begin", "plan_returns_end"):
                    writer.add_histogram(f"trainer/{part}/sim/{name}", samples * step + shift, step, bins=1_000)
                writer.add_histogram("trainer/other/sim/return_hist", samples, step)
    (run,) = find_runs(tmp_path)
    found = compile_histograms(run, {})
    tree = json.loads(json.dumps(as_tree(found), allow_nan=False))
    assert list(tree) == ["return_hist", "plan_returns_begin", "plan_returns_end", "cem_returns", "steps"]
    for key in ("return_hist", "plan_returns_begin", "plan_returns_end", "cem_returns"):
        assert np.abs(np.array(tree[key]) - np.outer([50, 100], samples)).max() < 1.0
        assert tree["steps"][key] == [50, 100]
    assert found.troubles == ["return_hist could also be test/trainer/other/sim/return_hist"]


def test_what_our_planners_expect_is_found_under_either_name(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path / "mine" / "a" / "tensorboard")) as writer:
        writer.add_histogram("evaluation/plan_return_begin", np.ones(3), 3)
        writer.add_histogram("evaluation/plan_returns_end", np.ones(4), 3)
    found = compile_histograms(find_runs(tmp_path)[0], {})
    assert {key: len(series.values[0]) for key, series in found.series.items()} == {
        "plan_returns_begin": 3,
        "plan_returns_end": 4,
        "cem_returns": 4,
    }


def test_a_run_without_histograms_says_which_are_missing_and_others_are_taken_by_name(tmp_path: Path) -> None:
    run_with_metrics(tmp_path / "mine" / "a")
    with SummaryWriter(str(tmp_path / "mine" / "a" / "tensorboard")) as writer:
        writer.add_histogram("replay/version_lag", np.arange(5.0), 3)
    (run,) = find_runs(tmp_path)
    found = compile_histograms(run, {"lag": "replay/version_lag"})
    assert [len(values) for values in found.series["lag"].values] == [5]
    assert found.troubles == ["no return_hist, plan_returns_begin, plan_returns_end"]
