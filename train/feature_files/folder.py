"""Define the folder that feature files are written to, and the names of its files.

    feats/
      NAME.npy          float32 features of one video; NAME.rgb.npy and NAME.flow.npy if separate
      NAME.json         what the rows are: times, frame rate, recipe, digests (video_info.py)
      .flowkit/         recipe.json, failures.jsonl, locks/, and journal/ (crashes of workers)

NAME is the id of the video without the extension of a video file, percent-encoded where the id has
characters that file names should not have. A video is done when its JSON file exists, which is
written last.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from flowkit.annotations import VIDEO_EXTENSIONS
from flowkit.errors import CorruptError, RecipeError, StoreError, UsageError
from flowkit.interchange.file_names import MAX_BYTES, encode_id, truncate_name
from flowkit.store.format.atomic import convert_disk_errors, write_atomic
from flowkit.store.format.locks import (
    GATE,
    find_locked_parts,
    make_lock_folder,
    wait_for_lock,
)
from flowkit.store.format.schema import encode_json
from train.feature_files.recipe import FileRecipe
from train.feature_files.recipe_difference import describe_differences

LONGEST_SUFFIX = len(".flow.npy.01234567.part")
"""Bytes of the longest extension of a file."""
FORMAT = 1
"""Version of the files; a folder of another version is refused."""
INFO_KEYS = {"id", "fingerprint", "files", "rows", "frames", "source_frame_rate", "recipe"}
"""Keys by which the JSON file of a video is recognized."""


class FeatureFolder:
    """A folder of feature files.

    Args:
        path: The folder; it need not exist.
        keep_extension: Whether the names of files keep the extensions of the videos.
    """

    def __init__(self, path: Path, keep_extension: bool = False) -> None:
        self.path = path
        self.state = path / ".flowkit"
        self._keep_extension = keep_extension

    def name_files(self, id: str) -> str:
        """Return the common name of the files of a video, without their extensions."""
        stem = id
        if not self._keep_extension and Path(id).suffix.lower() in VIDEO_EXTENSIONS:
            stem = id[: -len(Path(id).suffix)]
        return truncate_name(encode_id(stem), id, MAX_BYTES - LONGEST_SUFFIX)

    def list_feature_files(self, id: str, recipe: FileRecipe) -> list[Path]:
        """List the feature files of a video: one, or one for each stream."""
        name = self.name_files(id)
        if recipe.layout == "concatenated":
            return [self.path / f"{name}.npy"]
        return [self.path / f"{name}.{stream}.npy" for stream in recipe.streams]

    def get_info_path(self, id: str) -> Path:
        """Return the path of the JSON file of a video."""
        return self.path / f"{self.name_files(id)}.json"

    def read_info(self, id: str) -> dict[str, Any] | None:
        """Read the JSON file of a video; None if there is none.

        Raises:
            CorruptError: It is damaged.
            StoreError: It cannot be read.
            UsageError: It is that of another video, or no JSON file of a video.
        """
        path = self.get_info_path(id)
        try:
            values: dict[str, Any] = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(
                f"{path} cannot be read ({error.strerror}): check its permissions, and run again"
            ) from error
        except ValueError as error:
            raise CorruptError(f"{path} is damaged ({error})") from error
        if not isinstance(values, dict) or not values.keys() >= INFO_KEYS:
            raise UsageError(
                f"{path} would be the description of {id!r}, and is another file: move it, or use "
                "another folder"
            )
        if values["id"] != id:
            raise UsageError(
                f"{path} has the features of {values['id']!r}, and {id!r} would have files of the "
                "same name: use another folder, or give --keep-extension in a new one"
            )
        return values

    def identify_info(self, id: str) -> tuple[int, int] | None:
        """Return what tells one JSON file of a video from a later one; None if there is none."""
        try:
            status = self.get_info_path(id).stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def remove_unfinished(self, ids: Iterable[str], recipe: FileRecipe) -> None:
        """Remove the files that killed workers have left of some videos.

        Args:
            ids: Ids of the videos, which no other run works on.
            recipe: The recipe of the folder.
        """
        unfinished = list(self.path.glob("*.part"))
        if not unfinished:
            return
        names = {
            path.name
            for id in ids
            for path in (*self.list_feature_files(id, recipe), self.get_info_path(id))
        }
        # Their names are NAME.npy.01234567.part.
        remove_files([path for path in unfinished if path.name.rsplit(".", 2)[0] in names])

    def open(self, recipe: FileRecipe) -> None:
        """Create the folder for a recipe, or check that it has this recipe.

        Call it again once the part of the run is locked: until then, another run may replace the
        recipe of a folder without features.

        Args:
            recipe: The recipe of the run.

        Raises:
            RecipeError: The folder has files of another recipe; the message names the differences.
            UsageError: The folder has feature files that flowkit did not write.
        """
        path = self.state / "recipe.json"
        values = {"format": FORMAT, **recipe.to_dict()}
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"--out {self.path}: expected a folder, got a file")
        with convert_disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with wait_for_lock(make_lock_folder(self.state) / GATE):
            file = next(self.path.glob("*.npy"), None)
            if file is not None and not path.exists():
                raise UsageError(
                    f"{self.path} has files that flowkit did not write, such as {file.name}: use "
                    "another folder"
                )
            # A folder without features may have the recipe of a run that was stopped at once.
            if not path.exists() or (file is None and not find_locked_parts(self.state)):
                write_atomic(path, encode_json(values))
                return
            try:
                own = json.loads(path.read_bytes())
            except ValueError as error:
                raise CorruptError(
                    f"{path} is damaged ({error}): use another folder, or remove this one"
                ) from error
        # Through JSON, so that tuples are lists in both.
        try:
            differences = describe_differences(own, json.loads(encode_json(values)))
        except (KeyError, TypeError, AttributeError) as error:
            raise RecipeError(
                f"{self.path} has features of another version of flowkit: use another folder"
            ) from error
        if differences:
            raise RecipeError(
                f"{self.path} has features of another recipe: {'; '.join(differences)}. Use "
                "another folder, or the settings of this one"
            )

    def check_names(self, ids: Iterable[str]) -> None:
        """Check that no two videos share the name of a file.

        Raises:
            UsageError: Two do.
        """
        names: dict[str, str] = {}
        for id in ids:
            other = names.setdefault(self.name_files(id), id)
            if other != id:
                raise UsageError(
                    f"{other!r} and {id!r} would both be written to {self.name_files(id)}.npy: "
                    "rename one, or give --keep-extension"
                )


def remove_files(paths: Sequence[Path]) -> None:
    """Remove files that may not exist."""
    for path in paths:
        with convert_disk_errors(path):
            path.unlink(missing_ok=True)
