"""Many photos at once: the results of single calls, in bounded memory, each photo failing for itself."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import BLUE, RED, scene
from PIL import Image

from objremove.errors import PhotoError, UsageError
from objremove.photo import Photo
from objremove.pipeline import Job, cores, crew, run, runner
from objremove.remover import Remover
from objremove.request import Request


class Batched:
    """An inpainter whose answer depends on each window alone; it notes the batches that it was given."""

    name = "batched"
    modulo, hole_width, sharp_width, hole_area, window_side, batch_size = 8, 60, 60, 60 * 60, 128, 4

    def __init__(self):
        self.batches = []
        self.poison = None

    def fill(self, windows, holes):
        self.batches.append(windows.shape)
        filled = windows.copy()
        for window, hole in zip(filled, holes, strict=True):
            if self.poison is not None and (np.abs(window[~hole] * 255 - self.poison).max(axis=1) < 1).mean() > 0.2:
                raise RuntimeError("poisoned")
            window[hole] = window[~hole].mean(axis=0)
        return filled


@pytest.fixture
def batched(remover, monkeypatch):
    """The toy remover with `Batched` behind it."""
    inpainter = Batched()
    monkeypatch.setattr(remover.shelf, "inpainter", lambda: inpainter)
    monkeypatch.setattr(remover.shelf, "identity", lambda model: (model.name, None))
    return remover, inpainter


def photos(count):
    return [scene(120 + i, 150, ((40 + i, 60, 10 + i, RED), (110, 40, 9, BLUE))) for i in range(count)]


def jobs(pictures, request=None):
    return [Job(i, picture, request or Request("person")) for i, picture in enumerate(pictures)]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("share_batches", [True, False])
def test_results_are_those_of_single_calls(batched, workers, share_batches):
    remover, _ = batched
    in_cells = scene(90, 420, [(20 + 12 * i, 45, 10, RED) for i in range(32)])  # filled in waves
    pictures = [*photos(5), scene(90, 120, discs=()), in_cells]
    expected = [remover(picture, "person") for picture in pictures]
    outcomes = list(run(remover, jobs(pictures), workers=workers, share_batches=share_batches))
    assert sorted(outcome.job.key for outcome in outcomes) == list(range(len(pictures)))
    for outcome in outcomes:
        alone = expected[outcome.job.key]
        assert np.array_equal(outcome.result.pixels, alone.pixels)
        assert np.array_equal(outcome.result.mask, alone.mask)
        assert outcome.result.windows == alone.windows
        assert outcome.result.windows > 2 or outcome.job.key != 6
        assert outcome.result.models == alone.models
        assert outcome.result.timings.keys() == alone.timings.keys()


@pytest.mark.parametrize("threads", [None, 1])
def test_as_many_workers_as_asked_for_are_at_work(remover, monkeypatch, threads):
    """More than there are cores, too: where photos come over a network, workers wait more than they compute."""
    monkeypatch.setattr(runner, "cores", lambda: 2)
    remover.threads = threads
    together = threading.Barrier(5, timeout=20)
    outcomes = list(run(remover, jobs(photos(5)), lambda *_: together.wait(), workers=5))
    assert [outcome.error for outcome in outcomes] == [None] * 5


def test_equal_windows_of_different_photos_share_a_batch(batched):
    remover, inpainter = batched
    pictures = [scene(120, 150, ((60, 60, 8 + i % 2, RED),)) for i in range(8)]
    list(run(remover, jobs(pictures), workers=1, ahead=8))
    assert [shape[0] for shape in inpainter.batches] == [4, 4]
    inpainter.batches.clear()
    list(run(remover, jobs(pictures), workers=1, ahead=8, share_batches=False))
    assert [shape[0] for shape in inpainter.batches] == [1] * 8


def test_ordered_outcomes_come_in_the_order_of_the_jobs(remover):
    slow = threading.Event()

    def finish(job, result):
        if job.key == 0:
            slow.wait(10)
        elif job.key == 3:
            slow.set()
        return job.key

    assert [outcome.value for outcome in run(remover, jobs(photos(6)), finish, workers=2, ordered=True)] == [*range(6)]
    slow.clear()
    assert next(run(remover, jobs(photos(6)), finish, workers=2)).job.key != 0


def test_a_bad_photo_fails_alone(batched, tmp_path):
    remover, _ = batched
    (tmp_path / "broken.jpg").write_bytes(b"no photo")

    def finish(job, result):
        if job.key == 2:
            raise OSError("no room")

    pictures = [*photos(2), photos(1)[0], tmp_path / "broken.jpg", *photos(2)]
    outcomes = sorted(run(remover, jobs(pictures), finish, workers=2), key=lambda outcome: outcome.job.key)
    assert [type(outcome.error) for outcome in outcomes] == [*[type(None)] * 2, OSError, PhotoError, *[type(None)] * 2]
    assert outcomes[2].result is not None
    assert outcomes[3].result is None


def test_of_a_batch_that_fails_only_the_guilty_window_does(batched):
    remover, inpainter = batched
    pictures = [scene(120, 150, ((60, 60, 8, RED),)) for _ in range(6)]
    pictures[2][:] = np.where((pictures[2] == RED).all(axis=2, keepdims=True), RED, (7, 7, 7))
    inpainter.poison = (7, 7, 7)
    outcomes = list(run(remover, jobs(pictures), workers=1, ahead=6))
    assert {outcome.job.key for outcome in outcomes if outcome.error} == {2}
    assert len(outcomes) == 6


@pytest.mark.parametrize("ordered", [True, False])
def test_no_more_photos_are_in_work_than_allowed(remover, ordered):
    read = taken = 0
    most = []

    def source():
        nonlocal read
        for job in jobs(photos(20)):
            read += 1
            most.append(read - taken)
            yield job

    for _ in run(remover, source(), workers=2, ahead=3, ordered=ordered):
        taken += 1
    assert taken == 20
    assert max(most) <= 4  # three, and the one that the reader has just been given


@pytest.mark.parametrize("kind", ["array", "path", "bytes", "image", "photo"])
def test_large_photos_wait_for_one_another(remover, monkeypatch, tmp_path, kind):
    """However many workers are free to open one: of photos that have room only one after another, one is open at a time."""
    pictures = photos(6)
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture).save(path)
    make = {"array": np.asarray, "path": str, "bytes": Path.read_bytes, "image": Image.open, "photo": Photo.open}[kind]
    sources = [make(one) for one in (pictures if kind == "array" else paths)]
    monkeypatch.setattr(crew, "MOST_PIXELS", 2 * pictures[0][..., 0].size - 1)
    start, lock, inside, most = Remover.start, threading.Lock(), [], []

    def watched(self, photo, request):
        with lock:
            inside.append(1)
            most.append(len(inside))
        time.sleep(0.02)
        return start(self, photo, request)

    monkeypatch.setattr(Remover, "start", watched)
    for outcome in run(remover, jobs(sources), lambda *_: inside.pop(), workers=3, ahead=6):
        assert outcome.error is None
    assert len(most) == 6
    assert max(most) == 1


def test_a_photo_that_cannot_be_opened_leaves_its_room_to_others(remover, monkeypatch, tmp_path):
    monkeypatch.setattr(crew, "MOST_PIXELS", 1)
    Image.fromarray(photos(1)[0]).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:200])
    sources = [tmp_path / "half.png", tmp_path / "missing.png", b"", b"no photo", 7, tmp_path / "whole.png"]
    outcomes = list(run(remover, jobs(sources), workers=1, ordered=True, ahead=6))
    assert all(isinstance(outcome.error, PhotoError) for outcome in outcomes[:5])
    assert outcomes[5].error is None
    assert [str(outcome.error).split(":")[0] for outcome in outcomes[:4]] == [*map(str, sources[:2]), *["input"] * 2]


def workers_alive():
    return [thread for thread in threading.enumerate() if thread.name.startswith("objremove-")]


def test_closing_ends_the_workers_and_drops_what_is_in_work(remover):
    finished = []

    def finish(job, result):
        finished.append(job.key)
        time.sleep(0.05)

    outcomes = run(remover, jobs(photos(20)), finish, workers=2)
    next(outcomes)
    assert workers_alive()
    outcomes.close()
    assert not workers_alive()
    assert len(finished) < 10


def test_an_exception_in_the_loop_ends_the_workers(remover):
    def loop():
        for _ in run(remover, jobs(photos(20)), workers=2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop()
    assert not workers_alive()


def test_an_error_of_the_source_of_jobs_reaches_the_reader(remover):
    def source():
        yield from jobs(photos(3))
        raise LookupError("the list ends here")

    with pytest.raises(LookupError):
        list(run(remover, source(), workers=1))
    assert not workers_alive()


def test_a_fault_of_the_pipeline_itself_reaches_the_reader(remover, monkeypatch):
    def fault(self, road):
        raise LookupError("a bug")

    monkeypatch.setattr(crew.Crew, "_begin_wave", fault)
    with pytest.raises(LookupError):
        list(run(remover, jobs(photos(3)), workers=2))
    assert not workers_alive()


def test_threads_are_shared_out_and_given_back(remover):
    import cv2
    import torch

    before = torch.get_num_threads(), cv2.getNumThreads()
    seen = {outcome.value for outcome in run(remover, jobs(photos(4)), lambda *_: torch.get_num_threads(), workers=2)}
    assert seen == {max(1, cores() // 2)}
    assert (torch.get_num_threads(), cv2.getNumThreads()) == before
    assert list(run(remover, [])) == []
    for workers in (0, 1.5, "2", True):
        with pytest.raises(UsageError, match="workers"):
            run(remover, [], workers=workers)


def test_overlapping_runs_give_threads_back_together(remover):
    import cv2
    import torch

    def in_a_thread(call):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(call).result()

    before = cv2.getNumThreads(), in_a_thread(torch.get_num_threads)
    one, other = (run(remover, jobs(photos(3)), workers=2) for _ in range(2))
    in_a_thread(lambda: next(one))
    in_a_thread(lambda: next(other))
    one.close()
    assert next(other)
    other.close()
    assert (cv2.getNumThreads(), in_a_thread(torch.get_num_threads)) == before


def test_a_map_that_fails_leaves_no_worker(remover):
    with pytest.raises(PhotoError) as caught:
        list(remover.map([scene(), b"no photo", scene()], "person"))
    assert not workers_alive(), "while somebody holds the error"
    assert caught.value


def test_ready_masks_and_instances_need_no_segmenter(remover):
    (picture,) = photos(1)
    person, car = (remover.find(picture, label)[0] for label in ("person", "car"))
    alone = remover(picture, "person")
    plain = Remover("slim-deeplab-voc21", "telea")
    (outcome,) = run(plain, jobs([picture], Request(instances=[person])))
    assert np.array_equal(outcome.result.pixels, alone.pixels)
    (outcome,) = run(plain, jobs([picture], Request(instances=[person], spare=[car])))
    assert np.array_equal(outcome.result.mask, alone.mask)
    assert outcome.result.kept == (car,)
    (outcome,) = run(plain, jobs([picture], Request(masks=iter([person.mask]), dilate=0)))
    assert np.array_equal(outcome.result.mask, person.mask)
    (outcome,) = run(plain, jobs([picture], Request(instances=())))
    assert not outcome.result.changed
    (outcome,) = run(plain, jobs([picture], Request()))
    assert isinstance(outcome.error, UsageError)


def test_map_goes_on_after_a_bad_photo_where_errors_are_yielded(remover):
    pictures = [scene(), b"no photo", scene()]
    good, bad, again = remover.map(pictures, "person", errors="yield")
    assert isinstance(bad, PhotoError)
    assert np.array_equal(good.pixels, again.pixels)
    with pytest.raises(PhotoError):
        list(remover.map(pictures, "person"))
    with pytest.raises(UsageError):
        remover.map(pictures, "person", errors="ignore")
