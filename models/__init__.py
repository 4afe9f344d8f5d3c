"""Networks of two-stream video understanding: torch modules only.

backbones/backbone.py            what all backbones are: named steps, taps, a head; their inputs
backbones/resnet.py              ResNet-18 … 152, for RGB or flow
backbones/vgg.py                 VGG-16
backbones/bn_inception.py        BN-Inception
backbones/inception_resnet.py    Inception-ResNet-v2
backbones/i3d.py                 I3D-ResNet-50, of clips
backbones/p3d.py                 P3D-199, of clips
attention/cross_modality.py      the CMA operation and block
attention/non_local.py           the same within one modality
attention/pyramid.py             spatio-temporal pyramid attention: K frames become one
attention/clusters.py            Attention Clusters: a set becomes N weighted means of it
attention/catnet.py              CATNet: the same, and attention over those means
networks/two_stream.py            two branches, the blocks between them, three scores
networks/pyramid.py              a backbone with pyramid attention inside; two of them
layers/segments.py               one score of many snippets
networks/feature_sets.py         sets of several modalities: one part each, one classifier
networks/fusions.py              what attention over sets is compared with: averages, LSTMs, …
layers/padding.py                sets of different sizes in one tensor
networks/digits.py               the CNN that reads Flash-MNIST's frames
weights/pretrained.py            weight files → these modules
weights/weight_files.py          the names in other publishers' files → those of these modules
weights/parameters.py            how TSN trains: learning rates by group of parameters
layers/batch_norm.py             and partial batch normalization
"""
