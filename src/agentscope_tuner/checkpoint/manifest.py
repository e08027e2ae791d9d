"""The list of a checkpoint's files with their checksums, by which damage is found and named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from agentscope_tuner.checkpoint.durable import write_atomically

MANIFEST = Path("tuner_state", "manifest.json")
LEFT_OUT = (MANIFEST, Path("README.md"))
"""Not listed: itself, and the card, which its owner may write on."""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What a file of the checkpoint was when it was written."""

    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a checkpoint consists of."""

    step: int
    metrics: dict[str, float]
    """What was known of the model at this step; `keep_best` compares these."""
    files: dict[str, FileRecord]
    """By path relative to the checkpoint, with forward slashes, without those `LEFT_OUT`."""

    @classmethod
    def of(cls, checkpoint: Path, step: int, metrics: Mapping[str, float]) -> Manifest:
        """Take stock of the files that lie in `checkpoint` now."""
        return cls(step, dict(metrics), {name: _record(path) for name, path in _files(checkpoint)})

    @classmethod
    def load(cls, checkpoint: Path) -> Manifest:
        """Read a checkpoint's manifest.

        Raises:
            OSError: there is none.
            ValueError: it is damaged.
        """
        data = json.loads((checkpoint / MANIFEST).read_bytes())
        try:
            files = {name: FileRecord(**record) for name, record in data["files"].items()}
            metrics = {name: float(value) for name, value in data["metrics"].items()}
            manifest = cls(int(data["step"]), metrics, files)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a manifest: {error!r}") from error
        if not files:
            raise ValueError("it lists no files")
        return manifest

    def save(self, checkpoint: Path) -> None:
        path = checkpoint / MANIFEST
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, json.dumps(asdict(self), indent=1).encode())


def find_problems(checkpoint: Path) -> list[str]:
    """Read every file of a checkpoint and say what is wrong with it; empty if it is whole."""
    try:
        manifest = Manifest.load(checkpoint)
    except OSError:
        return [f"{MANIFEST} is missing"]
    except ValueError as error:
        return [f"{MANIFEST} cannot be read ({error})"]
    problems = []
    for name, expected in manifest.files.items():
        try:
            problem = _problem(checkpoint / name, expected)
        except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
            problem = f"cannot be read ({error})"
        if problem is not None:
            problems.append(f"{name} {problem}")
    return problems


def _problem(path: Path, expected: FileRecord) -> str | None:
    if not path.is_file():
        return "is missing"
    if path.stat().st_size != expected.size:
        return f"has {path.stat().st_size} bytes instead of {expected.size}"
    if _record(path) != expected:
        return "is not what was written (its checksum differs)"
    return None


def _files(checkpoint: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(checkpoint.rglob("*")):
        name = path.relative_to(checkpoint)
        if path.is_file() and name not in LEFT_OUT:
            yield name.as_posix(), path


def _record(path: Path) -> FileRecord:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileRecord(path.stat().st_size, digest)
