"""What `import train` offers, from a recipe to a prediction."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

import train
from flowkit.errors import UsageError


def test_the_names_are_these():
    assert train.__all__ == [
        "FeatureFiles", "compute_features", "evaluate", "fit", "predict", "read_recipe"
    ]  # fmt: skip
    for name in train.__all__:
        assert callable(getattr(train, name))
    with pytest.raises(AttributeError, match="no attribute 'fitt'; it has FeatureFiles, c"):
        _ = train.fitt


def test_importing_it_imports_nothing_heavy():
    code = "import sys, train; print(*{'numpy', 'torch', 'cv2', 'ray'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""


def test_the_list_of_recipes_does_not_wait_for_pytorch():
    code = (
        "import sys\nfrom flowkit.cli import main\n"
        "main(['recipes'], standalone_mode=False)\nprint('torch' in sys.modules)"
    )
    listed = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert "two_stream" in listed and listed.split()[-1] == "False"


def test_fit_evaluate_predict(tmp_path, store, tiny_changes, make_clip):
    overrides = {key.replace(".", "__"): value for key, value in tiny_changes.items()}
    lines = []
    run = train.fit(
        "motion8_cma", store.path, tmp_path / "run", device="cpu", workers=0, threads=1,
        log=lines.append, **overrides,
    )  # fmt: skip
    assert run.is_finished()
    assert lines
    again = train.fit(
        train.read_recipe("motion8_cma"), store, run.path, workers=0, threads=1, log=print,
        **overrides,
    )  # fmt: skip
    assert again.is_finished()
    results = train.evaluate(run, store, device="cpu", workers=0, threads=1)
    assert 0 <= results["iter_1/fusion"]["top1"] <= 1
    clip = make_clip(tmp_path / "a.mp4", frames=9)
    prediction = train.predict(run.path, clip, device="cpu")
    assert prediction.probabilities.sum() == pytest.approx(1, abs=1e-4)


def test_evaluation_of_feature_sets_loads_in_this_process(monkeypatch):
    """As `fit` does: reading features takes less time than sending them."""
    run = SimpleNamespace(recipe=train.read_recipe("flash_mnist_clusters"))
    asked = []
    monkeypatch.setattr("train.api.open_run", lambda path: run)
    monkeypatch.setattr("train.api.open_store", lambda path: path)
    monkeypatch.setattr(
        "train.api.make_evaluation",
        lambda run, store, settings, *rest: asked.append(settings) or SimpleNamespace(scores={}),
    )
    train.evaluate("R", "S", device="cpu")
    train.evaluate("R", "S", device="cpu", workers=2)
    assert [settings.workers for settings in asked] == [0, 2]


def test_an_override_that_no_recipe_has(tmp_path, store):
    with pytest.raises(UsageError, match="epoch"):
        train.fit("motion8_cma", store, tmp_path / "run", training__epoch=3)
    assert not (tmp_path / "run").exists()
