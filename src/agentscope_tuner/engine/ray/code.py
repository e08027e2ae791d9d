"""The user's functions, and the place where they find their files, on the way to the actors.

Functions of a script travel by value, as those of `__main__` always do. Functions of modules that
can be imported travel by name, so those modules must be on the actors' machines as well: at the
same path, or in the `working_dir` of the job.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray.cloudpickle as cloudpickle

from agentscope_tuner.errors import InputError
from agentscope_tuner.functions import SCRIPT_PREFIX

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class UsersCode:
    """Workflow and judge, and what surrounds them in the driver's process."""

    pickled: bytes
    working_directory: str
    search_path: tuple[str, ...]
    environment: Mapping[str, str]

    @classmethod
    def of(
        cls, workflow: Function | None, judge: Function | None, environment: Mapping[str, str]
    ) -> UsersCode:
        """What is to be sent. Raises InputError, which names the function, if it cannot be."""
        for function in (workflow, judge):
            module = sys.modules.get(getattr(function, "__module__", None) or "")
            if module is not None and module.__name__.startswith(SCRIPT_PREFIX):
                cloudpickle.register_pickle_by_value(module)
            try:
                cloudpickle.dumps(function)
            except Exception as error:
                name = getattr(function, "__qualname__", repr(function))
                raise InputError(
                    f"{name} cannot be sent to the cluster's actors ({error}): make what it uses "
                    "inside of it, or in a module beside the script, which it imports."
                ) from error
        return cls(
            cloudpickle.dumps((workflow, judge)),
            os.getcwd(),
            tuple(path for path in sys.path if path),
            dict(environment),
        )

    def load(self) -> tuple[Function | None, Function | None]:
        """Workflow and judge, in a process made as alike to the driver's as its machine allows.

        Raises InputError if a module of theirs is not there.
        """
        os.environ.update(self.environment)
        with suppress(OSError):  # another machine need not have that directory
            os.chdir(self.working_directory)
        known = set(sys.path)
        sys.path += [path for path in self.search_path if path not in known]
        try:
            workflow, judge = cloudpickle.loads(self.pickled)
        except ImportError as error:
            raise InputError(
                f"A workflow or judge needs the module {error.name!r}, which is not on the "
                "cluster's machines: keep the script's directory on a file system that all of "
                "them see, or run it by `ray job submit --working-dir`."
            ) from error
        return workflow, judge
