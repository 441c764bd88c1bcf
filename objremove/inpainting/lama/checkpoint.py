"""Weight files of LaMa generators in and out: every public container is read, none of them is executed.

Read are the official folder (`config.yaml` and `models/best.ckpt`), a bare Lightning checkpoint, a TorchScript archive
(`big-lama.pt`), a plain state dict and this package's safetensors. The architecture is inferred from the tensors' shapes, which
every container has; the official `config.yaml` only adds what shapes cannot tell.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from objremove.errors import ModelError
from objremove.inpainting.lama.archive import read_archive
from objremove.inpainting.lama.generator import Generator, GeneratorConfig, OutputActivation, build_generator
from objremove.models.weight_file import write_halves

_PREFIXES = ("", "generator.", "model.generator.", "module.generator.", "module.", "model.")
_STATE = "state_dict."  # where a Lightning checkpoint keeps its weights
_FFC_STEM, _REGULAR_STEM = "model.1.ffc.convl2l.weight", "model.1.weight"


def load_generator(path: str | os.PathLike[str]) -> Generator:
    """The generator in a weight file or official model folder, in eval mode, fp32, on the CPU.

    It maps (B, 4, H, W) float (RGB in 0..1 with the hole set to 0, then the mask, 1 = hole) to (B, 3, H, W). No code stored in
    the file runs.

    Raises:
        ModelError: the file is missing, damaged, holds no LaMa generator, or a generator with missing or unexpected keys.
    """
    path = Path(path)
    if path.is_dir():
        return _load_official_folder(path)
    if not path.is_file():
        raise ModelError(f"weight file {path} does not exist: check the path or pull the model")
    try:
        safe = _is_safetensors(path)
    except OSError as error:
        raise ModelError(f"cannot read weights {path}: {error.strerror or error}") from error
    if safe:
        tensors, config = _read_safetensors(path)
    else:
        tensors, config = _bare_generator_keys(_read_torch(path), path), None
    return _assemble(tensors, config or _infer_config(tensors, path), path)


def save_generator(module: Generator, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> None:
    """Write the weights as fp16 safetensors, the configuration in the metadata entry `config`; the file appears whole or not at all.

    Tensors that fp16 cannot hold stay fp32. `metadata` adds entries (licence, recipe, ...).

    Raises:
        ModelError: the file cannot be written.
    """
    write_halves(module.state_dict(), Path(path), {**(metadata or {}), "config": json.dumps(asdict(module.config))})


def _load_official_folder(folder: Path) -> Generator:
    checkpoint, settings = folder / "models" / "best.ckpt", folder / "config.yaml"
    if not checkpoint.is_file():
        raise ModelError(
            f"{folder} is no LaMa model folder (models/best.ckpt is missing): name the folder that has config.yaml"
        )
    generator = load_generator(checkpoint)
    if not settings.is_file():
        return generator
    config = replace(generator.config, out_act=_output_activation(settings))
    return generator if config == generator.config else _assemble(generator.state_dict(), config, checkpoint)


def _output_activation(settings: Path) -> OutputActivation:
    """`add_out_act` of the official config: the one setting of the generator that leaves no trace in the weights."""
    found = re.search(r"^[ \t]+add_out_act:[ \t]*['\"]?(\w+)", settings.read_text("utf-8", "replace"), re.MULTILINE)
    # The official code defaults to true, and true means tanh.
    value = found.group(1).lower() if found else "true"
    activations: dict[str, OutputActivation] = {"sigmoid": "sigmoid", "tanh": "tanh", "true": "tanh", "false": "none"}
    if value not in activations:
        raise ModelError(
            f"{settings} asks for the output activation {value!r}, which is unknown: take sigmoid, tanh or false"
        )
    return activations[value]


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(9)
    return path.suffix == ".safetensors" or start[8:] == b"{"


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], GeneratorConfig | None]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors: dict[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise ModelError(f"weight file {path} is damaged or incomplete ({_one_line(error)}): fetch it again") from None
    tensors = _bare_generator_keys(tensors, path)
    if "config" not in metadata:
        return tensors, None
    try:
        return tensors, GeneratorConfig(**json.loads(metadata["config"]))
    except (ValueError, TypeError) as error:
        raise ModelError(
            f"weight file {path} has an unreadable config ({_one_line(error)}): update objremove"
        ) from None


def _read_torch(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    if is_zip:
        tensors = read_archive(path)
        state = {key.removeprefix(_STATE): value for key, value in tensors.items() if key.startswith(_STATE)}
        return state or tensors
    try:  # files from before PyTorch 1.6 are no zip archives
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # whatever a garbled pickle raises
        raise ModelError(
            f"{path} is no weight file that can be read safely, or is incomplete: fetch it again"
        ) from None
    content = content.get("state_dict", content) if isinstance(content, dict) else {}
    return {key: value for key, value in content.items() if isinstance(value, Tensor)}


def _bare_generator_keys(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Only the generator's tensors, without the prefix that wrappers add to their names."""
    for prefix in _PREFIXES:
        stem = tensors.get(prefix + _FFC_STEM, tensors.get(prefix + _REGULAR_STEM))
        if stem is not None and stem.ndim == 4 and stem.shape[2:] == (7, 7):
            return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    raise ModelError(
        f"{path} holds no LaMa generator ({len(tensors)} tensors, none is its stem): choose another weight file"
    )


def _infer_config(tensors: Mapping[str, Tensor], path: Path) -> GeneratorConfig:
    """The architecture from the tensors' names and shapes alone; the published output activation (sigmoid) is assumed."""
    fourier = _FFC_STEM in tensors
    stem = tensors[_FFC_STEM if fourier else _REGULAR_STEM]
    down, block, step = (
        ("model.{}.ffc.convl2l.weight", "model.{}.conv1.ffc.convl2l.weight", 1)
        if fourier
        else ("model.{}.weight", "model.{}.conv_block.1.weight", 3)
    )
    first = 1 + step
    n_downsampling = _count_from(tensors, down, first, step)
    n_blocks = _count_from(tensors, block, first + n_downsampling * step, 1)
    heads = [key for key, value in tensors.items() if value.ndim == 4 and value.shape[2:] == (7, 7)]
    if not n_downsampling or not n_blocks or len(heads) != 2:
        raise ModelError(f"{path} holds an incomplete LaMa generator ({len(tensors)} tensors): fetch it again")
    last = tensors[down.format(first + (n_downsampling - 1) * step)]
    to_global = tensors.get(f"model.{n_downsampling + 1}.ffc.convl2g.weight")
    n_global = 0 if to_global is None else to_global.shape[0]
    width = last.shape[0] + n_global
    ngf = stem.shape[0]
    try:
        return GeneratorConfig(
            kind="ffc" if fourier else "regular",
            input_nc=stem.shape[1],
            output_nc=next(tensors[key].shape[0] for key in heads if not key.startswith("model.1.")),
            ngf=ngf,
            n_downsampling=n_downsampling,
            n_blocks=n_blocks,
            max_features=width if width < ngf << n_downsampling else max(width, GeneratorConfig.max_features),
            ratio=n_global / width if fourier else GeneratorConfig.ratio,
            lfu=any(".lfu." in key for key in tensors),
        )
    except ValueError as error:
        raise ModelError(f"{path} holds no LaMa generator that can be built ({error}): choose another file") from None


def _count_from(tensors: Mapping[str, Tensor], pattern: str, start: int, step: int) -> int:
    count = 0
    while pattern.format(start + count * step) in tensors:
        count += 1
    return count


def _assemble(tensors: Mapping[str, Tensor], config: GeneratorConfig, path: Path) -> Generator:
    """Build the generator without allocating its weights twice, and insist that every key and shape is there and none is left."""
    with torch.device("meta"):
        generator = build_generator(config)
    expected = {key: value.shape for key, value in generator.state_dict().items()}
    missing, unexpected = expected.keys() - tensors.keys(), tensors.keys() - expected.keys()
    reshaped = {key for key in expected.keys() & tensors.keys() if tensors[key].shape != expected[key]}
    if missing or unexpected or reshaped:
        first = min(missing or unexpected or reshaped)
        raise ModelError(
            f"{path} is not a complete LaMa generator: {len(missing)} keys missing, {len(unexpected)} unexpected, "
            f"{len(reshaped)} of another shape (first: {first}): fetch it again"
        )
    # A ReLU may turn NaN into 0, so broken weights would not show in the answer.
    broken = [key for key, value in tensors.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    if broken:
        raise ModelError(f"{path} has weights that are not finite (first: {broken[0]}): fetch it again")
    values = {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
    generator.load_state_dict({key: value.contiguous() for key, value in values.items()}, strict=True, assign=True)
    return generator.eval()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
