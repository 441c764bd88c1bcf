"""Cluster runs: what a unit of work is, what is left of it after deaths of all kinds, and a real Ray cluster whose processes are killed."""
# ruff: noqa: E402 - without the extra [ray] nothing of it can be imported

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from contextlib import suppress
from types import SimpleNamespace

import pytest
from conftest import RED, scene
from PIL import Image

pytest.importorskip("fsspec", reason="cluster runs need the extra [ray]")
pa = pytest.importorskip("pyarrow", reason="cluster runs need the extra [ray]")

import fsspec
import pyarrow.parquet as pq

from objremove import pipeline
from objremove.cli.app import run as command_line
from objremove.cluster.ledger import Covered, Known, Ledger, begin
from objremove.cluster.listing import find_files
from objremove.cluster.machines import Workers, connected
from objremove.cluster.plan import Settings, find_inputs, make_plan
from objremove.cluster.report import merge
from objremove.cluster.run import alone, run
from objremove.cluster.storage import Folder
from objremove.cluster.worker import Task, Worker, encoded
from objremove.errors import ObjRemoveError, PhotoError, UsageError

BOX = "20,20,60,60"
HOW = {"inpainter": "telea", "prompter": "grabcut"}
REQUEST = {"boxes": [BOX]}
MODELS = {"inpainter": ("telea", None), "prompter": ("grabcut", None)}


def picture(number=0, size=(90, 120)):
    """A PNG file: a disc in the box, each in another place."""
    file = io.BytesIO()
    Image.fromarray(scene(*size, ((36 + number % 9, 40, 9, RED),))).save(file, "PNG")
    return file.getvalue()


def tar_of(members):
    """A tar with these members."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def parquet_of(pictures):
    """A table as data sets on hubs have it: a struct of bytes and path, and other columns."""
    file = io.BytesIO()
    rows = [None if data is None else {"bytes": data, "path": "x.png"} for data in pictures]
    pq.write_table(pa.table({"image": rows, "caption": ["a disc"] * len(rows)}), file)
    return file.getvalue()


@pytest.fixture
def store():
    """An object store, as far as one process can have one."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    yield fs
    fs.store.clear()


def fill(store):
    """Three kinds of input, 24 photos, of which one is broken and one row empty."""
    for number in range(9):
        store.pipe_file(f"/in/tree/{number}.png", picture(number))
    store.pipe_file("/in/broken.jpg", b"no photo")
    store.pipe_file("/in/notes.doc", b"no photo by its name")
    store.pipe_file("/in/.hidden.png", picture())
    members = [(f"{number:04}.png", picture(number)) for number in range(8)]
    store.pipe_file("/in/a.tar", tar_of([*members, ("0000.json", b"{}")]))
    store.pipe_file("/in/t.parquet", parquet_of([*map(picture, range(5)), None]))


class Listener:
    """Remembers what it is told."""

    def __init__(self, goes_on=lambda photos: None):
        self.plan, self.failures, self.photos, self._goes_on = None, [], 0, goes_on

    def begins(self, plan):
        self.plan = plan

    def goes_on(self, photos):
        self.photos = photos
        self._goes_on(photos)

    def failed(self, name, reason):
        self.failures.append((name, reason))


def task(**fields):
    return Task(HOW, REQUEST, MODELS, "memory://out", **fields)


def go(settings=None, *, only=None, options=None, inputs=("memory://in",), **fields):
    """A run as the driver and one worker do it, without Ray between them; with `only`, the worker gets so many units."""
    settings, mine = settings or Settings(batch=4), task(**fields)
    output = Folder(mine.output)
    ledger = Ledger(output, begin(output, options or {}, again=settings.again, overwrite=settings.overwrite))
    known = Known.read(ledger, retry_failed=settings.retry_failed)
    plan = make_plan(find_inputs(inputs, mine), known, settings)
    worker = Worker(Task(**{**vars(mine), "run": ledger.run, "batch": settings.batch}))
    news = [one for unit in plan.units[:only] for one in worker({"unit": [encoded(unit)]})]
    assert not any(one["error"][0] for one in news)
    return plan, merge(ledger, known, Known(ledger.all()), plan.skipped, plan.outdated), news


def report(text):
    return [json.loads(line) for line in text.splitlines()]


def names_of(store, path="/out/report.jsonl"):
    return sorted(line["photo"] for line in report(store.cat_file(path)))


ALL = sorted(
    [
        *(f"tree/{number}.png" for number in range(9)),
        *("broken.jpg", "notes.doc"),
        *(f"a.tar/{number:04}.png" for number in range(8)),
        *(f"t.parquet/{number:08}" for number in range(6)),
    ]
)

# ---------------------------------------------------------------------- units, without a cluster


def test_folders_tars_and_tables_on_an_object_store(store):
    fill(store)
    plan, tally, news = go()
    assert tally.files == Counter(removed=22, failed=2, skipped=1)
    assert names_of(store) == ALL
    assert sum(len(unit.files) for unit in plan.units if unit.kind == "photos") == 10
    lines = {line["photo"]: line for line in report(store.cat_file("/out/report.jsonl"))}
    for line in lines.values():
        if line["status"] == "removed":
            data = store.cat_file(f"/out/{line['output']['path']}")
            assert len(data) == line["output"]["size"]
            assert Image.open(io.BytesIO(data)).size == (120, 90)
            assert line["removed"][0]["label"] == "box"
    assert lines["t.parquet/00000003"]["output"]["path"] == "t.parquet/00000003.png"
    assert lines["a.tar/0003.png"]["source"]["path"].endswith("in/a.tar#0003.png")
    assert lines["t.parquet/00000005"]["reason"] == "no picture is in this row"
    assert "broken.jpg" in lines
    failed = [name for one in news for name, _ in json.loads(one["failed"][0])]
    assert sorted(failed) == ["broken.jpg", "t.parquet/00000005"]


def test_a_result_is_that_of_a_single_call(store):
    from objremove import Remover

    fill(store)
    go()
    alone = Remover(**HOW)(picture(3), boxes=[BOX])
    assert store.cat_file("/out/a.tar/0003.png") == alone.encode()[0]


def test_limits_add_up_and_nothing_is_done_twice(store):
    fill(store)
    done = []
    while sum(done) < 24:
        tally = go(Settings(batch=4, limit=7))[1]
        done.append(sum(tally.now.values()))
    assert done == [7, 7, 7, 3]
    assert names_of(store) == ALL
    assert go()[2] == []


def test_a_unit_begun_again_leaves_out_what_parts_cover(store):
    fill(store)
    plan, _, news = go(Settings(batch=2))
    tar = next(unit for unit in plan.units if unit.kind == "tar")
    parts = [path for path in store.find("/out/.objremove/parts") if tar.id in path]
    assert sum(path.endswith(".jsonl") for path in parts) == 4
    store.rm_file(next(path for path in parts if "000000004-000000006" in path))
    store.rm_file(next(path for path in parts if "/end-" in path))
    store.pipe_file("/out/a.tar/0001.png", b"not to be touched")
    _, tally, again = go(Settings(batch=2))
    assert store.cat_file("/out/a.tar/0001.png") == b"not to be touched"
    assert tally.now == Counter(removed=2)
    assert names_of(store) == ALL
    # Ray repeats a task and drops as many answers as it has had: there must be as many, whoever did the rest.
    assert sum(one["unit"] == [tar.id] for one in again) == sum(one["unit"] == [tar.id] for one in news) == 4


class Death(BaseException):
    """The killing is played: the worker stops dead where it is, as a process would."""


@pytest.fixture
def mortal(monkeypatch):
    """Let workers die whenever a photo is about to be done of which `mortal.kills` says so."""
    alive, how = pipeline.run, SimpleNamespace(kills=lambda photo: False)

    def deadly(remover, jobs, finish, **settings):
        for outcome in alive(remover, jobs, finish, **settings):
            if how.kills(outcome.job.photo):
                raise Death
            yield outcome

    monkeypatch.setattr(pipeline, "run", deadly)
    return how


def tar_unit(fields):
    """The ledger of a new driver, and its unit of a.tar."""
    output = Folder("memory://out")
    ledger = Ledger(output, begin(output, {}, again=False, overwrite=False))
    known = Known.read(ledger, retry_failed=False)
    plan = make_plan(find_inputs(["memory://in"], task(run=ledger.run, **fields)), known, Settings(batch=4))
    return ledger, next(unit for unit in plan.units if unit.kind == "tar")


def lines_of(ledger):
    return {json.loads(line)["photo"]: json.loads(line) for _, line in ledger.lines(Known(ledger.all()).parts())}


def test_a_photo_that_kills_its_worker_fails_alone(store, mortal):
    fill(store)
    poison = picture(5)
    mortal.kills = lambda photo: photo == poison
    ledger, tar = tar_unit({"batch": 4})
    deaths = 0
    while not ledger.covered(tar.id).complete:
        try:
            list(Worker(task(run=ledger.run, batch=4))({"unit": [encoded(tar)]}))
        except Death:
            deaths += 1
        assert deaths < 9
    assert deaths == 4  # two as usual, two photo by photo
    lines = lines_of(ledger)
    assert Counter(line["status"] for line in lines.values()) == Counter(removed=7, failed=1)
    assert lines["a.tar/0005.png"]["reason"] == "two workers died when they came to this photo alone"
    assert not any("try-" in path or "/at-" in path for path in store.find("/out"))


def test_interruptions_are_no_photos_fault(store, mortal):
    """Each new driver is a new chance: what cut the ones before short was no photo."""
    fill(store)
    for stop in (3, 2, 6, 4, 7, 5):
        ledger, tar = tar_unit({"batch": 4})
        assert ledger.covered(tar.id).tries == 0
        mortal.kills = lambda photo, stop=stop: photo == picture(stop)
        with suppress(Death):
            list(Worker(task(run=ledger.run, batch=4))({"unit": [encoded(tar)]}))
    mortal.kills = lambda photo: False
    assert go()[1].files == Counter(removed=22, failed=2, skipped=1)


def test_one_death_at_a_photo_does_not_blame_it(store, mortal):
    fill(store)
    ledger, tar = tar_unit({"batch": 4})
    for stop in (0, 0, 3, 5, 6):
        mortal.kills = lambda photo, stop=stop: photo == picture(stop)
        with pytest.raises(Death):
            list(Worker(task(run=ledger.run, batch=4))({"unit": [encoded(tar)]}))
    mortal.kills = lambda photo: False
    list(Worker(task(run=ledger.run, batch=4))({"unit": [encoded(tar)]}))
    assert Counter(line["status"] for line in lines_of(ledger).values()) == Counter(removed=8)


def test_changes_of_the_input_are_noticed(store):
    fill(store)
    go()
    store.pipe_file("/in/tree/3.png", picture(8))
    store.pipe_file("/in/tree/new.png", picture(1))
    store.pipe_file("/in/a.tar", tar_of([(f"{number:04}.png", picture(number)) for number in range(3)]))
    plan, _, _ = go(only=0)
    assert sorted(file.name for unit in plan.units for file in unit.files) == ["a.tar", "tree/3.png", "tree/new.png"]
    assert len(plan.outdated) == 1


def test_a_photo_that_changed_has_one_line_the_last(store):
    fill(store)
    go()
    store.pipe_file("/in/tree/3.png", picture(8))
    go()
    assert names_of(store) == ALL
    line = next(line for line in report(store.cat_file("/out/report.jsonl")) if line["photo"] == "tree/3.png")
    assert line["source"]["size"] == len(picture(8))


def results(store):
    """The files in the output, but for the report and the memory."""
    return {path for path in store.find("/out") if ".objremove" not in path and not path.endswith("report.jsonl")}


def test_results_that_no_line_names_any_more_are_removed(store):
    fill(store)
    go(save_mask=True)
    before = results(store)
    store.pipe_file("/out/tree/mine.png", b"no run made this")
    store.pipe_file("/in/tree/3.png", b"no photo any more")
    store.pipe_file("/in/a.tar", tar_of([("0000.png", picture(1)), ("0001.png", b"no photo any more")]))
    go(save_mask=True)
    places = ["tree/3", *(f"a.tar/{number:04}" for number in range(1, 8))]
    gone = {f"/out/{place}{end}" for place in places for end in (".png", ".mask.png")}
    assert len(before - gone) == len(before) - 16
    assert results(store) == before - gone | {"/out/tree/mine.png"}
    lines = {line["photo"]: line for line in report(store.cat_file("/out/report.jsonl"))}
    assert lines["tree/3.png"]["output"] is None
    named = {line["output"][kind] for line in lines.values() if line.get("output") for kind in ("path", "mask")}
    assert {f"/out/{name}" for name in named} == before - gone


def test_a_second_folder_takes_no_name_of_the_first_ones_results(store):
    fill(store)
    go()
    before = {path: store.cat_file(path) for path in results(store)}
    store.pipe_file("/2024/tree/3.png", picture(5))
    store.pipe_file("/2024/tree/new.png", picture(6))
    with pytest.raises(
        UsageError, match=r"^tree/3\.png in the output was made of memory:///?in/tree/3\.png, not of memory"
    ):
        go(inputs=("memory://2024",))
    assert {path: store.cat_file(path) for path in results(store)} == before
    go(Settings(batch=4, overwrite=True), inputs=("memory://2024",))
    lines = {line["photo"]: line["source"]["path"] for line in report(store.cat_file("/out/report.jsonl"))}
    assert lines["tree/3.png"].endswith("/2024/tree/3.png")


def test_a_second_shard_takes_no_name_of_the_first_ones_results(store):
    fill(store)
    go()
    before = results(store)
    store.pipe_file("/2024/a.tar", tar_of([("0000.png", picture(5))]))
    with pytest.raises(UsageError, match=r"^a\.tar in the output was made of memory:///?in/a\.tar, not of memory"):
        go(inputs=("memory://2024",))
    assert results(store) == before
    go(Settings(batch=4, overwrite=True), inputs=("memory://2024",))
    store.pipe_file("/2024/a.tar", tar_of([("0000.png", picture(6))]))
    go(inputs=("memory://2024",))  # the same shard, changed


def test_a_row_whose_redo_fails_keeps_no_result(store, monkeypatch):
    store.pipe_file("/in/t.parquet", parquet_of([picture(1), None]))
    go()
    assert results(store) == {"/out/t.parquet/00000000.png"}

    def out_of_memory(self, entry, result):
        raise MemoryError

    monkeypatch.setattr(Worker, "finish", out_of_memory)
    assert go(Settings(batch=4, retry_failed=True))[1].files == Counter(failed=2)
    assert results(store) == set()


def test_results_of_other_options_go_when_their_photo_has_a_new_one(store):
    fill(store)
    go()
    again = {"options": {"format": "webp"}, "format": "webp"}
    go(Settings(batch=4, again=True, limit=5), **again)
    kinds = Counter(path.rpartition(".")[2] for path in results(store))
    assert kinds == Counter(webp=4, png=18)  # the fifth is broken
    go(Settings(batch=4), **again)
    assert {path.rpartition(".")[2] for path in results(store)} == {"webp"}


def test_failed_photos_are_tried_again_when_asked(store):
    fill(store)
    go()
    store.pipe_file("/in/broken.jpg", picture(2))
    assert go()[1].files["failed"] == 1  # it has changed, so it is done; the row has not
    assert go(Settings(batch=4, retry_failed=True))[1].now == Counter(failed=1, removed=1)  # the part of that row
    assert names_of(store) == ALL


def test_other_options_are_refused(store):
    fill(store)
    begin(Folder("memory://out"), {"dilate": "3"}, again=False, overwrite=False)  # a run that no cluster answered
    go(options={"dilate": "auto"})
    with pytest.raises(UsageError, match=r"dilate was auto, is 5.*--again"):
        go(options={"dilate": "5"})
    assert go(Settings(batch=4, again=True), options={"dilate": "5"})[1].now["removed"] == 22


def test_files_that_no_run_made_are_not_written_over(store):
    fill(store)
    store.pipe_file("/out/diary.txt", b"dear diary")
    with pytest.raises(UsageError, match="no run made"):
        go()
    go(Settings(batch=4, overwrite=True))


@pytest.mark.parametrize("more", [0, 600])
def test_of_a_tar_that_is_cut_short_the_rest_is_done(store, more):
    whole = tar_of([(f"{number}.png", picture(number)) for number in range(4)])
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        last = archive.getmembers()[3].offset
    store.pipe_file("/in/a.tar", whole[: last + more])  # between two members, or within one
    assert go()[1].files == Counter(removed=3, failed=1)
    line = next(one for one in report(store.cat_file("/out/report.jsonl")) if one["status"] == "failed")
    assert (line["photo"], line["reason"].split(" (")[0]) == ("a.tar", "cannot be read to its end")


def test_names_in_tars_that_lead_astray(store):
    twice = [("x.png", picture(1)), ("../../x.png", picture(2)), ("x.png", picture(3)), ("d/../x.jpg", picture(4))]
    store.pipe_file("/in/a.tar", tar_of(twice))
    _, tally, _ = go(format="png")
    assert tally.files == Counter(removed=1, failed=3)
    assert [path for path in store.find("/out") if path.endswith(".png")] == ["/out/a.tar/x.png"]
    assert len(set(names_of(store))) == 4


def test_two_photos_that_would_write_one_file(store):
    for name in ("/in/x.png", "/in/x.jpg"):
        store.pipe_file(name, picture())
    assert go()[1].files["removed"] == 2
    with pytest.raises(UsageError, match=r"would both write x\.webp"):
        go(format="webp")


def listed(*inputs, output, **fields):
    """What a driver lists: the names of photos and shards, and (name, reason) of what it skips."""
    files, skipped = find_files([str(one) for one in inputs], Folder(str(output)), task(**fields).layout)
    return [file.name for file in files], skipped


@pytest.fixture
def tree(tmp_path):
    """A folder `in` on a local disk with two folders of a photo each."""
    for name in ("a/x.png", "b/x.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True)
        (tmp_path / "in" / name).write_bytes(picture())
    return tmp_path / "in"


def test_no_photo_is_written_over(tree):
    shard = tree / "t" / "s.tar"
    shard.parent.mkdir()
    shard.write_bytes(tar_of([("1.png", picture())]))
    (tree / "t" / "x.mask.png").write_bytes(picture())
    (tree.parent / "link").symlink_to(tree)
    mine = {"output": tree}
    with pytest.raises(UsageError, match=r"would write .*in/a/x\.png, which is itself an input"):
        listed(tree / "a", tree / "b", **mine)
    with pytest.raises(UsageError, match="which is itself an input"):
        listed(tree / "a", tree / "b", output=tree.parent / "link")
    with pytest.raises(UsageError, match="which is itself an input"):
        listed(tree / "a" / "x.png", output=tree / "a")
    with pytest.raises(UsageError, match="which is itself an input"):
        listed(shard, output=tree / "t")
    with pytest.raises(UsageError, match=r"would write .*t/x\.mask\.png"):
        listed(tree / "a" / "x.png", tree / "t" / "x.mask.png", output=tree / "t", save_mask=True)
    with pytest.raises(UsageError):
        listed(f"{tree}/a/*.png", output=tree / "a")
    assert listed(tree / "a", tree / "b", output=tree / "clean")[0] == ["a/x.png", "b/x.png"]


def test_no_photo_in_a_store_is_written_over(store):
    store.pipe_file("/in/a/x.png", picture())
    store.pipe_file("/in/b/x.png", picture())
    with pytest.raises(UsageError, match="which is itself an input"):
        listed("memory://in/a", "memory://in/b", output="memory://in")


def test_patterns_take_no_hidden_folders_and_no_results(tree):
    hidden = (".hid/x.png", "a/@eaDir/x.png")
    for name in ("clean/a.png", *hidden, "other/.objremove/options.json", "other/deep/y.png", "top.png"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(picture())
    photos = ["a/x.png", "b/x.png", "top.png"]
    assert listed(f"{tree}/**", output=tree / "clean") == (photos, [])
    assert listed(tree, output=tree / "clean") == (photos, [])
    assert listed(f"{tree}/*/x.png", output=tree / "clean") == (photos[:2], [])
    assert listed(f"{tree}/.hid/*", output=tree / "clean") == (["x.png"], [])  # the pattern says so itself
    with pytest.raises(UsageError, match="is the output, too"):
        listed(f"{tree}/*.png", output=tree)


def test_patterns_in_a_store_take_no_results(store):
    for name in ("/in/x.png", "/in/.hid/x.png", "/in/clean/x.png", "/in/other/x.png", "/in/other/.objremove/lock"):
        store.pipe_file(name, picture())
    assert listed("memory://in/**", output="memory://in/clean") == (["x.png"], [])
    assert listed("memory://in/*.png", output="memory://out") == (["x.png"], [])


def test_an_output_may_be_the_next_input(tree):
    (tree / ".objremove").mkdir()
    assert listed(tree, output=tree.parent / "out")[0] == ["a/x.png", "b/x.png"]


def test_links_are_followed_within_the_folder_and_told_of_elsewhere(tree):
    outside = tree.parent / "outside.png"
    outside.write_bytes(picture(3))
    for name, aim in (("in", tree / "a" / "x.png"), ("out", outside), ("none", tree / "nothing.png")):
        (tree / f"{name}.png").symlink_to(aim)
    (tree / "folder").symlink_to(tree / "a")
    why = {
        "folder": "a link to a folder is not followed",
        "none.png": "no regular file",
        "out.png": "a link that leads out of the folder is not followed",
    }
    for one in (tree, f"{tree}/**"):
        photos, skipped = listed(one, output=tree.parent / "out")
        assert photos == ["a/x.png", "b/x.png", "in.png"]
        assert dict(skipped) == why
    os.utime(tree / "a" / "x.png", (1000, 1000))
    link = find_files([str(tree)], Folder(str(tree.parent / "out")), task().layout)[0][-1]
    assert (link.name, link.size, link.mtime_ns) == ("in.png", len(picture()), 1000 * 10**9)


def test_a_file_that_two_inputs_name_is_done_once(tree):
    (tree / "1.png").write_bytes(picture())
    assert listed(f"{tree}/*.png", tree / "1.png", output=tree / "out")[0] == ["1.png"]
    (tree / "[1].png").write_bytes(picture())
    assert listed(tree / "[1].png", output=tree / "out")[0] == ["[1].png"]  # a name, and no pattern


def test_which_column_holds_the_pictures_is_asked_where_it_is_not_clear(store):
    file = io.BytesIO()
    pq.write_table(pa.table({"before": [picture(1)], "thumb": [b"small"]}), file)
    store.pipe_file("/in/t.parquet", file.getvalue())
    with pytest.raises(UsageError, match=r"2 columns may hold pictures \(before, thumb\)"):
        go()
    with pytest.raises(UsageError, match="no column 'after'; it has before, thumb"):
        go(image_column="after")
    assert go(image_column="before")[1].files == Counter(removed=1)


def test_a_worker_with_other_weights_says_so(store):
    worker = Worker(Task(HOW, REQUEST, {**MODELS, "inpainter": ("big-lama", "abc")}, "memory://out", "run"))
    unit = encoded(make_plan_of_one(store))
    (news,) = worker({"unit": [unit]})
    assert "the models are not those of the driver" in news["error"][0]


def make_plan_of_one(store):
    store.pipe_file("/in/x.png", picture())
    return make_plan(find_inputs(["memory://in"], task()), Known({}), Settings()).units[0]


def test_spans_of_parts():
    covered = Covered.by_names(["000000000-000000004.jsonl", "000000006-000000008.jsonl", "end-000000009", "try-000"])
    assert (covered.count, covered.total, covered.tries, covered.complete) == (6, 9, 1, False)
    assert covered.stop_after(2) == 6
    assert covered.stop_after(3) == 9
    assert Covered.by_names(["end-000000000"]).complete


def test_files_on_a_local_disk_appear_whole_and_drafts_are_swept(tmp_path):
    folder = Folder(str(tmp_path))
    folder.put("deep/er/x.bin", b"123")
    with suppress(RuntimeError), folder.writer("report.jsonl") as file:
        file.write(b"half")
        raise RuntimeError
    (tmp_path / "deep" / ".0123456789abcdef.part").write_bytes(b"a worker died")
    folder.sweep()
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["x.bin"]


# ---------------------------------------------------------------------- the command line, without a cluster


def test_one_line_where_nothing_answers(tmp_path, capsys):
    pytest.importorskip("ray", reason="cluster runs need the extra [ray]")
    (tmp_path / "x.png").write_bytes(picture())
    where = [str(tmp_path / "x.png"), "--box", BOX, "-o", str(tmp_path / "out"), "--inpainter", "telea"]
    assert command_line(["cluster", *where, "--address", "ray://127.0.0.1:1"]) == 1
    assert (
        capsys.readouterr().err.splitlines()[-1].startswith("objremove: no Ray cluster answers at ray://127.0.0.1:1: ")
    )
    assert command_line(["cluster", *where, "--address", "nonsense://"]) == 2


@pytest.mark.parametrize("named", ["nowhere", "no*.png", "empty"])
def test_what_is_named_and_is_not_there_is_usage(tmp_path, capsys, named):
    pytest.importorskip("ray", reason="cluster runs need the extra [ray]")
    (tmp_path / "empty").mkdir()
    where = [str(tmp_path / named), "--box", BOX, "-o", str(tmp_path / "out"), "--inpainter", "telea"]
    assert command_line(["cluster", *where]) == 2
    assert f"{named}: no " in capsys.readouterr().err


def test_one_line_where_ray_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert command_line(["cluster", "x", "--box", BOX, "-o", str(tmp_path / "out")]) == 2
    assert (
        capsys.readouterr().err == "objremove: a cluster run needs a few packages more: pip install 'objremove[ray]'\n"
    )


def test_a_dry_run_shows_and_writes_nothing(store, capsys):
    fill(store)
    assert (
        command_line(["cluster", "memory://in", "--box", BOX, "-o", "memory://out", "--dry-run", "--limit", "12"]) == 0
    )
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 10 + 1 + 1
    assert shown[-2] == "memory:///in/a.tar -> a.tar (the first 2 photos at most)"
    assert not store.exists("/out")


def test_what_this_program_made_of_a_photo_is_no_photo(tmp_path, capsys):
    for name in ("a.jpg", "a.removed.jpg", "a.removed.mask.png", "a.detect.png", "b.removed.jpg"):
        Image.fromarray(scene()).save(tmp_path / name)
    assert command_line(["cluster", str(tmp_path), "--box", BOX, "-o", str(tmp_path / "out"), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert [name for name in ("a.jpg", "b.removed.jpg") if f"{tmp_path}/{name} -> " in shown] == [
        "a.jpg",
        "b.removed.jpg",
    ]
    assert shown.count(" -> ") == 2


# ---------------------------------------------------------------------- a real cluster


@pytest.fixture(scope="module")
def cluster():
    """A Ray cluster of two cores on this machine: (its address, the processes of its workers)."""
    ray = pytest.importorskip("ray", reason="cluster runs need the extra [ray]")
    psutil = pytest.importorskip("psutil")

    def workers():
        found = []
        for one in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # it has ended meanwhile
                found += [one.pid] if "MapWorker" in "".join(one.cmdline()[:1]) else []
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv(
            "RAY_worker_niceness", "0"
        )  # beside other work, workers of low priority would take minutes to begin
        how = {"include_dashboard": False, "log_to_driver": False, "object_store_memory": 100 * 2**20}
        ray.init(address="local", num_cpus=2, **how)
        try:
            yield ray.get_runtime_context().gcs_address, workers
        finally:
            ray.shutdown()


def wait_until(true, process=None, log=None, *, seconds=180):
    """Wait; fails where that takes too long, or, with its log, where the process ends before."""
    deadline = time.monotonic() + seconds
    while not true():
        assert process is None or process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log and log.read_text()
        time.sleep(0.02)


def test_a_run_without_anything_to_work_on_leaves_no_output(tmp_path):
    mine = Task(HOW, REQUEST, MODELS, str(tmp_path / "out"))
    with pytest.raises(PhotoError, match="no such file or folder"):
        run([str(tmp_path / "in")], mine, {}, Settings(), Workers(1, 1, 0), listener=Listener())
    assert not (tmp_path / "out").exists()


def test_killed_workers_and_drivers_lose_no_photo_and_double_none(cluster, tmp_path):
    address, workers = cluster
    source, out, log = tmp_path / "in", tmp_path / "out", tmp_path / "log.txt"
    pictures = [picture(number, (300, 400)) for number in range(36)]
    (source / "tree").mkdir(parents=True)
    for number, data in enumerate(pictures):
        (source / "tree" / f"{number:03}.png").write_bytes(data)
    (source / "tree" / "zz.png").write_bytes(b"no photo")
    (source / "a.tar").write_bytes(tar_of((f"{number:03}.png", data) for number, data in enumerate(pictures[:16])))
    (source / "t.parquet").write_bytes(parquet_of(pictures[:12]))
    photos = 36 + 1 + 16 + 12

    def lines_of_parts():
        return [line for part in out.glob(".objremove/parts/*/*/*.jsonl") for line in report(part.read_text())]

    words = ["cluster", str(source), "-o", str(out), "--box", BOX, "--inpainter", "telea", "--prompter", "grabcut"]
    words += ["--address", address, "--workers", "1", "--cores-per-worker", "1", "--batch", "4"]
    with log.open("wb") as stderr:
        driver = subprocess.Popen([sys.executable, "-m", "objremove", *words], stderr=stderr)
    try:
        wait_until(lambda: len(lines_of_parts()) >= 8, driver, log)
    finally:
        driver.kill()
        driver.wait(timeout=30)
    assert not (out / "report.jsonl").exists()
    wait_until(lambda: not workers(), seconds=60)  # Ray ends what a dead driver has left
    before = len(lines_of_parts())

    killed = []

    def kill_one(done):
        if done and not killed:
            killed.append(workers()[0])
            os.kill(killed[0], signal.SIGKILL)

    listener = Listener(kill_one)
    settings = Settings(batch=4)
    options = json.loads((out / ".objremove" / "options.json").read_text())["options"]
    mine = Task(HOW, REQUEST, MODELS, str(out))
    outcome = run([str(source)], mine, options, settings, Workers(2, 1, 0), address=address, listener=listener)

    assert killed
    assert 8 <= before < photos
    assert (outcome.tally.left, outcome.unfinished, outcome.interrupted) == (0, 0, False)
    assert outcome.tally.files == Counter(removed=photos - 1, failed=1)
    assert sum(outcome.tally.now.values()) == listener.photos == photos - before
    lines = report((out / "report.jsonl").read_text())
    assert len({line["photo"] for line in lines}) == len(lines) == photos
    results = {path.relative_to(out).as_posix() for path in out.rglob("*.png")}
    assert results == {line["output"]["path"] for line in lines if line["output"]}
    assert len(results) == photos - 1
    assert not list(out.rglob(".*.part"))
    for line in lines:
        if line["output"]:
            assert (out / line["output"]["path"]).stat().st_size == line["output"]["size"]

    again = run([str(source)], mine, options, settings, Workers(2, 1, 0), address=address, listener=Listener())
    assert not again.tally.now
    assert (out / "report.jsonl").read_text().count("\n") == photos


def test_more_workers_than_fit_are_refused(cluster):
    with (
        pytest.raises(ObjRemoveError, match="room for 1 workers, not for 3 workers of 2 cores"),
        connected("local", Workers(3, 2)),
    ):
        pass


def test_one_driver_at_a_time(tmp_path):
    with alone(Folder(str(tmp_path))), pytest.raises(PhotoError, match="another run"), alone(Folder(str(tmp_path))):
        pass
