"""Messages about values of recipes."""

import pytest

from flowkit.errors import UsageError
from train.recipe.parsing import suggest
from train.recipe.recipe import change_recipe, read_recipe


def test_the_names_of_types_are_not_in_messages():
    """A value of several types is wrong once, and is named by its key alone."""
    with pytest.raises(UsageError) as error:
        change_recipe(read_recipe("kinetics_cma"), {"network.dropout": "1.5"})
    message = str(error.value)
    assert message.count("network.dropout: ") == 1 and "network.dropout." not in message
    assert message.endswith("got 1.5")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training.epoch": "3"}, "unknown key 'training.epoch'; did you mean 'epochs'"),
        ({"phases.rgb": "{epoch: 3}"}, "epoch"),
        ({"training.steps": "[1, x]"}, "training.steps.1: input should be a valid integer"),
        ({"data.clip": "{stride: 2}"}, "the key 'data.clip.length' is missing"),
    ],
)
def test_keys_are_named(changes, message):
    with pytest.raises(UsageError) as error:
        change_recipe(read_recipe("kinetics_cma"), changes)
    assert message in str(error.value)


def test_many_names_are_listed_only_if_none_is_similar():
    names = [f"name_{n}" for n in range(30)]
    assert suggest("name_3x", names).count("name_") == 1
    assert suggest("zzz", names).count("name_") == 30
    assert suggest("ab", ["abc", "xyz"]) == "; did you mean 'abc'? valid names are abc, xyz"
