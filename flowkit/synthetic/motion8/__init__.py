"""Make motion8: videos whose class only their motion tells, with their true flow.

``write_dataset(root, Motion8())`` writes the dataset to disk, ``load_clip(root, id)`` returns the
:class:`Clip` of one of its videos, and ``true_flow(clip, t)`` computes its flow field.
"""

from flowkit.synthetic.motion8.files import load_clip, write_dataset
from flowkit.synthetic.motion8.flow import true_flow
from flowkit.synthetic.motion8.motion import CLASSES, Clip, Motion8, Scene, make_clip, make_clips
from flowkit.synthetic.motion8.rendering import Renderer, render_clip

__all__ = [
    "CLASSES",
    "Clip",
    "Motion8",
    "Renderer",
    "Scene",
    "load_clip",
    "make_clip",
    "make_clips",
    "render_clip",
    "true_flow",
    "write_dataset",
]
