"""A service that the official SDK talks to, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tinker
from service import KEY, Service, serving


@pytest.fixture(scope="module")
def service(tiny_model: Path) -> Iterator[Service]:
    """Serves the tiny model under its path."""
    with serving(tiny_model) as running:
        yield running


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[tinker.ServiceClient]:
    """The official SDK's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINKER_TELEMETRY", "0")
        with tinker.ServiceClient(base_url=service.url, api_key=KEY) as client:
            yield client
