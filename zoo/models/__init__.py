"""Architectures, one family per file; each file ends with the table of its variants."""

from zoo.models import convnet, deepmerge, resnet
from zoo.models.card import Card, Symmetry
from zoo.models.convnet import ConvNet
from zoo.models.deepmerge import DeepMerge
from zoo.models.resnet import ResNet

FAMILIES = (convnet, deepmerge, resnet)

__all__ = ["FAMILIES", "Card", "ConvNet", "DeepMerge", "ResNet", "Symmetry"]
