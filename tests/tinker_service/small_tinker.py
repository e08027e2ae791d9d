"""A small Tinker service on loopback: as much of the protocol as the official SDK's learners use.

An operation is answered at once with the id under which its result is asked for. Operations of one
training run are done in the order of their `seq_id`, in which they need not arrive.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tinker.proto import tinker_public_pb2 as pb
from tinker_adapters import TrainingRun, draw, prompt_logprobs, target_logprobs
from tinker_operations import Operations, Result, Training
from tinker_wire import UserError, forward_backward_output, from_csr, read_rows, sample_response
from torch import Tensor
from transformers import PreTrainedModel

from agentscope_tuner.inference.loading import load_model
from agentscope_tuner.listening import listen

KEY = "tml-of-the-tests"
MOST_DATA = 8
"""Of a request: clients send more in pieces, which arrive in any order."""


@dataclass(frozen=True)
class Saved:
    """What a `tinker://` address means."""

    training: Training
    weights: dict[str, Tensor]
    optimizer: dict[str, Any] | None = None


class Service:
    """Serves models of directories, by their paths."""

    def __init__(self, *directories: Path) -> None:
        self.bases = {str(path): load_model(path, torch.float32) for path in directories}
        self.trainings: dict[str, Training] = {}
        self.saved: dict[str, Saved] = {}
        self.samplers: dict[str, Saved | PreTrainedModel] = {}
        self.operations: list[str] = []
        """The names of those that were asked for."""
        self.url = ""
        self.computing = Operations()
        self._numbers = count()

    def app(self) -> Starlette:
        """The service as an application."""
        verbs: dict[str, Callable[[Any], Any]] = {
            "client/config": lambda _: {"fwdbwd_max_chunk_len": MOST_DATA},
            "client/dynamic_config": lambda _: {},
            "session_heartbeat": lambda _: {},
            "telemetry": lambda _: {"status": "accepted"},
            "create_session": lambda _: {"session_id": f"session-{next(self._numbers)}"},
            "create_model": self._create_model,
            "get_info": self._get_info,
            "forward_backward": self._forward_backward,
            "optim_step": self._optim_step,
            "save_weights": partial(self._save, "weights"),
            "save_weights_for_sampler": partial(self._save, "sampler_weights"),
            "load_weights": self._load_weights,
            "create_sampling_session": self._create_sampling_session,
            "asample": self._sample,
        }
        routes = [
            Route(f"/api/v1/{name}", partial(self._answer, name, verb), methods=["POST"])
            for name, verb in verbs.items()
        ]
        routes += [
            Route("/api/v1/get_server_capabilities", self._capabilities),
            Route("/api/v1/samplers/{name}", self._sampler),
            Route("/api/v1/sessions/{name}/finish", self._finish, methods=["POST"]),
            Route("/api/v1/retrieve_future", self.computing.retrieve, methods=["POST"]),
        ]
        return Starlette(routes=routes)

    async def _answer(self, name: str, verb: Callable[[Any], Any], request: Request) -> Response:
        if request.headers.get("x-api-key") != KEY:
            return JSONResponse({"detail": "the key is wrong"}, status_code=401)
        self.operations.append(name)
        if request.headers["content-type"] == "application/x-protobuf":
            asked: Any = pb.ForwardBackwardRequest.FromString(await request.body())
        else:
            asked = await request.json()
        try:
            return JSONResponse(verb(asked))
        except UserError as error:
            return JSONResponse({"detail": str(error)}, status_code=422)

    async def _capabilities(self, request: Request) -> Response:
        models = [
            {
                "model_name": name,
                "max_context_length": base.config.max_position_embeddings,
                "trainable": True,
                "sampleable": True,
            }
            for name, base in self.bases.items()
        ]
        return JSONResponse({"supported_models": models})

    async def _sampler(self, request: Request) -> Response:
        name = request.path_params["name"]
        source = self.samplers[name]
        assert isinstance(source, Saved)
        return JSONResponse({"sampler_id": name, "base_model": source.training.base_model})

    async def _finish(self, request: Request) -> Response:
        return Response(status_code=204)

    def _base(self, name: str) -> PreTrainedModel:
        if name not in self.bases:
            raise UserError(f"there is no model {name}")
        return self.bases[name]

    def _begin(self, asked: Any, base_model: str, run: TrainingRun) -> str:
        model_id = f"{asked['session_id']}:train:{asked['model_seq_id']}"
        self.trainings[model_id] = Training(model_id, base_model, run)
        return model_id

    def _create_model(self, asked: Any) -> Any:
        base = self._base(asked["base_model"])
        run = TrainingRun(base, asked["lora_config"])
        model_id = self._begin(asked, asked["base_model"], run)
        return self.computing.done({"model_id": model_id}, model_id=model_id)

    def _get_info(self, asked: Any) -> Any:
        training = self.trainings[asked["model_id"]]
        return {
            "model_id": training.model_id,
            "model_data": {"model_name": training.base_model},
            "is_lora": True,
            "lora_rank": training.run.rank,
        }

    def _forward_backward(self, asked: pb.ForwardBackwardRequest) -> Any:
        training = self.trainings[asked.model_id]

        def work() -> Result:
            rows = read_rows(asked)
            found = training.run.forward_backward(rows, backward=not asked.forward_only)
            return forward_backward_output(*found)

        return self.computing.in_turn(training, asked.seq_id, work)

    def _optim_step(self, asked: Any) -> Any:
        training = self.trainings[asked["model_id"]]

        def work() -> Result:
            training.run.optim_step(asked["adam_params"])
            return {"metrics": {}}

        return self.computing.in_turn(training, asked["seq_id"], work)

    def _save(self, kind: str, asked: Any) -> Any:
        training = self.trainings[asked["model_id"]]

        def work() -> Result:
            run = training.run
            optimizer = copy.deepcopy(run.optimizer.state_dict()) if kind == "weights" else None
            saved = Saved(training, run.snapshot(), optimizer)
            if (number := asked.get("sampling_session_seq_id")) is not None:
                name = f"{training.model_id}:sample:{number}"
                self.samplers[name] = saved
                return {"sampling_session_id": name}
            address = f"tinker://{training.model_id}/{kind}/{asked['path']}"
            self.saved[address] = saved
            return {"path": address}

        return self.computing.in_turn(training, asked["seq_id"], work)

    def _load_weights(self, asked: Any) -> Any:
        if asked["path"] not in self.saved:
            raise UserError(f"there is nothing at {asked['path']}")
        saved = self.saved[asked["path"]]
        source = saved.training
        run = source.run.fresh(self._base(source.base_model))
        run.load(saved.weights)
        if asked["optimizer"] and saved.optimizer is not None:
            run.optimizer.load_state_dict(saved.optimizer)
        model_id = self._begin(asked, source.base_model, run)
        return self.computing.done({"model_id": model_id, "path": asked["path"]})

    def _create_sampling_session(self, asked: Any) -> Any:
        name = f"{asked['session_id']}:sample:{asked['sampling_session_seq_id']}"
        if path := asked.get("model_path"):
            self.samplers[name] = self.saved[path]
        else:
            self.samplers[name] = self._base(asked["base_model"])
        return {"sampling_session_id": name}

    def _sample(self, asked: Any) -> Any:
        source = self.samplers[asked["sampling_session_id"]]
        prompt = [token for chunk in asked["prompt"]["chunks"] for token in chunk["tokens"]]

        def work() -> Result:
            if isinstance(source, Saved):
                with source.training.run.holding(source.weights):
                    return self._drawn(source.training.run.model, prompt, asked)
            return self._drawn(source, prompt, asked)

        number = next(self._numbers)
        ids = [f"sequence-{number}-{index}" for index in range(asked["num_samples"])]
        return self.computing.compute(work, sample_sequence_ids=ids)

    def _drawn(self, model: torch.nn.Module, prompt: list[int], asked: Mapping[str, Any]) -> bytes:
        params = asked["sampling_params"]
        seed = params.get("seed")
        drawn = [
            draw(
                model,
                prompt,
                max_tokens=params["max_tokens"],
                temperature=params["temperature"],
                stop=params.get("stop") or (),
                seed=(next(self._numbers) if seed is None else seed) + index,
                top=asked.get("topk_sample_logprobs", 0),
            )
            for index in range(asked["num_samples"])
        ]
        wanted, targets = asked.get("prompt_logprobs"), asked.get("target_prompt_logprobs")
        return sample_response(
            drawn,
            prompt_logprobs(model, prompt) if wanted else None,
            None if targets is None else target_logprobs(model, prompt, _targets(targets)),
        )


def _targets(asked: Mapping[str, Any]) -> Tensor:
    crow, columns = asked["sparse_crow_indices"], asked["sparse_col_indices"]
    return from_csr(crow, columns, asked["data"], asked["shape"], pad=-1)


@contextmanager
def serving(*directories: Path) -> Iterator[Service]:
    """Serve models while the block runs, in a thread of their own."""
    service = Service(*directories)
    listener = listen("127.0.0.1", None)
    service.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        service.app(), lifespan="off", log_level="warning", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield service
    finally:
        server.should_exit = True
        thread.join()
        service.computing.close()
