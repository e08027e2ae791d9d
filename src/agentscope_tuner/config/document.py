"""`docs/{config.yaml,config.schema.json,configuration.md,trinity.md}` from the schema, so that they
never drift.

`python -m agentscope_tuner.config.document [docs]` writes all of them.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from agentscope_tuner.config.keys import Key, Outcome, Section, fields_of, keys_of, section_of
from agentscope_tuner.config.resolve import ALGORITHM_KEYS, MODEL_KEYS, TASKSET_KEYS
from agentscope_tuner.config.schema import Config
from agentscope_tuner.config.trinity_table import Row, other_names

WIDTH = 100

EXAMPLE_HEAD = """\
# Every key that takes effect, with its default, or with an example where a run needs a value.
# Written by `python -m agentscope_tuner.config.document`; docs/configuration.md says the rest.

"""

GUIDE_HEAD = """\
# Configuration

One tree of keys describes a run. Its values come from three sources, later over earlier:

1. a YAML file, `tune(config_path="config.yaml")`, in the form that Trinity-RFT reads;
   `${oc.env:NAME,default}` takes an environment variable, `${model.max_model_len}` another key;
2. the arguments of `tune()`, as far as they were given: a default overrides nothing;
3. the command line, `astuner run main.py --set name=first --set buffer.total_steps=16`.
   Values are YAML; a number in a path is a position in a list
   (`explorer.auxiliary_models.0.temperature=0`).

Auxiliary models and evaluation datasets of several sources are joined by name. What came out is
written to `config.yaml` in the run directory, the places of the functions included;
`astuner run <run>/config.yaml` and `tune(config_path=<run>/config.yaml)` repeat the run
([cli.md](cli.md#run)). [config.yaml](config.yaml) is an example with every key that takes effect.
[config.schema.json](config.schema.json) is the tree as a JSON schema, for editors that complete
and check YAML: in most, a first line `# yaml-language-server: $schema=<its path>` is enough. A
`${...}` in place of a number is right all the same.

No key is ignored in silence:

- it takes effect, on any machine or on a Ray cluster ([scaling.md](scaling.md)); or
- it is understood and has no meaning here: a run names all such keys that were set, in one line
  at its start; or
- it is understood and not served: any value but the default is refused; or
- it is unknown: refused, with the nearest known key.

All that is refused of a file is named in one message. [trinity.md](trinity.md) has the keys of
Trinity-RFT that are not below.

## Arguments of `tune()`

| argument | key |
| --- | --- |
"""

GUIDE_ARGUMENTS = {
    "TunerModelConfig": MODEL_KEYS,
    "DatasetConfig": TASKSET_KEYS,
    "AlgorithmConfig": ALGORITHM_KEYS,
}
GUIDE_NAMES = {
    "workflow_func": "workflow.workflow_func",
    "judge_func": "workflow.judge_func",
    "project_name": "project",
    "experiment_name": "name",
    "monitor_type": "monitor.monitor_type",
    "auxiliary_models": "explorer.auxiliary_models",
    "eval_dataset": "buffer.explorer_input.eval_tasksets",
}


TRINITY_HEAD = """\
# Trinity-RFT's YAML

`tune(config_path=...)` and `astuner run` read the YAML of Trinity-RFT 0.6. Most of its keys are
those of [configuration.md](configuration.md); here are all others. What a workflow or a reward
function of Trinity's would do is the business of the workflow and judge functions that a run is
given, so keys that are for them alone have no meaning here. A key that is on neither page is an
error.

`astuner export-config main.py --trinity` writes a configuration in this form, whole: what it says
is read back as it was. What Trinity has no place for stands in comments at its head, each with the
reason; a rule, a selector or an operator that Trinity does not know is refused, and so is a model
without `max_model_len`. `make against-trinity` has Trinity-RFT 0.6's own loader and validators read
one of every rule that both have, and finds every value as it was written.

## Other names

"""
TRINITY_SECTIONS = {
    Outcome.NOT_SERVED: """\
## Not served

Any value but the default is refused; all refusals of a file come in one message.""",
    Outcome.NOT_HERE: """\
## No meaning here

Understood; a run names those that were set, in one line at its start.""",
}


def example_yaml() -> str:
    """The text of `docs/config.yaml`."""
    return EXAMPLE_HEAD + "\n".join(_example_lines(Config, "")) + "\n"


def json_schema() -> str:
    """The text of `docs/config.schema.json`, for editors."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema"
    } | Config.model_json_schema()
    return json.dumps(_plain(schema), indent=1, ensure_ascii=False) + "\n"


def _plain(schema: Any) -> Any:
    """Without what only this package reads: a key's outcome is the end of its description."""
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {name: _plain(part) for name, part in schema.items()}
    if isinstance(outcome := plain.pop("outcome", None), str):
        why = plain.pop("why")
        if outcome != Outcome.EFFECT:
            told = f"{outcome}: {why}" if why else outcome
            plain["description"] = f"{plain['description']} ({told})"
    if isinstance(plain.get("title"), str):
        del plain["title"]
    return plain


def _example_lines(section: type[Section], indent: str) -> Iterator[str]:
    for name, field in fields_of(section):
        inner = section_of(field)
        if inner is None:
            key = Key((name,), field)
            if key.outcome is Outcome.EFFECT:
                yield from _comment(field.description or "", indent)
                value = field.examples[0] if field.examples else key.default
                yield f"{indent}{name}: {_flow(value)}"
            continue
        is_list = field.annotation is not inner
        below = list(_example_lines(inner, indent + ("    " if is_list else "  ")))
        if not below:
            continue
        if not indent:
            yield ""
        yield from _comment(_summary(inner, field), indent)
        yield f"{indent}{name}:"
        if is_list:
            yield f"{indent}  -"
        yield from below


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _flow(value: Any) -> str:
    """A value on one line of YAML."""
    text = yaml.safe_dump(
        list(value) if isinstance(value, tuple) else value, default_flow_style=True, width=1000
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _summary(section: type[Section], field: FieldInfo | None = None) -> str:
    described = field.description if field is not None else None
    return described or (section.__doc__ or "").split("\n")[0]


def guide() -> str:
    """The text of `docs/configuration.md`: the keys that this tree declares."""
    lines = [f"| `{name}` | `{key}` |" for name, key in GUIDE_NAMES.items()]
    for model, names in GUIDE_ARGUMENTS.items():
        lines += [f"| `{model}({name}=)` | `{key}` |" for name, key in names.items()]
    text = GUIDE_HEAD + "\n".join(lines) + "\n"
    declared = [key for key in keys_of(Config) if not key.from_table]
    top = [key for key in declared if len(key.path) == 1]
    text += _table("Top", "Everything that stands at the top of the tree.", top, 0)
    for name, field in Config.model_fields.items():
        keys = [key for key in declared if key.path[0] == name]
        if (inner := section_of(field)) and keys:
            text += _table(f"`{name}`", _summary(inner, field), keys, 1)
    return text


def trinity_guide() -> str:
    """The text of `docs/trinity.md`: the keys of the table."""
    text = TRINITY_HEAD
    text += _rows("| key | default | meaning | takes effect as |", map(_other_name, other_names()))
    for outcome in (Outcome.NOT_SERVED, Outcome.NOT_HERE):
        keys = [key for key in keys_of(Config) if key.from_table and key.outcome is outcome]
        text += f"\n{TRINITY_SECTIONS[outcome]}\n\n"
        text += _rows("| key | default | meaning | why |", (_row(key, 0, key.why) for key in keys))
    return text


def _other_name(row: Row) -> str:
    name = row.name.replace(".0", "[]")
    default = "" if row.default in (None, "") else f"`{_flow(row.default)}`"
    return f"| `{name}` | {default} | {row.meaning} | `{row.why}` |"


def _table(title: str, summary: str, keys: list[Key], depth: int) -> str:
    """One table of keys; `depth` parts of their paths are in its title."""
    outcomes = (key.outcome.value + (f": {key.why}" if key.why else "") for key in keys)
    rows = (_row(key, depth, outcome) for key, outcome in zip(keys, outcomes, strict=True))
    return f"\n## {title}\n\n{summary}\n\n" + _rows("| key | default | meaning | outcome |", rows)


def _row(key: Key, depth: int, last: str) -> str:
    name = ".".join(str(part) for part in key.path[depth:]).replace(".0", "[]")
    default = "" if key.default in (None, "") else f"`{_flow(key.default)}`"
    return f"| `{name}` | {default} | {key.field.description} | {last} |"


def _rows(head: str, rows: Iterable[str]) -> str:
    return "\n".join([head, "| --- | --- | --- | --- |", *rows]) + "\n"


def main(directory: str = "docs") -> None:
    """Write all files."""
    Path(directory, "trinity.md").write_text(trinity_guide(), encoding="utf-8")
    Path(directory, "config.yaml").write_text(example_yaml(), encoding="utf-8")
    Path(directory, "config.schema.json").write_text(json_schema(), encoding="utf-8")
    Path(directory, "configuration.md").write_text(guide(), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
