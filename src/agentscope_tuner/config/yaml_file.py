"""Configuration files: YAML with `${oc.env:VAR,default}`, read and written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from agentscope_tuner.config import keys
from agentscope_tuner.config.keys import Outcome, Section, section_of
from agentscope_tuner.config.schema import Config
from agentscope_tuner.config.trees import Tree
from agentscope_tuner.errors import InputError


def load(path: str | Path) -> dict[str, Any]:
    """The tree in a file, interpolations resolved; what its keys mean is checked elsewhere.

    Raises InputError: no such file, no YAML, no mapping, an interpolation that leads nowhere.
    """
    text = _read(path)
    try:
        tree = OmegaConf.create(text)
        if not isinstance(tree, DictConfig):
            raise InputError(f"{path}: a configuration is a mapping of keys to values")
        resolved: Any = OmegaConf.to_container(tree, resolve=True)
    except yaml.YAMLError as error:
        raise InputError(_yaml_problem(path, error)) from None
    except OmegaConfBaseException as error:
        where = f" at {error.full_key}" if error.full_key else ""
        raise InputError(f"{path}{where}: {str(error).splitlines()[0]}") from None
    return resolved


def line_of(path: str | Path, key: keys.Path) -> int | None:
    """The line, from 1, on which a key or the innermost section above it is written."""
    node, line = yaml.compose(_read(path)), None
    for part in key:
        if isinstance(node, yaml.MappingNode):
            below = [(k, v) for k, v in node.value if k.value == part]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            below = [(item, item) for item in node.value[part : part + 1]]
        else:
            below = []
        if not below:
            break
        at, node = below[-1]
        line = at.start_mark.line + 1
    return line


def dump(config: Config, path: str | Path) -> None:
    """Write the full tree, so that loading the file gives an equal configuration.

    Keys that have no effect are written only if they were set.
    """
    Path(path).write_text(config_text(config), encoding="utf-8")


def config_text(config: Config) -> str:
    """What `dump` writes."""
    return text_of(_plain(config))


def text_of(tree: Tree) -> str:
    """A tree as YAML that `load` reads as it is."""
    return yaml.dump(_escaped(tree), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Puts text in quotes that OmegaConf would read as a number, as `1e100`."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9._]+([eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is no UTF-8 text") from None


def _yaml_problem(path: str | Path, error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{path}, line {error.problem_mark.line + 1}: {error.problem}"
    return f"{path}: {error}"


def _plain(section: Section) -> dict[str, Any]:
    """A section as plain data."""
    plain: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if section_of(field) is None:
            extra: Any = field.json_schema_extra
            if extra["outcome"] is Outcome.EFFECT or name in section.model_fields_set:
                plain[name] = value
        elif isinstance(value, list):
            plain[name] = [_plain(item) for item in value]
        elif below := _plain(value):
            plain[name] = below
    return plain


def _escaped(value: Any) -> Any:
    """Values in which `${` stays what it is when the file is loaded."""
    match value:
        case str():
            return re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
        case dict():
            return {key: _escaped(item) for key, item in value.items()}
        case list() | tuple():
            return [_escaped(item) for item in value]
    return value
