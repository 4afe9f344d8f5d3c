"""Networks of two-stream video understanding: torch modules only.

backbones/resnet.py              ResNet-18 … 152, for RGB or flow
backbones/vgg.py                 VGG-16
backbones/bn_inception.py        BN-Inception
backbones/inception_resnet.py    Inception-ResNet-v2
attention/cross_modality.py      the CMA operation and block
attention/non_local.py           the same within one modality
two_stream.py                    two branches, the blocks between them, three scores
segments.py                      one score of many snippets
pretrained.py                    weight files → these modules
weight_files.py                  the names in other publishers' files → those of these modules
parameters.py, batch_norm.py     how TSN trains: learning rates by group, partial BN
"""
