"""A model directory on the Hugging Face hub (or where `HF_ENDPOINT` says), by its own library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

from agentscope_tuner.errors import InputError


def make_repository(name: str, *, public: bool) -> None:
    """Create the repository, before time is spent on what goes there; one that is there stays.

    Raises InputError if it cannot be: no such name, no token, no connection.
    """
    with _told(name):
        HfApi().create_repo(name, private=not public, exist_ok=True)


def push(directory: Path, name: str) -> str:
    """Upload a model directory as one commit, and return its address. Raises InputError."""
    with _told(name):
        done = HfApi().upload_folder(
            repo_id=name, folder_path=directory, commit_message="Exported by agentscope-tuner"
        )
    return done.commit_url


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except HFValidationError as error:
        raise InputError(f"--push {name}: that is no name of a repository ({error}).") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        token = ": log in with `hf auth login`, or set HF_TOKEN" if status in (401, 403) else ""
        raise InputError(f"--push {name}: the hub refuses it (status {status}){token}.") from error
    except OfflineModeIsEnabled as error:
        raise InputError(f"--push {name}: HF_HUB_OFFLINE is set, so nothing is sent.") from error
    except Exception as error:  # of whichever HTTP library the client uses
        raise InputError(f"--push {name}: the hub cannot be reached ({error}).") from error
