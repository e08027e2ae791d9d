"""How Sphinx builds the site of this documentation: `make docs`.

Pages are taken from the whole repository, so that links between docs/, examples/ and benchmarks/
are the same on the site as where the files are read as they are.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

import agentscope_tuner

# autodoc imports with TYPE_CHECKING set, which models of pydantic do not stand; what is imported
# already is taken as it is.
for name in agentscope_tuner.__all__:
    getattr(agentscope_tuner, name)

project = "AgentScope Tuner"
author = "the authors of AgentScope Tuner"
copyright = author
release = version = agentscope_tuner.__version__

root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "examples/**.md",
    "examples/**.ipynb",
    "benchmarks/*.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
]
exclude_patterns = [".*", "build", "checkpoints", "src", "tests"]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # a test runs the notebook; the site shows what is stored in it

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
add_module_names = False
default_role = "literal"  # docstrings write code in single backticks
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = "AgentScope Tuner"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_extra_path = ["site/index.html"]
html_static_path = ["site/static"]
html_css_files = ["wide.css"]
html_theme_options = {"navigation_with_keys": True}


def fields_of_models(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Say what each field of a model of arguments means: its description, which is no docstring."""
    if what == "class" and issubclass(obj, BaseModel):
        lines.append("")
        for key, field in obj.model_fields.items():
            if field.description:
                default = "" if field.is_required() else f" Default: `{field.default!r}`."
                lines.append(f":param {key}: {field.description}{default}")


def setup(app: Any) -> None:
    """Sphinx calls this."""
    app.connect("autodoc-process-docstring", fields_of_models)
