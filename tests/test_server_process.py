"""`objremove serve` as a process: its address, slow and vanishing clients, its end, and what it leaves behind: nothing."""

import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
from conftest import RED, scene
from PIL import Image

pytest.importorskip("fastapi")
from objremove.cli.app import run

PHOTO = io.BytesIO()
Image.fromarray(scene(600, 800, [(x, y, 9, RED) for x in (100, 400, 700) for y in (100, 300, 500)])).save(PHOTO, "PNG")
# The toy segmenter, and an inpainter that takes half a second for each of nine windows and notes it in a file.
STARTED = """
import sys, time
sys.path.insert(0, {tests!r})
from importlib.metadata import EntryPoint
import numpy as np
from objremove import plugins
from objremove.cli.app import run

class Slow:
    name, modulo, hole_width, sharp_width, hole_area, window_side, batch_size = "slow", 1, 200, 200, 10**6, 400, 1
    def fill(self, windows, holes):
        with open("windows.txt", "a") as file:
            file.write("x")
        time.sleep(0.5)
        return np.full_like(windows, 0.5)

def make_slow(device, dtype):
    return Slow()

sys.modules["started"] = sys.modules["__main__"]
point = lambda group, name, value: EntryPoint(name, value, group)
POINTS = {{
    plugins.SEGMENTERS: [point(plugins.SEGMENTERS, "colours", "conftest:make_colours")],
    plugins.INPAINTERS: [point(plugins.INPAINTERS, "slow", "started:make_slow")],
}}
plugins.entry_points = lambda group: POINTS[group]
sys.exit(run(sys.argv[1:]))
"""


class Process:
    """A server of its own, and its working and temporary folders."""

    def __init__(self, folder, *options):
        self.work, self.temporary = folder / "work", folder / "tmp"
        self.work.mkdir()
        self.temporary.mkdir()
        code = STARTED.format(tests=str(Path(__file__).parent))
        arguments = ["serve", "--port", "0", "--no-open", "--segmenter", "colours", "--inpainter", "slow", *options]
        self.out, self.err = folder / "out.txt", folder / "err.txt"  # files: a pipe that nobody reads fills up
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, *arguments],
                cwd=self.work,
                env={**os.environ, "TMPDIR": str(self.temporary), "OBJREMOVE_HOME": str(folder / "home")},
                stdout=out,
                stderr=err,
            )

    def wait_until_ready(self):
        """Wait for its address, and for its models."""
        wait_until(lambda: self.out.read_text().endswith("\n") or self.process.poll() is not None, 120)
        address = urlsplit(self.out.read_text().strip())
        self.host, self.port = address.hostname, address.port
        wait_until(lambda: self.get("/readyz")[0] == 200, 120)

    def get(self, path):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def connect(self, data):
        """A raw connection over which `data` was sent."""
        connection = socket.create_connection((self.host, self.port), timeout=20)
        connection.sendall(data)
        return connection

    @property
    def windows(self):
        """How many windows have begun to be filled."""
        noted = self.work / "windows.txt"
        return len(noted.read_text()) if noted.exists() else 0

    def end(self):
        """Its exit code after being told to end, and what it said on stderr."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60), self.err.read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One process for all tests here; the last of them ends it."""
    process = Process(
        tmp_path_factory.mktemp("server"), "--queue", "2", "--patience", "1", "--keep-megabytes", "5", "-v"
    )
    try:
        process.wait_until_ready()
        yield process
    finally:
        process.process.kill()
        process.process.wait(timeout=60)


def request(parts, path="/v1/remove", accept="*/*"):
    """A whole request with a form, as bytes."""
    body = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
        % (name.encode(), b'; filename="x"' if name == "photo" else b"", data)
        for name, data in parts.items()
    )
    body += b"--b--\r\n"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.05)


def test_a_client_that_goes_away_takes_its_work_with_it(server):
    before = server.windows
    connection = server.connect(request({"photo": PHOTO.getvalue(), "remove": b"person"}))
    wait_until(lambda: server.windows == before + 2)
    connection.close()
    time.sleep(1.5)
    assert server.windows <= before + 4
    # Half a request, and half an upload, are no more harm.
    whole = request({"photo": PHOTO.getvalue(), "remove": b"person"})
    for part in (b"GET / HT", whole[:40], whole[: len(whole) // 2]):
        server.connect(part).close()
    assert server.get("/healthz")[0] == 200


def test_slow_clients_are_given_up(server):
    silent, dripping = server.connect(b""), server.connect(b"GET /healthz HTTP/1.1\r\nHost: local")
    stalled = server.connect(request({"photo": PHOTO.getvalue(), "remove": b"person"})[:2000])
    assert server.get("/healthz")[0] == 200  # nobody else has to wait
    assert stalled.recv(20).startswith(b"HTTP/1.1 408")
    assert silent.recv(20) == b""
    assert dripping.recv(20) == b""


def test_slow_clients_are_given_up_after_an_answer_too(server):
    """A connection that is kept for more requests has no more time for the next head than for the first."""
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    then = (b"", b"G", b"GET /healthz HTTP/1.1\r\nHost: local", request + b"GET /hea")
    for more in then:
        with server.connect(request) as connection:
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
            if more:
                connection.sendall(more)
            connection.settimeout(20)
            while connection.recv(4096):  # what was whole is answered; then the server closes
                pass


def ask_for_megabytes(server):
    """A connection with a small buffer, over which four megabytes were asked for."""
    noise = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), np.uint8)).save(noise, "PNG")
    sent = server.connect(request({"photo": noise.getvalue()}, "/v1/photos"))
    answer = http.client.HTTPResponse(sent)
    answer.begin()
    photo_id = json.load(answer)["photo_id"]
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(20)
    connection.connect((server.host, server.port))
    connection.sendall(f"GET /v1/photos/{photo_id}/file HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return connection, len(noise.getvalue())


def test_clients_that_take_an_answer_slowly_get_all_of_it(server):
    """Longer than `patience` altogether, and never so long without a byte."""
    connection, length = ask_for_megabytes(server)
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    began, taken = time.monotonic(), 0
    while part := answer.read(65536):
        taken += len(part)
        time.sleep(0.06)
    assert taken == length
    assert time.monotonic() - began > 3


def test_clients_that_take_nothing_are_given_up(server):
    greedy, _ = ask_for_megabytes(server)
    ours = psutil.Process(server.process.pid)
    theirs = greedy.getsockname()[1]

    def connected():
        return any(one.raddr and one.raddr.port == theirs for one in ours.net_connections("tcp"))

    wait_until(connected)
    wait_until(lambda: not connected())


def test_broken_requests(server):
    for data in (
        b"\x16\x03\x01\x02\x00\x01\x00",  # TLS
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST /v1/remove HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/remove HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/remove HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
    ):
        answer = server.connect(data).recv(100)
        assert answer == b"" or int(answer.split()[1]) in (400, 413, 415, 421, 422, 431), answer


def test_requests_leave_memory_as_it_was(server):
    small = io.BytesIO()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(small, "PNG")
    _, _, body = request({"photo": small.getvalue()}).partition(b"\r\n\r\n")
    connection = http.client.HTTPConnection(server.host, server.port, timeout=20)

    def ask(times):
        for _ in range(times):
            connection.request("POST", "/v1/detect", body, {"Content-Type": "multipart/form-data; boundary=b"})
            assert json.loads(connection.getresponse().read())["instances"] == []
        line = next(
            line for line in server.get("/metrics")[1].decode().splitlines() if line.startswith("objremove_memory")
        )
        return float(line.split()[1])

    # A thousand are asked by benchmarks/bench_server.py; what grows with each of them shows here already.
    before = ask(60)
    assert ask(120) - before < 10e6


def test_it_leaves_nothing_behind_even_in_the_middle_of_work(server):
    (private,) = server.temporary.iterdir()
    assert private.stat().st_mode & 0o777 == 0o700
    server.connect(request({"photo": PHOTO.getvalue(), "remove": b"person"}, accept="application/json"))
    before = server.windows
    wait_until(lambda: server.windows == before + 1)
    started = time.monotonic()
    code, err = server.end()
    assert code == 0
    assert time.monotonic() - started < 15
    assert "Traceback" not in err
    assert server.windows < before + 9  # the job was cancelled, not finished
    assert list(server.temporary.iterdir()) == []
    assert [path.name for path in server.work.iterdir()] == ["windows.txt"]


def test_a_taken_port_is_said_in_one_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert run(["serve", "--port", str(taken.getsockname()[1])]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "is taken" in error


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "--token"),
        (["--host", "0.0.0.0", "--token", "short"], "16 or more"),
        (["--inpainter", "big-lame"], "did you mean big-lama"),
        (["--segmenter", "no-such-file.pth"], "no such file"),
    ],
)
def test_what_cannot_be_served_is_said_before_anything_is_opened(options, words, capsys, monkeypatch):
    monkeypatch.delenv("OBJREMOVE_TOKEN", raising=False)
    assert run(["serve", "--port", "0", *options]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("terminal", [True, False])
def test_no_other_user_of_the_machine_is_shown_the_token(terminal, capsys, monkeypatch):
    """What a browser is started with is in the list of processes; a terminal is its user's own, a log need not be."""
    token, started = "a-token-that-is-long-enough", []
    monkeypatch.setattr("webbrowser.open", lambda *arguments: started.append(arguments))
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    monkeypatch.setattr("objremove.server.run.serve", lambda settings, port, opened: opened("http://127.0.0.1:1/"))
    monkeypatch.setenv("OBJREMOVE_TOKEN", token)
    assert run(["serve", "--open", "--segmenter", "auto"]) == 0
    assert started == [("http://127.0.0.1:1/",)]
    told = capsys.readouterr()
    assert token not in told.out
    assert (f"http://127.0.0.1:1/#token={token}" in told.err) == terminal
