"""Dockerfiles: what can be checked of them without building."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
FILES = sorted(path.name for path in (ROOT / "docker").glob("*.Dockerfile"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WITH_PACKAGE = ["cpu.Dockerfile", "gpu.Dockerfile"]


def instructions(name: str) -> list[tuple[str, str]]:
    """The instructions of a file as (word, rest), with continued lines joined and comments left out."""
    text = (ROOT / "docker" / name).read_text()
    lines = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines) if word]


def stages(name: str) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """The stages of a file as (base image, name, instructions)."""
    found: list[tuple[str, str, list[tuple[str, str]]]] = []
    for word, rest in instructions(name):
        if word == "FROM":
            base, keyword, stage = rest.partition(" AS ")
            assert keyword, f"stage '{rest}' has no name"
            found.append((base, stage, []))
        elif found:
            found[-1][2].append((word, rest))
    return found


def default(name: str, argument: str) -> str:
    """The default of a build argument."""
    (value,) = [
        rest.split("=", 1)[1] for word, rest in instructions(name) if word == "ARG" and rest.startswith(argument)
    ]
    return value.strip('"')


def test_there_is_an_image_for_cpus_for_gpus_and_for_dmlab():
    assert FILES == ["cpu.Dockerfile", "dmlab.Dockerfile", "gpu.Dockerfile"]


@pytest.mark.parametrize("name", FILES)
def test_stages_are_several_named_and_of_pinned_images(name):
    names: list[str] = []
    for base, stage, _ in stages(name):
        image = default(name, base.strip("${}")) if base.startswith("$") else base
        assert image in names or re.fullmatch(r"[\w./-]+:\d[\w.-]*", image), f"{image} is no fixed version"
        assert stage not in names
        names.append(stage)
    assert len(names) >= 2
    assert names[-1] == "runtime"


@pytest.mark.parametrize("name", FILES)
def test_the_image_runs_as_a_user_without_rights_and_lets_ray_start_a_shell(name):
    last = stages(name)[-1][2]
    users = [rest for word, rest in last if word == "USER"]
    assert users[-1] == "rlsys"
    after = last[last.index(("USER", "rlsys")) + 1 :]
    assert [word for word, _ in after] == ["WORKDIR", "CMD"]
    assert last[-1][1].startswith("["), "a CMD in shell form does not pass signals on"
    assert not [word for word, _ in instructions(name) if word == "ENTRYPOINT"]


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
    for _, _, body in found:
        for word, rest in body:
            if word == "RUN" and "apt-get install" in rest:
                assert "--no-install-recommends" in rest
                assert "--yes" in rest
                assert rest.endswith("rm -rf /var/lib/apt/lists/*")
    shipped = " ".join(rest for _, rest in found[-1][2])
    assert not re.search(r"build-essential|\bg\+\+|\bgit\b|bazel|-dev\b", shipped)
    assert "COPY --from=" in " ".join(f"{word} {rest}" for word, rest in found[-1][2])


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
    lab = next(base for base, stage, _ in stages("dmlab.Dockerfile") if stage == "lab")
    assert lab == stages("cpu.Dockerfile")[0][0] == stages("gpu.Dockerfile")[0][0]


def test_names_of_images_agree_between_their_files_and_the_clusters():
    built = {kind: f"rlsys-{kind}:0.1" for kind in ("cpu", "gpu")}
    for kind, image in built.items():
        assert (
            f"docker build -f docker/{kind}.Dockerfile -t {image}"
            in (ROOT / "docker" / f"{kind}.Dockerfile").read_text()
        )
        assert yaml.safe_load((ROOT / "cluster" / f"{kind}.yaml").read_text())["docker"]["image"] == image
    assert default("dmlab.Dockerfile", "BASE") in built.values()


@pytest.mark.parametrize("name", FILES)
def test_each_file_says_how_it_is_built_and_what_was_tried(name):
    comment = "".join(re.findall(r"^#.*\n", (ROOT / "docker" / name).read_text(), re.MULTILINE))
    for phrase in (
        f"docker build -f docker/{name}",
        "docker run --rm",
        "--shm-size",
        "Tried so far:",
        "not been built",
    ):
        assert phrase in comment, phrase
