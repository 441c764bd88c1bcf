"""LaMa: the large-mask inpainting network, its weight files, its inference form, and the inpainter that runs it."""

from objremove.inpainting.lama.checkpoint import load_generator, save_generator
from objremove.inpainting.lama.folding import fold
from objremove.inpainting.lama.generator import CONFIGS, GeneratorConfig, build_generator
from objremove.inpainting.lama.inpainter import LamaInpainter

__all__ = [
    "CONFIGS",
    "GeneratorConfig",
    "LamaInpainter",
    "build_generator",
    "fold",
    "load_generator",
    "save_generator",
]
