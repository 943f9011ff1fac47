"""`rlsys launch --submit`: hands a launch to a cluster as a Ray job, which goes on without the terminal."""

import contextlib
import logging
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rlsys import quoting
from rlsys.config import Loaded, override
from rlsys.errors import ConfigError
from rlsys.exports.find import find_run
from rlsys.process import prepare
from rlsys.redaction import redact
from rlsys.runs import folder as run_folder

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_STOP_PATIENCE_S = 600
"""How long the last checkpoint may take after `ray job stop`; Ray's own patience is 3 s."""
_PROBE_S = 5.0


@dataclass(frozen=True)
class Order:
    """What was asked for on the command line, besides --submit.

    Attributes:
      name: the experiment: a name or a YAML file; None to resume.
      profile: a name or a YAML file; None if none was named.
      resume: the run to go on with; None for a new one.
      overrides: KEY=VALUE.
      resumes: of several runs, go on with those that are there.
    """

    name: str | None
    profile: str | None
    resume: str | None
    overrides: Sequence[str]
    resumes: bool = True


def submit(order: Order, loaded: Loaded | None) -> str:
    """Submits the launch as a job, whose driver runs on the cluster's head.

    Args:
      order: the command line.
      loaded: the merged experiment; not needed to resume.

    Returns:
      What the user should know: the run, or that there are several, the job, and how to follow and stop it.

    Raises:
      ConfigError: there is no cluster to submit to, or the run is there already.
    """
    for word in order.overrides:
        if redact(word) != word:
            raise ConfigError(
                f"{word} with --submit; the command of a job can be read by all who see the cluster. Write the setting "
                "into an experiment file, and submit that."
            )
    if order.resume is not None:
        folder = find_run(order.resume)
        loaded = override(run_folder.load(folder), order.overrides)
        words = [*_without(order.overrides, "runtime.address"), "--resume", str(folder)]
    else:
        assert loaded is not None, "neither an experiment nor a run"
        folder = run_folder.path_of(loaded)
        words = _words(order, loaded, folder)
    address = loaded.experiment.runtime.address
    if address is None:
        raise ConfigError(
            "--submit with runtime.address = null; a job needs a cluster that is there already. Add --address auto on "
            "its head, or --address host:port, or http://127.0.0.1:8265 through the tunnel of 'ray dashboard'."
        )
    are_several = loaded.experiment.run.are_several
    run = folder.parent.name if are_several else f"{folder.parent.name}/{folder.name}"
    with _files(order) as (command, working_dir):
        command += [*words, "runtime.address=auto"]
        job, dashboard = _hand_over(command, address, working_dir, run)
    status, stop = quoting.command("status", folder), quoting.command("stop", folder)
    begun = f"{run} goes on as job {job} of the cluster at {address}, without this terminal.\n"
    if are_several:
        status = quoting.command("status", "--directory", folder.parent.parent)
        stop = shlex.join(["ray", "job", "stop", job, "--address", dashboard])
    else:
        begun += f"follow it: {quoting.command('attach', folder)}\n"
    return (
        f"{begun}"
        f"its state: {status}\n"
        f"stop it:   {stop}\n"
        f"its log:   {shlex.join(['ray', 'job', 'logs', job, '--address', dashboard, '--follow'])}"
    )


def _words(order: Order, loaded: Loaded, folder: Path) -> list[str]:
    """Returns settings and options of a new run, or of several, for a job that begins in another folder."""
    words = _without(order.overrides, "run.directory", "run.run_tag", "run.checkpoints", "runtime.address")
    words.append(f"run.directory={folder.parent.parent}")
    if loaded.experiment.run.checkpoints is not None:
        words.append(f"run.checkpoints={loaded.experiment.run.checkpoints}")  # absolute
    if loaded.experiment.run.are_several:
        return [*words, *([] if order.resumes else ["--no-resume-runs"])]
    if folder.exists():
        raise run_folder.taken(folder)
    return [*words, f"run.run_tag={folder.name}"]


def _without(overrides: Sequence[str], *keys: str) -> list[str]:
    """Returns the overrides but those of some keys, which the job is given as they are settled here."""
    return [text for text in overrides if text.partition("=")[0] not in keys]


@contextlib.contextmanager
def _files(order: Order) -> Iterator[tuple[list[str], str | None]]:
    """Yields the beginning of the job's command and, where that names files, a folder with copies of them."""
    command = ["rlsys", "launch"]
    with tempfile.TemporaryDirectory() as folder:
        if order.resume is None and order.name is not None:
            experiment, profile = Path(folder, "configs"), Path(folder, "launch")
            command.append(_word(order.name, experiment))
            if order.profile is not None:
                command += ["--profile", _word(order.profile, profile)]
        yield command, folder if any(Path(folder).iterdir()) else None


def _word(given: str, folder: Path) -> str:
    """Returns a name as it is, and a file as the job will find the copy of it that is made in the folder."""
    if not given.endswith((".yaml", ".yml")):
        return given
    folder.mkdir()
    return str(Path(shutil.copy(given, folder)).relative_to(folder.parent))


def _hand_over(command: Sequence[str], address: str, working_dir: str | None, run: str) -> tuple[str, str]:
    """Returns the job's id and the dashboard's address."""
    prepare()
    if address != "auto":  # which means these; Ray lets them overrule any other
        os.environ.pop("RAY_ADDRESS", None)
        os.environ.pop("RAY_API_SERVER_ADDRESS", None)
    import requests
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    for handler in logging.getLogger("ray").handlers:
        handler.setLevel(logging.WARNING)  # it says what it uploads
    runtime_env: dict[str, object] = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_PATIENCE_S)}}
    if working_dir is not None:
        runtime_env["working_dir"] = working_dir
    # The command of the environment that this was typed in, where the head has it too; else the head's own.
    path = f'PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"'
    try:
        server = _job_server(address)
        client = JobSubmissionClient(server)
        if "://" not in server:
            _check_cluster(client, address)
        job = client.submit_job(
            entrypoint=f"exec env {path} {shlex.join(command)}", runtime_env=runtime_env, metadata={"rlsys_run": run}
        )
    except (RayError, ConnectionError, RuntimeError, OSError, ValueError, requests.RequestException) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else "no reason given"
        raise ConfigError(
            f"no Ray job server answers for runtime.address = {address} ({type(error).__name__}: {reason}). It belongs "
            "to the dashboard, which listens on the head alone: run this there with --address auto, or elsewhere with "
            "'ray dashboard' and --address http://127.0.0.1:8265."
        ) from None
    return job, client.get_address()


def _job_server(address: str) -> str:
    """Returns the dashboard's URL if that is what listens there, else the cluster's address, which Ray asks for it."""
    if address == "auto" or address.startswith(("http://", "https://")):
        return address
    import requests

    from rlsys.runtime.cluster.cluster import check_address

    check_address(address)
    try:
        requests.get(f"http://{address}/api/version", timeout=_PROBE_S)
    except requests.RequestException:
        return address
    return f"http://{address}"


def _check_cluster(client: "JobSubmissionClient", address: str) -> None:
    """Refuses the job server of another cluster.

    A cluster without a dashboard names Ray's usual port as its job server's, where that of another may listen.

    Raises:
      ConnectionError: the server belongs to another cluster than the one at that address.
    """
    from ray._private.services import canonicalize_bootstrap_address_or_die
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    gcs = GcsClient(address=canonicalize_bootstrap_address_or_die(address))
    session = gcs.internal_kv_get(b"session_name", b"session").decode()
    if client._do_request("GET", "/api/version").json().get("session_name") != session:  # which adds tokens
        raise ConnectionError(f"the one at {client.get_address()} is another cluster's")
