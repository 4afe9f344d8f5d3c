"""Check the content of run.json, which describes a run."""

from typing import Any

from flowkit.errors import UsageError
from flowkit.recipe import StoreRecipe


def check_facts(facts: Any, version: int) -> None:
    """Check the values of run.json that the code reads.

    Args:
        facts: The JSON value.
        version: The version of the format; a file of another version is not checked.

    Raises:
        ValueError: One is missing or of a wrong type.
    """
    kinds = {"format": int, "store": dict, "store_recipe": dict, "classes": list}
    names = {int: "a whole number", dict: "an object", list: "a list"}
    if not isinstance(facts, dict):
        raise ValueError("expected an object")
    for name, kind in kinds.items():
        if type(facts.get(name)) is not kind:
            raise ValueError(f"{name}: expected {names[kind]}, got {facts.get(name)!a:.40}")
        if name == "format" and facts[name] != version:
            return  # another version's; the caller says so
    store, sessions = facts["store"], facts.get("sessions", [])
    if not all(isinstance(name, str) for name in facts["classes"]):
        raise ValueError("the name of a class is not a text")
    if not (isinstance(store.get("path"), str) and isinstance(store.get("created"), str)):
        raise ValueError(f"store: expected texts path and created, got {store!a:.40}")
    # The sessions are the executions of `flowkit train` on this run so far.
    if not isinstance(sessions, list) or not all(isinstance(s, dict) for s in sessions):
        raise ValueError(f"sessions: expected a list of objects, got {sessions!a:.40}")
    try:
        StoreRecipe.from_dict(facts["store_recipe"])
    except (UsageError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"store_recipe: {error}") from None
