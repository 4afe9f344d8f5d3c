"""Check a store on object storage: each shard is downloaded, checked, and deleted again."""

from concurrent.futures import Executor
from pathlib import Path

from flowkit.store.format.atomic import convert_disk_errors
from flowkit.store.format.header import StoreHeader
from flowkit.store.format.location import WRITING_FILE
from flowkit.store.integrity.inspection import InspectedShard, Inspection, Progress
from flowkit.store.remote.client import get_client
from flowkit.store.remote.failures import MissingObjectError
from flowkit.store.remote.files import get_files
from flowkit.store.remote.mirror import download, read_listing


class RemoteInspection(Inspection):
    """One check of a whole remote store.

    Args:
        url: URL of the store.
        mirror: Folder of its mirror, complete.
        header: Its header.
        pool: Threads that decode images for a deep check; None for a check of bytes only.
        progress: Called with (bytes read, total bytes), or None.
    """

    def __init__(
        self,
        url: str,
        mirror: Path,
        header: StoreHeader,
        pool: Executor | None,
        progress: Progress | None,
    ) -> None:
        sizes = read_listing(mirror) or {}
        super().__init__(mirror, header, pool, progress, lambda: WRITING_FILE in sizes)
        self._url = url
        shards = {name: size for name, size in sizes.items() if name.endswith(".arrow")}
        self._total_bytes = sum(size for name, size in shards.items() if "/" in name)

    def _check_shard(self, shard: InspectedShard) -> None:
        name, problems = f"{shard.name}.arrow", len(self.report.problems)
        path = self.root / name
        path.unlink(missing_ok=True)  # an earlier download says nothing of the object now
        try:
            with convert_disk_errors(path):
                download(get_client(self._url), name, path)
        except MissingObjectError:
            path.unlink(missing_ok=True)
        try:
            super()._check_shard(shard)
        finally:
            path.unlink(missing_ok=True)
        if len(self.report.problems) == problems:
            # The object is right as it is now, even if it was replaced since it was first read.
            get_files(self._url, self.root).forget_state(name)
