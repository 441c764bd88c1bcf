"""The HTTP API as a client meets it: photos in, what is found, removals, jobs; the answers are those of `Remover`."""

import io
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from conftest import BLUE, RED, ColourSegmenter, scene
from PIL import Image

pytest.importorskip("fastapi")
from starlette.testclient import TestClient

from objremove import models, plugins
from objremove.errors import ModelError
from objremove.instances import Instance
from objremove.remover import Remover
from objremove.server.app import create_app
from objremove.server.engine import Engine
from objremove.server.problems import Problem
from objremove.server.settings import Settings
from objremove.server.shelves import Choice, JobShelf, Searches
from objremove.server.store import Store, StoredPhoto, extension_of, harmless_stem

ADDRESS = "http://127.0.0.1"
ASKED = []
MORE = []  # what a second look finds


class CountedSegmenter(ColourSegmenter):
    """Keeps count of how often it is asked."""

    def find(self, pixels, labels, *, confidence=None):
        ASKED.append(tuple(labels))
        return super().find(pixels, labels, confidence=confidence)

    def look_again(self, pixels, labels, *, confidence=None):
        return [one for one in MORE if one.label in labels]


class SlowInpainter:
    """Paints grey, one small window at a time, as slowly as a test wants: each window waits for `gate`."""

    name, modulo, hole_width, sharp_width, hole_area, window_side, batch_size = "slow", 1, 200, 200, 10**6, 400, 1
    gate = threading.Semaphore(0)
    windows = 0

    def fill(self, windows, holes):
        type(self).windows += 1
        self.gate.acquire(timeout=10)
        return np.full_like(windows, 0.5)


def make_counted(device, dtype):
    return CountedSegmenter()


def make_slow(device, dtype):
    SlowInpainter.gate, SlowInpainter.windows = threading.Semaphore(0), 0
    return SlowInpainter()


POINTS = {
    plugins.SEGMENTERS: [EntryPoint("counted", "test_server:make_counted", plugins.SEGMENTERS)],
    plugins.INPAINTERS: [EntryPoint("slow", "test_server:make_slow", plugins.INPAINTERS)],
}


def serving(**settings):
    """A client of a new server with the toy segmenter."""
    options = {"segmenter": "counted", "inpainter": "telea", "offline": True, **settings}
    return TestClient(create_app(Settings(**options)), base_url=ADDRESS)


@pytest.fixture(scope="module")
def client():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "entry_points", lambda group: POINTS[group])
        with serving() as client:
            wait_until(lambda: client.get("/readyz").status_code == 200)
            yield client


@pytest.fixture
def slow(monkeypatch):
    """A client of a server whose inpainter waits for `SlowInpainter.gate`, with one place in its line."""
    monkeypatch.setattr(plugins, "entry_points", lambda group: POINTS[group])
    with serving(inpainter="slow", queue=1) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        yield client
        SlowInpainter.gate.release(1000)


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.02)


def encoded(pixels, format="JPEG", **options):
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, format, **({"quality": 95} if format == "JPEG" else {}), **options)
    return target.getvalue()


def fields(photo=None, mask=None, keep_mask=None, **values):
    """The parts of a form: files with a name, values and lists of values without."""
    parts = [
        (name, (f"{name}.bin", data))
        for name, data in (("photo", photo), ("mask", mask), ("keep_mask", keep_mask))
        if data
    ]
    for name, value in values.items():
        parts += [(name, (None, str(one))) for one in (value if isinstance(value, list) else [value])]
    return parts


def send(client, data, name="photo.jpg"):
    answer = client.post("/v1/photos", files={"photo": (name, data)})
    assert answer.status_code == 201, answer.text
    return answer.json()["photo_id"]


def pixels_of(data):
    return np.asarray(Image.open(io.BytesIO(data)))


PHOTO = encoded(scene())


# ------------------------------------------------------------------ photos


def test_a_photo_is_sent_once_and_comes_back_byte_for_byte(client):
    answer = client.post("/v1/photos", files={"photo": ("beach.jpeg", PHOTO)})
    assert answer.status_code == 201
    info = answer.json()
    assert (info["width"], info["height"], info["format"], info["name"]) == (240, 180, "JPEG", "beach.jpeg")
    assert client.get(f"/v1/photos/{info['photo_id']}").json() == info
    file = client.get(f"/v1/photos/{info['photo_id']}/file")
    assert file.content == PHOTO
    assert file.headers["content-type"] == "image/jpeg"
    assert "attachment" in file.headers["content-disposition"]
    assert client.get(f"/v1/photos/{info['photo_id']}/mask").status_code == 404


def test_a_preview_is_small_upright_and_keeps_transparency(client):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = send(client, encoded(scene(), exif=exif))
    assert pixels_of(client.get(f"/v1/photos/{turned}/preview", params={"side": 120}).content).shape == (120, 90, 3)
    see_through = np.dstack([scene(), np.full((180, 240), 128, np.uint8)])
    small = client.get(f"/v1/photos/{send(client, encoded(see_through, 'PNG'))}/preview")
    assert pixels_of(small.content).shape == (180, 240, 4)  # never enlarged
    assert small.headers["content-type"] == "image/webp"
    assert "immutable" in small.headers["cache-control"]


def test_a_deleted_photo_is_gone(client):
    photo_id = send(client, PHOTO)
    assert client.delete(f"/v1/photos/{photo_id}").status_code == 204
    answer = client.get(f"/v1/photos/{photo_id}/file")
    assert answer.status_code == 404
    assert "expired" in answer.json()["error"]["message"]


# ------------------------------------------------------------------ finding


def test_detect_numbers_instances_as_the_command_line_does(client):
    answer = client.post("/v1/detect", files=fields(photo=encoded(scene(), "PNG"))).json()
    assert answer["classes"] == {"person": 3, "car": 1}
    assert [(one["label"], one["number"]) for one in answer["instances"]] == [
        ("person", 1), ("car", 1), ("person", 2), ("person", 3),
    ]  # fmt: skip
    largest = answer["instances"][0]
    assert largest["box"] == [42, 42, 79, 79]
    xs, ys = np.array(largest["outline"][0]).T
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (42, 78, 42, 78)
    assert list(answer["models"]) == ["counted"]


def test_a_photo_is_looked_through_only_once(client):
    photo_id = send(client, PHOTO)
    ASKED.clear()
    first = client.post("/v1/detect", files=fields(photo_id=photo_id)).json()
    again = client.post("/v1/detect", files=fields(photo_id=photo_id)).json()
    assert len(ASKED) == 1
    assert [one["id"] for one in first["instances"]] == [one["id"] for one in again["instances"]]


def test_beside_what_is_known_only_a_second_look_is_answered(client, monkeypatch):
    """The first look is not repeated; what comes to it is numbered on, and goes as if both had been found together."""
    disc = np.zeros((180, 240), np.bool_)
    disc[20:50, 100:130] = True

    monkeypatch.setattr(f"{__name__}.MORE", [Instance.from_mask(disc, label="car", score=0.2, source="counted")])
    photo_id = send(client, encoded(scene(), "PNG"))
    first = client.post("/v1/detect", files=fields(photo_id=photo_id)).json()["instances"]
    (car,) = [one["id"] for one in first if one["label"] == "car"]
    monkeypatch.setattr("objremove.segmentation.second_look.SURE", 0.95)
    ASKED.clear()
    answer = client.post("/v1/detect", files=fields(photo_id=photo_id, remove="car", known=[car])).json()
    assert ASKED == []
    (late,) = answer["instances"]
    assert (late["label"], late["number"], late["second_look"]) == ("car", 2, True)
    assert answer["classes"] == {"car": 1}
    assert not late["extends"]
    gone = client.post("/v1/remove", files=fields(photo_id=photo_id, instances=[car, late["id"]]))
    changed = (pixels_of(gone.content) != scene()).any(axis=2)
    assert changed[35, 115]
    assert changed[140, 60]
    for wrong, status in (
        ({"known": [car]}, 422),
        ({"known": [car], "remove": "all"}, 422),
        ({"known": ["x"], "remove": "car"}, 404),
    ):
        assert client.post("/v1/detect", files=fields(photo_id=photo_id, **wrong)).status_code == status


def test_more_of_what_is_known_is_no_object_of_its_own(client, monkeypatch):
    wide = np.zeros((180, 240), np.bool_)
    wide[100:175, 20:130] = True
    monkeypatch.setattr(f"{__name__}.MORE", [Instance.from_mask(wide, label="car", score=0.2, source="counted")])
    monkeypatch.setattr("objremove.segmentation.second_look.SURE", 0.95)
    photo_id = send(client, encoded(scene(), "PNG"))
    first = client.post("/v1/detect", files=fields(photo_id=photo_id)).json()
    assert first["classes"] == {"person": 3, "car": 1}
    (car,) = [one["id"] for one in first["instances"] if one["label"] == "car"]
    answer = client.post("/v1/detect", files=fields(photo_id=photo_id, remove="car", known=[car])).json()
    assert [one["extends"] for one in answer["instances"]] == [True]
    assert answer["classes"] == {}
    both = client.post("/v1/detect", files=fields(photo_id=photo_id, remove="car")).json()
    assert [one["extends"] for one in both["instances"]] == [False, True]
    assert both["classes"] == {"car": 1}


def test_select_draws_what_is_pointed_at(client):
    photo_id = send(client, PHOTO)
    chosen = client.post("/v1/select", files=fields(photo_id=photo_id, points=["60,60", "5,5,-"])).json()
    assert chosen["label"] == "point"
    assert chosen["area"] == pytest.approx(np.pi * 18**2, rel=0.1)
    boxed = client.post("/v1/select", files=fields(photo_id=photo_id, boxes="150,100,190,140")).json()
    assert boxed["label"] == "box"
    both = client.post("/v1/select", files=fields(photo_id=photo_id, points="60,60", boxes="1,1,9,9"))
    outside = client.post("/v1/select", files=fields(photo_id=photo_id, points="240,60"))
    assert (both.status_code, outside.status_code) == (422, 422)
    gone = client.post("/v1/remove", files=fields(photo_id=photo_id, instances=[chosen["id"], boxed["id"]]))
    changed = (pixels_of(gone.content) != pixels_of(PHOTO)).any(axis=2)
    assert changed[60, 60]
    assert changed[120, 170]
    assert not changed[140, 60]


# ------------------------------------------------------------------ removing


@pytest.fixture
def remover(monkeypatch):
    monkeypatch.setattr(plugins, "entry_points", lambda group: POINTS[group])
    return Remover("counted", "telea")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_a_removal_is_what_the_library_makes_of_it(client, remover, format):
    photo = encoded(scene(), format)
    answer = client.post("/v1/remove", files=fields(photo=photo, remove="person,car", keep="largest"))
    assert answer.status_code == 200
    assert answer.content == remover(photo, "person,car", keep="largest").image


def test_an_id_removes_what_its_number_names(client, remover):
    found = client.post("/v1/detect", files=fields(photo=PHOTO)).json()
    second = next(one for one in found["instances"] if (one["label"], one["number"]) == ("person", 2))
    by_id = client.post("/v1/remove", files=fields(photo_id=found["photo_id"], instances=second["id"]))
    assert by_id.content == remover(PHOTO, "person#2").image


def test_what_was_selected_before_and_not_removed_holds_nothing_back(client):
    photo = encoded(scene(), "PNG")
    fresh, used = send(client, photo), send(client, photo)
    for earlier in ({"points": "62,62"}, {"points": "58,58"}):
        client.post("/v1/select", files=fields(photo_id=used, **earlier))
    results = []
    for photo_id in (fresh, used):
        chosen = client.post("/v1/select", files=fields(photo_id=photo_id, points="60,60")).json()
        results.append(client.post("/v1/remove", files=fields(photo_id=photo_id, instances=chosen["id"])).content)
    assert results[0] == results[1]


def test_points_boxes_and_options_are_those_of_the_library(client, remover):
    request = {"points": "60,60", "boxes": "150,100,190,140"}
    by_http = client.post("/v1/remove", files=fields(photo=PHOTO, **request, dilate="6", feather=0, format="png"))
    own = Remover("counted", "telea", dilate=6, feather=0)
    expected = own(PHOTO, points=[request["points"]], boxes=[request["boxes"]]).encode(format="png")[0]
    assert by_http.content == expected
    assert by_http.headers["content-type"] == "image/png"
    assert "photo.removed.png" in by_http.headers["content-disposition"]


def test_masks_remove_and_keep_masks_stay(client):
    white = np.zeros((180, 240), np.uint8)
    white[40:80, 40:80] = 255
    eraser = np.zeros((180, 240), np.uint8)
    eraser[:, :60] = 255
    photo = encoded(scene(), "PNG")
    answer = client.post(
        "/v1/remove",
        files=fields(photo=photo, mask=encoded(white, "PNG"), keep_mask=encoded(eraser, "PNG"), dilate="5"),
    )
    mask = pixels_of(client.get(f"/v1/photos/{answer.headers['x-photo-id']}/mask").content).astype(bool)
    assert mask[60, 60:80].all()
    assert not mask[:, :60].any()
    assert np.array_equal(pixels_of(answer.content)[:, :60], scene()[:, :60])


def test_a_keep_mask_loses_nothing_of_what_the_search_said(client):
    """Models, notes and seconds are told as without it, and `kept` holds only what was found."""
    eraser = np.zeros((180, 240), np.uint8)
    eraser[:, :60] = 255
    told = [
        client.post(
            "/v1/remove",
            files=fields(photo=PHOTO, remove="person", keep="person#2", points="170,120", **more),
            headers={"accept": "application/json", "prefer": "wait"},
        ).json()
        for more in ({}, {"keep_mask": encoded(eraser, "PNG")})
    ]
    for name in ("models", "notes", "kept"):
        assert told[0][name] == told[1][name]
    assert {"read", "find", "fill"} <= set(told[1]["timings"])
    assert told[1]["notes"]


def test_a_result_is_a_photo_to_go_on_with(client):
    first = client.post("/v1/remove", files=fields(photo=encoded(scene(), "PNG"), remove="person#1"))
    result_id = first.headers["x-photo-id"]
    mask = pixels_of(client.get(f"/v1/photos/{result_id}/mask").content).astype(bool)
    assert mask[60, 60]
    assert np.array_equal((pixels_of(first.content) != scene()).any(axis=2) & ~mask, np.zeros_like(mask))
    left = client.post("/v1/detect", files=fields(photo_id=result_id)).json()
    assert left["classes"] == {"person": 2, "car": 1}
    second = client.post("/v1/remove", files=fields(photo_id=result_id, remove="car"))
    assert "photo.removed.png" in second.headers["content-disposition"]  # not .removed.removed


def test_what_is_asked_for_by_number_keeps_it(client):
    found = client.post("/v1/detect", files=fields(photo=PHOTO, remove="person#2,car")).json()
    assert [(one["label"], one["number"]) for one in found["instances"]] == [("car", 1), ("person", 2)]
    assert found["classes"] == {"person": 1, "car": 1}


@pytest.mark.parametrize(
    ("path", "sent", "says"),
    [
        ("detect", {"photo_id": "x", "Remov": "car"}, "Remov: no such field; did you mean remove?"),
        ("select", {"photo_id": "x", "point": "1,1"}, "point: no such field; did you mean points?"),
        ("remove", {"photoid": "x", "remove": "car"}, "photoid: no such field; did you mean photo_id?"),
        ("photos", {"nonsense": "1"}, "nonsense: no such field; known are photo"),
        ("remove?colour=red", {"photo_id": "x"}, "colour: no such query parameter; leave it out"),
        ("remove?format=png", {"photo_id": "x"}, "format: no query parameter here; send it as a field of the form"),
    ],
)
def test_fields_that_no_route_has_are_refused_with_what_may_be_meant(client, path, sent, says):
    answer = client.post(f"/v1/{path}", files=fields(**sent))
    assert answer.status_code == 422
    assert answer.json() == {"error": {"code": "invalid", "message": says}}


def test_query_parameters_are_those_of_the_contract(client):
    answer = client.get(f"/v1/photos/{send(client, PHOTO)}/preview?sid=100")
    assert answer.json()["error"]["message"] == "sid: no such query parameter; did you mean side?"


def test_nothing_found_is_said_and_never_a_silent_copy(client):
    empty = encoded(scene(discs=()))
    assert client.post("/v1/detect", files=fields(photo=empty)).json()["instances"] == []
    answer = client.post("/v1/remove", files=fields(photo=empty, remove="person"))
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "nothing_found"
    fifth = client.post("/v1/remove", files=fields(photo=encoded(scene()), remove="person#5"))
    assert "there is no person#5" in fifth.json()["error"]["message"]
    as_json = client.post(
        "/v1/remove",
        files=fields(photo=empty, remove="person"),
        headers={"accept": "application/json", "prefer": "wait"},
    ).json()
    assert (as_json["changed"], as_json["mask_area"]) == (False, 0)


@pytest.mark.parametrize(
    ("request_fields", "words"),
    [
        ({"remove": "persn"}, "did you mean person"),
        ({"remove": "dog"}, "does not know dog"),
        ({}, "nothing to remove"),
        ({"remove": "person", "format": "xyz"}, "xyz"),
        ({"points": "9999,1"}, "outside the photo"),
        ({"remove": "person", "dilate": "241"}, "longer side has 240 pixels"),
        ({"remove": "person", "dilate": "1000%"}, "dilate"),
        ({"instances": "nobody"}, "no such instance"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(client, request_fields, words):
    answer = client.post("/v1/remove", files=fields(photo=PHOTO, **request_fields))
    assert answer.status_code in (404, 422)
    assert words in answer.json()["error"]["message"]
    assert "\n" not in answer.json()["error"]["message"]


# ------------------------------------------------------------------ jobs


def start(client, photo=PHOTO, **request):
    answer = client.post("/v1/remove", files=fields(photo=photo, **request), headers={"accept": "application/json"})
    assert answer.status_code == 202, answer.text
    return answer.json()


def events(client, job):
    with client.stream("GET", job["events"]) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        return [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]


def test_a_job_tells_its_stages_and_its_end(client):
    job = start(client, remove="person")
    told = events(client, job)
    assert told[-1]["state"] == "done"
    assert told[-1] == client.get(job["status"]).json()
    result = told[-1]["result"]
    assert [one["label"] for one in result["instances"]] == ["person"] * 3
    assert result["mask_area"] > 0
    assert {"find", "fill"} <= set(result["timings"])
    assert client.get(f"/v1/photos/{result['photo_id']}/file").status_code == 200


def test_cancel_stops_between_windows(slow):
    many = scene(600, 800, [(x, y, 9, RED) for x in (100, 400, 700) for y in (100, 300, 500)])
    job = start(slow, encoded(many), remove="person")
    SlowInpainter.gate.release(2)
    wait_until(lambda: slow.get(job["status"]).json()["done"] == 2)
    assert slow.delete(job["status"]).status_code == 202
    SlowInpainter.gate.release(1)  # the window that is being filled
    wait_until(lambda: slow.get(job["status"]).json()["state"] == "cancelled")
    assert SlowInpainter.windows == 3
    state = slow.get(job["status"]).json()
    assert (state["total"], state["result"], state["error"]) == (9, None, None)


def test_a_full_line_refuses_and_says_when_to_come_again(slow):
    first = start(slow, remove="person")
    wait_until(lambda: slow.get(first["status"]).json()["stage"] == "fill")
    second = start(slow, remove="person")
    assert slow.get(second["status"]).json()["position"] == 1
    third = slow.post("/v1/detect", files=fields(photo=PHOTO))
    assert third.status_code == 429
    assert int(third.headers["retry-after"]) >= 1
    slow.delete(second["status"])  # what waits is cancelled at once
    assert slow.get(second["status"]).json()["state"] == "cancelled"
    assert slow.get("/healthz").status_code == 200  # while the models are at work


def test_work_that_takes_too_long_is_ended(monkeypatch):
    monkeypatch.setattr(plugins, "entry_points", lambda group: POINTS[group])
    with serving(inpainter="slow", timeout=0.3) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)  # the gate is now that of this server's model
        job = start(client, remove="person")
        # On a slow machine the time may be over before the first window; on others it is over while that waits.
        wait_until(lambda: SlowInpainter.windows or client.get(job["status"]).json()["state"] == "failed")
        time.sleep(0.4)
        SlowInpainter.gate.release(100)
        wait_until(lambda: client.get(job["status"]).json()["state"] == "failed")
        assert client.get(job["status"]).json()["error"]["code"] == "timeout"


def test_requests_at_the_same_time_do_not_mix(client, remover):
    photos = [encoded(scene(discs=((40 + 25 * n, 60, 14, RED), (60, 140, 10, BLUE)))) for n in range(6)]
    expected = [remover(photo, "person").image for photo in photos]

    def ask(photo):
        while (answer := client.post("/v1/remove", files=fields(photo=photo, remove="person"))).status_code == 429:
            time.sleep(0.05)
        return answer.content

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(ask, photos)) == expected


# ------------------------------------------------------------------ models, health


def test_lists_of_classes_and_models(client):
    classes = {one["name"]: one["aliases"] for one in client.get("/v1/classes").json()["classes"]}
    assert "people" in classes["person"]
    told = client.get("/v1/models").json()
    assert told["offline"] is True
    by_name = {one["name"]: one for one in told["models"]}
    assert by_name["telea"]["state"] == "built in"
    assert by_name["telea"]["auto"] is True  # the server was started with it
    assert "licence" in by_name["big-lama"]


def test_a_model_that_is_not_here_is_not_fetched_in_passing(client, monkeypatch, tmp_path):
    monkeypatch.setenv("OBJREMOVE_HOME", str(tmp_path))
    answer = client.post("/v1/remove", files=fields(photo=PHOTO, remove="person", inpainter="big-lama"))
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "model_missing"
    refused = client.post("/v1/models/big-lama/pull")
    assert refused.json()["error"]["code"] == "offline"
    assert client.post("/v1/models/nobody/pull").status_code == 404


def test_a_pull_is_a_job_with_progress(monkeypatch):
    fetched = []

    def fetch(name, progress):
        fetched.append(name)
        progress(10, 20)
        progress(20, 20)

    monkeypatch.setattr(plugins, "entry_points", lambda group: POINTS[group])
    monkeypatch.setattr(models, "fetch", fetch)
    with serving(offline=False) as client:
        told = events(client, client.post("/v1/models/sam_vit_b/pull").json())
        nothing = client.post("/v1/models/telea/pull")
        monkeypatch.setitem(sys.modules, "segment_anything", None)
        useless = client.post("/v1/models/sam_vit_b/pull")
    assert fetched == ["sam_vit_b"]
    assert useless.status_code == 422
    assert 'pip install "objremove[sam]"' in useless.json()["error"]["message"]
    assert (told[-1]["stage"], told[-1]["done"], told[-1]["result"]) == ("fetch", 20, {"name": "sam_vit_b"})
    assert nothing.status_code == 422


def test_a_pull_that_waits_is_cancelled_at_once(monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(plugins, "entry_points", lambda group: POINTS[group])
    monkeypatch.setattr(models, "fetch", lambda name, progress: gate.wait(60))
    with serving(offline=False) as client:
        try:
            first, second, third = (client.post("/v1/models/sam_vit_b/pull").json() for _ in range(3))
            assert client.delete(second["status"]).json()["state"] == "cancelled"
            assert client.get(third["status"]).json()["position"] == 1  # it moved up
        finally:
            gate.set()
        wait_until(lambda: client.get(third["status"]).json()["state"] == "done")
        assert client.get(first["status"]).json()["state"] == "done"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModelError("big-lama: /home/somebody/big-lama.pt is damaged: delete it"), "big-lama: … is damaged: delete it"),
        (RuntimeError("something internal"), "the models cannot be loaded; the server's log says why"),
    ],
)
def test_models_that_cannot_be_loaded_are_told(error, said, monkeypatch):
    def fail(engine):
        raise error

    monkeypatch.setattr(Engine, "warm_up", fail)
    with serving() as client:
        wait_until(lambda: client.get("/readyz").json()["status"] != "loading")
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert "retry-after" not in answer.headers
        told = answer.json()
        assert (told["status"], told["message"]) == ("failed", said)
        assert "message" not in client.get("/healthz").json()


def test_the_shelf_of_a_job_is_a_whole_one(client):
    shelf = JobShelf(client.app.state.server.engine._models, Choice(), Searches(), lambda stage: None)
    assert shelf.device.type == "cpu"
    (result,) = Remover(shelf=shelf).map([scene()], "person")  # asks for everything that a shelf has
    assert set(result.models) == {"counted", "telea"}


def test_health_and_metrics(client):
    assert client.get("/healthz").json()["status"] == "ok"
    text = client.get("/metrics").text
    for name in (
        "objremove_requests_total",
        "objremove_request_seconds_bucket",
        "objremove_queue",
        "objremove_memory_bytes",
    ):
        assert name in text
    assert 'route="/v1/photos/{photo_id}"' in text  # no ids, no names


# ------------------------------------------------------------------ the store


def kept(size):
    return StoredPhoto(b"x" * size, "PNG", (1, 1), "photo", ".png")


def test_photos_expire_without_use():
    now = [0.0]
    store = Store(1000, 60, now=lambda: now[0])
    used, unused = store.add(kept(10)), store.add(kept(10))
    for now[0] in (40.0, 80.0):
        store.get(used.photo_id)
    with pytest.raises(Problem, match="expired"):
        store.get(unused.photo_id)
    assert store.totals == (1, 10)


def test_the_least_recently_used_photos_make_room():
    store = Store(100, 60)
    first, second = store.add(kept(40)), store.add(kept(40))
    store.get(first.photo_id)
    store.add(kept(40))
    assert store.totals == (2, 80)
    store.get(first.photo_id)
    with pytest.raises(Problem):
        store.get(second.photo_id)
    with pytest.raises(Problem, match="larger than all"):
        store.add(kept(101))


def test_what_was_found_is_bounded_too(monkeypatch):
    monkeypatch.setattr("objremove.server.store._MOST_FOUND", 250)
    photo = kept(1)
    mask = np.ones((10, 10), np.bool_)
    labels = ("dog", "cat", "cow")
    first, second, third = (photo.remember([(1, Instance.from_mask(mask, label=label))])[0] for label in labels)
    assert len(photo.instances([second, third])) == 2
    with pytest.raises(Problem, match="no such instance"):
        photo.instances([first])
    (late,) = photo.remember([(2, Instance.from_mask(mask, label="dog"))], beside=[second])
    assert len(photo.instances([second, late])) == 2, "what it was found beside does not make room for it"


def test_what_was_found_beside_another_spares_it_and_is_spared():
    """As if one search had found both; what a search of its own finds is nothing to the others."""
    photo = kept(1)
    masks = np.zeros((4, 10, 10), np.bool_)
    for number, mask in enumerate(masks):
        mask[number] = True
    dog, more, cat, other = (
        Instance.from_mask(mask, label=label) for mask, label in zip(masks, ("dog", "dog", "cat", "dog"), strict=True)
    )
    first, stranger = photo.remember([(1, dog), (1, cat)])
    (late,) = photo.remember([(2, more)], beside=[stranger, first])
    assert (photo.others([first]), photo.others([late]), photo.others([stranger])) == ([more], [dog], [])
    (alone,) = photo.remember([(1, other)])
    assert photo.others([alone]) == []


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("beach.jpg", "beach"),
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\sea.png", "sea"),
        ("a\r\nSet-Cookie: x=1.jpg", "aSet-Cookie_ x=1"),
        ("\u202egpj.exe\x00.jpg", "gpj.exe"),
        ("…/日本 語.webp", "日本 語"),
        (".jpg", "jpg"),
        ("..", "photo"),
        (None, "photo"),
        ("n" * 5000 + ".jpg", "n" * 80),
    ],
)
def test_names_are_made_harmless(name, stem):
    assert harmless_stem(name) == stem


def test_an_extension_is_that_of_the_content():
    assert extension_of("JPEG", "photo.jpeg") == ".jpeg"
    assert extension_of("JPEG", "photo.exe") == ".jpg"
