"""What a hostile client, page or file may try, and that nothing comes of it. The incidents of other tools of this kind are the list."""

import io
import json
import struct
import zlib

import numpy as np
import pytest
from conftest import scene
from PIL import Image

pytest.importorskip("fastapi")
from starlette.datastructures import Headers
from test_server import ADDRESS, PHOTO, POINTS, encoded, fields, send, serving, start, wait_until

from objremove import plugins
from objremove.errors import UsageError
from objremove.server import guard, intake
from objremove.server.guard import COOKIE, Access
from objremove.server.settings import Settings

TOKEN = "a-token-that-is-long-enough"
ORIGIN = {"Origin": "https://evil.example"}


@pytest.fixture(scope="module")
def client():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "entry_points", lambda group: POINTS[group])
        with serving(max_megabytes=0.5, max_megapixels=1.0) as client:
            wait_until(lambda: client.get("/readyz").status_code == 200)
            yield client


@pytest.fixture(scope="module")
def guarded():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "entry_points", lambda group: POINTS[group])
        with serving(token=TOKEN, allow_origins=("https://friend.example",)) as client:
            yield client


@pytest.fixture(autouse=True)
def still_well(client):
    """Whatever was tried, the server works afterwards."""
    yield
    assert client.get("/healthz").status_code == 200


def refused(answer, *statuses):
    """The answer is a refusal with one of these statuses, in the one form, and tells nothing of the server's insides."""
    assert answer.status_code in statuses, (answer.status_code, answer.text)
    error = answer.json()["error"]
    assert set(error) == {"code", "message"}
    for inside in ("Traceback", "site-packages", "/objremove/", " at 0x", "\n"):
        assert inside not in error["message"]
    return error["code"]


# ------------------------------------------------------------------ other sites' pages


@pytest.mark.parametrize(
    "headers",
    [
        ORIGIN,
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},  # another server on the same machine
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {**ORIGIN, "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_pages_of_other_sites_can_neither_post_nor_read(client, headers):
    photo_id = send(client, PHOTO)
    assert refused(client.post("/v1/remove", files=fields(photo=PHOTO, remove="person"), headers=headers), 403)
    refused(client.get(f"/v1/photos/{photo_id}/file", headers=headers), 403)
    refused(client.delete(f"/v1/photos/{photo_id}", headers=headers), 403)


def test_the_servers_own_page_may_post(client):
    own = {"Origin": ADDRESS, "Sec-Fetch-Site": "same-origin"}
    assert client.post("/v1/photos", files={"photo": PHOTO}, headers=own).status_code == 201


def test_no_cors_unless_asked_and_then_for_that_site_only(client, guarded):
    ask = {"Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in client.options("/v1/remove", headers={**ORIGIN, **ask}).headers
    friend = guarded.options("/v1/remove", headers={"Origin": "https://friend.example", **ask})
    assert friend.headers["access-control-allow-origin"] == "https://friend.example"
    assert "access-control-allow-credentials" not in friend.headers
    assert "access-control-allow-origin" not in guarded.options("/v1/remove", headers={**ORIGIN, **ask}).headers


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "192.168.1.5", "", "localhost@evil"]
)
def test_names_that_were_rebound_to_this_machine_are_refused(client, host):
    refused(client.get("/v1/models", headers={"Host": host}), 421)


@pytest.mark.parametrize("host", ["localhost:8650", "127.0.0.1", "[::1]:8650", "LOCALHOST"])
def test_own_names_are_answered(client, host):
    assert client.get("/v1/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/json"])
def test_other_bodies_than_forms_are_refused(client, kind):
    refused(client.post("/v1/remove", content=b"remove=person", headers={"Content-Type": kind}), 415)


# ------------------------------------------------------------------ tokens


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/classes", "/metrics", "/openapi.json", "/static/index.html", "/v1/jobs/x"]
)
def test_nothing_but_health_and_the_sign_in_page_without_the_token(guarded, path):
    refused(guarded.get(path), 401)
    for wrong in ("", TOKEN, "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", "Bearer \xff\xfe"):
        refused(guarded.get(path, headers={"Authorization": wrong.encode("latin-1")}), 401)
    assert guarded.get("/healthz").status_code == 200
    assert "Token of this server" in guarded.get("/").text


def test_the_token_opens_the_door_and_is_exchanged_for_a_cookie(guarded):
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/v1/classes", headers=bearer).status_code == 200
    refused(guarded.post("/v1/session"), 401, 403)
    answer = guarded.post("/v1/session", headers=bearer)
    cookie = answer.headers["set-cookie"]
    assert answer.status_code == 204
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie
    guarded.cookies.clear()
    name, _, value = cookie.partition(";")[0].partition("=")
    worn = {"Cookie": f"{name}={value}"}
    assert guarded.get("/v1/classes", headers=worn).status_code == 200
    # A cookie is sent by browsers alone, and these say where a request comes from.
    refused(guarded.post("/v1/photos", files={"photo": PHOTO}, headers=worn), 403)
    refused(guarded.post("/v1/photos", files={"photo": PHOTO}, headers={**worn, **ORIGIN}), 403)
    assert guarded.post("/v1/photos", files={"photo": PHOTO}, headers={**worn, "Origin": ADDRESS}).status_code == 201
    refused(guarded.get("/v1/classes", headers={"Cookie": f"{name}={value[:-1]}"}), 401)
    refused(guarded.get("/v1/classes", headers={"Cookie": "objremove_session=; a=\x01"}), 401)


def test_tokens_are_compared_in_constant_time(guarded, monkeypatch):
    import hmac

    compared = []
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or a == b)
    refused(guarded.get("/v1/classes", headers={"Authorization": "Bearer x"}), 401)
    assert (b"x", TOKEN.encode()) in compared


@pytest.mark.parametrize(
    "settings",
    [
        {"host": "0.0.0.0"},
        {"host": "192.168.1.5"},
        {"host": "example.org"},
        {"token": "short"},
        {"queue": 0},
        {"timeout": float("nan")},
    ],
)
def test_unsafe_settings_are_refused(settings):
    with pytest.raises(UsageError):
        Settings(**settings)


# ------------------------------------------------------------------ names, ids and paths


@pytest.mark.parametrize(
    "name",
    [
        "../../../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "/etc/passwd",
        "C:\\Windows\\win.ini",
        "photo.jpg\x00.php",
        'x".jpg; filename="y.html',
        "a\r\nX-Injected: yes\r\n\r\n<script>.jpg",
        "\u202egpj.exe",
        "日本" * 2500,
        "<img src=x onerror=alert(1)>.svg",
    ],
)
def test_file_names_are_only_ever_names(client, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    body = b'--b\r\nContent-Disposition: form-data; name="photo"; filename="%s"\r\n\r\n%s\r\n--b--\r\n'
    head = name.replace("\r", "%0D").replace("\n", "%0A").replace('"', '\\"').encode()
    answer = client.post(
        "/v1/photos", content=body % (head, PHOTO), headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    if answer.status_code != 201:  # the parser itself bars NUL and overlong headers
        refused(answer, 400)
        return
    file = client.get(f"/v1/photos/{answer.json()['photo_id']}/file")
    disposition = file.headers["content-disposition"]
    assert disposition.startswith("attachment; ")
    assert not set("/\\\r\n<>") & set(disposition)
    assert "x-injected" not in file.headers
    assert file.headers["content-type"] == "image/jpeg"
    assert file.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in file.headers["content-security-policy"]
    assert answer.json()["name"].endswith(".jpg")
    assert list(tmp_path.iterdir()) == []  # nothing was written


@pytest.mark.parametrize(
    "path", ["..%2f..%2fpyproject.toml", "%2e%2e/%2e%2e/app.py", "....//app.py", "%00", "..\\app.py", "/etc/passwd"]
)
def test_static_files_are_those_of_the_page_alone(client, path):
    for folder in ("static", "signin"):
        refused(client.get(f"/{folder}/{path}"), 404, 400)


@pytest.mark.parametrize(
    "model", ["/etc/passwd", "../weights.pth", "https://evil.example/model.pth", "C:\\x.pth", "x" * 300, "metric"]
)
def test_a_model_is_a_name_of_the_registry_never_a_path(client, model):
    for field in ("segmenter", "inpainter", "prompter"):
        refused(client.post("/v1/remove", files=fields(photo=PHOTO, remove="person", **{field: model})), 422)
    refused(client.post(f"/v1/models/{model.replace('/', '%2F')}/pull"), 403, 404, 422)


def test_a_model_of_another_kind_is_refused(client):
    refused(client.post("/v1/remove", files=fields(photo=PHOTO, remove="person", inpainter="grabcut")), 422)


@pytest.mark.parametrize("address", ["http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "gopher://x"])
def test_addresses_are_never_fetched(client, address, monkeypatch):
    import socket

    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("the server opened a connection"))
    for field in ("url", "photo_url", "photo", "photo_id"):
        answer = client.post(
            "/v1/detect", files=fields(**{field: address}) if field != "photo" else {"photo": (None, address)}
        )
        refused(answer, 415, 422)


def test_ids_of_others_cannot_be_guessed_or_mixed(client):
    mine, theirs = (client.post("/v1/detect", files=fields(photo=PHOTO)).json() for _ in range(2))
    assert len({mine["photo_id"], theirs["photo_id"]}) == 2
    assert len(mine["photo_id"]) >= 24  # 144 bits
    stolen = theirs["instances"][0]["id"]
    answer = client.post("/v1/remove", files=fields(photo_id=mine["photo_id"], instances=stolen))
    assert refused(answer, 404) == "unknown_instance"
    for other in ("A" * 24, "..", "1", "%00", "x" * 500):
        refused(client.get(f"/v1/photos/{other}/file"), 404, 422)
        refused(client.get(f"/v1/jobs/{other}"), 404, 422)
        refused(client.delete(f"/v1/jobs/{other}"), 404, 422)


# ------------------------------------------------------------------ files


def png_of(width, height, data=b"", kind=2):
    """A PNG that declares a size, whatever its data are."""

    def chunk(name, payload):
        return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))

    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def test_pixel_bombs_are_refused_by_their_header(client, monkeypatch):
    monkeypatch.setattr(intake.Photo, "open", lambda *_, **__: pytest.fail("it was decoded"))
    for size in ((50_000, 50_000), (2_000, 501), (2**31 - 1, 2**31 - 1)):
        refused(client.post("/v1/photos", files={"photo": png_of(*size)}), 413, 415)


def test_a_compressed_bomb_is_only_as_large_as_it_says(client):
    answer = client.post("/v1/photos", files={"photo": png_of(10, 10, bytes(50_000_000))})
    if answer.status_code == 201:  # what lies behind the last declared pixel is never unpacked
        shown = client.get(f"/v1/photos/{answer.json()['photo_id']}/preview")
        assert Image.open(io.BytesIO(shown.content)).size == (10, 10)
    else:
        refused(answer, 413, 422)


def test_photos_that_need_more_memory_than_there_is_are_refused(client, monkeypatch):
    memory = type("Memory", (), {"total": 10**12, "available": 10**6})
    monkeypatch.setattr(intake.psutil, "virtual_memory", lambda: memory)
    answer = client.post("/v1/photos", files={"photo": PHOTO})
    assert refused(answer, 503) == "no_memory"
    assert int(answer.headers["retry-after"]) > 0


def test_bodies_over_the_limit_are_refused_while_they_arrive(client):
    def endless():
        yield b'--b\r\nContent-Disposition: form-data; name="photo"; filename="x"\r\n\r\n'
        for _ in range(100):
            yield bytes(100_000)

    # Without a Content-Length: what counts is what arrives.
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    assert refused(client.post("/v1/photos", content=endless(), headers=kind), 413) == "too_large"
    assert refused(client.post("/v1/photos", files={"photo": bytes(600_000)}), 413) == "too_large"


def test_bodies_that_arrive_together_are_bounded(client, monkeypatch):
    monkeypatch.setattr(guard, "_BODIES_IN_FLIGHT", 0.01)
    assert client.post("/v1/photos", files={"photo": bytes(50_000)}).status_code == 503
    monkeypatch.undo()
    assert client.post("/v1/photos", files={"photo": PHOTO}).status_code == 201


@pytest.mark.parametrize(
    "data",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<!doctype html><script>alert(1)</script>",
        b"%PDF-1.7",
        b"PK\x03\x04" + bytes(100),
        b"GIF89a",
        b"\xff\xd8\xff",
        b"",
        b"\x00" * 1000,
        b"\x80\x04\x95cos\nsystem\n",  # a pickle
    ],
)
def test_what_is_no_picture_is_refused(client, data):
    refused(client.post("/v1/photos", files={"photo": ("photo.jpg", data)}), 415, 422)


def test_truncated_photos_are_refused_not_half_shown(client):
    for format in ("JPEG", "PNG", "WEBP"):
        whole = encoded(scene(), format)
        refused(client.post("/v1/photos", files={"photo": whole[: len(whole) * 2 // 3]}), 422, 415)


def test_a_polyglot_is_only_ever_a_picture(client):
    polyglot = PHOTO + b"<html><script>alert(document.domain)</script></html>"
    photo_id = send(client, polyglot, "page.html")
    file = client.get(f"/v1/photos/{photo_id}/file")
    assert file.headers["content-type"] == "image/jpeg"
    assert file.headers["content-disposition"].startswith('attachment; filename="page.jpg"')
    assert file.headers["x-content-type-options"] == "nosniff"
    clean = client.post("/v1/remove", files=fields(photo_id=photo_id, remove="person"))
    assert b"<script>" not in clean.content


def test_masks_must_be_pictures_of_the_photos_size(client, monkeypatch):
    for mask in (encoded(scene(90, 120), "PNG"), encoded(scene(240, 180), "PNG"), b"no picture"):
        refused(client.post("/v1/remove", files=fields(photo=PHOTO, mask=mask)), 415, 422)
    grey = encoded(np.full((180, 240), 40, np.uint8), "PNG")
    refused(client.post("/v1/remove", files=fields(photo=PHOTO, mask=grey)), 422)
    refused(
        client.post("/v1/remove", files=fields(photo=PHOTO, mask=encoded(np.full((180, 240), 255, np.uint8), "PNG"))),
        422,
    )


# ------------------------------------------------------------------ fields


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("confidence", bad) for bad in ("nan", "inf", "-1", "1e999", "x", "2")),
        *(("feather", bad) for bad in ("-1", "1e9", "99999999999999999999", "nan")),
        *(("quality", bad) for bad in ("0", "101", "-5")),
        *(("dilate", bad) for bad in ("-3", "nan", "9" * 4000, "1e9", "5%%", "inf")),
        *(("points", bad) for bad in ("nan,1", "-1,2", "1", "1,2,3", "9" * 4000 + ",1", "1e3,2")),
        *(("boxes", bad) for bad in ("1,2,3", "9,9,1,1", "0,0,0,0", "-1,-1,5,5", "nan,nan,nan,nan")),
        *(
            ("remove", bad)
            for bad in ("x" * 1000, "person#0", "person#-1", "person#1-999999999999", "coco:99999999999")
        ),
        ("format", "../../x"),
        ("format", "html"),
        ("photo_id", "../x"),
        ("photo_id", "' OR 1=1 --"),
    ],
)
def test_values_out_of_range_are_refused(client, field, value):
    request = {"remove": "person", "photo": PHOTO, field: value}
    if field == "photo_id":
        del request["photo"]
    refused(client.post("/v1/remove", files=fields(**request)), 400, 422)


def test_giant_lists_and_fields_are_refused(client):
    refused(client.post("/v1/remove", files=fields(photo=PHOTO, points=["1,1"] * 65)), 422)
    refused(client.post("/v1/remove", files=fields(photo=PHOTO, instances=["x"] * 5000)), 400)
    refused(client.post("/v1/remove", files=fields(photo=PHOTO, remove="person" * 2000)), 400)
    refused(client.post("/v1/remove", files=[("mask", ("m", PHOTO))] * 30), 400)
    refused(client.get(f"/v1/photos/{send(client, PHOTO)}/preview", params={"side": 10**9}), 422)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"no boundary"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\n"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="photo"\r\n\r\nnever ends'),
        ("multipart/form-data; boundary=b", b"\x00" * 1000),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="remove"\r\n\r\n\xff\xfe\r\n--b--\r\n',
        ),
        ("multipart/form-data; boundary=" + "b" * 5000, b""),
        ("multipart/form-data; charset=utf-9; boundary=b", b"--b--\r\n"),
    ],
)
def test_malformed_forms_are_refused(client, kind, body):
    for path in ("/v1/remove", "/v1/photos", "/v1/detect", "/v1/select"):
        refused(client.post(path, content=body, headers={"Content-Type": kind}), 400, 422)


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/v1/photos"), ("TRACE", "/v1/photos"), ("BREW", "/v1/remove"), ("GET", "/nothing")]
)
def test_other_methods_and_paths(client, method, path):
    refused(client.request(method, path), 404, 405)


def test_errors_of_the_server_tell_nothing(client, monkeypatch):
    from objremove.server import engine

    def broken(*_, **__):
        raise RuntimeError("secret at /home/user/secret.py")

    monkeypatch.setattr(engine.Engine, "find", broken)
    answer = client.post("/v1/detect", files=fields(photo=PHOTO))
    assert refused(answer, 500) == "internal"
    assert "secret" not in answer.text


def test_the_log_holds_no_names_ids_or_contents(client, caplog):
    with caplog.at_level("INFO", "objremove.server"):
        photo_id = send(client, PHOTO, "private-holiday.jpg")
        client.get(f"/v1/photos/{photo_id}/file", params={"secret": "query"})
        client.post("/v1/remove", files=fields(photo_id=photo_id, remove="private-class"))
    text = "\n".join(record.getMessage() for record in caplog.records)
    assert text.count("\n") >= 2
    for private in ("holiday", photo_id, "query", "private"):
        assert private not in text


def test_a_failed_job_tells_as_little(client):
    # Everything is removed: there is nothing to fill from, which only the work itself finds out.
    white = encoded(np.full((180, 240), 255, np.uint8), "PNG")
    job = start(client, mask=white)
    wait_until(lambda: client.get(job["status"]).json()["state"] == "failed")
    error = client.get(job["status"]).json()["error"]
    assert "covers the whole photo" in error["message"]
    assert json.dumps(error).count("/") == 0


def test_every_answer_carries_the_headers_for_browsers(client):
    for path in ("/healthz", "/nothing", "/v1/classes", "/"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert "'unsafe-inline'" not in headers["content-security-policy"]
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-request-id"]
    assert client.get("/v1/classes").headers["cache-control"] == "no-store"


def test_icc_profiles_and_metadata_that_are_broken_do_no_harm(client):
    target = io.BytesIO()
    Image.fromarray(scene()).save(
        target, "JPEG", icc_profile=b"\x00" * 200, exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff"
    )
    photo_id = send(client, target.getvalue())
    assert client.get(f"/v1/photos/{photo_id}/preview").status_code == 200


@pytest.mark.parametrize("beside", ['theme={"dark":true}', "name=Ann Lee", "flag", "=", "a=b"])
def test_cookies_of_others_do_not_hide_ours(beside):
    access = Access("a long enough token")
    for cookies in (f"{beside}; {COOKIE}={access.session}", f"{COOKIE}={access.session}; {beside}"):
        assert access.by_cookie(Headers({"cookie": cookies}))
    assert not access.by_cookie(Headers({"cookie": f"{beside}; {COOKIE}=wrong"}))


def test_numbers_without_an_end_are_refused():
    for name in ("max_megabytes", "timeout", "keep_minutes"):
        for value in (float("inf"), float("nan"), 0):
            with pytest.raises(UsageError, match="take a number above 0"):
                Settings(**{name: value})
