"""Brings the AWS cluster files up against a simulated EC2 (moto), as far as that goes.

    python -m venv simulated && simulated/bin/pip install "ray[default]==2.60.*" "moto[ec2,iam]" boto3
    simulated/bin/python tests/cluster/simulate_aws.py

An environment of its own: moto's cryptography wants a cffi that gym3 (ProcGen) does not allow. Ray's own provider makes
the role, the key pair, the security group and the subnets, looks up what the machine types have, and creates a machine
of each type; moto answers instead of AWS. A misspelt field, an unknown machine type or a zone that a region does not
have end it with an error. It knows nothing of machine images, quotas, spot capacity, or what happens inside a machine.
"""

import copy
import os
import sys
import tempfile
import unittest.mock
from pathlib import Path
from typing import Any

import yaml

CLUSTER = Path(__file__).parent.parent.parent / "cluster"
FILES = ("gpu.yaml", "cpu.yaml")
EXPECTED = {
    "m6i.2xlarge": {"CPU": 8},
    "m6i.xlarge": {"CPU": 4},
    "g5.4xlarge": {"CPU": 16, "GPU": 1, "accelerator_type:A10G": 1},
    "c6i.4xlarge": {"CPU": 16},
    "m6i.4xlarge": {"CPU": 16},
}
"""Machine type -> what Ray must find out that it has."""


def bring_up(name: str) -> dict[str, Any]:
    """Returns node type -> the machine that was created for it, as EC2 describes it."""
    import boto3
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.util import prepare_config, validate_config
    from ray.autoscaler.tags import TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE

    tree = prepare_config(yaml.safe_load((CLUSTER / name).read_text()))
    detected = AWSNodeProvider.fillout_available_node_types_resources(copy.deepcopy(tree))
    for kind, node in detected["available_node_types"].items():
        machine = node["node_config"]["InstanceType"]
        wanted = EXPECTED[machine] | tree["available_node_types"][kind]["resources"]
        for resource, count in wanted.items():
            assert node["resources"].get(resource) == count, (kind, machine, resource, node["resources"])
    validate_config(detected)
    config = AWSNodeProvider.bootstrap_config(detected)
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for kind, node in config["available_node_types"].items():
        role = "head" if kind == config["head_node_type"] else "worker"
        tags = {TAG_RAY_NODE_KIND: role, TAG_RAY_USER_NODE_TYPE: kind}
        provider.create_node(node["node_config"], tags, 1)
    found = {}
    ec2 = boto3.client("ec2", region_name=tree["provider"]["region"])
    for reservation in ec2.describe_instances()["Reservations"]:
        for instance in reservation["Instances"]:
            labels = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
            if labels["ray-cluster-name"] == tree["cluster_name"]:
                found[labels[TAG_RAY_USER_NODE_TYPE]] = instance
    for group in ec2.describe_security_groups()["SecurityGroups"]:
        if group["GroupName"] == f"ray-autoscaler-{tree['cluster_name']}":
            for rule in group["IpPermissions"]:
                open_to_all = any(block["CidrIp"] == "0.0.0.0/0" for block in rule.get("IpRanges", []))
                assert not open_to_all or rule["FromPort"] == rule["ToPort"] == 22, f"open to the world: {rule}"
    return found


def main() -> None:
    """Brings each file up and prints what came of it; exits with 1 if a machine is missing."""
    from moto import mock_aws

    with tempfile.TemporaryDirectory() as home:
        credentials = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN")
        os.environ.update(dict.fromkeys(credentials, "simulated"), HOME=home, AWS_DEFAULT_REGION="us-west-2")
        (Path(home) / ".ssh").mkdir()
        # Ray waits a quarter of a minute for a new role to be known everywhere.
        with mock_aws(config={"iam": {"load_aws_managed_policies": True}}), unittest.mock.patch("time.sleep"):
            for name in FILES:
                found = bring_up(name)
                wanted = yaml.safe_load((CLUSTER / name).read_text())["available_node_types"]
                for kind in wanted:
                    if kind not in found:
                        sys.exit(f"{name}: no machine of type {kind}")
                    machine = found[kind]
                    market = machine.get("InstanceLifecycle", "on demand")
                    line = f"{name}: {kind:8} {machine['InstanceType']:12} {market:10} {machine['State']['Name']}"
                    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
