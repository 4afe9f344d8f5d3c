"""Evaluated runs that were never trained: their scores are written for a test."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from train.evaluation.scores import Scores

CLASSES = ("bow", "clap", "run", "sit", "wave")


@pytest.fixture
def make_run(tmp_path):
    """``make_run(labels, fusion=predicted, …)``: a run with these labels, and these class ids.

    Each other keyword is the name of a score and its predictions, with two underscores for a
    slash: ``iter_1__rgb``.
    """

    def make(labels, predicted=None, classes=CLASSES, name="run", ids=None, over="logits", **more):
        path = tmp_path / name
        if predicted is not None:
            more = dict.fromkeys(("rgb", "flow", "fusion"), predicted) | more
        ids = tuple(f"v{n}" for n in range(len(labels))) if ids is None else ids
        for score, values in more.items():
            logits = np.eye(len(classes), dtype=np.float32)[values]
            file = path / "scores" / f"{score.replace('__', '/')}.npz"
            Scores(ids, np.array(labels), logits, logits).save(file)
        scores = {score.replace("__", "/"): {} for score in more}
        (path / "results.json").write_text(json.dumps({"scores": scores}))
        recipe = SimpleNamespace(labels="one", testing=SimpleNamespace(over=over))
        return SimpleNamespace(path=path, recipe=recipe, classes=classes)

    return make
