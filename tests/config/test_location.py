"""Settings that hold a URI: what is shown of them, what workers get, and what has to be given again."""

import copy
import pickle
from typing import Any

import pytest

from rlsys.config import Section, build, dump, override
from rlsys.config import load as load_experiment
from rlsys.config.location import Location, locations
from rlsys.errors import ConfigError, RlsysError
from rlsys.redaction import redact

SECRET = "planted5ecret"
PIN = f"sha256={'0' * 64}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"https://user:{SECRET}@host:80/x.zip", "https://***@host:80/x.zip"),
        (f"https://{SECRET}@host/x.zip", "https://***@host/x.zip"),
        (
            f"https://host/x.zip?X-Amz-Date=1&X-Amz-Signature={SECRET}",
            "https://host/x.zip?X-Amz-Date=***&X-Amz-Signature=***",
        ),
        (f"https://host/x?sig={SECRET}#{PIN}", f"https://host/x?sig=***#{PIN}"),
        (f"https://host/x?{SECRET}", "https://host/x?***"),
        (f"https://host/x#token={SECRET}", "https://host/x#***"),
        (f"s3://key:{SECRET}@bucket/x?region=eu&scheme=http", "s3://***@bucket/x?region=eu&scheme=http"),
        (f"s3://bucket/x?region=eu;token={SECRET}", "s3://bucket/x?region=***"),
        (f"s3://bucket/x?endpoint_override=http://a:{SECRET}@host", "s3://bucket/x?endpoint_override=***"),
        (f"http://user:a/{SECRET}@host/x", "http://***/host/x"),
        (f"http://user:a#{SECRET}@host/x", "http://***#***"),
        (f"http://user:a?{SECRET}@host/x", "http://***?***"),
        (f"http:/user:{SECRET}@host/x", "http:/***@host/x"),
        (f"user:{SECRET}@host/x", "***@host/x"),
        (f"cannot read 'https://host/x?sig={SECRET}'. Try again.", "cannot read 'https://host/x?sig=***'. Try again."),
        (f"(https://a:{SECRET}@host/x, https://host/y)", "(https://***@host/x, https://host/y)"),
    ],
)
def test_no_secret_of_a_uri_is_shown(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8265",
        "http://[::1]:80/x",
        "10.0.0.1:6379",
        "package:Env-v0",
        "https://host/a@v1/x.zip",
        "s3://bucket/x?endpoint_override=host:9000&scheme=http",
        f"https://host/x.zip#{PIN}",
        "runs/a/b#best",
    ],
)
def test_what_holds_no_secret_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


class Options(Section):
    """A setting of the kind."""

    source: Location | None = None
    """Where."""


def test_a_location_shows_itself_without_secrets_wherever_it_is_written_and_is_whole_in_a_pickle() -> None:
    whole = f"https://user:{SECRET}@host/x.zip?sig={SECRET}"
    options = Options(source=whole)  # type: ignore[arg-type]
    assert options.source is not None
    assert options.source.has_secret
    for text in (
        repr(options),
        str(options),
        options.model_dump_json(),
        str(options.model_dump()),
        f"{options.source}",
    ):
        assert SECRET not in text
        assert "https://***@host/x.zip?sig=***" in text
    for twin in (pickle.loads(pickle.dumps(options)), copy.deepcopy(options), Options(**options.model_dump())):
        assert twin == options
        assert twin.source.reveal("a.b") == whole


def test_every_setting_that_names_what_another_run_left_is_a_location() -> None:
    for name, setting in {
        "simple-catch": "simple.load_world_from",
        "impala-cartpole": "impala.load_conv_net_from",
        "muzero-cartpole": "run.init_from",
    }.items():
        loaded = load_experiment(name, overrides=[f"{setting}=https://user:{SECRET}@host/x.zip"])
        assert [path for path, _ in locations(loaded.experiment)] == [setting]
        assert SECRET not in dump(loaded.experiment)
        assert SECRET not in str(loaded)
        assert override(loaded, ["run.seed=3"]).experiment.run.seed == 3


def test_what_was_written_down_without_its_secret_is_asked_for_by_name() -> None:
    loaded = load_experiment("simple-catch", overrides=[f"simple.load_world_from=https://user:{SECRET}@host/x.zip"])
    again = build(loaded.experiment.model_dump(mode="json"), "config.yaml")
    with pytest.raises(ConfigError, match=r"simple\.load_world_from = https://\*\*\*@host/x\.zip has lost its secret"):
        again.section.load_world_from.reveal("simple.load_world_from")


@pytest.mark.parametrize(
    "setting",
    [
        f"run.checkpoints=s3://key:{SECRET}@bucket/x",
        f"run.checkpoints=s3://bucket/x?X-Amz-Security-Token={SECRET}",
        f"runtime.address=http://user:{SECRET}@host:8265",
        f"run.init_from=https://host/a b?sig={SECRET}",
        f"run.inti_from=https://user:{SECRET}@host/x",
        f"https://user:{SECRET}@host/x",
    ],
)
def test_a_refused_setting_does_not_repeat_its_secret(setting: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_experiment("ppo-cartpole", overrides=[setting])
    assert SECRET not in str(refused.value)


def test_no_error_holds_a_secret() -> None:
    error: Any = RlsysError(f"cannot open https://user:{SECRET}@host/x: why not")
    assert str(error) == "cannot open https://***@host/x: why not"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_path_begins_at_the_users_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert Options(source="~/runs/a").source == Location("/home/someone/runs/a")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is nobody's folder here"):
        Options(source="~nobody-has-this-name/runs/a")  # type: ignore[arg-type]


@pytest.mark.parametrize("tag", ["a/b", ".", "..", "-x", "~x", "a\tb", "a#1", "a*", " a", "a\\b"])
def test_a_run_tag_that_could_not_be_found_again_is_refused(tag: str) -> None:
    with pytest.raises(ConfigError, match=r"run\.run_tag"):
        load_experiment("ppo-cartpole", overrides=[f"run.run_tag={tag}"])


@pytest.mark.parametrize("tag", ["a b", "a.b", "3e563", "café", "it's", "$HOME"])
def test_a_run_tag_may_need_quotes_in_a_shell(tag: str) -> None:
    assert load_experiment("ppo-cartpole", overrides=[f"run.run_tag={tag}"]).experiment.run.run_tag == tag
