"""The models: which exist, under which licence, from where; where their files lie, and how they get there.

    >>> from objremove import models
    >>> models.get("deeplabv3_resnet101").licence
    >>> models.fetch("deeplabv3_resnet101", progress=None)      # the only call that ever uses the network
    >>> models.checked_path("deeplabv3_resnet101")              # hashed before anything reads it

Files lie in `cache_dir()`: the folder that the environment variable OBJREMOVE_HOME names, else `objremove` in the user's
cache folder. The embedded weights lie in the package itself.
"""

from objremove.models.fetch import fetch
from objremove.models.registry import REGISTRY, Kind, Model, get, names
from objremove.models.store import cache_dir, checked_path, digest, locate, sha256, size_of, verify

__all__ = [
    "REGISTRY",
    "Kind",
    "Model",
    "cache_dir",
    "checked_path",
    "digest",
    "fetch",
    "get",
    "locate",
    "names",
    "sha256",
    "size_of",
    "verify",
]
