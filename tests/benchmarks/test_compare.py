"""Before and after: two checkouts measured in turns, each with its own script and package."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

Load = Callable[[str], ModuleType]
SCRIPT = """
import argparse, json
from pathlib import Path
import rlsys
FACTOR = 1.0
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    row = {"what": "tiny", "num_roots": 4, "value": rlsys.SPEED * options.scale * FACTOR, "call_ms": 8.0 / rlsys.SPEED,
           "target": 7.0, "peer": "nobody", "commit": "of this side"}
    options.json.write_text(json.dumps(row) + "\\n")
"""


def checkout(folder: Path, speed: float, script: str = SCRIPT) -> Path:
    """Writes a checkout with one benchmark, tiny, of a package that knows how fast it is."""
    for path, text in {"benchmarks/tiny.py": script, "rlsys/__init__.py": f"SPEED = {speed}\n"}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


@pytest.fixture
def run(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Returns a function that compares tiny's two checkouts by the command line."""
    compare = load("compare")
    old, new = checkout(tmp_path / "old", 10.0), checkout(tmp_path / "new", 20.0)
    monkeypatch.setattr(compare, "_HERE", new)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def main(*words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["compare.py", str(old), *words])
        compare.main()

    return main


def test_each_checkout_is_measured_with_its_own_package_and_the_ratio_is_kept(
    run: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "rows.jsonl"
    run("tiny", "--turns", "1", "--json", str(kept), "--prepare", "tiny.FACTOR = 0.5", "--", "--scale", "3")
    rate, time = (json.loads(line) for line in kept.read_text().splitlines())
    assert (rate["benchmark"], rate["what"], rate["figure"]) == ("tiny", "tiny, num_roots=4", "value")
    assert (rate["old"], rate["new"], rate["ratio"], rate["spread"]) == (15.0, 30.0, 2.0, None)
    assert (time["figure"], time["old"], time["new"]) == ("call_ms", 0.8, 0.4)
    assert time["ratio"] == 2.0, "half the time is twice as fast"
    assert rate["old_commit"] == "unknown"
    assert {"commit", "date", "machine", "load", "wall_s"} <= rate.keys()
    words = "python benchmarks/compare.py OLD_CHECKOUT tiny --turns 1 --prepare 'tiny.FACTOR = 0.5' -- --scale 3"
    assert rate["command"] == words
    assert "tiny, num_roots=4: value" in capsys.readouterr().out


def test_a_turn_that_fails_once_is_repeated(run: Callable[..., None], tmp_path: Path) -> None:
    kept, failed = tmp_path / "rows.jsonl", tmp_path / "failed"
    once = f"from pathlib import Path; was = Path({str(failed)!r}).exists(); Path({str(failed)!r}).touch(); 1 / was"
    run("tiny", "--turns", "1", "--json", str(kept), "--prepare", once)
    assert json.loads(kept.read_text().splitlines()[0])["ratio"] == 2.0


def test_turns_alternate_so_that_both_sides_lie_in_the_same_time(load: Load) -> None:
    assert "".join("AB"[not is_old] for is_old in load("compare").turns(4)) == "ABBAABBA"


def test_medians_are_compared_and_the_spread_of_a_side_is_said(load: Load) -> None:
    key = ("x", "per_s")
    old, new = ([{key: value} for value in values] for values in ((10.0, 30.0, 20.0), (40.0, 50.0, 44.0)))
    (row,) = load("compare").compare("x", old, new)
    assert (row["old"], row["new"], row["ratio"], row["spread"]) == (20.0, 44.0, 2.2, 2.0)


def test_a_figure_of_one_side_only_is_left_out_and_sides_that_share_none_are_refused(load: Load) -> None:
    compare = load("compare")
    shared, gone = ("x", "per_s"), ("y", "per_s")
    (row,) = compare.compare("x", [{shared: 1.0, gone: 1.0}], [{shared: 2.0}])
    assert row["what"] == "x"
    with pytest.raises(compare.Implausible, match="none of 1 figures before has its like among 1 after"):
        compare.compare("x", [{gone: 1.0}], [{shared: 1.0}])


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("def main():\n    raise SystemExit('it was dead')\n", r"tiny of .*old ended with status 1: it was dead"),
        ("def main():\n    pass\n", r"tiny of .*old kept no rate and no time"),
    ],
)
def test_a_side_that_cannot_be_measured_is_refused(
    script: str, words: str, run: Callable[..., None], load: Load, tmp_path: Path
) -> None:
    checkout(tmp_path / "old", 10.0, script)
    with pytest.raises(load("compare").Implausible, match=words):
        run("tiny", "--json", str(tmp_path / "rows.jsonl"))
    assert not (tmp_path / "rows.jsonl").exists()


def test_a_folder_without_the_script_is_refused_before_anything_runs(run: Callable[..., None], load: Load) -> None:
    with pytest.raises(load("compare").Implausible, match=r"old/benchmarks/absent\.py is not there"):
        run("absent")
