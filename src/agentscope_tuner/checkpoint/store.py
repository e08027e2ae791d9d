"""The checkpoints of a run: `global_step_<n>/` directories, each whole or not there.

A checkpoint is written into a hidden directory beside its place, synced, listed with checksums
(`tuner_state/manifest.json`), synced again and renamed. Whatever moment the process dies at, every
`global_step_<n>` is either the one before or the new one. Older checkpoints are removed only after
that.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

from agentscope_tuner.checkpoint.disk_full import disk_full_error, is_disk_full
from agentscope_tuner.checkpoint.durable import clear_halves, remove, sync_directory, sync_tree
from agentscope_tuner.checkpoint.manifest import Manifest, find_problems
from agentscope_tuner.errors import InputError, RunError, TunerError

logger = logging.getLogger(__name__)

_NAME = re.compile(r"global_step_(0|[1-9]\d*)")
_LEFTOVER = re.compile(r"\.(global_step_\d+)\.(tmp|old|retired)-\d+")


class CheckpointStore:
    """Writes, finds, verifies and retires the checkpoints in one run directory.

    Args:
        run_directory: where the `global_step_<n>` directories are.
        keep_last: how many of the newest checkpoints stay; None keeps all.
        keep_best: the metric whose highest value marks a checkpoint that stays besides them.

    Raises:
        InputError: `keep_last` is below 1, or `keep_best` is given without it.
    """

    def __init__(
        self, run_directory: Path, keep_last: int | None = None, keep_best: str | None = None
    ) -> None:
        if keep_last is not None and keep_last < 1:
            raise InputError(f"keep_last is {keep_last}; at least one checkpoint has to stay.")
        if keep_best is not None and keep_last is None:
            raise InputError(
                "keep_best adds to keep_last: say how many of the newest stay as well."
            )
        self._directory = run_directory
        self._keep_last = keep_last
        self._keep_best = keep_best

    def recover(self) -> None:
        """Clear away what a killed writer left. Only for the process that holds the run's lock."""
        for path in self._directory.iterdir():
            leftover = _LEFTOVER.fullmatch(path.name)
            if leftover is None:
                continue
            place = self._directory / leftover[1]
            if leftover[2] == "old" and not place.exists():
                # Killed between the two renames of a replacement: the old one is still the one.
                os.rename(path, place)
            else:
                remove(path)
        clear_halves(self._directory)
        sync_directory(self._directory)

    def save(
        self,
        step: int,
        write: Callable[[Path], None],
        metrics: Mapping[str, float] | None = None,
    ) -> Path:
        """Write the checkpoint of `step`, replacing one of the same step, then retire old ones.

        Args:
            step: how many updates the model has had.
            write: fills the empty directory it is given.
            metrics: what is known of the model at this step, for `keep_best`.

        Returns:
            The directory `global_step_<step>`, which is on disk by then.

        Raises:
            RunError: the disk is full; nothing that was there before is lost.
        """
        place = self._directory / f"global_step_{step}"
        temporary = self._hidden(place, "tmp")
        temporary.mkdir()
        try:
            write(temporary)
            Manifest.of(temporary, step, metrics or {}).save(temporary)
            sync_tree(temporary)
        except BaseException as error:
            full = is_disk_full(error) and disk_full_error(
                place, temporary, list(self.steps().values())
            )
            shutil.rmtree(temporary, ignore_errors=True)  # it may be gone with the run
            if full:
                raise full from error
            raise
        self._put_in_place(temporary, place)
        self._retire(step)
        return place

    def steps(self) -> dict[int, Path]:
        """The checkpoints by step, oldest first, verified or not."""
        found = {
            int(name[1]): path
            for path in self._directory.glob("global_step_*")
            if (name := _NAME.fullmatch(path.name))
        }
        return dict(sorted(found.items()))

    def latest(self) -> Path | None:
        """The newest whole checkpoint; damaged ones are named in a warning and passed over."""
        for path in reversed(self.steps().values()):
            problems = self.verify(path)
            if not problems:
                return path
            logger.warning(
                "Checkpoint %s is damaged and is not used: %s.", path, "; ".join(problems)
            )
        return None

    def refuse_unknown_best(self, known: Collection[str]) -> None:
        """Raise RunError if the `keep_best` metric is not among those of a run."""
        if self._keep_best is None or self._keep_best in known:
            return
        close = get_close_matches(self._keep_best, known, 3, 0.3)
        raise RunError(
            f"trainer.keep_best is {self._keep_best!r}, which is no metric of this run, so no "
            f"checkpoint would be the best; did you mean {' or '.join(close) or 'none of them'}?"
        )

    def verify(self, path: Path) -> list[str]:
        """What is wrong with a checkpoint, a phrase a problem; empty if it is whole."""
        return find_problems(path)

    @contextmanager
    def naming_failures(self) -> Iterator[None]:
        """Raise RunError if what fails in the block fails for want of a place to write to.

        On a full disk it says what is intact.
        """
        try:
            yield
        except TunerError:
            raise
        except Exception as error:
            if not self._directory.is_dir():
                raise RunError(
                    f"The run directory {self._directory} was deleted while the run was going on."
                ) from error
            if is_disk_full(error):
                checkpoints = list(self.steps().values())
                raise disk_full_error(self._directory, None, checkpoints) from error
            if isinstance(error, OSError) and self._holds(error.filename2 or error.filename):
                raise RunError(
                    f"{error.filename2 or error.filename} cannot be written: {error.strerror}."
                ) from error
            raise

    def _holds(self, file: object) -> bool:
        return (
            isinstance(file, str | Path)
            and self._directory.absolute() in Path(file).absolute().parents
        )

    def _put_in_place(self, temporary: Path, place: Path) -> None:
        old = None
        if os.path.lexists(place):
            old = self._hidden(place, "old")
            os.rename(place, old)
        os.rename(temporary, place)
        sync_directory(self._directory)
        if old is not None:
            remove(old)

    def _hidden(self, place: Path, role: str) -> Path:
        """Where a checkpoint is while it is not in its place; `recover` knows these names."""
        return place.with_name(f".{place.name}.{role}-{os.getpid()}")

    def _retire(self, newest: int) -> None:
        """Remove what is not kept. A later step than the newest is a damaged one passed over."""
        if self._keep_last is None:
            return
        steps = self.steps()
        candidates = [path for step, path in steps.items() if step <= newest]
        kept = {*candidates[-self._keep_last :], self._best_of(candidates)}
        for path in steps.values():
            if path not in kept:
                # Out of sight first: killed halfway, it would look like a damaged checkpoint.
                if path.is_symlink():
                    where = path.resolve()
                    logger.warning(
                        "%s is a link and is removed; its files stay in %s.", path, where
                    )
                retired = self._hidden(path, "retired")
                os.rename(path, retired)
                remove(retired)

    def _best_of(self, paths: list[Path]) -> Path | None:
        scores = {path: score for path in paths if (score := self._score(path)) is not None}
        return max(reversed(scores), key=scores.__getitem__, default=None)

    def _score(self, path: Path) -> float | None:
        if self._keep_best is None:
            return None
        try:
            return Manifest.load(path).metrics.get(self._keep_best)
        except (OSError, ValueError):
            return None  # damaged: `latest` is who names it
