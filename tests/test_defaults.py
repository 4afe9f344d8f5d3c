"""What help texts and docstrings say about presets and defaults is what the code has."""

import inspect
import re
from types import ModuleType

import pytest

import flowkit.extraction.api
import flowkit.interchange.export
import flowkit.interchange.imports
import train.feature_files.api
from flowkit.commands.export import export
from flowkit.commands.extract import extract
from flowkit.commands.import_ import import_
from flowkit.flow.params import DEFAULT_BOUND, PRESETS
from flowkit.recipe import DEFAULT_QUALITY, FlowRecipe, RGBRecipe
from train.commands.features import features


def find_help(command, name):
    (option,) = (param for param in command.params if param.name == name)
    return option.help


@pytest.mark.parametrize("command", [extract, features])
def test_help_names_all_presets_and_the_defaults(command):
    text = find_help(command, "preset")
    assert all(re.search(rf"\b{name}\b", text) for name in PRESETS)
    (default,) = re.findall(r"\[default: (\w+)\]", text)
    assert PRESETS[default] == FlowRecipe().tvl1
    assert find_help(command, "bound").endswith("[default: 20]")


def test_help_has_the_default_quality():
    for command, name in ((extract, "rgb_quality"), (extract, "flow_quality"), (export, "quality")):
        assert find_help(command, name).endswith("[default: 95]")
    (bound,) = (param for param in import_.params if param.name == "bound")
    assert bound.show_default == "that of export.json, else 20"


@pytest.mark.parametrize("module", [flowkit.extraction.api, train.feature_files.api])
def test_settings_in_python_name_all_presets_and_the_default_bound(module: ModuleType):
    source = inspect.getsource(module)
    (text,) = re.findall(r'^    preset: str\n    """(.*)"""$', source, re.M)
    assert sorted(re.findall(r'"(\w+)"', text)) == sorted(PRESETS)
    (default,) = re.findall(r'"(\w+)" \(the default\)', text)
    assert PRESETS[default] == FlowRecipe().tvl1
    (bound,) = re.findall(r'^    bound: float\n    """.* Default: ([\d.]+)\."""$', source, re.M)
    assert float(bound) == DEFAULT_BOUND


def test_docstrings_of_imports_and_exports_have_the_defaults():
    assert f"else {DEFAULT_BOUND:g}.\n" in flowkit.interchange.imports.import_folders.__doc__
    words = " ".join(flowkit.interchange.export.export.__doc__.split())
    assert f"None means {DEFAULT_QUALITY}." in words


def test_defaults_are_those_of_stores_that_exist():
    assert (FlowRecipe().bound, FlowRecipe().quality, RGBRecipe().quality) == (20.0, 95, 95)
