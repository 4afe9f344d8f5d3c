"""What `flowkit extract` works on: a dataset, a folder of classes, or plain files."""

from dataclasses import dataclass, replace
from pathlib import Path

from flowkit.annotations import AnnotationTable, Located, explicit_files, folder
from flowkit.catalog import find_dataset, load_catalog
from flowkit.errors import UsageError
from flowkit.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The located videos, their annotations, and where their store is."""

    located: Located
    store: Path
    table: AnnotationTable | None = None
    dataset: str | None = None
    recipe: Recipe | None = None


def choose_sources(
    files: tuple[Path, ...],
    dataset: str | None,
    variant: str | None,
    videos: Path | None,
    catalog: Path | None,
    subset: str | None,
    store: Path | None,
) -> Sources:
    """Exactly one of files, ``dataset`` and ``videos``; UsageError otherwise."""
    given = [bool(files), dataset is not None, videos is not None]
    if sum(given) != 1:
        what = "several of them" if sum(given) else "none"
        raise UsageError(
            f"name what to extract: --dataset NAME, --videos DIR, or files; got {what}"
        )
    if dataset is None and (variant is not None or catalog is not None):
        raise UsageError("--variant and --catalog belong to --dataset NAME; give it, or neither")
    if dataset is not None:
        entry = find_dataset(dataset, variant, load_catalog(catalog))
        table, located = entry.locate_videos()
        sources = Sources(
            located=located,
            table=table,
            store=store or Path("stores") / entry.full_name,
            dataset=entry.full_name,
            recipe=entry.recipe,
        )
    elif videos is not None:
        if not videos.is_dir():
            raise UsageError(f"--videos expects a folder with one folder per class, got {videos}")
        table, located = folder.scan_folder(videos)
        sources = Sources(
            located=located, table=table, store=store or Path("stores") / videos.resolve().name
        )
    else:
        if store is None:
            raise UsageError("plain files need --store DIR, the store to make or to add to")
        sources = Sources(located=explicit_files(files), store=store)
    return sources if subset is None else select(sources, subset)


def select(sources: Sources, subset: str) -> Sources:
    """Only the videos of one subset; the annotations stay whole."""
    located = sources.located
    kept = tuple(source for source in located.sources if subset in source.subsets)
    table = sources.table
    known = {name for a in (table.annotations if table else ()) for name in a.subsets}
    if subset not in known:
        has = ", ".join(sorted(known)) or "none"
        raise UsageError(f"no subset {subset!r}; the annotations have {has}")
    assert table is not None
    members = {a.id for a in table.annotations if subset in a.subsets}
    missing = tuple(id for id in located.missing if id in members)
    return replace(sources, located=replace(located, sources=kept, missing=missing))
