"""Compare the recipe of a store with those that its shards were written with.

Most of store.json can be changed, by hand or by a disk, without anything else noticing: another
bound of the flow gives other flow.
"""

import json
from dataclasses import replace

from flowkit.errors import UsageError
from flowkit.recipe import FEATURES, StoreRecipe
from flowkit.store.integrity.salvage import read_schema


def list_recipe_differences(descriptor: int, folder: str, recipe: StoreRecipe) -> list[str]:
    """List the settings of a store that differ in a shard.

    Args:
        descriptor: File descriptor of a shard whose bytes are those of its commit record.
        folder: Its folder. Settings of features count only in the folder of these features, since
            features can be removed and computed again with other settings.
        recipe: Recipe of the store.

    Returns:
        Lines such as ``name: value of the store ≠ value of the shard``, sorted. There are none
        if this version cannot read the recipe of the shard.
    """
    schema = read_schema(descriptor, folder)
    name = folder.removeprefix(FEATURES) if folder.startswith(FEATURES) else None
    try:
        written = StoreRecipe.from_dict(json.loads(schema.metadata[b"flowkit.recipe"]))
    except (AttributeError, KeyError, TypeError, ValueError, UsageError):
        return []
    own = {key: value for key, value in written.features.items() if key == name}
    return recipe.list_differences(replace(written, features=own))
