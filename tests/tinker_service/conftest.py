"""A service that the official SDK talks to, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tinker
from small_tinker import KEY, Service, serving


@pytest.fixture(scope="module")
def service(tiny_model: Path) -> Iterator[Service]:
    """Serves the tiny model under its path, to those who have the key in their environment."""
    with serving(tiny_model) as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINKER_API_KEY", KEY)
        patch.setenv("TINKER_TELEMETRY", "0")
        yield running


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[tinker.ServiceClient]:
    """The official SDK's."""
    with tinker.ServiceClient(base_url=service.url) as client:
        yield client
