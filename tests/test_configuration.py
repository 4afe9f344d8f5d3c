"""Fields of configurations have their texts, and files and functions are not too long to read."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("flowkit", "models", "train")
CONFIGURATION = {
    "flowkit/recipe/audio.py": ("LogMelRecipe",),
    "flowkit/recipe/features.py": ("FeatureRecipe",),
    "flowkit/recipe/flow.py": ("FlowRecipe",),
    "flowkit/recipe/frames.py": ("Resize", "RGBRecipe"),
    "flowkit/recipe/recipe.py": ("StoreRecipe",),
    "flowkit/flow/params.py": ("TVL1Params",),
    "flowkit/extraction/options.py": ("Options",),
    "flowkit/extraction/recipe_overrides.py": ("RecipeOverrides",),
    "train/features/network.py": ("NetworkOptions",),
    "train/features/options.py": ("Options",),
    "train/recipe/audio.py": ("AudioRecipe",),
    "train/recipe/base.py": ("CommonFields",),
    "train/recipe/feature_sets.py": ("FeatureSetRecipe",),
    "train/recipe/images.py": ("ImageRecipe",),
    "train/recipe/sections.py": (
        "Clip", "Data", "Network", "Pyramid", "Subsets", "Testing", "Training",
    ),
    "train/recipe/set_section.py": ("Sets",),
    "train/runs/run.py": ("Settings",),
}  # fmt: skip


@pytest.mark.parametrize("path", CONFIGURATION)
def test_each_field_of_a_configuration_has_a_text(path):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    classes = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    for name in CONFIGURATION[path]:
        body = classes[name].body
        fields = [n for n, node in enumerate(body) if isinstance(node, ast.AnnAssign)]
        assert fields, name
        for n in fields:
            text = ast.unparse(body[n + 1]) if n + 1 < len(body) else ""
            assert text.startswith(("'", '"')), f"{path}: {name}.{ast.unparse(body[n])} has no text"


def test_files_and_functions_are_short():
    long = []
    for path in [file for name in PACKAGES for file in (ROOT / name).rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > 350:
            long.append(f"{path}: {len(text.splitlines())} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if lines > 60:
                    long.append(f"{path}:{node.lineno} {node.name}: {lines} lines")
    assert not long, "\n".join(long)
