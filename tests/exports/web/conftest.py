"""A page of the export that ships, made once for the tests of a process."""

from pathlib import Path

import pytest

from rlsys.errors import ConfigError


@pytest.fixture(scope="session")
def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the page of `simple-catch`; skips where what pages are made with is not here, nor can be had."""
    pytest.importorskip("onnxscript")
    from rlsys.exports.web.export import export_page
    from rlsys.exports.web.runtime import read_runtime

    try:
        read_runtime()
    except ConfigError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("dreams") / "page"
    assert export_page("simple-catch", folder).startswith(f"simple-catch at learner step 1,599 dreams in {folder}")
    return folder
