"""Training recipes: YAML files that decide the result of a training, read into dataclasses."""
