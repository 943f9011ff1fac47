"""Manifests for the KubeRay operator: no cluster is at hand, so what can be known without one."""

import importlib.metadata
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = {name: ROOT / "cluster" / "kuberay" / name for name in ("cluster.yaml", "job.yaml")}
GIBI = 2**30


def spec(name: str) -> dict[str, Any]:
    tree = yaml.safe_load(FILES[name].read_text())
    assert tree["apiVersion"] == "ray.io/v1"
    spec: dict[str, Any] = tree["spec"] if tree["kind"] == "RayCluster" else tree["spec"]["rayClusterSpec"]
    return spec


def groups() -> dict[str, dict[str, Any]]:
    found = {"head": spec("cluster.yaml")["headGroupSpec"]}
    return found | {group["groupName"]: group for group in spec("cluster.yaml")["workerGroupSpecs"]}


def container(group: dict[str, Any]) -> dict[str, Any]:
    (only,) = group["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def test_there_are_a_cluster_and_a_job_on_the_same_cluster() -> None:
    assert sorted(path.name for path in (ROOT / "cluster" / "kuberay").iterdir()) == sorted(FILES)
    assert spec("job.yaml") == spec("cluster.yaml")
    job = yaml.safe_load(FILES["job.yaml"].read_text())
    assert job["kind"] == "RayJob"
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,45}[a-z0-9])?", job["metadata"]["name"]), "the operator's bound is 47"
    assert (job["spec"]["shutdownAfterJobFinishes"], job["spec"]["backoffLimit"]) == (True, 0)
    experiment, profile = re.fullmatch(r"rlsys launch (\S+) --profile (\S+) .*", job["spec"]["entrypoint"]).groups()
    assert (ROOT / "configs" / f"{experiment}.yaml").is_file()
    assert (ROOT / "launch" / f"{profile}.yaml").is_file()


def test_the_operator_is_told_the_version_of_ray_that_the_images_have() -> None:
    assert spec("cluster.yaml")["rayVersion"] == importlib.metadata.version("ray")


def test_tokens_are_asked_for_and_nothing_is_open_to_the_outside() -> None:
    assert spec("cluster.yaml")["authOptions"] == {"mode": "token"}
    assert groups()["head"]["serviceType"] == "ClusterIP"
    for name, group in groups().items():
        pod = group["template"]["spec"]
        assert not pod.get("hostNetwork"), name
        assert pod["securityContext"]["runAsNonRoot"], name
        assert container(group)["securityContext"]["allowPrivilegeEscalation"] is False, name


@pytest.mark.parametrize("name", ["head", "learner", "rollout"])
def test_each_pod_gets_what_it_asks_for_and_shared_memory_for_a_third_of_it(name: str) -> None:
    group = groups()[name]
    resources = container(group)["resources"]
    assert resources["requests"] == resources["limits"], "a pod that may grow is the first to be evicted"
    volumes = {volume["name"]: volume for volume in group["template"]["spec"]["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container(group)["volumeMounts"]}
    assert mounts == {"shared-memory": "/dev/shm", "runs": "/mnt/rlsys"}
    assert volumes.keys() == mounts.keys()
    shared = volumes["shared-memory"]["emptyDir"]
    assert shared["medium"] == "Memory"
    assert int(shared["sizeLimit"].removesuffix("Gi")) >= 0.25 * int(resources["limits"]["memory"].removesuffix("Gi"))
    assert group["labels"] == {"rlsys.io/role": name}
    assert all(isinstance(value, str) for value in group["rayStartParams"].values()), "Ray's parameters are strings"


def test_the_head_and_the_learner_leave_their_cores_alone_and_rollouts_fit_the_profile() -> None:
    profile = yaml.safe_load((ROOT / "launch" / "gpu-48.yaml").read_text())["runtime"]
    pods = groups()
    for name in ("head", "learner"):
        assert pods[name]["rayStartParams"]["num-cpus"] == "0"
    cores = int(pods["rollout"]["rayStartParams"]["num-cpus"])
    assert str(cores) == container(pods["rollout"])["resources"]["limits"]["cpu"]
    assert pods["rollout"]["minReplicas"] * cores >= profile["rollout_workers"] * profile["rollout_cpus"]
    gpus = int(container(pods["learner"])["resources"]["limits"]["nvidia.com/gpu"])
    assert pods["learner"]["minReplicas"] * gpus >= profile["learners"] * profile["learner_gpus"]
    for name in ("learner", "rollout"):
        assert pods[name]["minReplicas"] <= pods[name]["replicas"] <= pods[name]["maxReplicas"]


@pytest.mark.parametrize("name", sorted(FILES))
def test_each_file_says_how_to_start_and_stop_it_and_what_was_tried(name: str) -> None:
    comment = "".join(re.findall(r"^#.*\n", FILES[name].read_text(), re.MULTILINE))
    for phrase in (f"kubectl apply -f cluster/kuberay/{name}", f"kubectl delete -f cluster/kuberay/{name}"):
        assert phrase in comment
    assert "Tried so far:" in comment
