"""Explanations of any JAX function: which inputs, places or layers make the score what it is.

Explainers take a function x (B, …) → (B,) from `score` or of your own; Grad-CAM takes the model, whose layer it taps.
"""

from zoo.explain.cam import grad_cam
from zoo.explain.gradients import (
    Attribution,
    gradient_x_input,
    integrated_gradients,
    saliency,
    smooth_grad,
    var_grad,
)
from zoo.explain.methods import Method, methods
from zoo.explain.occlusion import occlusion
from zoo.explain.score import ScoreFunction, score

__all__ = [
    "Attribution",
    "Method",
    "ScoreFunction",
    "grad_cam",
    "gradient_x_input",
    "integrated_gradients",
    "methods",
    "occlusion",
    "saliency",
    "score",
    "smooth_grad",
    "var_grad",
]
