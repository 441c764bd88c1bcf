"""LaMa behind the `Inpainter` contract: any window size, nothing written to, official numbers inside the hole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from objremove.errors import ModelError
from objremove.inpainting.base import Inpainter
from objremove.inpainting.lama import LamaInpainter, load_generator
from objremove.inpainting.lama.checkpoint import save_generator
from objremove.inpainting.lama.generator import GeneratorConfig, build_generator

TINY = Path(__file__).parent / "data" / "lama-tiny"
CPU = torch.device("cpu")
INPAINTER = LamaInpainter(TINY, name="lama-tiny", device=CPU)


def test_is_an_inpainter():
    assert isinstance(INPAINTER, Inpainter)
    assert (INPAINTER.name, INPAINTER.modulo) == ("lama-tiny", 8)
    assert (INPAINTER.hole_width, INPAINTER.sharp_width) == (250, 250), "as the published weights"


def test_what_holes_weights_are_fit_for_stands_in_their_file(tmp_path):
    generator = build_generator(GeneratorConfig(ngf=8, n_blocks=1, hole_width=40, sharp_width=20)).eval()
    save_generator(generator, tmp_path / "small.safetensors")
    inpainter = LamaInpainter(tmp_path / "small.safetensors", name="small", device=CPU)
    assert (inpainter.hole_width, inpainter.sharp_width) == (40, 20)
    assert inpainter.batch_size == 1, "textures are chosen: a batch must not change the choice"
    with pytest.raises(ValueError, match="sharp_width"):
        GeneratorConfig(sharp_width=0)
    with pytest.raises(ValueError, match="above hole_width"):
        GeneratorConfig(hole_width=40)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1 / 255)])
def test_fills_as_the_official_code_does(dtype, tolerance):
    golden = np.load(TINY / "golden.npz")
    inpainter = LamaInpainter(load_generator(TINY), name="lama-tiny", device=CPU, dtype=dtype)
    for i in range(3):
        window, hole = golden[f"image_{i}"].transpose(1, 2, 0)[None], golden[f"mask_{i}"] > 0
        filled = inpainter.fill(window, hole)
        expected = golden[f"inpainted_{i}"].transpose(1, 2, 0)[None]
        np.testing.assert_allclose(filled[hole], expected[hole], atol=tolerance)


@settings(max_examples=15, deadline=None)
@given(batch=st.integers(1, 3), height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 99))
def test_any_size_keeps_its_shape_and_nothing_is_written_to(batch, height, width, seed):
    random = np.random.default_rng(seed)
    windows = random.random((batch, height, width, 3), dtype=np.float32)
    holes = random.random((batch, height, width)) < 0.3
    windows.flags.writeable = holes.flags.writeable = False
    filled = INPAINTER.fill(windows, holes)
    assert filled.shape == windows.shape
    assert filled.dtype == np.float32
    assert filled.min() >= 0
    assert filled.max() <= 1
    single = np.concatenate([INPAINTER.fill(windows[i : i + 1], holes[i : i + 1]) for i in range(batch)])
    np.testing.assert_allclose(filled, single, atol=1e-5)


def test_what_lies_under_the_hole_has_no_influence():
    random = np.random.default_rng(0)
    windows = random.random((1, 32, 48, 3), dtype=np.float32)
    holes = np.zeros((1, 32, 48), bool)
    holes[:, 8:20, 10:30] = True
    other = np.where(holes[..., None], np.float32(1), windows)
    np.testing.assert_array_equal(INPAINTER.fill(windows, holes), INPAINTER.fill(other, holes))


def test_broken_weights_are_an_error_not_a_black_hole():
    generator = load_generator(TINY)
    with torch.no_grad():
        generator.model[-2].bias.fill_(float("nan"))
    inpainter = LamaInpainter(generator, name="broken", device=CPU)
    with pytest.raises(ModelError, match="broken gave values that are not finite"):
        inpainter.fill(np.zeros((1, 16, 16, 3), np.float32), np.ones((1, 16, 16), bool))


def test_missing_weights_are_a_model_error(tmp_path):
    with pytest.raises(ModelError, match="does not exist"):
        LamaInpainter(tmp_path / "big-lama.pt", name="big-lama", device=CPU)
