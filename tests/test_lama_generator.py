"""The generators against the official ones: keys, sizes, and numbers computed by the original code."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from objremove.inpainting.lama import CONFIGS, GeneratorConfig, build_generator, load_generator
from objremove.inpainting.lama.layers import Branches, FourierUnit, split_channels

DATA = Path(__file__).parent / "data"
GOLDEN = (DATA / "golden-lama.txt").read_text()
TINY = {"ngf": 8, "n_blocks": 2}


def official_keys():
    lines = [line.split("\t") for line in (DATA / "big-lama-keys.txt").read_text().splitlines() if line[0] != "#"]
    return [(key, shape) for key, shape, _, _ in lines]


def synthetic_value(key: str, index: int, shape: torch.Size) -> np.ndarray:
    """The weights of the golden file: entry number and element number, hashed to a uniform number in 0..1."""
    hashed = np.arange(int(np.prod(shape)), dtype=np.uint32)
    hashed *= np.uint32(2654435761)
    hashed += np.uint32(index * 40503 % 2**32)
    hashed ^= hashed >> np.uint32(15)
    hashed *= np.uint32(2246822519)
    hashed ^= hashed >> np.uint32(13)
    u = (hashed / 2.0**32).reshape(shape)
    if len(shape) == 4:
        return (2 * u - 1) * np.sqrt(6 / np.prod(shape[1:]))
    if key.endswith("running_var"):
        return 0.75 + 0.5 * u
    if key.endswith("running_mean"):
        return 0.1 * (u - 0.5)
    return 0.5 + 0.2 * u if key.endswith("weight") else 0.2 * u - 0.1


def synthetic_generator(name: str, dtype: torch.dtype):
    with torch.device("meta"):
        generator = build_generator(CONFIGS[name])
    state = {}
    for index, (key, value) in enumerate(generator.state_dict().items()):
        if value.is_floating_point():
            state[key] = torch.from_numpy(synthetic_value(key, index, value.shape)).to(dtype)
        else:
            state[key] = torch.tensor(0)
    generator.load_state_dict(state, assign=True)
    return generator.eval()


def synthetic_input(dtype: torch.dtype) -> torch.Tensor:
    y, x = np.mgrid[:64, :80]
    image = np.stack([0.5 + 0.4 * np.sin(0.2 * x + c) * np.cos(0.15 * y - c) for c in range(3)])
    hole = ((x >= 24) & (x < 56) & (y >= 16) & (y < 40)).astype(np.float64)[None]
    return torch.from_numpy(np.concatenate((image * (1 - hole), hole))[None]).to(dtype)


def golden_section(name: str) -> str:
    """The lines of one model in the golden file."""
    return re.search(rf"^{name} float64.*?(?=^float32|  float32)", GOLDEN, re.MULTILINE | re.DOTALL).group()


@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"), [("lama-fourier", torch.float64, 1e-8), ("big-lama", torch.float32, 2e-5)]
)
def test_full_size_generators_equal_the_official_code(name, dtype, tolerance):
    generator, seen = synthetic_generator(name, dtype), {}
    for index in (4, 5):
        generator.model[index].register_forward_hook(lambda _m, _i, out, index=index: seen.update({index: out}))
    with torch.inference_mode():
        out = generator(synthetic_input(dtype))

    golden = golden_section(name)
    points = re.findall(r"o\[(\d+),(\d+),(\d+),(\d+)\] = (\S+)", golden)
    assert len(points) == 27
    for *where, value in points:
        assert out[tuple(map(int, where))].item() == pytest.approx(float(value), abs=tolerance)
    mean, std = map(float, re.search(r"mean (\S+) std (\S+)", golden).groups())
    assert out.double().mean().item() == pytest.approx(mean, abs=tolerance)
    assert out.double().std().item() == pytest.approx(std, rel=1e-3)
    # The branches on the way: after the last downsampling and after the first residual block.
    branch_means = re.findall(r"(?:local|global)\b[^;\n]*? mean (\S+)", golden.split("after 3 downs", 1)[1])
    for branch, value in zip((*seen[4], *seen[5]), branch_means, strict=False):
        assert branch.double().mean().item() == pytest.approx(float(value), abs=max(tolerance, 1e-7))


def test_tiny_official_checkpoint_reproduces_its_outputs_at_every_size():
    golden = np.load(DATA / "lama-tiny" / "golden.npz")
    generator = load_generator(DATA / "lama-tiny")
    for i in range(3):
        image, hole = golden[f"image_{i}"], (golden[f"mask_{i}"] > 0).astype(np.float32)
        height, width = hole.shape[1:]
        around = ((0, 0), (0, -height % 8), (0, -width % 8))  # as the official code: bottom and right, mirrored
        image_padded, hole_padded = np.pad(image, around, "symmetric"), np.pad(hole, around, "symmetric")
        x = torch.from_numpy(np.concatenate((image_padded * (1 - hole_padded), hole_padded))[None])
        with torch.inference_mode():
            predicted = generator(x)[0, :, :height, :width].numpy()
        np.testing.assert_allclose(predicted, golden[f"predicted_{i}"], atol=1e-5)
        np.testing.assert_allclose(hole * predicted + (1 - hole) * image, golden[f"inpainted_{i}"], atol=1e-5)


def test_big_lama_has_the_official_keys_in_order():
    with torch.device("meta"):
        generator = build_generator(CONFIGS["big-lama"])
    assert [(key, str(tuple(value.shape))) for key, value in generator.state_dict().items()] == official_keys()


@pytest.mark.parametrize(
    ("name", "parameters", "entries"),
    [
        ("lama-fourier", 27_048_835, 521),
        ("big-lama", 50_975_875, 989),
        ("lama-regular", 45_617_731, 177),
        ("big-lama-regular", 73_947_715, 261),
    ],
)
def test_published_sizes(name, parameters, entries):
    with torch.device("meta"):
        generator = build_generator(CONFIGS[name])
    assert sum(p.numel() for p in generator.parameters()) == parameters
    assert len(generator.state_dict()) == entries


@pytest.mark.parametrize("changes", [{}, {"kind": "regular"}, {"lfu": True}, {"n_downsampling": 2, "ratio": 0.5}])
def test_generators_train(changes):
    generator = build_generator(GeneratorConfig(**TINY, **changes)).train()
    generator(torch.rand(2, 4, 32, 48)).mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in generator.parameters())


def test_fourier_unit_keeps_its_transforms_in_fp32_under_autocast():
    unit = FourierUnit(8, 8).eval()
    x = torch.rand(1, 8, 12, 20)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = unit(x.bfloat16())
    with torch.no_grad():
        exact = unit(x)
    assert mixed.dtype == torch.bfloat16
    torch.testing.assert_close(mixed.float(), exact, atol=0.02, rtol=0.02)


def test_fourier_unit_sees_the_whole_map():
    unit = FourierUnit(4, 4).eval()
    x = torch.rand(1, 4, 16, 17)  # an odd width must survive the half spectrum
    changed = x.clone()
    changed[0, 0, 0, 0] += 1
    with torch.no_grad():
        difference = unit(changed) - unit(x)
    assert difference.shape == x.shape
    assert (difference.abs() > 0).float().mean() > 0.9


def test_channel_split_has_no_rounding_surprise():
    assert split_channels(512, 0.75) == (128, 384)
    assert split_channels(10, 0.3) == (7, 3)
    assert split_channels(64, 0.0) == (64, 0)


def test_config_refuses_a_trunk_without_both_branches():
    with pytest.raises(ValueError, match="ratio"):
        GeneratorConfig(ratio=0.0)


def test_branches_unpack_as_local_then_global():
    local, globl = Branches(torch.zeros(1), None)
    assert local.shape == (1,)
    assert globl is None
