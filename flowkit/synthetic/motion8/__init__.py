"""motion8: videos whose class is only in the motion, with their true flow.

``write(root, Motion8())`` makes the dataset on disk, ``truth(root, id)`` gives back the
:class:`Clip` behind one of its videos, ``true_flow(clip, t)`` its flow field.
"""

from flowkit.synthetic.motion8.files import truth, write
from flowkit.synthetic.motion8.flow import true_flow
from flowkit.synthetic.motion8.motion import CLASSES, Clip, Motion8, Scene, make_clip, make_clips
from flowkit.synthetic.motion8.rendering import Renderer, render

__all__ = [
    "CLASSES",
    "Clip",
    "Motion8",
    "Renderer",
    "Scene",
    "make_clip",
    "make_clips",
    "render",
    "true_flow",
    "truth",
    "write",
]
