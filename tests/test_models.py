"""The registry and its store: names, honest licences, verified downloads from a server on this machine, offline."""

from __future__ import annotations

import errno
import functools
import hashlib
import http.server
import io
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from objremove import models
from objremove.errors import ModelError, UsageError
from objremove.models import download, registry
from objremove.models.registry import Model

WEIGHTS = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


class Server:
    """An HTTP server for a folder; remembers what was asked for and can cut bodies short."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.truncated: set[str] = set()
        self.ranges: set[str] = set()
        self.then: int | None = None
        self.started = 0
        outer = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                name = self.path.lstrip("/")
                outer.started += "Range" not in self.headers
                if "Range" in self.headers and outer.then:
                    self.send_error(outer.then)
                    return
                if name in outer.truncated | outer.ranges:
                    body = (outer.folder / name).read_bytes()
                    start = int(self.headers.get("Range", "bytes=0-")[6:-1]) if name in outer.ranges else 0
                    if start >= len(body):
                        self.send_response(416)
                        self.send_header("Content-Range", f"bytes */{len(body)}")
                        self.end_headers()
                        return
                    self.send_response(206 if start else 200)
                    if start:
                        self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
                    self.send_header("Content-Length", str(len(body) - start))
                    self.end_headers()
                    end = start + len(body) // 3 + 1 if name in outer.truncated else len(body)
                    self.wfile.write(body[start:end])
                    return
                super().do_GET()

            def log_message(self, *_: object) -> None:
                pass

        handler = functools.partial(Handler, directory=str(folder))
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "good.bin").write_bytes(WEIGHTS)
    (folder / "wrong.bin").write_bytes(WEIGHTS[::-1])
    running = Server(folder)
    yield running
    running.stop()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OBJREMOVE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OBJREMOVE_MIRROR", raising=False)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "home"


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch):
    """Put a model into the registry for one test."""

    def put(*urls: str, checksum: str | None = f"sha256:{SHA256}", **fields) -> Model:
        defaults = {"filename": "toy.bin", "size": len(WEIGHTS)}
        model = Model("toy", "segmenter", "a toy", "CC0", "this test", urls, checksum=checksum, **(defaults | fields))
        monkeypatch.setitem(registry.REGISTRY, "toy", model)
        return model

    return put


def leftovers(home: Path) -> list[str]:
    """What lies in the cache besides weights, records and locks."""
    return [p.name for p in home.rglob("*") if p.suffix not in (".bin", ".sha256", ".lock") and p.is_file()]


class TestRegistry:
    def test_every_model_tells_licence_and_source(self):
        for model in models.REGISTRY.values():
            assert model.title, model.name
            assert model.licence, model.name
            assert model.source, model.name

    def test_downloads_use_https_and_carry_a_checksum(self):
        for model in models.REGISTRY.values():
            assert all(url.startswith("https://") for url in model.urls)
            if model.urls:
                assert model.checksum is not None
                assert model.checksum.partition(":")[0] in ("sha256", "md5")

    def test_sizes_are_those_that_torchvision_states(self):
        """In 2^20 bytes, to three decimals."""
        from torchvision.models import get_model_weights, list_models

        stated = {
            one.url.rsplit("/", 1)[1]: one.meta["_file_size"]
            for name in list_models()
            for one in get_model_weights(name)
        }
        ours = {model.filename: model.about for model in models.REGISTRY.values() if model.filename in stated}
        assert len(ours) == 9
        assert {name: round(size / 2**20, 3) for name, size in ours.items()} == {name: stated[name] for name in ours}

    def test_a_size_is_known_of_what_can_be_fetched(self, home: Path):
        unknown = {model.name for model in models.REGISTRY.values() if model.urls and models.size_of(model) is None}
        assert unknown == {"anime-manga-big-lama"}, "its publisher states none"

    def test_lama_tells_that_its_terms_are_questioned(self):
        assert "questioned" in models.get("big-lama").licence

    def test_names_by_kind(self):
        assert models.names("prompter") == ("sam_vit_b", "sam_vit_l", "sam_vit_h", "grabcut")
        assert {"telea", "navier-stokes", "shift-map", "big-lama"} <= set(models.names("inpainter"))
        assert models.names("segmenter")[0] == "slim-deeplab-voc21"

    @pytest.mark.parametrize(
        ("typo", "meant"),
        [("deeplabv3_resnet110", "deeplabv3_resnet101"), ("biglama", "big-lama"), ("sam-vit-b", "sam_vit_b")],
    )
    def test_a_typo_gets_suggestions(self, typo: str, meant: str):
        with pytest.raises(UsageError, match=meant):
            models.get(typo)

    def test_the_embedded_file_is_the_registered_one(self):
        """New embedded weights need their size and SHA-256 in the registry."""
        model = models.get("slim-deeplab-voc21")
        path = models.locate(model.name)
        assert path is not None
        assert (path.stat().st_size, f"sha256:{models.sha256(path)}") == (model.size, model.checksum)
        assert models.checked_path(model.name) == path


class TestStore:
    def test_the_cache_folder_follows_the_environment(self, home: Path):
        assert models.cache_dir() == home

    def test_the_cache_folder_is_the_users_otherwise(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.delenv("OBJREMOVE_HOME", raising=False)
        assert models.cache_dir().name == "objremove"

    def test_a_path_is_its_own_location(self, tmp_path: Path):
        own = tmp_path / "mine.safetensors"
        own.write_bytes(b"mine")
        assert models.locate(own) == own
        assert models.checked_path(str(own)) == own

    def test_models_without_weights_are_nowhere(self):
        assert models.locate("telea") is None
        with pytest.raises(UsageError, match="needs none"):
            models.checked_path("telea")

    def test_a_missing_file_is_an_error_that_says_how_to_get_it(self, home: Path):
        assert models.locate("sam_vit_b") is None
        with pytest.raises(ModelError, match="objremove models pull sam_vit_b") as caught:
            models.checked_path("sam_vit_b")
        assert str(home / "sam_vit_b_01ec64.pth") in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "checksum", [f"sha256:{SHA256}", f"sha256:{SHA256[:8]}", f"md5:{hashlib.md5(WEIGHTS).hexdigest()}"]
    )
    def test_a_file_put_there_by_hand_is_held_against_what_is_published(self, home: Path, register, checksum: str):
        register(checksum=checksum)
        home.mkdir()
        (home / "toy.bin").write_bytes(WEIGHTS)
        assert models.checked_path("toy") == home / "toy.bin"
        assert (home / "toy.bin.sha256").read_text() == f"{SHA256}  toy.bin\n"
        (home / "toy.bin").write_bytes(WEIGHTS[::-1])
        with pytest.raises(ModelError, match="not the published file"):
            models.checked_path("toy")

    def test_the_record_catches_what_a_short_checksum_cannot(self, home: Path, register):
        """Two files may share the few digits that a publisher states; the whole digest was recorded at first sight."""
        register(checksum="sha256:")
        home.mkdir()
        (home / "toy.bin").write_bytes(WEIGHTS)
        models.checked_path("toy")
        (home / "toy.bin").write_bytes(WEIGHTS[::-1])
        with pytest.raises(ModelError, match="recorded"):
            models.checked_path("toy")

    def test_where_nothing_is_published_any_file_is_taken(self, home: Path, register):
        register(checksum=None, size=None)
        home.mkdir()
        for weights in (WEIGHTS, WEIGHTS[::-1]):
            (home / "toy.bin").write_bytes(weights)
            assert models.checked_path("toy") == home / "toy.bin"

    def test_a_missing_file_that_comes_in_an_archive(self, home: Path):
        with pytest.raises(ModelError, match=r"or put models/best\.ckpt of https://.*\.zip at .*/best\.ckpt"):
            models.checked_path("big-lama")

    def test_a_home_of_nobody_holds_nothing(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("OBJREMOVE_HOME", "~nobody-at-all/x")
        assert models.locate("sam_vit_b") is None

    def test_a_file_of_another_size_is_refused(self, home: Path, register):
        register()
        home.mkdir()
        (home / "toy.bin").write_bytes(WEIGHTS[:1000])
        with pytest.raises(ModelError, match=r"1,000 bytes instead of 1,048,576"):
            models.checked_path("toy")


class TestFetch:
    def test_a_good_file_arrives_once(self, server: Server, home: Path, register):
        register(f"{server.url}/good.bin")
        told: list[tuple[int, int]] = []
        path = models.fetch("toy", progress=lambda done, total: told.append((done, total)))
        assert path.read_bytes() == WEIGHTS
        assert told[-1] == (len(WEIGHTS), len(WEIGHTS))
        assert models.fetch("toy") == path
        assert server.asked == ["/good.bin"]
        assert leftovers(home) == []

    @pytest.mark.parametrize("bad", ["missing.bin", "wrong.bin", "cut.bin"])
    def test_a_mirror_helps_where_the_first_address_fails(self, server: Server, home: Path, register, bad: str):
        (server.folder / "cut.bin").write_bytes(WEIGHTS)
        server.truncated.add("cut.bin")
        register(f"{server.url}/{bad}", f"{server.url}/good.bin")
        assert models.fetch("toy").read_bytes() == WEIGHTS
        assert list(dict.fromkeys(server.asked)) == [f"/{bad}", "/good.bin"]
        assert leftovers(home) == []

    def test_a_download_that_breaks_off_is_gone_on_with(self, server: Server, home: Path, register):
        (server.folder / "cut.bin").write_bytes(WEIGHTS)
        server.truncated.add("cut.bin")
        server.ranges.add("cut.bin")
        register(f"{server.url}/cut.bin")
        assert models.fetch("toy").read_bytes() == WEIGHTS
        assert len(server.asked) > 2, "each time a third of it came at most"
        assert leftovers(home) == []

    def test_what_came_whole_is_not_fetched_again(self, server: Server, home: Path, register, monkeypatch):
        (server.folder / "cut.bin").write_bytes(WEIGHTS)
        server.ranges.add("cut.bin")
        register(f"{server.url}/cut.bin")
        with monkeypatch.context() as killed:  # all is there, and the process ends before it is made use of
            receive = download.receive

            def received(*arguments: object) -> None:
                receive(*arguments)
                raise KeyboardInterrupt

            killed.setattr(download, "receive", received)
            with pytest.raises(KeyboardInterrupt):
                models.fetch("toy")
        server.asked.clear()
        assert models.fetch("toy").read_bytes() == WEIGHTS
        assert len(server.asked) == 1, "whether there is more"
        assert server.started == 1
        assert leftovers(home) == []

    def test_what_came_is_kept_for_the_next_time(self, server: Server, home: Path, register):
        (server.folder / "cut.bin").write_bytes(WEIGHTS)
        server.truncated.add("cut.bin")  # and a server that sends all from the start, whatever is asked for
        register(f"{server.url}/cut.bin")
        with pytest.raises(ModelError, match=r"broke off after [\d,]+ bytes, which are kept"):
            models.fetch("toy")
        assert models.locate("toy") is None
        server.truncated.clear()
        server.ranges.add("cut.bin")
        told: list[int] = []
        assert models.fetch("toy", progress=lambda done, _: told.append(done)).read_bytes() == WEIGHTS
        assert min(told) > len(WEIGHTS) // 4, "not from the start"
        assert leftovers(home) == []

    def test_the_beginning_of_another_file_is_not_gone_on_with_twice(self, server: Server, home: Path, register):
        (server.folder / "cut.bin").write_bytes(WEIGHTS[::-1])
        server.truncated.add("cut.bin")
        register(f"{server.url}/cut.bin")
        with pytest.raises(ModelError):
            models.fetch("toy")
        (server.folder / "cut.bin").write_bytes(WEIGHTS)
        server.truncated.clear()
        server.ranges.add("cut.bin")
        assert models.fetch("toy").read_bytes() == WEIGHTS

    @pytest.mark.parametrize("status", [429, 503])
    def test_what_came_is_kept_where_a_server_asks_to_wait(self, server: Server, home: Path, register, status: int):
        (server.folder / "cut.bin").write_bytes(WEIGHTS)
        server.truncated.add("cut.bin")
        server.ranges.add("cut.bin")
        server.then = status
        register(f"{server.url}/cut.bin")
        with pytest.raises(ModelError, match=f"{status} .* bytes, which are kept"):
            models.fetch("toy")
        server.then = None
        assert models.fetch("toy").read_bytes() == WEIGHTS
        assert server.started == 1, "from the start only once"

    def test_a_full_disk_costs_nothing_that_came(self, server: Server, home: Path, register, monkeypatch):
        (server.folder / "cut.bin").write_bytes(WEIGHTS)
        server.truncated.add("cut.bin")
        register(f"{server.url}/cut.bin")
        with pytest.raises(ModelError, match="which are kept"):
            models.fetch("toy")
        (part,) = leftovers(home)
        before = (home / part).read_bytes()
        full = Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
        monkeypatch.setattr(download, "_request", full)
        with pytest.raises(ModelError, match="No space left"):
            models.fetch("toy")
        assert full.call_count == 1
        assert (home / part).read_bytes() == before

    def test_a_mirror_that_is_no_address(self, server: Server, home: Path, register, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("OBJREMOVE_MIRROR", "http://[bad")
        register(f"{server.url}/good.bin")
        assert models.fetch("toy").read_bytes() == WEIGHTS

    def test_no_more_is_received_than_the_file_can_have(self, server: Server, home: Path, register):
        (server.folder / "endless.bin").write_bytes(bytes(8 << 20))
        register(f"{server.url}/endless.bin")
        with pytest.raises(ModelError, match="sends more than"):
            models.fetch("toy")
        assert leftovers(home) == []

    def test_a_password_in_an_address_is_not_shown(
        self, server: Server, home: Path, register, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv("OBJREMOVE_MIRROR", server.url.replace("//", "//user:secret@"))
        register(f"{server.url}/missing.bin")
        with pytest.raises(ModelError, match="404") as caught:
            models.fetch("toy")
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("bad", ["missing.bin", "wrong.bin"])
    def test_nothing_is_left_where_every_address_fails(self, server: Server, home: Path, register, bad: str):
        register(f"{server.url}/{bad}")
        with pytest.raises(ModelError, match="no address delivered") as caught:
            models.fetch("toy")
        assert "\n" not in str(caught.value)
        assert "models pull" not in str(caught.value), "that has just failed"
        assert models.locate("toy") is None
        assert leftovers(home) == []

    def test_a_mirror_in_the_environment_comes_first(
        self, server: Server, home: Path, register, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv("OBJREMOVE_MIRROR", f"{server.url}/")
        register("https://weights.invalid/some/where/good.bin")
        models.fetch("toy")
        assert server.asked == ["/good.bin"]

    def test_offline_asks_nobody(self, server: Server, home: Path, register):
        register(f"{server.url}/good.bin")
        with pytest.raises(ModelError, match="models pull toy"):
            models.fetch("toy", offline=True)
        assert server.asked == []

    def test_offline_takes_what_is_there(self, server: Server, home: Path, register):
        register(f"{server.url}/good.bin")
        assert models.fetch("toy") == models.fetch("toy", offline=True)

    def test_a_server_that_is_gone_is_a_model_error(self, server: Server, home: Path, register):
        register(f"{server.url}/good.bin")
        server.http.server_close()
        with pytest.raises(ModelError, match="no address delivered"):
            models.fetch("toy")

    def test_a_zip_is_checked_by_what_is_inside(self, server: Server, home: Path, register):
        """Packings differ, the checkpoint does not: only the named members are taken, wherever the archive has them."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("big/models/best.ckpt", WEIGHTS)
            archive.writestr("big/config.yaml", "ngf: 64")
            archive.writestr("../../escaped.txt", "no")
        (server.folder / "big.zip").write_bytes(packed.getvalue())
        register(f"{server.url}/big.zip", filename="big/models/best.ckpt", members=("models/best.ckpt", "config.yaml"))
        path = models.fetch("toy")
        assert path == home / "big/models/best.ckpt"
        assert path.read_bytes() == WEIGHTS
        assert (home / "big/config.yaml").read_text() == "ngf: 64"
        assert not list(home.parent.rglob("escaped.txt"))

    def test_a_zip_that_is_none_is_refused(self, server: Server, home: Path, register):
        register(f"{server.url}/good.bin", filename="big/best.ckpt", members=("best.ckpt",))
        with pytest.raises(ModelError, match="not a zip file"):
            models.fetch("toy")

    def test_a_zip_that_is_damaged_inside_is_refused_and_the_next_address_tried(
        self, server: Server, home: Path, register
    ):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("best.ckpt", WEIGHTS)
        start = 30 + len("best.ckpt")
        damaged = bytearray(packed.getvalue())
        damaged[start : start + 4] = b"\xff" * 4
        (server.folder / "damaged.zip").write_bytes(damaged)
        (server.folder / "whole.zip").write_bytes(packed.getvalue())
        addresses = (f"{server.url}/damaged.zip", f"{server.url}/whole.zip")
        register(*addresses, filename="big/best.ckpt", members=("best.ckpt",))
        assert models.fetch("toy").read_bytes() == WEIGHTS
        register(addresses[0], filename="other/best.ckpt", members=("best.ckpt",))
        with pytest.raises(ModelError, match="no address delivered"):
            models.fetch("toy")

    def test_what_a_killed_download_left_is_swept_away(self, server: Server, home: Path, register):
        register(f"{server.url}/good.bin")
        for name in (".fetch-toy.bin-abc", ".fetch-other.bin-abc"):
            (home / name).mkdir(parents=True)
            (home / name / "download").write_bytes(b"half")
        models.fetch("toy")
        assert [path.name for path in home.iterdir() if path.is_dir()] == [".fetch-other.bin-abc"]

    def test_a_read_only_folder_keeps_no_record(self, home: Path, register, monkeypatch: pytest.MonkeyPatch):
        register("https://example.org/toy.bin")
        home.mkdir()
        (home / "toy.bin").write_bytes(WEIGHTS)
        refused = OSError(errno.EROFS, "Read-only file system")
        for step in ("write_text", "unlink"):
            monkeypatch.setattr(Path, step, Mock(side_effect=refused))
        assert models.checked_path("toy") == home / "toy.bin"

    def test_a_folder_that_may_not_be_searched_has_no_weights(
        self, home: Path, register, monkeypatch: pytest.MonkeyPatch
    ):
        register("https://example.org/toy.bin")
        monkeypatch.setattr(Path, "is_file", Mock(side_effect=PermissionError(errno.EACCES, "Permission denied")))
        assert models.locate("toy") is None
        with pytest.raises(UsageError, match="unknown model"):
            models.locate("x" * 300)

    def test_a_folder_that_cannot_be_written_is_a_model_error(
        self, server: Server, tmp_path: Path, register, monkeypatch: pytest.MonkeyPatch
    ):
        (tmp_path / "file").write_text("in the way")
        monkeypatch.setenv("OBJREMOVE_HOME", str(tmp_path / "file" / "home"))
        register(f"{server.url}/good.bin")
        with pytest.raises(ModelError, match="cannot write weights"):
            models.fetch("toy")

    def test_models_without_weights_cannot_be_fetched(self):
        with pytest.raises(UsageError, match="works as it is"):
            models.fetch("telea")

    def test_two_processes_download_once(self, server: Server, home: Path):
        script = (
            "import sys; from objremove import models; from objremove.models import registry\n"
            "registry.REGISTRY['toy'] = registry.Model('toy', 'segmenter', 't', 'l', 's', (sys.argv[1],), 'toy.bin',"
            " checksum='sha256:' + sys.argv[2])\n"
            "print(models.sha256(models.fetch('toy')))"
        )
        command = [sys.executable, "-c", script, f"{server.url}/good.bin", SHA256]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        assert [process.communicate(timeout=60)[0].strip() for process in running] == [SHA256, SHA256]
        assert server.asked == ["/good.bin"]
        assert leftovers(home) == []
