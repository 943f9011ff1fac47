"""Dockerfiles: what can be checked of them without building."""

import os
import re
import shutil
import subprocess
import sysconfig
import tomllib

import pytest
import yaml
from dockerfiles import DOCKER, ROOT, default, instructions, stages

FILES = sorted(path.name for path in DOCKER.glob("*.Dockerfile"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WITH_PACKAGE = ["cpu.Dockerfile", "gpu.Dockerfile"]


def test_there_is_an_image_for_cpus_for_gpus_and_for_dmlab():
    assert FILES == ["cpu.Dockerfile", "dmlab.Dockerfile", "gpu.Dockerfile"]


@pytest.mark.parametrize("name", FILES)
def test_stages_are_several_named_and_of_pinned_images(name):
    names: list[str] = []
    for stage in stages(name):
        image = default(name, stage.base.strip("${}")) if stage.base.startswith("$") else stage.base
        assert image in names or re.fullmatch(r"[\w./-]+:\d[\w.-]*", image), f"{image} is no fixed version"
        assert stage.name not in names
        names.append(stage.name)
    assert len(names) >= 2
    assert names[-1] == "runtime"


@pytest.mark.parametrize("name", FILES)
def test_the_image_runs_as_a_user_without_rights_and_lets_ray_start_a_shell(name):
    last = stages(name)[-1].steps
    users = [rest for word, rest in last if word == "USER"]
    assert users[-1] == "1000:1000", "Kubernetes cannot see of a name that it is not root"
    after = last[last.index(("USER", users[-1])) + 1 :]
    assert [word for word, _ in after] == ["WORKDIR", "CMD"]
    assert last[-1][1].startswith("["), "a CMD in shell form does not pass signals on"
    assert not [word for word, _ in instructions(name) if word == "ENTRYPOINT"]


@pytest.mark.parametrize("name", WITH_PACKAGE)
def test_clusters_find_in_the_image_what_they_work_with(name):
    base, *_, last = stages(name)
    (path,) = [rest for word, rest in base.steps if word == "ENV"]
    (packages,) = [rest for word, rest in base.steps if word == "RUN"]
    assert {"bash", "rsync", "wget"} <= set(packages.split())
    assert path.startswith("PATH=/opt/rlsys/bin:")
    assert r'echo "PATH=/opt/rlsys/bin:\$PATH" > /etc/profile.d/rlsys.sh' in packages, "login shells forget PATH"
    user = " ".join(rest for word, rest in last.steps if word == "RUN")
    assert "useradd --uid 1000 --create-home" in user
    assert "--owner=rlsys" in user and "/home/rlsys/.ray" in user, "ray up mounts its token there"


@pytest.mark.parametrize("name", FILES)
def test_a_linter_has_nothing_to_say(name):
    hadolint = shutil.which("hadolint", path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]))
    assert hadolint is not None, "hadolint is missing: pip install -e '.[test]'"
    command = [hadolint, "--no-color", "--config", ROOT / ".hadolint.yaml", DOCKER / name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_the_engine_is_sent_what_is_copied_and_nothing_else():
    refused, *rest = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert refused == "*"
    copied = {
        rest.split()[0]
        for name in FILES
        for word, rest in instructions(name)
        if word == "COPY" and not rest.startswith("--")
    }
    assert {line.removeprefix("!") for line in rest if line.startswith("!")} == copied
    assert [line for line in rest if not line.startswith("!")] == ["**/__pycache__"]


@pytest.mark.parametrize("name", FILES)
def test_nothing_secret_and_nothing_unnamed_gets_in(name):
    for word, rest in instructions(name):
        if word in ("ENV", "ARG"):
            assert not re.search(r"(?i)key|token|secret|password|credential", rest), rest
        assert word != "ADD"
        if word == "COPY":
            assert not re.match(r"(--\S+ )*\.?/? ", rest), "copies the whole context, whatever lies in it"
        assert not re.search(r"curl[^&]*\|\s*(ba)?sh", rest), "runs a script from the network"


@pytest.mark.parametrize("name", FILES)
def test_installed_packages_leave_no_lists_and_compilers_stay_out_of_the_image(name):
    found = stages(name)
    for stage in found:
        for word, rest in stage.steps:
            if word == "RUN" and "apt-get install" in rest:
                assert "--no-install-recommends" in rest
                assert "--yes" in rest
                assert "&& rm -rf /var/lib/apt/lists/*" in rest
    shipped = " ".join(rest for _, rest in found[-1].steps)
    assert not re.search(r"build-essential|\bg\+\+|\bgit\b|bazel|-dev\b", shipped)
    built = [stage.name for stage in found[:-1]]
    assert any(f"from={stage}" in shipped for stage in built), "nothing is taken from the stages before"


@pytest.mark.parametrize("name", WITH_PACKAGE)
def test_all_that_the_wheel_needs_is_copied_and_exists(name):
    copied = {rest.split()[0] for word, rest in instructions(name) if word == "COPY" and not rest.startswith("--")}
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", PROJECT["project"]["readme"], *wheel["packages"], *wheel["force-include"]}
    assert copied == needed
    for path in copied:
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("name", WITH_PACKAGE)
def test_versions_are_those_of_the_project(name):
    text = "\n".join(rest for _, rest in instructions(name))
    (torch,) = [line for line in PROJECT["project"]["dependencies"] if line.startswith("torch")]
    assert re.findall(r"torch==[\d.]+", text) == [torch]
    minor = int(re.search(r"python:3\.(\d+)", text)[1])
    low, high = map(int, re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["project"]["requires-python"]).groups())
    assert low <= minor < high


def test_dmlab_is_built_from_one_commit_for_the_python_of_its_base():
    assert re.fullmatch(r"[0-9a-f]{40}", default("dmlab.Dockerfile", "LAB_COMMIT"))
    lab = next(stage.base for stage in stages("dmlab.Dockerfile") if stage.name == "lab")
    assert lab == stages("cpu.Dockerfile")[0].base == stages("gpu.Dockerfile")[0].base


def test_names_of_images_agree_between_their_files_and_the_clusters():
    built = {kind: f"rlsys-{kind}:0.1" for kind in ("cpu", "gpu")}
    for kind, image in built.items():
        assert f"docker build -f docker/{kind}.Dockerfile -t {image}" in (DOCKER / f"{kind}.Dockerfile").read_text()
        assert yaml.safe_load((ROOT / "cluster" / f"{kind}.yaml").read_text())["docker"]["image"] == image
    assert default("dmlab.Dockerfile", "BASE") in built.values()


@pytest.mark.parametrize("name", FILES)
def test_each_file_says_how_it_is_built_and_what_was_tried(name):
    comment = "".join(re.findall(r"^#.*\n", (DOCKER / name).read_text(), re.MULTILINE))
    for phrase in (
        f"docker build -f docker/{name}",
        "docker run --rm",
        "--shm-size",
        "Tried so far:",
        "not been built",
    ):
        assert phrase in comment, phrase
