"""Fixtures of the API's tests; what they are made of is in api_service.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from api_service import Service, start, stop
from stand_in import StandIn
from talker import save_talker


@pytest.fixture(scope="session")
def talker_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("talker")
    save_talker(folder)
    return folder


@pytest.fixture(scope="session")
def service(talker_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service for all tests that leave it as it was."""
    running, thread = start(tmp_path_factory.mktemp("project"), StandIn(talker_folder))
    yield running
    stop(running, thread)
