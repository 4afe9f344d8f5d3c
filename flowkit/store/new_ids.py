"""Refuse new ids with which a store could not be indexed."""

from collections.abc import Iterable

from flowkit.annotations.table import normalize_unicode
from flowkit.errors import UsageError
from flowkit.store.reader import Store


def check_new_ids(new_ids: Iterable[str], store: Store) -> None:
    """Check that no new id differs from one of a store only by Unicode normalization.

    Args:
        new_ids: Ids that the store does not have yet.
        store: The open store.

    Raises:
        UsageError: One does.
    """
    new_by_form = {normalize_unicode(id): id for id in new_ids if not id.isascii()}
    for id in store if new_by_form else ():
        new_id = new_by_form.get(normalize_unicode(id))
        if new_id is not None:
            raise UsageError(
                f"the id {new_id!a} differs from {id!a} of {store.location} only by Unicode "
                "normalization; rename its source like that in the store, or use another store"
            )
