"""Name the settings with which public projects made their feature files.

A convention holds what its sources state: windows, frame rate, frame size, crops and files. What
they leave open is listed in `Convention.left_open`, with what flowkit does, and where flowkit
differs in `Convention.notes`. docs/feature_conventions.md has the conventions as a table.

To add a convention:

1. Read the code that wrote the features, or the labels that fit them. A paper rarely says what
   happens to the last frames of a video.
2. Add an entry to `CONVENTIONS`. Enter what the sources state and nothing else; every setting that
   they do not state gets a sentence in `left_open`. Sources are public addresses, down to the file
   or the issue.
3. Add a replica of the source's window arithmetic, in your own words, to
   tests/train/feature_files/test_conventions.py, which compares it with ours over many lengths.
4. Add a row to docs/feature_conventions.md; a test compares the row with the entry.
"""

from difflib import get_close_matches

from flowkit.errors import UsageError
from train.feature_files.convention import Convention, describe_convention
from train.feature_files.windows import WindowSampling

__all__ = ["CONVENTIONS", "Convention", "describe_convention", "find_convention"]

ACTIONFORMER = "https://github.com/happyharrycn/actionformer_release"
CHUNK_EXTRACTOR = (
    "https://github.com/Finspire13/pytorch-i3d-feature-extraction, extract_features.py"
)
CMCS = "https://github.com/Finspire13/CMCS-Temporal-Action-Localization"
RTFM = "https://github.com/tianyu0207/RTFM"
TWO_STREAM_LEFT_OPEN = (
    "how frames were cropped (the extractor can resize them to 224x224 or take the centre or ten "
    "crops, and ActionFormer's authors do not recall which it was): we take the centre",
    "the optical flow and its bound, since the extractor reads flow images: we use TV-L1 and 20 px",
    "whether there is an RGB image for the last frame: RGB and flow have equally many rows, so we "
    "leave out that frame, which has no flow",
)
TWO_STREAM_NOTES = (
    "the extractor stops at videos of 16 or fewer flow images; we write one row for them, and the "
    "JSON file says how many of its frames are repeated",
    "the first half of a row is RGB, the second flow",
)
SHORT_VIDEO_NOTE = (
    "a video with fewer frames than a window has no row in the source; we write one row, and the "
    "JSON file says how many of its frames are repeated"
)

_ALL = (
    Convention(
        name="thumos14",
        summary="I3D features of THUMOS14, as ActionFormer, TriDet and OpenTAD read them",
        sources=(
            f"{ACTIONFORMER}, README.md and configs/thumos_i3d.yaml",
            f"{ACTIONFORMER}/issues/5, /issues/60 and /issues/150",
            "https://github.com/dingfengshi/TriDet, configs/thumos_i3d.yaml",
            "https://github.com/sming256/OpenTAD, configs/_base_/datasets/thumos-14/"
            "features_i3d_pad.py and tools/prepare_data/thumos/README.md",
            f"{CMCS}, README.md and utils.py",
            CHUNK_EXTRACTOR,
        ),
        windows=WindowSampling(length=16, stride=4, last_frame="drop"),
        network="I3D Inception-v1, Kinetics",
        dimension=1024,
        frame_size=(340, 256),
        left_open=TWO_STREAM_LEFT_OPEN,
        notes=(
            *TWO_STREAM_NOTES,
            "videos keep their frame rate, about 30 frames/s; the readers take it from the "
            "annotations",
        ),
    ),
    Convention(
        name="activitynet",
        summary="I3D features of ActivityNet 1.3, as ActionFormer reads them",
        sources=(
            f"{ACTIONFORMER}, README.md and configs/anet_i3d.yaml",
            f"{ACTIONFORMER}/issues/59",
            f"{CMCS}, README.md and utils.py",
            CHUNK_EXTRACTOR,
        ),
        windows=WindowSampling(length=16, stride=16, last_frame="drop"),
        network="I3D Inception-v1, Kinetics",
        dimension=1024,
        fps=25.0,
        frame_size=(340, 256),
        left_open=(
            *TWO_STREAM_LEFT_OPEN,
            "how videos were resampled to 25 frames/s: we take the frame shown at each time",
        ),
        notes=(
            *TWO_STREAM_NOTES,
            "ActionFormer looks for files named v_ID.npy, as the videos of the dataset are named",
        ),
    ),
    Convention(
        name="activitynet-tsp",
        summary="RGB features of ActivityNet 1.3 by TSP, as ActionFormer and OpenTAD read them",
        sources=(
            f"{ACTIONFORMER}, README.md and configs/anet_tsp.yaml",
            "https://github.com/sming256/OpenTAD, tools/prepare_data/activitynet/README.md",
            "https://github.com/HumamAlwassel/TSP, extract_features/opts.py, extract_features.py "
            "and eval_video_dataset.py",
        ),
        windows=WindowSampling(length=16, stride=16),
        network="R(2+1)D-34, TSP on ActivityNet",
        dimension=512,
        fps=15.0,
        frame_size=(171, 128),
        size=112,
        streams=("rgb",),
        notes=(
            "flowkit does not have this network: use windows and frame rate with another one",
            "TSP converts videos to 30 frames/s first; we take 15 frames/s at once",
            "TSP's script stops at a video with fewer than 16 frames; we write one row, and the "
            "JSON file says how many of its frames are repeated",
        ),
    ),
    Convention(
        name="ms-tcn",
        summary="One row of I3D features for each frame, as MS-TCN and its successors read them",
        sources=(
            "https://github.com/yabufarha/ms-tcn, main.py and batch_gen.py",
            "https://github.com/yabufarha/ms-tcn/issues/3, /issues/12 and /issues/34",
            "https://github.com/ahsaniqbal/Kinetics-FeatureExtractor, extractor_lazy.py, "
            "LazyLoader.cpp and Utils.cpp",
        ),
        windows=WindowSampling(length=21, stride=1, placement="centred"),
        network="I3D Inception-v1, Kinetics",
        dimension=1024,
        short_side=256,
        left_open=(
            "the padding at the ends of a video: the authors name zeros, the extractor repeats the "
            "first and last frame and sets the flow there to zero; we repeat frames and flow",
        ),
        notes=(
            "the window is the one that the authors name, 10 frames before and after each frame. "
            "The extractor repeats one frame near the start of a video (frame 12 with its default "
            "batch), so that its later windows are a frame behind",
            "videos keep their frame rate, 15 frames/s in GTEA and Breakfast and 30 in 50Salads, "
            "where MS-TCN then reads every second row",
            "the extractor computes TV-L1 on frames of full size and resizes the result; we "
            "compute it on the resized frames",
            "MS-TCN reads arrays (2048, T); ours are (T, 2048) and have to be transposed",
        ),
    ),
    Convention(
        name="rtfm",
        summary="Ten-crop windows of ShanghaiTech and UCF-Crime, as RTFM reads them",
        sources=(
            f"{RTFM}, README.md, dataset.py and list/make_gt_sh.py",
            f"{RTFM}/issues/2, /issues/31 and /issues/33",
            "https://github.com/MagazzuGaetano/Feature-Extraction-for-Video-Anomaly-Detection, "
            "src/utils/video.py",
        ),
        windows=WindowSampling(length=16, stride=16, placement="covering"),
        network="I3D ResNet-50, Kinetics, RGB",
        dimension=2048,
        short_side=256,
        crops="ten",
        streams=("rgb",),
        left_open=(
            "the network: README.md names I3D ResNet-50, issue 2 a layer of I3D Inception-v1",
            "the size of frames and crops: we use 256 and 224 pixels",
            "the frame rate: we use the frames as they are",
            "how the last, partial window is padded: the labels of ShanghaiTech show that there "
            "is one, and we repeat the last frame, as the second repository does",
            "whether UCF-Crime has it too: we assume so",
        ),
        notes=(
            "with the two streams of I3D Inception-v1, rows have 2048 numbers as well, and with "
            "one stream 1024",
            "RTFM averages the rows of a video into 32 segments when it reads the files",
        ),
    ),
    Convention(
        name="rtfm-extractor",
        summary="Ten-crop windows by the public extraction code that RTFM's users run",
        sources=(
            "https://github.com/GowthamGottimukkala/I3D_Feature_Extraction_resnet, main.py and "
            "extract_features.py",
        ),
        windows=WindowSampling(length=16, stride=16),
        network="I3D ResNet-50, Kinetics, RGB",
        dimension=2048,
        frame_size=(340, 256),
        crops="ten",
        streams=("rgb",),
        notes=(
            "frames are resized to 340x256 pixels whatever the shape of the video, as in the code",
            "its crops are in another order: the centre is third, ours fifth",
            "frames that do not fill a last window are left out: the convention rtfm keeps them",
            "the code stops at videos of 16 or fewer frames; we write one row for them, and the "
            "JSON file says how many of its frames are repeated",
        ),
    ),
    Convention(
        name="xd-violence",
        summary="Windows of XD-Violence, one file a stream, as XDVioDet reads them",
        sources=(
            "https://github.com/Roc-Ng/XDVioDet, README.md, dataset.py, option.py and "
            "list/make_gt.py",
            "https://github.com/Roc-Ng/XDVioDet/issues/5 and /issues/6",
        ),
        windows=WindowSampling(length=16, stride=16, last_frame="drop"),
        network="I3D Inception-v1, Kinetics",
        dimension=1024,
        short_side=256,
        crops="ten",
        layout="separate",
        left_open=(
            "the code that made the features: the labels show that a row belongs to 16 frames",
            "the frame rate: we use the frames as they are",
            "the optical flow and its bound: we use TV-L1 and 20 px",
        ),
        notes=(
            "the published features have five crops, one file each, the centre first; our first "
            "five crops are the same squares, with the centre last",
            SHORT_VIDEO_NOTE,
        ),
    ),
    Convention(
        name="ucf-crime",
        summary="Windows of UCF-Crime as its authors made them; for I3D features see rtfm",
        sources=(
            "https://arxiv.org/abs/1801.04264, section 4.1",
            "https://github.com/WaqasSultani/AnomalyDetectionCVPR2018, README.md and "
            "Save_C3DFeatures_32Segments.m",
        ),
        windows=WindowSampling(length=16, stride=16),
        network="C3D, layer fc6, RGB",
        dimension=4096,
        fps=30.0,
        frame_size=(320, 240),
        streams=("rgb",),
        left_open=(
            "what happens to frames that do not fill a last window: we leave them out",
            "the crop: C3D's default settings are used; we take the centre, of 224 pixels",
        ),
        notes=(
            "flowkit does not have C3D; its authors advise I3D for new work",
            "the published files hold 32 rows a video, the normalized means of its rows; we write "
            "the rows themselves",
        ),
    ),
    Convention(
        name="video-features",
        summary="I3D features as video_features writes them by default, one file a stream",
        sources=(
            "https://github.com/v-iashin/video_features, configs/i3d.yml and "
            "models/i3d/extract_i3d.py",
        ),
        windows=WindowSampling(length=64, stride=64, last_frame="drop"),
        network="I3D Inception-v1, Kinetics",
        dimension=1024,
        short_side=256,
        layout="separate",
        notes=(
            "video_features computes flow with RAFT and rounds it to 256 values; we round TV-L1 "
            "flow to 255 values",
            SHORT_VIDEO_NOTE,
        ),
    ),
)

CONVENTIONS: dict[str, Convention] = {convention.name: convention for convention in _ALL}
"""The conventions by name, in the order of the list."""


def find_convention(name: str) -> Convention:
    """Return a convention by its name.

    Args:
        name: Name of the convention, one of `CONVENTIONS`.

    Returns:
        The convention.

    Raises:
        UsageError: There is none of this name; the message names the nearest one.
    """
    if name in CONVENTIONS:
        return CONVENTIONS[name]
    nearest = get_close_matches(name.lower(), CONVENTIONS, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(CONVENTIONS)}"
    raise UsageError(f"--convention {name}: there is no such convention; {hint}")
