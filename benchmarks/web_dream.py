"""World models of small presets as pages: frames per second in a headless Chromium, drawing included.

    python benchmarks/web_dream.py [PRESET …] [--steps N] [--turns N] [--json FILE]

Weights are fresh: they cost the same as trained ones. The page is the one that `rlsys export --format web` writes,
opened from a file; its runtime computes with one thread of 128-bit SIMD. Frames per second are the wall's, and besides
those per CPU-second of all that belongs to the browser, which tell what a machine can that does nothing else.
"""

import argparse
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import sync_playwright
from rows import json_option, positive, publish

from rlsys import registry
from rlsys.api import LearnerContext, WorldContext
from rlsys.config import load
from rlsys.envs.make import env_spec
from rlsys.exports.web.export import dream_page, in_full_precision
from rlsys.exports.web.runtime import read_runtime

_PRESETS = ("simple-catch", "planet-cartpole-balance-small", "iris-catch")
_PATIENCE_MS = 300_000
_FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
_STEPS = """async (steps) => {
  let { state } = world.begin(0);
  const begun = performance.now();
  for (let step = 0; step < steps; step++) {
    const outcome = await world.step(state, actions.noop());
    state = outcome.state;
    show(outcome.picture);
  }
  return (performance.now() - begun) / 1000;
}"""


@dataclass(frozen=True)
class Row:
    """One preset's page."""

    what: str
    frames_per_s: float
    frames_per_cpu_s: float
    page_megabytes: float


def page_of(preset: str) -> str:
    """Returns the page of a preset's world model as it is before anything is learned."""
    experiment = load(preset).experiment
    algorithm, env = registry.get_algorithm(experiment.algorithm, "a benchmark"), env_spec(experiment.env)
    assert algorithm.make_world is not None, f"{preset} has no world model"
    section = in_full_precision(experiment.section)
    saved = algorithm.make_learner(LearnerContext(section, env, seed=0)).save()["world"]
    world = algorithm.make_world(WorldContext(section, env, saved))
    return dream_page(world, experiment.env, 0, preset, read_runtime())


def measure(preset: str, steps: int, turns: int) -> Row:
    """Opens a preset's page, and lets it dream."""
    page = page_of(preset)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        path = Path(folder) / "index.html"
        path.write_text(page, encoding="utf-8")
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), headless=True, args=_FLAGS)
        opened: Any = browser.new_page()
        opened.goto(path.as_uri(), timeout=_PATIENCE_MS)
        opened.locator("#status", has_text="step 0").wait_for(timeout=_PATIENCE_MS)
        opened.evaluate(_STEPS, steps)  # the browser compiles what is called often
        begun = _cpu_s()
        rates = [steps / opened.evaluate(_STEPS, steps) for _ in range(turns)]
        per_cpu_s = steps * turns / (_cpu_s() - begun)
        browser.close()
    return Row(preset, max(rates), per_cpu_s, len(page) / 1e6)


def _cpu_s() -> float:
    """Returns the CPU-seconds of all processes that this one has started, so far."""
    times = [process.cpu_times() for process in psutil.Process().children(recursive=True)]
    return sum(time.user + time.system for time in times)


def main() -> None:
    """Measures all presets that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", metavar="PRESET", nargs="*", default=_PRESETS)
    parser.add_argument("--steps", type=positive(int), default=100)
    parser.add_argument("--turns", type=positive(int), default=5)
    json_option(parser)
    options = parser.parse_args()
    rows = [measure(preset, options.steps, options.turns) for preset in options.presets]
    presets = "" if tuple(options.presets) == _PRESETS else f" {' '.join(options.presets)}"
    command = f"python benchmarks/web_dream.py{presets} --steps {options.steps} --turns {options.turns}"
    publish(options.json, rows, _line, command=command)


def _line(row: Row) -> str:
    rates = f"{row.frames_per_s:7.1f} frames/s, {row.frames_per_cpu_s:7.1f} per CPU-second"
    return f"{row.what:32} {rates}, {row.page_megabytes:.1f} MB"


if __name__ == "__main__":
    main()
