"""Prompters: SAM with a tiny random encoder and toy decoders, GrabCut on drawn scenes."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from objremove import segmentation
from objremove.errors import ModelError, UsageError
from objremove.instances import Instance
from objremove.segmentation import prompts, sam
from objremove.segmentation.attention import ChunkedAttention, bound_attention_memory
from objremove.segmentation.base import Prompter
from objremove.segmentation.grabcut import GrabCutPrompter
from objremove.segmentation.instance import mask_iou

CPU, FP32 = torch.device("cpu"), torch.float32


def disc(height: int, width: int, x: int, y: int, radius: int) -> np.ndarray:
    rows, columns = np.ogrid[:height, :width]
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 <= radius**2)


def photo_of(mask: np.ndarray, seed: int = 0) -> np.ndarray:
    """A noisy orange object on noisy green-blue ground."""
    noise = np.random.default_rng(seed).normal(0, 9, (*mask.shape, 3))
    base = np.where(mask[..., None], (220, 120, 30), (60, 110, 120))
    return np.clip(base + noise, 0, 255).astype(np.uint8)


def instance(mask: np.ndarray, label: str = "dog", boundary_error: float = 3.0) -> Instance:
    found = Instance.from_mask(mask, label=label, score=0.7, boundary_error=boundary_error, source="toy")
    assert found is not None
    return found


def overlap(found: Instance, mask: np.ndarray) -> float:
    return float((found.mask & mask).sum() / (found.mask | mask).sum())


class TestPrompts:
    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 10**6), st.integers(1, 4))
    def test_points_lie_inside_the_mask(self, seed: int, count: int):
        rng = np.random.default_rng(seed)
        mask = np.kron(rng.random((7, 9)) > 0.6, np.ones((12, 12), bool)).astype(bool)
        if not mask.any():
            return
        found = instance(mask)
        points = prompts.inner_points(found, count)
        assert 1 <= len(points) <= count
        assert all(found.covers(x, y) for x, y in points)

    def test_the_middle_of_a_ring_is_no_point_of_it(self):
        ring = disc(200, 200, 100, 100, 80) & ~disc(200, 200, 100, 100, 50)
        assert all(ring[y, x] for x, y in prompts.inner_points(instance(ring), 3))

    def test_large_masks_are_measured_coarsely_but_rightly(self):
        mask = disc(3000, 2000, 900, 1400, 700)
        ((x, y),) = prompts.inner_points(instance(mask), 1)
        assert abs(x - 900) < 30
        assert abs(y - 1400) < 30

    def test_only_the_part_inside_a_box_counts(self):
        mask = np.zeros((100, 100), bool)
        mask[10:90, 10:90] = True
        ((x, _),) = prompts.inner_points(instance(mask), 1, inside=(0, 0, 30, 100))
        assert x < 30
        assert prompts.inner_points(instance(mask), 1, inside=(0, 0, 5, 5)) == []

    def test_boxes_grow_inside_the_photo(self):
        mask = np.zeros((100, 200), bool)
        mask[0:40, 100:200] = True
        assert prompts.grown_box(instance(mask), 0.05, least=3) == (95, 0, 200, 43)


@pytest.fixture
def tiny_sam() -> nn.Module:
    """A SAM of the real geometry (1024 frame, 64x64 tokens) that is 8 channels wide and two blocks deep."""
    modeling = pytest.importorskip("segment_anything.modeling")
    torch.manual_seed(0)
    encoder = modeling.ImageEncoderViT(
        depth=2,
        embed_dim=8,
        img_size=1024,
        mlp_ratio=1,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        num_heads=2,
        patch_size=16,
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=[1],
        window_size=14,
        out_chans=16,
    )
    for block in encoder.blocks:
        nn.init.normal_(block.attn.rel_pos_h, 0, 0.5)
        nn.init.normal_(block.attn.rel_pos_w, 0, 0.5)
    transformer = modeling.TwoWayTransformer(depth=2, embedding_dim=16, mlp_dim=16, num_heads=2)
    return modeling.Sam(
        image_encoder=encoder,
        prompt_encoder=modeling.PromptEncoder(16, (64, 64), (1024, 1024), 4),
        mask_decoder=modeling.MaskDecoder(
            transformer_dim=16, transformer=transformer, iou_head_depth=2, iou_head_hidden_dim=16
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    ).eval()


class TestAttention:
    @torch.inference_mode()
    def test_chunked_attention_is_the_original(self, tiny_sam: nn.Module):
        attention = tiny_sam.image_encoder.blocks[1].attn
        tokens = torch.randn(1, 64, 64, 8)
        assert torch.allclose(attention(tokens), ChunkedAttention(attention)(tokens), atol=1e-5)

    def test_only_global_blocks_are_replaced(self, tiny_sam: nn.Module):
        bound_attention_memory(tiny_sam.image_encoder)
        kinds = [isinstance(block.attn, ChunkedAttention) for block in tiny_sam.image_encoder.blocks]
        assert kinds == [False, True]


class TestSam:
    def prompter(self, model: nn.Module) -> sam.SamPrompter:
        return sam.SamPrompter(model, "sam_toy", device=CPU, dtype=FP32)

    @torch.inference_mode()
    def test_logits_are_those_of_the_original_predictor(self, tiny_sam: nn.Module):
        """Box and points in photo pixels, resized frame, padding: the same masks as `SamPredictor` draws."""
        from segment_anything import SamPredictor

        pixels = np.random.default_rng(0).integers(0, 256, (1024, 700, 3), dtype=np.uint8)  # nothing to resize
        predictor = SamPredictor(tiny_sam)
        predictor.set_image(pixels)
        box, point = (100, 200, 500, 900), (300, 400, True)
        theirs, quality, _ = predictor.predict(
            np.array([point[:2]]), np.array([1]), np.array(box), multimask_output=False, return_logits=True
        )
        prompter = self.prompter(tiny_sam)
        logits, estimate = prompter._decode(prompter.embed(pixels), [point], box, False)
        assert logits.shape == theirs.shape
        assert np.allclose(logits, theirs, atol=1e-4)
        assert np.allclose(quality, estimate, atol=1e-4)

    def test_a_photo_is_embedded_once(self, tiny_sam: nn.Module, monkeypatch: pytest.MonkeyPatch):
        prompter, encoded = self.prompter(tiny_sam), []
        monkeypatch.setattr(prompter, "_encode", lambda rgb: encoded.append(rgb) or torch.zeros(1, 16, 64, 64))
        pixels = np.zeros((40, 60, 3), np.uint8)
        threads = [threading.Thread(target=prompter.embed, args=(pixels.copy(),)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(encoded) == 1
        for value in range(1, 8):
            prompter.embed(np.full((40, 60, 3), value, np.uint8))
        assert len(prompter._embeddings) == 4
        prompter.embed(np.zeros((80, 120, 3), np.uint8))  # the same frame, another photo
        assert len(encoded) == 9

    def answering(self, model: nn.Module, mask: np.ndarray, quality: float) -> sam.SamPrompter:
        """A prompter whose decoder always draws `mask`."""
        prompter = self.prompter(model)
        embedding = sam.Embedding(torch.zeros(1), mask.shape, mask.shape)
        logits = (mask.astype(np.float32) - 0.5)[None]
        prompter.embed = lambda pixels: embedding  # type: ignore[method-assign]
        prompter._decode = lambda *_: (logits, np.array([quality], np.float32))  # type: ignore[method-assign]
        return prompter

    @pytest.mark.parametrize(
        ("shift", "quality", "taken"),
        [(4, 0.95, True), (4, 0.7, False), (45, 0.95, False)],
        ids=["good", "unsure", "far"],
    )
    def test_a_sharper_mask_is_taken_only_where_it_agrees(self, tiny_sam, shift: int, quality: float, taken: bool):
        rough, sharp = disc(120, 160, 70, 60, 30), disc(120, 160, 70 + shift, 60, 30)
        one = replace(instance(rough), second_look=True, extends=True)
        (refined,) = self.answering(tiny_sam, sharp, quality).refine(photo_of(rough), [one])
        assert (refined.mask == (sharp if taken else rough)).all()
        assert (refined.label, refined.score) == ("dog", 0.7)
        assert refined.second_look
        assert refined.extends

    def test_what_a_second_look_sees_more_of_is_not_held_against_it(self, tiny_sam):
        """Neither is a pixel that the instance itself covers, of another class or not."""
        prompter, asked = self.answering(tiny_sam, disc(120, 160, 70, 60, 30), 0.95), []
        answer = prompter._decode
        prompter._decode = lambda *prompt: asked.append(prompt[1]) or answer(*prompt)  # type: ignore[method-assign]
        head, dog = disc(120, 160, 70, 40, 12), disc(120, 160, 70, 60, 34)
        found = [instance(head), replace(instance(dog), second_look=True, extends=True)]
        prompter.refine(photo_of(dog), found)
        assert len(asked) == 2
        assert all(positive for points in asked for *_, positive in points)
        asked.clear()
        beside = disc(120, 160, 100, 60, 9)
        prompter.refine(photo_of(dog), [instance(dog), instance(disc(120, 160, 70, 50, 12), "cat"), instance(beside)])
        assert all(positive for *_, positive in asked[0]), "the cat's middle and the other's lie in the dog"
        prompter.refine(photo_of(dog), [instance(head), instance(disc(120, 160, 80, 50, 4))])
        assert not all(positive for *_, positive in asked[3]), "another object in its box, beside it"

    def test_thin_objects_keep_both_masks(self, tiny_sam):
        rough, sharp = disc(120, 160, 70, 60, 30), disc(120, 160, 74, 60, 30)
        (refined,) = self.answering(tiny_sam, sharp, 0.95).refine(photo_of(rough), [instance(rough, "bicycle")])
        assert (refined.mask == (rough | sharp)).all()

    def test_points_make_one_instance_and_each_box_one(self, tiny_sam):
        prompter = self.answering(tiny_sam, disc(120, 160, 70, 60, 30), 0.9)
        found = prompter.select(
            np.zeros((120, 160, 3), np.uint8), points=[(3, 3, True), (9, 9, False)], boxes=[(0, 0, 5, 5)] * 2
        )
        assert [each.label for each in found] == ["point", "box", "box"]
        assert isinstance(prompter, Prompter)

    @pytest.mark.parametrize("shape", [(1, 1), (1, 300), (333, 2), (61, 90)])
    def test_any_photo_size_passes(self, tiny_sam: nn.Module, shape: tuple[int, int]):
        pixels = np.zeros((*shape, 3), np.uint16)
        for found in self.prompter(tiny_sam).select(pixels, boxes=[(0, 0, shape[1], shape[0])]):
            assert found.size == shape

    def test_without_the_package_the_extra_is_named(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setitem(sys.modules, "segment_anything", None)
        with pytest.raises(ModelError, match=r"objremove\[sam\]"):
            segmentation.load_prompter("sam_vit_b", device=CPU, dtype=FP32, offline=True)

    def test_a_file_that_is_no_sam(self, tmp_path: Path):
        pytest.importorskip("segment_anything")
        torch.save({"a": torch.zeros(1)}, tmp_path / "x.pth")
        with pytest.raises(ModelError, match="no SAM of a known size"):
            segmentation.load_prompter(tmp_path / "x.pth", device=CPU, dtype=FP32)

    def test_segmenters_are_no_prompters(self):
        with pytest.raises(UsageError, match="no prompter"):
            segmentation.load_prompter("deeplabv3_resnet50", device=CPU, dtype=FP32)


class TestGrabCut:
    prompter = GrabCutPrompter()

    def test_it_is_the_prompter_that_needs_nothing(self):
        assert isinstance(segmentation.load_prompter(device=CPU, dtype=FP32), GrabCutPrompter)
        assert isinstance(self.prompter, Prompter)

    @pytest.mark.parametrize("scale", [1, 5])
    def test_a_box_around_an_object_finds_the_object(self, scale: int):
        mask = disc(150 * scale, 220 * scale, 90 * scale, 70 * scale, 35 * scale)
        box = (50 * scale, 30 * scale, 130 * scale, 110 * scale)
        (found,) = self.prompter.select(photo_of(mask), boxes=[box])
        assert overlap(found, mask) > 0.9
        assert found.label == "box"

    def test_a_point_on_an_object_finds_the_object(self):
        mask = disc(150, 220, 90, 70, 35)
        (found,) = self.prompter.select(photo_of(mask), points=[(80, 60, True)])
        assert overlap(found, mask) > 0.85
        assert found.covers(80, 60)
        assert found.label == "point"

    def test_a_negative_point_holds_the_region_back(self):
        mask = disc(150, 260, 70, 70, 40) | disc(150, 260, 190, 70, 40)
        mask[66:74, 70:190] = True  # a bridge between two discs
        (found,) = self.prompter.select(photo_of(mask), points=[(70, 70, True), (190, 70, False)])
        assert not found.covers(190, 70)

    def test_a_click_means_the_same_on_a_large_photo(self):
        small = disc(150, 220, 60, 70, 10) | disc(150, 220, 90, 70, 10)
        large = np.kron(small, np.ones((12, 12), np.bool_))
        rng = np.random.default_rng(3)
        noise = rng.normal(0, 12, (150, 220, 1)).repeat(12, axis=0).repeat(12, axis=1)
        pixels = np.clip(photo_of(large) + noise, 0, 255).astype(np.uint8)
        (found,) = self.prompter.select(pixels, points=[(60 * 12, 70 * 12, True), (90 * 12, 70 * 12, False)])
        first = disc(150, 220, 60, 70, 10)
        assert overlap(found, np.kron(first, np.ones((12, 12), np.bool_))) > 0.8, (
            "the disc that was clicked, and no more"
        )

    def test_a_plain_box_is_taken_whole(self):
        pixels = np.full((80, 80, 3), 128, np.uint8)
        (found,) = self.prompter.select(pixels, boxes=[(20, 20, 60, 60)])
        assert found.box == (20, 20, 60, 60)

    def test_a_found_object_stays_inside_its_box(self):
        mask = disc(150, 220, 90, 70, 60)
        (found,) = self.prompter.select(photo_of(mask), boxes=[(60, 30, 110, 120)])
        x0, y0, x1, y1 = found.box
        assert x0 >= 60
        assert y0 >= 30
        assert x1 <= 110
        assert y1 <= 120

    @pytest.mark.parametrize("shape", [(1, 1), (2, 200), (300, 3)])
    def test_tiny_photos_pass(self, shape: tuple[int, int]):
        pixels = np.zeros((*shape, 3), np.uint16)
        found = self.prompter.select(pixels, points=[(0, 0, True)], boxes=[(0, 0, shape[1], shape[0])])
        assert all(each.size == shape for each in found)

    def test_the_same_on_every_run(self):
        mask = disc(150, 220, 90, 70, 35)
        runs = [self.prompter.select(photo_of(mask), boxes=[(40, 20, 140, 120)])[0] for _ in range(3)]
        assert all((run.mask == runs[0].mask).all() for run in runs)

    def test_a_rough_outline_is_sharpened(self):
        mask, rough = disc(150, 220, 90, 70, 40), disc(150, 220, 94, 72, 42)
        one = replace(instance(rough, boundary_error=6), second_look=True, extends=True)
        (refined,) = self.prompter.refine(photo_of(mask), [one])
        assert overlap(refined, mask) > overlap(instance(rough), mask)
        assert overlap(refined, mask) > 0.95
        assert (refined.label, refined.score, refined.boundary_error) == ("dog", 0.7, 6)
        assert refined.second_look
        assert refined.extends

    def test_what_cannot_be_sharpened_comes_back_as_it_was(self):
        thin = np.zeros((100, 100), bool)
        thin[50, 10:90] = True
        original = instance(thin)
        assert self.prompter.refine(photo_of(thin), [original]) == [original]

    def test_refining_never_loses_most_of_a_mask(self):
        rough = disc(150, 220, 90, 70, 40)
        noise = np.random.default_rng(1).integers(0, 256, (150, 220, 3), dtype=np.uint8)
        (refined,) = self.prompter.refine(noise, [instance(rough, boundary_error=12)])
        assert mask_iou(refined, instance(rough)) > 0.6
