from flowkit.interchange.activitynet import describe_loader_settings


def test_the_settings_of_the_thumos_configurations():
    """ActionFormer's configs/thumos_i3d.yaml and OpenTAD's features_i3d_pad.py: 4, 16 and 8."""
    assert describe_loader_settings(
        window=16, stride=4, first_frame=0, channels=2048, classes=20,
        subsets=["validation", "training"],
    ) == (
        "ActionFormer: feat_stride: 4, num_frames: 16, default_fps: ~, file_prefix: ~, file_ext: "
        ".npy, input_dim: 2048, num_classes: 20; train_split and val_split: of training, "
        "validation; dataset_name: anet, since thumos ignores class 4 (CliffDiving of THUMOS14)",
        "OpenTAD: ThumosPaddingDataset, feature_stride=4, sample_stride=1, offset_frames=8; "
        "subset_name: of training, validation",
    )  # fmt: skip


def test_a_centred_window_begins_before_the_video():
    settings = describe_loader_settings(
        window=21, stride=1, first_frame=-10, channels=1024, classes=1, subsets=["training"]
    )
    assert "num_frames: 1," in settings[0]
    assert "offset_frames=0;" in settings[1]


def test_the_class_that_the_dataset_thumos_ignores_is_only_named_where_there_is_one():
    lines = [
        describe_loader_settings(
            window=16, stride=4, first_frame=0, channels=2048, classes=classes, subsets=["training"]
        )[0]
        for classes in (4, 5)
    ]
    assert ["dataset_name: anet" in line for line in lines] == [False, True]
