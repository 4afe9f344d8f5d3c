"""Write the annotations that go with feature files, as JSON in the style of ActivityNet.

ActionFormer, TriDet, OpenTAD and others read the segments of a dataset from such a file:

    {"version": "…", "taxonomy": [{"nodeId": 1, "nodeName": "jump", "parentId": 0, …}, …],
     "database": {"NAME": {"subset": "training", "duration": 30.0, "fps": 25.0, "frame": 750,
                           "annotations": [{"segment": [1.5, 4.0], "label": "jump",
                                            "label_id": 0}, …]}, …}}

Who needs what (happyharrycn/actionformer_release, ``libs/datasets``; sming256/OpenTAD,
``opentad/datasets``):

========================  ==========================================================================
the key of a video        both: the features are in ``FOLDER/PREFIX`` + key + ``.npy``, so the key
                          is the name of the feature file
``subset``                both: every entry must have one. OpenTAD tests whether it is a part of the
                          name in its configuration, so an empty name would be in every subset
``annotations``           both: every entry must have the key, if only with an empty list
``segment``               both: start and end in seconds
``label_id``              ActionFormer: 0, 1, … below the number of classes that occur in the file,
                          which must be ``num_classes``
``fps``                   ActionFormer, unless ``default_fps`` is set
``duration``              both, in seconds
``frame``                 OpenTAD, which divides it by ``duration`` for the frame rate
========================  ==========================================================================

Beside the JSON are the two other files that OpenTAD's configurations name: ``category_idx.txt``,
the classes in the order of their numbers, one in each line; and ``missing_files.txt``, the list of
videos without features, which is empty, because only videos with features are in the database.
"""

from flowkit.interchange.activitynet.database import CLASS_FILE, build_annotations
from flowkit.interchange.activitynet.files import (
    MISSING_FILE,
    check_annotations,
    write_annotations,
)
from flowkit.interchange.activitynet.loader_settings import describe_loader_settings
from flowkit.interchange.activitynet.report import AnnotationReport, describe_annotations
from flowkit.interchange.activitynet.subsets import AnnotationOptions
from flowkit.interchange.activitynet.video_facts import VideoFacts

__all__ = [
    "CLASS_FILE", "MISSING_FILE", "AnnotationOptions", "AnnotationReport", "VideoFacts",
    "build_annotations", "check_annotations", "describe_annotations", "describe_loader_settings",
    "write_annotations",
]  # fmt: skip
