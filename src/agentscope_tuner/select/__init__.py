"""The model stays as it is; the choice or the prompt gets better: `select_model`, `tune_prompt`."""
