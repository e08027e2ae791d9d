"""Trinity-RFT's own loader and validators on a configuration file."""

from __future__ import annotations

from enum import Enum
from typing import Any

from channel import Channel, Message
from trinity.common.config import load_config


def told(value: Any) -> Any:
    """A value as JSON has it."""
    return value.value if isinstance(value, Enum) else value


def read(request: Message) -> Message:
    """What was read of the file `path`, flat; `refused` says why it was not, or not accepted."""
    try:
        config = load_config(request["path"])
        flat = {name: told(value) for name, value in config.flatten().items()}
        config.check_and_update()
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {error}"}
    return {"refused": None, "read": flat}


if __name__ == "__main__":
    Channel().serve(read)
