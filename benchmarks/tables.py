"""What the tables of README.md and pages/ show: which rows, by what they are told apart, and which of their figures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from curves import CURVES
from fields import Field, Row, errors, interval, minutes, part, result, slope, unroll


@dataclass(frozen=True)
class Table:
    """Rows of results as a table.

    Attributes:
      files: of results, as a pattern; of curves (.json) each result of the final evaluation of each run is a row.
      command: what the commands of its rows have in them.
      names: title -> what tells rows apart. Rows alike in all of it are an older and a newer one, if of one machine.
      figures: title -> figure.
      where: which rows, of those of the command.
      seeds: rows alike are seeds: their cells are joined.
      repeats: whether the commands stand beneath it.
    """

    files: str
    command: str
    names: Mapping[str, Field]
    figures: Mapping[str, Field]
    where: Callable[[Row], bool] = lambda row: True
    seeds: bool = False
    repeats: bool = True


_LEARNING: dict[str, Field] = {
    "what": lambda row: CURVES.get(row["file"]),
    "played": lambda row: row.get("label", "–"),
}
_FIRST = ("muzero-cartpole", "muzero-lunarlander", "muzero-breakout", "impala-cartpole", "impala-pong")
_HEADED = (*_FIRST, "r2ac-procgen-chaser", "ppo-cartpole", "ppo-breakout", "simple-catch")


TABLES: dict[str, Table] = {
    "search": Table(
        "speed.jsonl",
        "benchmarks/search.py",
        {"rule": "what", "roots": "num_roots", "actions": "num_actions", "precision": "precision"},
        {
            "simulations/s": "value",
            "to reach": "target",
            "network alone": "network",
            "share": "share",
            "peers": "peers",
        },
    ),
    "rollouts": Table(
        "speed.jsonl",
        "benchmarks/rollouts.py",
        {"64 environments": part("what", "rollouts, (.*), 64")},
        {
            "decisions/s": "value",
            "to reach": "target",
            "environments": "environments_share",
            "deciding": "decisions_share",
            "segments": "segments_share",
        },
    ),
    "reanalyse": Table(
        "speed.jsonl",
        "benchmarks/reanalyse.py",
        {"rows of": part("what", "reanalyse, (.*)")},
        {"rows/s": "value", "search alone": "search_per_s", "share": "share", "to reach": "target"},
    ),
    "evaluation": Table(
        "speed.jsonl",
        "benchmarks/evaluation.py",
        {"evaluated": "what"},
        {"seconds": "elapsed_s", "of processors": "cpu_s", "decisions/s": "decisions_per_s"},
    ),
    "planning": Table(
        "speed.jsonl",
        "benchmarks/planning.py --device",
        {"how": "how", "device": "device", "environments": "environments"},
        {"decisions/s": "value", "products alone": "bound", "share": "share"},
    ),
    "swing_up": Table(
        "speed.jsonl",
        "benchmarks/planning.py --swing-up",
        {"planner": "how"},
        {"candidates a decision": "candidates", "return, of 1,000": "mean", "95 %": interval},
    ),
    "environments": Table(
        "speed.jsonl",
        "benchmarks/environments.py",
        {"environment": "what", "at once": "environments", "beside": "bare"},
        {"steps/s": "steps_per_s", "bare steps/s": "bare_steps_per_s", "of the bare": "ratio"},
    ),
    "learner": Table(
        "speed.jsonl",
        "benchmarks/learner.py",
        {"update": part("what", "learner, (.*)")},
        {"updates/s": "value", "to reach": "target", "products alone": "bound", "share": "share", "peer": "peer"},
    ),
    "impala": Table(
        "speed.jsonl",
        "benchmarks/impala.py",
        {"what": "what", "device": "device"},
        {"rows or decisions/s": "per_s", "ms a call": "call_ms"},
    ),
    "rtrl": Table(
        "speed.jsonl",
        "benchmarks/rtrl.py",
        {"what": "what", "sizes": "setting"},
        {"ours, ms": "ours_ms", "other, ms": "other_ms", "ratio": "ratio", "to reach": "target"},
    ),
    "simple": Table(
        "speed.jsonl",
        "benchmarks/simple.py",
        {"what": "what", "how": "how", "device": "device"},
        {"per second": "per_s", "of a matrix product's rate": "roofline"},
    ),
    "planet": Table(
        "speed.jsonl",
        "benchmarks/planet.py",
        {"what": "what", "device": "device"},
        {"frames/s": "frames_per_s", "plainly": "plain_frames_per_s", "times as many": "ratio"},
    ),
    "iris": Table(
        "speed.jsonl",
        "benchmarks/iris.py",
        {"what": "what", "device": "device"},
        {"per s": "per_s", "plainly": "plain_per_s", "times as many": "ratio"},
    ),
    "web_dream": Table(
        "speed.jsonl",
        "benchmarks/web_dream.py",
        {"preset": "what"},
        {"frames/s": "frames_per_s", "per CPU-second": "frames_per_cpu_s", "MB of the page": "page_megabytes"},
    ),
    "planet_peer": Table(
        "speed.jsonl",
        "benchmarks/planet_peer.py",
        {"what": "what"},
        {"per s": "per_s", "simulusion's": "peer_per_s", "times as many": "ratio"},
    ),
    "transitions": Table(
        "transitions.jsonl",
        "benchmarks/transitions.py",
        {"model": "what"},
        {
            "frames": errors("frame_errors"),
            "the last frame": errors("copy_errors"),
            "rewards": errors("reward_errors"),
            "the last reward": errors("copy_reward_errors"),
            "CPU-s per update": "cpu_s_per_update",
        },
    ),
    "replay": Table(
        "speed.jsonl",
        "benchmarks/replay.py",
        {"what": "what", "unit": "unit"},
        {"per CPU-second": "value", "to reach": "target", "peer": "peer", "its": "peer_value"},
    ),
    "shards": Table(
        "cluster.jsonl",
        "transport.py shards",
        {"what": "what"},
        {
            "rows inserted/s": "rows_inserted_per_s",
            "windows sampled/s": "windows_sampled_per_s",
            "cores, shards": "cores_used.ShardProcess",
            "cores, inserting": "cores_used.Inserting",
            "cores, sampling": "cores_used.reader",
        },
    ),
    "episodes": Table(
        "speed.jsonl",
        "benchmarks/episodes.py",
        {"what": "what"},
        {
            "draws/s": "draws_per_s",
            "waited": "waited_share",
            "first checkpoint, MB": "first_megabytes",
            "second": "second_megabytes",
        },
    ),
    "whole_system": Table(
        "speed.jsonl",
        "benchmarks/whole_system.py",
        {"run": part("what", "whole system, (.*)")},
        {
            "moves/s": "moves_per_s",
            "updates/s": "updates_per_s",
            "of all cores": "busy_share",
            "cores, learner": "cores_used.LearnerProcess",
            "rollouts": "cores_used.RolloutProcess",
            "shards": "cores_used.ShardProcess",
            "Ray": "cores_used.Ray itself",
            "learner idle": "learner_idle_share",
            "samples per insert": "samples_per_insert",
        },
    ),
    "baselines": Table(
        "speed.jsonl",
        "benchmarks/baselines.py",
        {"task": "task", "system": "system", "workers": "workers", "environments each": "environments"},
        {
            "decisions/s": "decisions_per_s",
            "ours / this": "decisions_ratio",
            "rows/s": "rows_per_s",
            "ours / this, rows": "rows_ratio",
        },
    ),
    "workers": Table(
        "cluster.jsonl",
        "scaling.py workers",
        {"workers": "workers", "algorithm": part("what", ", ([a-z]+)$")},
        {
            "decisions/s": "env_steps_per_s",
            "of 100/s each": "share_of_ideal",
            "of N times one": "share_of_linear",
            "s until all act": "first_step_of_all_s",
            "MiB a worker": "pss_mib.RolloutProcess",
            "cores, workers": "cores_used.RolloutProcess",
            "load": "load",
        },
    ),
    "calls": Table(
        "cluster.jsonl",
        "scaling.py calls",
        {"call": part("what", "(.*), \\d"), "clients": part("what", "(\\d+) clients")},
        {"calls/s": "calls_per_s", "server's CPU, µs": "server_cpu_us", "client's CPU, µs": "client_cpu_us"},
    ),
    "supervisor": Table(
        "cluster.jsonl",
        "scaling.py supervisor",
        {"workers": "workers", "period, s": "tick_s"},
        {"reports/s": "ticks_per_s", "in time": "share_of_ticks", "CPU each, µs": "cpu_us_per_tick", "cores": "cores"},
    ),
    "weights": Table("cluster.jsonl", "transport.py weights", {"what": "what"}, {"ms": "ms", "at most, ms": "ms_max"}),
    "predictions": Table(
        "cluster.jsonl",
        "benchmarks/prediction.py",
        {"case": part("what", "prediction, (.*):"), "what binds": "binding"},
        {"predicted": "predicted", "measured": "measured", "ratio": "ratio", "load": "load"},
        where=lambda row: row["what"].endswith("decisions per second"),
        repeats=False,
    ),
    "checkpoints": Table(
        "cluster.jsonl",
        "checkpoints.py --gigabytes",
        {"what": "what"},
        {
            "longest answer, ms": "longest_answer_ms",
            "longest turn, ms": "longest_turn_ms",
            "s": "seconds",
            "MB written": "written_megabytes",
        },
    ),
    "checkpoints_of_a_run": Table(
        "cluster.jsonl",
        "checkpoints.py --run",
        {"what": "what"},
        {
            "updates/s": "updates_per_s",
            "of the learner's time": lambda row: f"{100 * row['learner_share']:.2f} %",
            "of the shard's": lambda row: f"{100 * row['shard_share']:.2f} %",
        },
    ),
    "leaks": Table(
        "cluster.jsonl",
        "benchmarks/leaks.py",
        {"two hours of": part("what", "memory of (.*) over.*"), "family": part("what", "([a-z]+)$")},
        {
            "rollout": slope("RolloutProcess"),
            "learner": slope("LearnerProcess"),
            "queue": slope("QueueProcess"),
            "shard": slope("ShardProcess"),
            "parameter server": slope("ParameterServer"),
            "driver": slope("driver"),
            "raylet": slope("raylet"),
            "object store": slope("object store"),
        },
    ),
    "rescale": Table(
        "cluster.jsonl",
        "benchmarks/rescale.py",
        {"what": "what"},
        {
            "samples per insert, least, median, most": lambda row: _words(row["samples_per_insert_scaled"]),
            "left alone": lambda row: _words(row["samples_per_insert_alone"]),
            "evaluations": lambda row: _words(row["evaluations_scaled"].values()),
            "left alone ": lambda row: _words(row["evaluations_alone"].values()),
        },
    ),
    "machines": Table(
        "cluster.jsonl",
        "bring_up_local.py",
        {"what": "what"},
        {
            "ray up, s": "ray_up_s",
            "launch to first checkpoint, s": "launch_to_first_checkpoint_s",
            "ray down, s": "ray_down_until_workers_ended_s",
            "load": "load",
        },
        where=lambda row: "ray_up_s" in row,
    ),
    "cut": Table(
        "cluster.jsonl",
        "bring_up_local.py",
        {"what": "what", "machines given up": "nodes_declared_dead"},
        {
            "s until all is as before": "recovered_after_s",
            "decisions/s before": "env_steps_per_s_before",
            "meanwhile": "env_steps_per_s_during",
            "workers restarted": "workers_restarted",
            "load": "load",
        },
        where=lambda row: "cut_s" in row,
    ),
    "chaos": Table(
        "cluster.jsonl",
        "benchmarks/chaos.py",
        {"fault": "fault"},
        {
            "times": "times",
            "not recovered": "not_recovered",
            "back after, median s": "median_s",
            "at most": "max_s",
            "decisions lost": "env_steps_lost",
            "updates lost": "learner_steps_lost",
            "rows lost": lambda row: max(0, row["rows_lost"]),
        },
    ),
    "learning": Table(
        "learning/*.json",
        "rlsys launch",
        _LEARNING,
        {
            "return over games": result,
            "decisions": "env_steps",
            "minutes": minutes,
            "data": lambda row: f"[{row['file']}](../results/learning/{row['file']}.json)",
        },
        where=lambda row: row["file"] in CURVES,
        seeds=True,
        repeats=False,
    ),
    "learning_headlines": Table(
        "learning/*.json",
        "rlsys launch",
        _LEARNING,
        {"return over games, each seed": result, "decisions": "env_steps", "minutes": minutes},
        where=lambda row: row["file"] in _HEADED,
        seeds=True,
        repeats=False,
    ),
    "random_play": Table(
        "learning/random-play.jsonl",
        "benchmarks/random_play.py",
        {"random play": part("what", "random play, (.*)"), "settings": part("command", "--episodes \\d+ ?(.*)")},
        {"return over games": result},
        repeats=False,
    ),
    "tmaze": Table(
        "learning/r2ac-tmaze.json",
        "r2ac-tmaze",
        {"corridor": "delay", "gradient": "gradient"},
        {f"unrolls of {length}": unroll(length) for length in (5, 10, 50)},
        seeds=True,
        repeats=False,
    ),
    "copy_task": Table(
        "learning/copy-task.jsonl",
        "benchmarks/copy_task.py",
        {"method": "method", "span": "span"},
        {
            "held-out bits": lambda row: f"{100 * row['bits']:.1f} %",
            "whole sequences": lambda row: f"{100 * row['sequences']:.1f} %",
            "batches": "batches",
            "CPU seconds": lambda row: f"{row['cpu_s']:.1f}",
        },
        seeds=True,
        repeats=False,
    ),
}


def _words(numbers: Any) -> str:
    return " ".join(f"{number:g}" for number in numbers)
