"""Architectures, one family per file; each file ends with the table of its variants."""

from zoo.models import (
    braai,
    conv_lstm,
    convnet,
    deep_sets,
    deepmerge,
    dgcnn,
    fcn,
    filter_net,
    gat,
    gcn,
    gin,
    graph_network,
    graphsage,
    group_convnet,
    group_unet,
    mlp,
    mobilenet,
    particlenet,
    recurrent,
    resnet,
    segnet,
    unet,
    vgg,
    window,
)
from zoo.models.braai import Braai
from zoo.models.card import Card, Symmetry
from zoo.models.conv_lstm import ConvLSTM
from zoo.models.convnet import ConvNet
from zoo.models.deep_sets import DeepSets
from zoo.models.deepmerge import DeepMerge
from zoo.models.dgcnn import DGCNN
from zoo.models.fcn import FCN
from zoo.models.filter_net import FilterNet
from zoo.models.gat import GAT
from zoo.models.gcn import GCN
from zoo.models.gin import GIN
from zoo.models.graph_network import GraphNetwork
from zoo.models.graphsage import GraphSAGE
from zoo.models.group_convnet import GroupConvNet, GroupResNet
from zoo.models.group_unet import GroupUNet
from zoo.models.mlp import MLP
from zoo.models.mobilenet import MobileNetV2
from zoo.models.particlenet import ParticleNet
from zoo.models.recurrent import RecurrentNet
from zoo.models.resnet import ResNet
from zoo.models.segnet import SegNet
from zoo.models.unet import UNet
from zoo.models.vgg import VGG
from zoo.models.window import WindowNet

FAMILIES = (
    braai,
    conv_lstm,
    convnet,
    deep_sets,
    deepmerge,
    dgcnn,
    fcn,
    filter_net,
    gat,
    gcn,
    gin,
    graph_network,
    graphsage,
    group_convnet,
    group_unet,
    mlp,
    mobilenet,
    particlenet,
    recurrent,
    resnet,
    segnet,
    unet,
    vgg,
    window,
)

__all__ = [
    "DGCNN",
    "FAMILIES",
    "FCN",
    "GAT",
    "GCN",
    "GIN",
    "MLP",
    "VGG",
    "Braai",
    "Card",
    "ConvLSTM",
    "ConvNet",
    "DeepMerge",
    "DeepSets",
    "FilterNet",
    "GraphNetwork",
    "GraphSAGE",
    "GroupConvNet",
    "GroupResNet",
    "GroupUNet",
    "MobileNetV2",
    "ParticleNet",
    "RecurrentNet",
    "ResNet",
    "SegNet",
    "Symmetry",
    "UNet",
    "WindowNet",
]
