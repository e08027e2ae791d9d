"""The process of one rank: `python -m agentscope_tuner.training.sharded.rank CALLS LIFE FILES`.

It does what it is told through the connection CALLS, a file descriptor, one call after the other,
and gives a sign of life through the pipe LIFE twice a second. When the run that started it is gone,
nobody reads that pipe, and the process ends at once, whatever it is in the middle of. The directory
FILES, which all ranks share, goes with it.
"""

from __future__ import annotations

import io
import os
import pickle
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.errors import TunerError
from agentscope_tuner.functions import load_script_module
from agentscope_tuner.training.recipe import Recipe
from agentscope_tuner.training.sharded.calls import Answer, Call, Place
from agentscope_tuner.training.sharded.parts import open_parts

HEARTBEAT_S = 0.5


class _Unpickler(pickle.Unpickler):
    """Knows the user's scripts by the names that they have in the run."""

    def find_class(self, module: str, name: str) -> Any:
        load_script_module(module)
        return super().find_class(module, name)


def serve(calls: Connection, files: str) -> None:
    """Open the parts, say so, and answer calls until there are no more."""
    place, recipe = _received(calls, files)
    opened = _tried(lambda: Answer(_open(place, recipe)))
    parts = opened.value
    _send(calls, Answer(error=opened.error))
    while opened.error is None:
        call: Call = _received(calls, files)
        done = _tried(lambda call=call: _answer(parts[call.part], call))  # type: ignore[misc]
        _send(calls, done if place.rank == 0 else Answer(error=done.error))


def _open(place: Place, recipe: Recipe) -> dict[str, Any]:
    cuda = recipe.device_type == "cuda"
    if cuda:
        torch.cuda.set_device(place.rank)
    dist.init_process_group(
        "nccl" if cuda else "gloo",
        init_method=f"file://{place.store}",
        rank=place.rank,
        world_size=place.world,
        timeout=timedelta(seconds=place.patience_s),
    )
    return dict(open_parts(recipe, init_device_mesh(recipe.device_type, (place.world,))))


def _answer(part: Any, call: Call) -> Answer:
    value = getattr(part, call.verb)(*call.arguments)
    batches = [argument for argument in call.arguments if isinstance(argument, Batch)]
    return Answer(value, batches[0].columns if batches else None)


def _tried(work: Callable[[], Answer]) -> Answer:
    try:
        return work()
    except TunerError as error:
        return Answer(error=error)
    except Exception:  # it may be of a class that the run does not know
        return Answer(error=RuntimeError(traceback.format_exc()))


def _send(calls: Connection, answer: Answer) -> None:
    calls.send_bytes(pickle.dumps(answer))  # `send` would share tensors by file descriptors


def _received(calls: Connection, files: str) -> Any:
    try:
        return _Unpickler(io.BytesIO(calls.recv_bytes())).load()
    except EOFError:
        _leave(files)  # the run has released the learner, or is gone


def _give_signs_of_life(life: int, files: str) -> None:
    try:
        while True:
            os.write(life, b".")
            time.sleep(HEARTBEAT_S)
    except BrokenPipeError:
        _leave(files)


def _leave(files: str) -> NoReturn:
    shutil.rmtree(files, ignore_errors=True)
    os._exit(0)


def main(calls: str, life: str, files: str) -> None:
    """Serve the run that holds the other ends of these file descriptors."""
    threading.Thread(target=_give_signs_of_life, args=(int(life), files), daemon=True).start()
    serve(Connection(int(calls)), files)


if __name__ == "__main__":
    main(*sys.argv[1:])
