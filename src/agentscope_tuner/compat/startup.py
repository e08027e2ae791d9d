"""What `astuner enable` puts into an environment: `agentscope.tuner` is this package's.

A copy of this file is imported whenever the environment's Python starts, so it imports next to
nothing, and does nothing until a script imports one of its two names.
"""

import sys

TYPE_CHECKING = False  # typing would cost more than all the rest
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class Loader:
    """Puts this package's module in the place of the one that is being imported."""

    def create_module(self, spec: "ModuleSpec") -> None:
        """Begin with an empty module."""

    def exec_module(self, module: "ModuleType") -> None:
        """End with ours, which the import system takes from `sys.modules`."""
        del sys.modules[module.__name__]
        from agentscope_tuner.compat import install

        install()


class Finder:
    """Finds one name, as long as this package is there."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        """The import system's question."""
        if name != self.name:
            return None
        from importlib.machinery import ModuleSpec
        from importlib.util import find_spec

        ours = find_spec("agentscope_tuner")
        if ours is None or ours.origin is None:  # an empty directory of that name is no package
            return None
        return ModuleSpec(name, Loader())  # type: ignore[arg-type]


sys.meta_path.insert(0, Finder("agentscope.tuner"))  # type: ignore[arg-type]
sys.meta_path.append(Finder("trinity"))  # type: ignore[arg-type]  # if the real one is not there
