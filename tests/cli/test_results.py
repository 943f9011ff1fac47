"""Commands that read what runs have left, as they are typed."""

import json
from pathlib import Path

import numpy as np
from support.command_line import Invoke
from support.runs import method_runs, planet_run


def test_scores_and_histograms_are_written_where_they_are_asked_for(invoke: Invoke) -> None:
    planet_run(Path("theirs/cc/00001"))
    status, out, err = invoke("scores", "theirs", "scores.json", "--series", "norm=optimizer/gradient_norm")
    assert (status, out, err) == (0, "scores.json: 1 run\n", "")
    assert json.loads(Path("scores.json").read_text())["cc"]["00001"]["norm"] == [0.5, 0.5, 0.5]
    status, out, _ = invoke("histograms", "theirs", "histograms.json")
    assert (status, out.splitlines()[-1]) == (0, "histograms.json: 0 runs")


def test_scores_are_several_files_at_once_and_a_suite_needs_none(invoke: Invoke) -> None:
    planet_run(Path("theirs/cc/00001"))
    assert invoke("scores", "theirs", "a.json", "a.csv")[1:] == ("a.json: 1 run\na.csv: 1 run\n", "")
    status, out, err = invoke("scores", "theirs")
    assert (status, out, err.count("\n")) == (2, "", 1) and err.startswith("error: no OUT; ")
    method_runs(Path("runs/mine"), {"Pong": [1.0, 2.0]})
    status, out, err = invoke("scores", "runs", "--suite", "atari100k")
    assert (status, err) == (0, "") and "over 1 of 26 games: Pong" in out and out.endswith("\n\n")
    assert invoke("scores", "runs", "b.json", "--suite", "atari100k")[1].endswith("\n\nb.json\n")
    status, out, err = invoke("scores", "theirs", "--suite", "atari100k")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: no run has a return in a game of atari100k: cc/00001 is left out: its config.yaml")


def test_what_cannot_be_read_is_one_line(invoke: Invoke) -> None:
    assert invoke("scores", "nowhere", "scores.json") == (
        2,
        "",
        "error: nowhere is no folder. Give one that runs lie in, at any depth.\n",
    )
    status, out, err = invoke("latents", "nowhere.npz")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: nowhere.npz cannot be read as .npz: No such file or directory.")


def test_latents_are_a_table_and_a_picture_beside_the_file(invoke: Invoke) -> None:
    sample = np.random.default_rng(0).normal(size=(50, 3))
    np.savez("latents.npz", sample=sample, position=sample[:, 1])
    status, out, err = invoke("latents", "latents.npz")
    assert (status, err) == (0, "")
    assert "position  sample[1] 1.00    1.000  1.000" in out
    assert out.splitlines()[-1] == "latents.png"
    assert Path("latents.png").stat().st_size > 10_000
    assert invoke("latents", "latents.npz", "-o", "made/b.svg")[0] == 0
    assert Path("made/b.svg").read_text().startswith("<?xml")
