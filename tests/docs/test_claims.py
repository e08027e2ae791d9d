"""What README and docs say that a program can check."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import typer
from pages import PAGES, ROOT, anchors, blocks, code, links, text_of

from agentscope_tuner import __version__
from agentscope_tuner.cli.app import app
from agentscope_tuner.config.keys import keys_of
from agentscope_tuner.config.schema import Config

by_page = pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])

OPTIONS = {
    name: {
        option
        for parameter in command.params
        for option in [*parameter.opts, *parameter.secondary_opts]
    }
    for name, command in typer.main.get_group(app).commands.items()
}
"""Command -> what it may be given."""


def test_the_program_in_the_readme_is_the_example() -> None:
    [program] = blocks(ROOT / "README.md", "python")
    assert program == (ROOT / "examples" / "arithmetic" / "main.py").read_text()


@by_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for line in code(page) for name in re.findall(r"^make ([\w-]+)", line)}
    assert named <= targets


@by_page
def test_commands_and_their_options_exist(page: Path) -> None:
    for line in code(page):
        found = re.match(r"astuner ([a-z][a-z-]*)(.*)", line.partition(" # ")[0])
        if found is None:
            continue
        command, rest = found.groups()
        assert command in OPTIONS, line
        given = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", rest)) - {"--help"}
        assert given <= OPTIONS[command], line


@by_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        name, _, anchor = target.partition("#")
        place = page.parent / name if name else page
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), target


@by_page
def test_python_is_python(page: Path) -> None:
    for number, program in enumerate(blocks(page, "python"), 1):
        compile(program, f"{page.name}, program {number}", "exec")


KEYS = {tuple(part for part in key.path if part != 0) for key in keys_of(Config)}
"""Every key, positions in lists left out."""
SECTIONS = {key[0] for key in KEYS if len(key) > 1}


def is_configured(dotted: str) -> bool:
    """Whether this is a key of the configuration, or a section of keys."""
    path = tuple(part for part in re.split(r"[.\[\]]+", dotted) if part and not part.isdecimal())
    return any(key[: len(path)] == path or path[: len(key)] == key for key in KEYS)


ATTRIBUTES = {"model.api_key", "model.base_url", "model.model_name"}
"""What Python code has under a name that looks like a key's."""


@by_page
def test_configuration_keys_exist(page: Path) -> None:
    if page.name in ("trinity.md", "coming_from.md"):
        return  # others' own names; of the second test_coming_from.py holds the rest
    for line in code(page):
        named = re.findall(r"--set ([\w.\[\]]+)=", line)
        if re.fullmatch(r"[a-z_]+(\.[a-z_0-9\[\]]+)+(=\S*)?", line):
            named.append(line.partition("=")[0])
        for key in named:
            is_file = re.search(r"\.(py|md|yaml|jsonl?|png)$", key)
            if key.split(".")[0] in SECTIONS and key not in ATTRIBUTES and not is_file:
                assert is_configured(key), line


def test_every_variable_that_the_package_sets_is_documented() -> None:
    page = text_of(ROOT / "docs" / "cli.md")
    for place in ("__init__.py", "chat/client.py"):
        source = (ROOT / "src" / "agentscope_tuner" / place).read_text()
        for name, value in re.findall(r'os\.environ\.setdefault\("(\w+)", "(\w+)"\)', source):
            assert f"`{name}={value}`" in page


def test_the_changelog_begins_with_this_version() -> None:
    versions = [line[3:] for line in text_of(ROOT / "CHANGELOG.md").splitlines() if "## " in line]
    assert versions[1] == __version__  # after what may change from version to version


def test_the_page_of_results_is_what_its_command_writes() -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from curves_page import page
    finally:
        sys.path.pop(0)
    assert page() == text_of(ROOT / "docs" / "results.md")
