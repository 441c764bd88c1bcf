"""Evaluation: scores whose right answer is known, holes that repeat, and both commands on drawn photos."""

from __future__ import annotations

import csv
import io
import socket
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torchmetrics")
pytest.importorskip("matplotlib")

import torchmetrics
from torchvision.models import vgg16
from typer.testing import CliRunner

from objremove.classes import VOC
from objremove.cli.evaluate import app
from objremove.errors import ModelError, UsageError
from objremove.evaluation import networks
from objremove.evaluation.detection import DetectionScores
from objremove.evaluation.holes import hole_sets, make_case
from objremove.evaluation.methods import describe, load_methods, short_names
from objremove.evaluation.metrics import edge, fidelity
from objremove.evaluation.output import write_report
from objremove.evaluation.photos import read_photos
from objremove.evaluation.removal import evaluate_removal
from objremove.evaluation.rows import Row
from objremove.evaluation.statistics import estimate, paired_wins, summarise
from objremove.instances import Instance
from objremove.remover import Remover
from objremove.training.files import read_records
from objremove.training.library import PhotoLibrary, ShapeBank
from objremove.training.perceptual import Ade20kEncoder

CPU = torch.device("cpu")
CAR, PERSON = VOC.index("car"), VOC.index("person")


def textured(side: int, seed: int = 0) -> np.ndarray:
    """A photo-like picture: noise of several scales."""
    rng = np.random.default_rng(seed)
    picture = np.full((side, side, 3), 128.0)
    for scale in (1, 4, 16):
        picture += cv2.GaussianBlur(rng.normal(0, 50 * scale, (side, side, 3)), (0, 0), scale)
    return picture.clip(0, 255).astype(np.uint8)


def middle(side: int = 128, half: int = 24) -> np.ndarray:
    """A square hole in the middle."""
    hole = np.zeros((side, side), np.bool_)
    hole[side // 2 - half : side // 2 + half, side // 2 - half : side // 2 + half] = True
    return hole


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six photos with a red disc that is labelled as a person, and two without; one of these is too small for 256 px."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(8):
        height, width = (96, 120) if index == 7 else (256, 300)
        photo = np.tile(np.linspace(60, 160, width, dtype=np.uint8)[None, :, None], (height, 1, 3))
        if index < 6:
            labels = np.zeros((height, width), np.uint8)
            centre = (70 + 25 * index, 120)
            cv2.circle(photo, centre, 28, (220, 30, 30), -1)
            cv2.circle(labels, centre, 28, PERSON, -1)
            cv2.imwrite(str(folder / f"{index}.seg.png"), labels)
        cv2.imwrite(str(folder / f"{index}.png"), photo[..., ::-1])
    return folder


class TestScores:
    def test_a_perfect_fill(self):
        photo, hole = textured(128), middle()
        scores = fidelity(photo, photo, hole)
        assert scores["ssim"] == pytest.approx(1)
        assert scores["ssim_hole"] == pytest.approx(1)
        assert scores["l1"] == scores["l1_hole"] == 0
        assert scores["psnr"] == pytest.approx(58.92, abs=0.01)  # rounding's own error, not infinity

    def test_only_the_hole_counts_in_the_hole(self):
        photo, hole = np.full((128, 128, 3), 100, np.uint8), middle()
        other = np.where(hole[:, :, None], np.uint8(110), photo)
        scores = fidelity(other, photo, hole)
        assert scores["l1_hole"] == pytest.approx(10 / 255)
        assert scores["l1"] == pytest.approx(10 / 255 * hole.mean())
        assert scores["psnr_hole"] == pytest.approx(20 * np.log10(25.5))

    def test_an_untouched_photo_has_neither_seam_nor_blur(self):
        scores = edge(textured(256), middle(256, 50))
        assert scores["seam"] == pytest.approx(1, abs=0.1)
        assert scores["texture"] == pytest.approx(1, abs=0.1)

    def test_another_tone_shows_as_a_seam_and_blur_as_lost_texture(self):
        photo, hole = textured(256), middle(256, 50)
        shifted = np.where(hole[:, :, None], photo // 2, photo)
        blurred = np.where(hole[:, :, None], cv2.GaussianBlur(photo, (0, 0), 3), photo)
        assert edge(shifted, hole)["seam"] > 3
        assert edge(blurred, hole)["seam"] < 1.6
        assert edge(blurred, hole)["texture"] < 0.5

    def test_a_smooth_wall_divides_nothing_by_nothing(self):
        assert edge(np.full((64, 64, 3), 90, np.uint8), middle(64, 10)) == {"seam": 1.0, "texture": 1.0}

    def test_a_hole_without_an_edge_has_no_seam(self):
        assert edge(textured(64), np.ones((64, 64), np.bool_)) == {}


class TestStatistics:
    def test_the_interval_covers_the_truth_about_as_often_as_it_says(self):
        rng = np.random.default_rng(1)
        found = [estimate(rng.normal(3, 1, 40), seed=seed) for seed in range(200)]
        assert 0.88 <= np.mean([one.low <= 3 <= one.high for one in found]) <= 0.99

    def test_what_never_happened_may_happen(self):
        never = estimate([0.0] * 61, event=True)
        assert (never.low, never.high) == (0, pytest.approx(0.0592, abs=1e-3))
        assert never.text(2) == "0.00 ±0.03"
        half = estimate([0.0, 1.0] * 50, event=True)
        assert (half.low, half.high) == (pytest.approx(0.404, abs=1e-3), pytest.approx(0.596, abs=1e-3))

    def test_one_photo_tells_nothing_of_others(self):
        assert [estimate([value]).text(2) for value in (0.3, 1.0)] == ["0.30", "1.00"]

    def test_ratios_are_averaged_as_ratios(self):
        assert estimate([0.5, 2.0], ratio=True).mean == pytest.approx(1)

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
    def test_two_shares_add_up_to_one(self, values: list[float]):
        rows = [Row("g", str(at), "a", {"ssim": value}) for at, value in enumerate(values)]
        rows += [Row("g", str(at), "b", {"ssim": 0.5}) for at in range(len(values))]
        wins = {win.method: win.share for win in paired_wins(rows, "ssim")}
        assert wins["a"] + wins["b"] == pytest.approx(1)
        assert wins["a"] == pytest.approx(np.mean([(v > 0.5) + (v == 0.5) / 2 for v in values]))

    def test_each_score_knows_its_better_side(self):
        rows = [Row("g", "p", "a", {"l1": 0.1, "seam": 0.8}), Row("g", "p", "b", {"l1": 0.2, "seam": 2.0})]
        for score in ("l1", "seam"):
            assert {win.method: win.share for win in paired_wins(rows, score)} == {"a": 1.0, "b": 0.0}

    def test_a_missing_score_is_no_zero(self):
        rows = [Row("g", "p", "a", {"seam": 1.0}), Row("g", "q", "a", {})]
        assert summarise(rows)["g", "a", "seam"].count == 1


class TestHoles:
    # Mean area after leaving out holes above one half; measured on 1,500 holes of the official generators.
    @pytest.mark.parametrize(
        ("name", "area"), [("thin-256", 0.287), ("medium-256", 0.235), ("thick-256", 0.268), ("thick-512", 0.266)]
    )
    def test_they_cover_as_much_as_the_official_ones(self, name: str, area: float):
        holes = hole_sets(None)[name]
        photo = np.zeros((holes.side, holes.side, 3), np.uint8)
        cases = [make_case(name, holes, str(key), photo, seed=0) for key in range(300)]
        assert np.mean([case.hole.mean() for case in cases if case]) == pytest.approx(area, abs=0.03)

    def test_a_hole_depends_on_seed_set_and_key_alone(self):
        holes = hole_sets(None)["thick-256"]
        photo = textured(320)
        first, again = (make_case("thick-256", holes, "a", photo, seed=3) for _ in range(2))
        other = make_case("thick-256", holes, "b", photo, seed=3)
        assert first
        assert again
        assert other
        assert np.array_equal(first.hole, again.hole)
        assert not np.array_equal(first.hole, other.hole)

    def test_a_crop_is_a_window_of_the_reduced_photo(self):
        photo = textured(512)[:, :400]
        case = make_case("thin-256", hole_sets(None)["thin-256"], "a", photo, seed=0)
        assert case
        assert case.original.shape == (256, 256, 3)
        assert 0 < case.hole.mean() <= 0.5

    def test_small_photos_are_not_enlarged(self):
        assert make_case("thin-512", hole_sets(None)["thin-512"], "a", textured(256), seed=0) is None

    def test_object_shapes(self, photos: Path):
        lenders = [record for record in read_records([photos]) if record.classes]
        sets = hole_sets(ShapeBank(PhotoLibrary(lenders)))
        case = make_case("object-256", sets["object-256"], "a", textured(256), seed=0)
        assert case
        assert 0.02 <= case.hole.mean() <= 0.5


def square(label: int, rows: slice, columns: slice, size: tuple[int, int] = (100, 100)) -> Instance:
    mask = np.zeros(size, np.bool_)
    mask[rows, columns] = True
    found = Instance.from_mask(mask, label=VOC[label], score=0.9)
    assert found
    return found


class TestDetection:
    def test_iou_missed_and_false(self):
        labels = np.zeros((100, 100), np.uint8)
        labels[10:30, 10:30] = CAR
        labels[60:80, 10:30] = CAR  # missed
        labels[60:80, 60:80] = 255
        scores = DetectionScores()
        scores.add(
            labels,
            [
                square(CAR, np.s_[10:30], np.s_[10:30]),
                square(CAR, np.s_[60:80], np.s_[60:80]),  # where nothing is known: neither right nor false
                square(PERSON, np.s_[0:8], np.s_[80:100]),  # false
            ],
        )
        assert scores.iou[CAR] == pytest.approx(0.5)
        assert (scores.objects[CAR], scores.missed[CAR]) == (2, 1)
        assert (scores.found[CAR], scores.false[CAR]) == (1, 0)
        assert (scores.found[PERSON], scores.false[PERSON]) == (1, 1)
        assert scores.present.sum() == 2
        assert scores.mean_iou == pytest.approx((scores.iou[0] + 0.5) / 2)

    def test_slivers_are_no_objects(self):
        labels = np.zeros((100, 100), np.uint8)
        labels[5, 5:15] = CAR
        scores = DetectionScores()
        scores.add(labels, [])
        assert scores.objects.sum() == 0


class TestRemoval:
    def test_what_went_is_not_found_again(self, remover: Remover, photos: Path):
        library = PhotoLibrary([record for record in read_records([photos]) if record.labels])
        result = evaluate_removal(library, remover, {"telea": remover}, remover)
        assert result.detection.iou[PERSON] > 0.95
        assert (result.requests, result.unfound) == (6, 0)
        assert [row.scores["found_again"] for row in result.rows] == [0.0] * 6
        assert all(row.scores["area_left"] < 0.1 for row in result.rows)

    def test_what_stays_is_found_again(self, remover: Remover, photos: Path):
        """A removal that gives the photo back unchanged."""
        library = PhotoLibrary([record for record in read_records([photos]) if record.labels][:1])

        class Idle(Remover):
            def __call__(self, photo, *arguments, **options):  # type: ignore[no-untyped-def]
                result = remover(photo, *arguments, **options)
                result.pixels[:] = photo
                return result

        result = evaluate_removal(library, remover, {"idle": Idle("colours", "telea")}, remover)
        assert result.rows[0].scores["found_again"] == 1
        assert result.rows[0].scores["area_left"] == 1


def vgg_file(path: Path) -> Path:
    """The layout of torchvision's VGG-16 with random weights, without its classifier (500 MB)."""
    torch.manual_seed(0)
    with torch.device("meta"):
        layout = vgg16(weights=None).features.state_dict()
    state = {f"features.{key}": torch.randn(value.shape) * 0.02 for key, value in layout.items()}
    torch.save(state, path)
    return path


class TestNetworks:
    def test_lpips_takes_the_given_backbone_and_no_network(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        def refuse(*_: object) -> None:
            raise AssertionError("a connection was opened")

        monkeypatch.setattr(socket.socket, "connect", refuse)
        measure = networks.lpips(vgg_file(tmp_path / "vgg.pth"), CPU)
        photo, hole = textured(64), middle(64, 10)
        assert measure(photo, photo, hole) == pytest.approx(0, abs=1e-6)
        assert measure(255 - photo, photo, hole) > measure(np.where(hole[:, :, None], 0, photo), photo, hole) > 0

    def test_lpips_is_what_its_paper_says(self, tmp_path: Path):
        """Zhang et al., CVPR 2018, eq. 1, on a backbone of random weights: unit-length channels, learned weights, means over places."""
        path = vgg_file(tmp_path / "vgg.pth")
        backbone = vgg16(weights=None).features[:30]
        backbone.load_state_dict(
            {key[9:]: value for key, value in torch.load(path, map_location="cpu").items()}, strict=False
        )
        heads = torch.load(
            Path(torchmetrics.functional.image.__file__).parent / "lpips_models" / "vgg.pth", map_location="cpu"
        )
        shift, scale = (
            torch.tensor(values).view(1, 3, 1, 1) for values in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450))
        )
        one, other = textured(64), textured(64, 1)
        maps = [(torch.from_numpy(each).permute(2, 0, 1)[None] / 127.5 - 1 - shift) / scale for each in (one, other)]
        expected, level = 0.0, 0
        with torch.inference_mode():
            for place, layer in enumerate(backbone):
                maps = [layer(each) for each in maps]
                if place in (3, 8, 15, 22, 29):  # relu1_2, 2_2, 3_3, 4_3, 5_3
                    first, second = (torch.nn.functional.normalize(each, dim=1) for each in maps)
                    weighted = heads[f"lin{level}.model.1.weight"] * (first - second).square()
                    expected, level = expected + float(weighted.sum(1).mean()), level + 1
        assert networks.lpips(path, CPU)(one, other, middle(64, 10)) == pytest.approx(expected, rel=1e-4)
        assert expected > 0.01

    def test_fid_takes_the_published_layout(self, tmp_path: Path):
        """torchvision's Inception without its auxiliary head and with 1,008 classes: the layout of the published file."""
        from torchvision.models import Inception3

        pytest.importorskip("torch_fidelity")
        torch.manual_seed(0)
        network = Inception3(num_classes=1008, aux_logits=False, transform_input=False, init_weights=False)
        torch.save(network.state_dict(), tmp_path / "inception.pth")
        frechet = networks.FrechetDistances(tmp_path / "inception.pth", CPU)
        seen: list[torch.Size] = []
        frechet._network.register_forward_hook(lambda _, pictures, features: seen.append(features.shape))
        fills = {name: textured(64, seed) for seed, name in enumerate("ab", 1)}
        frechet.update(textured(64), fills)
        assert seen == [(1, 2048)] * 3, "the original is looked at once, for all methods"
        assert frechet.compute() == {}  # one picture has no covariance
        self.expect_the_closed_formula(frechet)

    @staticmethod
    def expect_the_closed_formula(frechet: networks.FrechetDistances) -> None:
        rng = np.random.default_rng(0)
        real, fake = (rng.normal(size=(60, 12)) @ rng.normal(size=(12, 12)) + shift for shift in (0, 0.5))
        frechet._features = lambda row: torch.from_numpy(row)[None]  # type: ignore[method-assign]
        for original, filled in zip(real, fake, strict=True):
            frechet.update(original, {"a": filled, "same": original})
        (one, other), difference = (np.cov(sample.T) for sample in (real, fake)), real.mean(0) - fake.mean(0)
        values, vectors = np.linalg.eigh(one)
        root = vectors * np.sqrt(values) @ vectors.T
        trace = 2 * np.sqrt(np.linalg.eigvalsh(root @ other @ root)).sum()
        expected = difference @ difference + np.trace(one) + np.trace(other) - trace
        assert frechet.compute() == {"a": pytest.approx(expected, rel=1e-4), "same": pytest.approx(0, abs=1e-3)}

    def test_they_run_where_they_are_told_to(self, tmp_path: Path):
        """On `meta` nothing can be worked out: a figure would come from elsewhere."""
        torch.save(Ade20kEncoder().state_dict(), tmp_path / "encoder.pth")
        backbones = (
            (networks.lpips, vgg_file(tmp_path / "vgg.pth")),
            (networks.perceptual_distance, tmp_path / "encoder.pth"),
        )
        for load, path in backbones:
            measure = load(path, torch.device("meta"))
            with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
                measure(textured(64), textured(64), middle(64, 10))

    def test_another_file_is_refused(self, tmp_path: Path):
        torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
        with pytest.raises(ModelError, match="no VGG-16"):
            networks.lpips(tmp_path / "other.pth", CPU)
        with pytest.raises(ModelError, match="no FID Inception"):
            networks.FrechetDistances(tmp_path / "other.pth", CPU)
        with pytest.raises(ModelError, match="no file"):
            networks.find_backbone("vgg16", str(tmp_path / "missing.pth"))

    def test_auto_is_nothing_where_nothing_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("OBJREMOVE_HOME", str(tmp_path))
        assert networks.find_backbone(networks.LPIPS_MODEL, "auto") is None
        assert networks.find_backbone(networks.FID_MODEL, "auto") is None


def test_methods_have_short_and_distinct_names(tmp_path: Path):
    files = [tmp_path / run / "generator.safetensors" for run in ("one", "two")]
    for file in files:
        file.parent.mkdir()
        file.touch()
    names = [str(file) for file in files]
    assert short_names(["telea", *names]) == ["telea", "one/generator", "two/generator"]
    with pytest.raises(UsageError, match="twice"):
        short_names(["telea", "telea"])


def test_auto_is_told_by_what_it_chose():
    assert describe(load_methods(["auto", "telea"])).startswith("auto = lama-compact (sha256 ")


def archive(path: Path, members: dict[str, Path | bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            data = content if isinstance(content, bytes) else content.read_bytes()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_photos_of_several_tars_have_keys_of_their_own(photos: Path, tmp_path: Path):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
    zero, one = photos / "0.png", photos / "1.png"
    first = archive(tmp_path / "x" / "val.tar", {"0.png": zero, "a.png": one})
    second = archive(tmp_path / "y" / "val.tar", {"0.png": zero, "b.png": one})
    third = archive(tmp_path / "z.tar", {"0.png": zero})
    assert [record.key for record in read_photos([first, third])] == ["val.tar/0", "a", "z.tar/0"]
    assert [record.key for record in read_photos([first, second])] == ["x/val.tar/0", "a", "y/val.tar/0", "b"]
    assert [record.key for record in read_photos([third])] == ["0"]
    with pytest.raises(UsageError, match="named twice"):
        read_photos([third, tmp_path / "x" / ".." / "z.tar"])


def test_rows_without_a_seam_have_no_plot(tmp_path: Path):
    rows = [Row("g", "p", "telea", {"seconds": 1.0, "hole_share": 1.0})]
    write_report(tmp_path, "Removal", rows, [], sheet=[], sheet_columns=[], seed=0)
    assert not (tmp_path / "by-hole.png").exists()
    assert "by-hole" not in (tmp_path / "report.md").read_text()
    assert (tmp_path / "scores.png").exists()


class TestCommands:
    @pytest.fixture(autouse=True)
    def _bare(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("OBJREMOVE_HOME", str(tmp_path / "home"))

    def run(self, *words: object) -> tuple[int, str]:
        outcome = CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False, standalone_mode=False)
        return outcome.return_value, outcome.output

    def filling(self, photos: Path, out: Path, *words: object) -> tuple[int, str]:
        methods = ("--inpainter", "telea", "--inpainter", "navier-stokes")
        return self.run("filling", photos, "--out", out, "--set", "thick-256", *methods, *words)

    def test_filling(self, photos: Path, tmp_path: Path):
        (photos / "broken.png").write_bytes(b"no picture")
        code, text = self.filling(photos, tmp_path / "out", "--set", "object-256")
        report = (tmp_path / "out" / "report.md").read_text()
        assert code == 3  # one photo failed, and is named
        assert "broken.png: left out" in text
        assert "1 photos smaller than the crops of thick-256, object-256" in report
        assert "LPIPS is left empty" in text
        assert "LPIPS is left empty" in report
        for picture in ("scores.png", "by-hole.png", "contact-sheet.png"):
            assert cv2.imread(str(tmp_path / "out" / picture)) is not None
        with (tmp_path / "out" / "scores.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 7 * 2 * 2
        assert "lpips" not in rows[0]
        sheet = cv2.imread(str(tmp_path / "out" / "contact-sheet.png"))
        assert sheet.shape[1] == 4 * 256

    def test_a_folder_that_cannot_be_written_is_said_before_anything_is_done(self, photos: Path, tmp_path: Path):
        (tmp_path / "notes.txt").write_text("a file")
        for out in (tmp_path / "notes.txt", tmp_path / "notes.txt" / "below"):
            with pytest.raises(UsageError, match=r"notes\.txt is no folder that can be written to"):
                self.filling(photos, out)

    def test_filling_repeats_itself(self, photos: Path, tmp_path: Path):
        tables = []
        for out in (tmp_path / "first", tmp_path / "again"):
            self.filling(photos, out, "--limit", 3, "--seed", 5)
            with (out / "scores.csv").open() as file:
                tables.append([{**row, "seconds": ""} for row in csv.DictReader(file)])
        assert tables[0] == tables[1]
        assert len({row["photo"] for row in tables[0]}) <= 3

    def test_scenes_are_photos_without_objects(self, photos: Path, tmp_path: Path):
        self.filling(photos, tmp_path / "out", "--scenes")
        with (tmp_path / "out" / "scores.csv").open() as file:
            assert {row["photo"] for row in csv.DictReader(file)} == {"6.png"}

    def test_only_object_sets_need_lenders(self, photos: Path, tmp_path: Path):
        """A photo that is said to show a class lends nothing where it has no labels."""
        said = archive(tmp_path / "said.tar", {"a.png": photos / "0.png", "a.json": b'{"classes": ["dog"]}'})
        code, _ = self.filling(said, tmp_path / "out")
        assert code == 0
        with pytest.raises(UsageError, match="object-256 needs labelled photos that lend their shapes"):
            self.filling(said, tmp_path / "other", "--set", "object-256")

    def test_finding_only(self, photos: Path, tmp_path: Path):
        code, text = self.run("removal", photos, "--out", tmp_path / "out", "--find-only", "--limit", 2)
        assert code == 0
        assert "mean IoU" in text
        with (tmp_path / "out" / "classes.csv").open() as file:
            assert {row["class"] for row in csv.DictReader(file)} >= {"background", "person"}

    def test_nothing_is_overwritten_unasked(self, photos: Path, tmp_path: Path):
        (tmp_path / "report.md").write_text("mine")
        with pytest.raises(UsageError, match="--overwrite"):
            self.run("removal", photos, "--out", tmp_path, "--find-only")

    @pytest.mark.parametrize(
        ("words", "reason"),
        [
            (("--set", "wide"), "unknown hole set 'wide'"),
            (("--inpainter", "telea"), "twice"),
            (("--lpips", "nowhere.pth"), "no file"),
        ],
    )
    def test_a_wrong_word_costs_one_line(self, photos: Path, tmp_path: Path, words: tuple[str, ...], reason: str):
        with pytest.raises((UsageError, ModelError), match=reason):
            self.filling(photos, tmp_path / "out", *words)
