"""What decides a training: YAML files, read into frozen dataclasses."""
