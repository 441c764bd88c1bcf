"""The inference form computes what the module computes: in fp32 nearly exactly, in bf16 within the tolerance of a picture."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import nn

from objremove.inpainting.lama import GeneratorConfig, build_generator, fold, folding, load_generator
from objremove.inpainting.lama.convolution import Target, make_conv, make_upsampling

TINY = Path(__file__).parent / "data" / "lama-tiny"
SHAPES = [{}, {"kind": "regular"}, {"lfu": True}, {"n_downsampling": 1, "out_act": "tanh"}, {"ratio": 0.5, "ngf": 16}]


def picture(height: int, width: int, batch: int = 1) -> torch.Tensor:
    """Generator input with the statistics of a photo: smooth colours, some texture, a rectangular hole."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(batch, 3, max(height // 16, 2), max(width // 16, 2), generator=generator)
    image = nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)
    image = (image + 0.05 * torch.randn(image.shape, generator=generator)).clamp(0, 1)
    hole = torch.zeros(batch, 1, height, width)
    hole[..., height // 4 : height // 2, width // 3 : 2 * width // 3] = 1
    return torch.cat((image * (1 - hole), hole), dim=1)


def trained_like(**changes):
    """A generator with random weights whose BatchNorms were calibrated on pictures and given uneven scales and shifts."""
    torch.manual_seed(0)
    generator = build_generator(GeneratorConfig(**{"ngf": 8, "n_blocks": 2, **changes})).train()
    norms = [module for module in generator.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # a plain average over the calibration batches
        nn.init.uniform_(norm.weight, 0.4, 0.8)
        nn.init.uniform_(norm.bias, -0.3, 0.3)
    with torch.no_grad():
        generator(picture(64, 96, batch=2))
    return generator.eval()


@pytest.mark.parametrize("band_pixels", [1 << 16, 512])
@pytest.mark.parametrize("changes", SHAPES, ids=str)
def test_fp32_form_equals_the_module(changes, band_pixels, monkeypatch):
    monkeypatch.setattr(folding, "_BAND_PIXELS", band_pixels)  # one band, and many bands with a ragged last one
    generator = trained_like(**changes)
    folded = fold(generator)
    modulo = generator.config.modulo
    for size in ((16, 16), (max(5 * modulo, 16), max(3 * modulo, 16)), (64, 80)):  # the second has odd feature maps
        x = picture(*size, batch=2)
        with torch.inference_mode():
            torch.testing.assert_close(folded(x), generator(x), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["ffc", "regular"])
def test_bf16_form_is_within_a_few_grey_levels(kind):
    generator = trained_like(kind=kind)
    x = picture(64, 96)
    with torch.inference_mode():
        exact = generator(x)
    difference = (fold(generator, dtype=torch.bfloat16)(x) - exact).abs()
    assert difference.mean() < 1 / 255
    assert difference.max() < 4 / 255


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_convolutions_with_and_without_post_operations(dtype, fused, monkeypatch):
    monkeypatch.setattr(Target, "fuses", fused)
    target = Target(torch.device("cpu"), dtype)
    torch.manual_seed(0)
    x = target.place(torch.randn(2, 6, 9, 11))
    weight, bias, up = torch.randn(4, 6, 3, 3), torch.randn(4), torch.randn(6, 4, 3, 3)
    exact = nn.functional.conv2d(x.float(), weight.to(dtype).float(), bias, stride=2)
    other = target.place(torch.randn(exact.shape))
    tolerance = {"atol": 1e-4, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 0.1, "rtol": 0.02}

    conv = make_conv(weight, bias, target, stride=2)
    linear = make_conv(weight, None, target, stride=2, relu=False)
    torch.testing.assert_close(conv(x).float(), exact.relu(), **tolerance)
    torch.testing.assert_close(conv.add_to(other, x).float(), (exact + other.float()).relu(), **tolerance)
    torch.testing.assert_close(linear(x).float(), exact - bias.view(1, -1, 1, 1), **tolerance)
    doubled = nn.functional.conv_transpose2d(x.float(), up.to(dtype).float(), bias, 2, 1, 1).relu()
    torch.testing.assert_close(make_upsampling(up, bias, target)(x).float(), doubled, **tolerance)


def test_batch_equals_single_and_the_generator_is_left_alone():
    generator = load_generator(TINY)
    before = {key: value.clone() for key, value in generator.state_dict().items()}
    folded = fold(generator)
    batch = torch.cat([picture(64, 64), picture(64, 64).flip(3)])
    kept = batch.clone()
    together = folded(batch)
    for i in range(2):
        torch.testing.assert_close(folded(batch[i : i + 1]), together[i : i + 1], atol=1e-5, rtol=0)
    assert torch.equal(batch, kept)
    assert all(torch.equal(value, before[key]) for key, value in generator.state_dict().items())


def test_threads_share_one_form():
    folded = fold(load_generator(TINY))
    inputs = [picture(64, 64 + 8 * i) for i in range(4)]
    alone = [folded(x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for ours, theirs in zip(pool.map(folded, inputs), alone, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_refuses_training_mode_and_odd_sizes():
    generator = load_generator(TINY)
    with pytest.raises(ValueError, match="multiples of 8"):
        fold(generator)(torch.rand(1, 4, 60, 64))
    with pytest.raises(ValueError, match="eval mode"):
        fold(build_generator(GeneratorConfig(ngf=8, n_blocks=1)))
