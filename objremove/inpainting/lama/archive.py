"""Reads tensors out of PyTorch files without running anything that is stored in them.

A PyTorch file is a zip archive of raw tensor bytes and one pickle that says which bytes are which tensor. A pickle is a program:
loading it the plain way calls whatever functions it names. The unpickler here knows four kinds of names (ordered dicts, storages,
tensor and parameter rebuilding) and puts an inert stand-in where any other name occurs, so that Lightning checkpoints with
foreign classes and TorchScript archives are read as data, and a malicious file can at most describe wrong tensors.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from objremove.errors import ModelError

_STORAGE_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def read_archive(path: Path) -> dict[str, Tensor]:
    """All named tensors of a PyTorch zip archive: a checkpoint, a state dict or a TorchScript module.

    Nested dicts and TorchScript submodules become dotted names (`state_dict.generator.model.1...`).

    Raises:
        ModelError: the archive is damaged or no PyTorch file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            root = _unpickle(archive)
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise ModelError(f"weight file {path} is damaged or incomplete ({error}): fetch it again") from None
    return dict(_named_tensors(root))


def _unpickle(archive: zipfile.ZipFile) -> object:
    names = [name for name in archive.namelist() if name == "data.pkl" or name.endswith("/data.pkl")]
    if not names:
        raise ModelError(
            f"{archive.filename} is a zip file but holds no PyTorch weights: unpack it and name the file inside"
        )
    prefix = names[0].removesuffix("data.pkl")
    if f"{prefix}byteorder" in archive.namelist() and archive.read(f"{prefix}byteorder") != b"little":
        raise ModelError(
            f"weight file {archive.filename} was written on a big-endian machine: save it again on another"
        )
    try:
        return _TensorUnpickler(archive, prefix).load()
    except (zipfile.BadZipFile, OSError):
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(
            f"weight file {archive.filename} cannot be read as tensors ({reason}): fetch it again"
        ) from None


class _Inert(dict[Any, Any]):
    """Stands for an object of a foreign class: keeps its items and attributes as dict entries, and does nothing."""

    def __new__(cls, *_args: object, **_kwargs: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.update(state)

    def __hash__(self) -> int:  # type: ignore[override]  # foreign objects may be keys; a dict may not
        return id(self)

    def append(self, _item: object) -> None:
        """Ignore what a list of a foreign class would take."""

    def extend(self, _items: object) -> None:
        """Ignore what a list of a foreign class would take."""


class _TensorUnpickler(pickle.Unpickler):
    """Admits tensors, storages and ordered dicts; everything else that the pickle names becomes `_Inert`."""

    def __init__(self, archive: zipfile.ZipFile, prefix: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{prefix}data.pkl")))
        self._archive = archive
        self._prefix = prefix
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the pickle means; never imports anything."""
        if module == "torch" and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._rebuild_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return self._rebuild_parameter
        # A class of its own for each name: what a pickle does to it stays with this file.
        return type("_Inert", (_Inert,), {})

    def persistent_load(self, pid: Any) -> Tensor:
        """The flat tensor behind a storage reference ('storage', dtype, key, location, number of elements)."""
        _, dtype, key, _, numel = pid
        if key not in self._storages:
            entry = self._archive.getinfo(f"{self._prefix}data/{key}")
            # PyTorch never compresses; an entry that does, or that has another size, is no storage of its.
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != numel * dtype.itemsize:
                raise pickle.UnpicklingError(f"storage {key} has the wrong size")
            data = bytearray(self._archive.read(entry))
            self._storages[key] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        return self._storages[key]

    def _rebuild_tensor(
        self, storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_grad_and_hooks: object
    ) -> Tensor:
        return storage.as_strided(size, stride, offset)

    def _rebuild_parameter(self, data: Tensor, *_grad_and_hooks: object) -> Tensor:
        return data


def _named_tensors(node: object) -> Iterator[tuple[str, Tensor]]:
    """Every tensor below a nest of dicts with its dotted name; an explicit stack, since a hostile nest may be deep or loop."""
    stack: list[tuple[str, object]] = [("", node)]
    seen: set[int] = set()
    while stack:
        name, value = stack.pop()
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, dict) and id(value) not in seen:
            seen.add(id(value))
            children = [
                (f"{name}.{key}" if name else key, child) for key, child in value.items() if isinstance(key, str)
            ]
            stack.extend(reversed(children))
