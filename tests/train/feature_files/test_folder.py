"""A folder of feature files is refused to runs that do not fit it, in words of the command line."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from flowkit.errors import LockedError, RecipeError, UsageError
from flowkit.flow.params import PRESETS
from flowkit.recipe import FlowRecipe, Resize, StoreRecipe
from tests.train.feature_files.conftest import compute, locate, read_files
from train.feature_files.run import FeatureFileRun
from train.feature_files.windows import WindowSampling

pytestmark = pytest.mark.usefixtures("mirrors")


@pytest.fixture
def clips(tmp_path, make_clip):
    return [make_clip(tmp_path / "v" / f"{n}.mp4", frames=9 + n, seed=n) for n in range(3)]


BASE = {"windows": WindowSampling(length=4, stride=3)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"windows": WindowSampling(length=4, stride=1)}, "--stride was 3 and is now 1."),
        (
            {"windows": WindowSampling(length=4, stride=3, placement="covering")},
            "--placement was whole and is now covering.",
        ),
        ({"fps": 25.0}, "--fps was not given and is now 25.0."),
        ({"streams": ("rgb",)}, "the set of streams was rgb and flow and is now rgb."),
        ({"size": 6}, "--size was 8 and is now 6."),
        ({"crops": "ten"}, "--crops was centre and is now ten."),
        ({"layout": "separate"}, "the layout of the files was concatenated and is now separate."),
        ({"model": "clips*2"}, "the network of rgb was clips and is now clips*2; the network of"),
        (
            {"resize": Resize(mode="short-side", side=64)},
            "(--short-side, --resize) was 16x12 and is now 64 on the shorter side.",
        ),
        ({"keep_extension": True}, "--keep-extension was not given and is now given."),
        ({"precision": "bfloat16"}, "--precision was float32 and is now bfloat16."),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_folder_of_another_recipe_is_refused(clips, make_request, changes, message):
    compute(locate(*clips[:1]), make_request(**BASE))
    request = make_request(**{**BASE, **changes})
    before = read_files(request.out)
    with pytest.raises(RecipeError) as caught:
        compute(locate(*clips[:1]), request)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{request.out} has features of another recipe: ")
    assert read_files(request.out) == before


def test_another_preset_is_named(clips, make_request):
    def make(preset, bound):
        flow = FlowRecipe(tvl1=PRESETS[preset], bound=bound)
        return make_request(frames=StoreRecipe(resize=Resize(width=16, height=12), flow=flow))

    compute(locate(*clips[:1]), make("fast", 20.0))
    with pytest.raises(RecipeError) as caught:
        compute(locate(*clips[:1]), make("paper", 15.0))
    assert "--preset was fast and is now paper; --bound was 20.0 and is now 15.0." in str(
        caught.value
    )


def test_a_folder_with_other_files(tmp_path, clips, make_request):
    request = make_request()
    request.out.mkdir()
    np.save(request.out / "mine.npy", np.zeros(3))
    with pytest.raises(UsageError, match=r"feats has files that flowkit did not write, such as mi"):
        compute(locate(*clips), request)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UsageError, match=r"--out .*file: expected a folder, got a file"):
        compute(locate(*clips), replace(request, out=file))


def test_two_runs_into_one_folder(clips, make_request):
    request = make_request()
    compute(locate(*clips[:1]), request)
    code = (
        "import sys\nfrom flowkit.store import hold_store\n"
        "with hold_store(sys.argv[1]):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(request.out / ".flowkit")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockedError) as caught:
            compute(locate(*clips), request)
    assert str(caught.value).startswith(
        f"{request.out}: expected the whole folder to be free, but process {holder.pid} on "
    )


def test_a_folder_without_features_takes_the_recipe_of_the_next_run(clips, make_request):
    compute(locate(), make_request(**BASE))  # such as a wrong option, and Ctrl-C at once
    request = make_request(windows=WindowSampling(length=4, stride=1))
    assert compute(locate(*clips[:1]), request).computed == 1


def test_a_recipe_that_is_replaced_before_the_part_is_locked(clips, make_request, monkeypatch):
    request = make_request(**BASE)
    open_folder = FeatureFileRun.open_folder

    def open_both(run):
        open_folder(run)
        run.folder.open(replace(run.recipe, windows=WindowSampling(length=4, stride=1)))

    monkeypatch.setattr(FeatureFileRun, "open_folder", open_both)
    with pytest.raises(RecipeError, match=r"--stride was 1 and is now 3\."):
        compute(locate(*clips[:1]), request)
    assert not list(request.out.glob("*.npy"))
