"""What a server holds on to is bounded: searches of a photo, uploads of jobs in line, photos that nobody uses any more."""

import threading
import weakref

import cv2
import numpy as np
import pytest
from conftest import scene

pytest.importorskip("fastapi")
from test_server import PHOTO, POINTS, SlowInpainter, encoded, fields, send, serving, start, wait_until

from objremove import plugins
from objremove.instances import Instance
from objremove.server import shelves
from objremove.server.jobs import Job, Worker
from objremove.server.pictures import outline
from objremove.server.problems import Problem
from objremove.server.settings import Settings
from objremove.server.shelves import Models, Searches


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    monkeypatch.setattr(plugins, "entry_points", lambda group: POINTS[group])


def ready(client):
    wait_until(lambda: client.get("/readyz").status_code == 200)
    return client


def opened(client, photo_id):
    """The photo as the server keeps it decoded; None where it does not."""
    return client.app.state.server.intake._open.get(photo_id)


# ------------------------------------------------------------------ searches


def found_by(searches, search, side=10):
    """What `search` finds: one object of `side` x `side` pixels."""
    return searches.once(search, lambda: [Instance.from_mask(np.ones((side, side), np.bool_), label="person")])


def test_the_last_searches_of_a_photo_are_remembered():
    searches = Searches()
    first = found_by(searches, ("model", "find", frozenset(), 0.0))
    for number in range(1, 20):
        found_by(searches, ("model", "find", frozenset(), number / 100))
        assert found_by(searches, ("model", "find", frozenset(), 0.0)) == first  # in use, so not forgotten
    assert len(searches) == 8


def test_searches_with_large_masks_are_fewer(monkeypatch):
    monkeypatch.setattr(shelves, "_KEPT_MASKS", 250)
    searches = Searches()
    for number in range(5):
        found_by(searches, ("model", "find", frozenset(), number / 10))
    assert len(searches) == 2
    found_by(searches, ("model", "find", frozenset(), 0.9), side=100)
    assert len(searches) == 1  # the last one stays, whatever its size


def test_detecting_again_and_again_does_not_grow():
    with serving() as client:
        photo_id = send(ready(client), PHOTO)
        for number in range(20):
            client.post("/v1/detect", files=fields(photo_id=photo_id, confidence=0.1 + number / 1000))
        assert len(opened(client, photo_id).found) <= 8


# ------------------------------------------------------------------ uploads of jobs in line


def test_a_line_holds_only_so_many_bytes():
    gate = threading.Event()
    worker = Worker("test", 100, most_bytes=250)
    shared = bytes(100)
    try:
        running = worker.submit(Job("remove", lambda job: gate.wait(30), 30, holds=[bytes(100)]))
        wait_until(lambda: running.state == "running")
        for _ in range(3):  # one photo that many jobs need is held once
            worker.submit(Job("remove", lambda job: None, 30, holds=[shared]))
        with pytest.raises(Problem, match="wait already") as refusal:
            worker.submit(Job("remove", lambda job: None, 30, holds=[bytes(60)]))
        assert refusal.value.status == 429
        assert int(refusal.value.headers["Retry-After"]) >= 1
        gate.set()
        wait_until(lambda: not worker.waiting and running.ended)
        worker.submit(Job("remove", lambda job: None, 30, holds=[bytes(1000)]))  # alone, it may be of any size
    finally:
        gate.set()
        worker.close()


def test_masks_of_jobs_in_line_count():
    noise = np.random.default_rng(0).integers(0, 2, (180, 240), np.uint8) * 255
    mask = encoded(noise, "TIFF")  # 43 kB, of which each request brings its own
    with serving(inpainter="slow", keep_megabytes=0.12) as client:
        photo_id = send(ready(client), PHOTO)
        try:
            first = start(client, None, photo_id=photo_id, mask=mask)
            wait_until(lambda: client.get(first["status"]).json()["stage"] == "fill")
            start(client, None, photo_id=photo_id, mask=mask)
            refused = client.post(
                "/v1/remove", files=fields(photo_id=photo_id, mask=mask), headers={"accept": "application/json"}
            )
            assert refused.status_code == 429
            assert "retry-after" in refused.headers
        finally:
            SlowInpainter.gate.release(1000)


# ------------------------------------------------------------------ photos that nobody uses


def test_photos_expire_on_an_idle_server():
    with serving(keep_minutes=0.01) as client:
        photo_id = send(ready(client), PHOTO)
        store = client.app.state.server.store
        assert opened(client, photo_id)
        wait_until(lambda: not store._photos and opened(client, photo_id) is None)  # nobody asks for anything


def test_photos_that_make_room_are_not_kept_decoded():
    with serving(keep_megabytes=1.5 * len(PHOTO) / 1e6) as client:
        first = send(ready(client), PHOTO)
        second = send(client, PHOTO)
        assert opened(client, first) is None
        assert opened(client, second)
        refused = client.post("/v1/photos", files={"photo": encoded(scene(600, 800), "BMP")})
        assert refused.status_code == 413
        assert list(client.app.state.server.intake._open) == [second]


def test_work_on_a_deleted_photo_does_not_bring_it_back():
    with serving(inpainter="slow") as client:
        photo_id, other_id = send(ready(client), PHOTO), send(client, PHOTO)
        try:
            first = start(client, None, photo_id=other_id, remove="person")
            wait_until(lambda: client.get(first["status"]).json()["stage"] == "fill")
            second = start(client, None, photo_id=photo_id, remove="person")
            assert client.delete(f"/v1/photos/{photo_id}").status_code == 204
        finally:
            SlowInpainter.gate.release(1000)
        wait_until(lambda: client.get(second["status"]).json()["state"] == "done")
        assert opened(client, photo_id) is None


# ------------------------------------------------------------------ outlines


def test_the_outline_of_noise_is_short():
    """A mask of a client's may be anything; one of noise has hundreds of thousands of parts."""
    noise = np.random.default_rng(0).random((1500, 1500)) > 0.5
    assert len(outline(Instance.from_mask(noise, label="mask"))) == 500


def test_the_outline_of_a_huge_object_is_as_true_as_that_of_a_small_one():
    rows, columns = np.ogrid[:4000, :5000]
    inside = ((columns - 2500) / 2400) ** 2 + ((rows - 2000) / 1900) ** 2 < 1
    (traced,) = outline(Instance.from_mask(inside, label="cat"))
    drawn = np.zeros(inside.shape, np.uint8)
    cv2.fillPoly(drawn, [np.array(traced)], 1)
    assert np.count_nonzero(drawn.view(np.bool_) != inside) < 0.01 * np.count_nonzero(inside)


def test_a_job_that_failed_holds_nothing_of_its_photo():
    photos = [np.zeros(8)]
    alive = weakref.ref(photos[0])

    def work(job):
        held = photos.pop()
        try:
            raise KeyError(held.size)
        except KeyError:
            raise Problem(422, "invalid", "no") from ValueError("why")

    job = Job("remove", work, 10)
    job.run()
    assert job.problem.code == "invalid"
    assert alive() is None


def test_what_auto_stands_for_is_settled_anew_when_weights_come(monkeypatch):
    here = ("slim-deeplab-voc21",)
    monkeypatch.setattr(shelves, "chosen_from", lambda: here)
    models = Models(Settings())
    first = models.shelf("inpainter", "auto")
    assert models.shelf("inpainter", "auto") is first
    here = (*here, "big-lama")
    assert models.shelf("inpainter", "auto") is not first
