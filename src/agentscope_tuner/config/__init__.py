"""One configuration tree: its schema, the arguments of `tune()`, YAML files, `--set`."""
