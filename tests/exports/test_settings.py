"""An export's settings: what of them is taken over, and what is refused."""

import pytest

from rlsys import config
from rlsys.errors import CheckpointError
from rlsys.exports.settings import check_environments, without_places


def test_no_folder_of_another_machine_comes_along_with_an_environment() -> None:
    env = {"id": "dmlab-rooms_watermaze", "dmlab_level_cache": "/there", "dmlab_renderer": "hardware"}
    run = {"evaluation_env": {"dmlab_level_cache": "/there", "frame_skip": 2}}
    experiment = without_places(config.build({"algorithm": "ppo", "env": env, "run": run}, "a test"))
    assert (experiment.env.dmlab_level_cache, experiment.env.dmlab_renderer) == (None, "hardware")
    assert experiment.run.evaluation_env == {"frame_skip": 2}


@pytest.mark.parametrize("where", ["env", "evaluation", "tasks"])
def test_an_export_does_not_name_files_to_the_constructor_of_its_environment(where: str) -> None:
    env = {"id": "HalfCheetah-v5", "kwargs": {"xml_file": "/there.xml"}}
    settings = {
        "env": {"env": env},
        "evaluation": {"run": {"final_evaluation": [{"name": "a", "env": env}]}},
        "tasks": {"env": {"tasks": ["catch", env]}},
    }[where]
    with pytest.raises(CheckpointError, match=r"env\.kwargs with ./there\.xml., which may name a file .* Give --trust"):
        check_environments(settings, "out")
    check_environments({"env": {**env, "kwargs": {"frame_skip": 3, "desc": ["SF", "FG"]}}}, "out")
    with pytest.raises(CheckpointError, match="would import the module 'there'"):
        check_environments({"env": {"tasks": ["catch", "there:Mine-v0"]}}, "out")
