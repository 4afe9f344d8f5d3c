"""Optical flow by networks that were trained for it, such as RAFT.

``registry.METHODS`` lists the methods; to add one, write a `LearnedMethod` (method.py) and give it
a name there. All that is not particular to a method is done for it: weights are found, read and
identified by a digest (weights.py), frames are padded and flow is cropped (padding.py), and pairs
are computed in batches that fit into memory (solver.py).
"""
