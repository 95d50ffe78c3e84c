"""Architectures, one family per file; each file ends with the table of its variants."""

from zoo.models import braai, convnet, deepmerge, filter_net, group_convnet, mlp, mobilenet, resnet, vgg
from zoo.models.braai import Braai
from zoo.models.card import Card, Symmetry
from zoo.models.convnet import ConvNet
from zoo.models.deepmerge import DeepMerge
from zoo.models.filter_net import FilterNet
from zoo.models.group_convnet import GroupConvNet, GroupResNet
from zoo.models.mlp import MLP
from zoo.models.mobilenet import MobileNetV2
from zoo.models.resnet import ResNet
from zoo.models.vgg import VGG

FAMILIES = (braai, convnet, deepmerge, filter_net, group_convnet, mlp, mobilenet, resnet, vgg)

__all__ = [
    "FAMILIES",
    "MLP",
    "VGG",
    "Braai",
    "Card",
    "ConvNet",
    "DeepMerge",
    "FilterNet",
    "GroupConvNet",
    "GroupResNet",
    "MobileNetV2",
    "ResNet",
    "Symmetry",
]
