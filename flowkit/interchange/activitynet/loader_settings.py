"""Say how ActionFormer and OpenTAD are configured for features, so that rows and times agree.

Both place a row at the middle of its window. With windows of L frames, of which the first begins at
frame s and each later one S frames after the one before, a time of t seconds is at row

    r(t) = (t · fps − s − L / 2) / S

ActionFormer computes (t · fps − n / 2) / S with ``feat_stride`` S and ``num_frames`` n, and
OpenTAD (t · fps − o) / S with ``feature_stride`` S and ``offset_frames`` o. So n = L + 2 s and
o = n / 2. If the first window begins at frame 0, n is the length of a window.

| symbol | name          |
|--------|---------------|
| L      | `window`      |
| S      | `stride`      |
| s      | `first_frame` |
"""

from collections.abc import Iterable

THUMOS_IGNORED_CLASS = 4
"""Number of the class that ActionFormer's dataset ``thumos`` leaves out (libs/datasets/thumos14.py
of happyharrycn/actionformer_release): CliffDiving of THUMOS14, but another class in other data."""


def describe_loader_settings(
    *, window: int, stride: int, first_frame: int, channels: int, classes: int,
    subsets: Iterable[str],
) -> tuple[str, str]:  # fmt: skip
    """Describe the settings of ActionFormer and OpenTAD for a folder of features.

    Args:
        window: Frames from the first to the last frame of a window, both counted.
        stride: Frames from the start of one window to the next.
        first_frame: First frame of the first window: 0, or below 0 for centred windows.
        channels: Numbers in a row.
        classes: Number of classes in the annotations.
        subsets: Names of the subsets in the annotations.

    Returns:
        A line for ActionFormer's ``dataset`` section, and one for OpenTAD's dataset.
    """
    num_frames = window + 2 * first_frame
    names = ", ".join(sorted(subsets))
    note = ""
    if classes > THUMOS_IGNORED_CLASS:
        note = f"; dataset_name: anet, since thumos ignores class {THUMOS_IGNORED_CLASS}"
        note += " (CliffDiving of THUMOS14)"
    return (
        f"ActionFormer: feat_stride: {stride}, num_frames: {num_frames}, default_fps: ~, "
        f"file_prefix: ~, file_ext: .npy, input_dim: {channels}, num_classes: {classes}; "
        f"train_split and val_split: of {names}{note}",
        f"OpenTAD: ThumosPaddingDataset, feature_stride={stride}, sample_stride=1, "
        f"offset_frames={num_frames // 2}; subset_name: of {names}",
    )
