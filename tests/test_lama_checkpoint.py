"""Every public container gives the same generator, and none of them gets to run code."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from objremove.errors import ModelError
from objremove.inpainting.lama import GeneratorConfig, build_generator, load_generator, save_generator
from objremove.inpainting.lama.inpainter import LamaInpainter

TINY = Path(__file__).parent / "data" / "lama-tiny"


@pytest.fixture(scope="module")
def tiny():
    return load_generator(TINY)


def assert_same(generator, expected):
    assert generator.config == expected.config
    assert not generator.training
    ours, theirs = generator.state_dict(), expected.state_dict()
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert torch.equal(value, theirs[key]), key


def test_official_folder_and_bare_checkpoint(tiny):
    assert tiny.config == GeneratorConfig(ngf=8, n_blocks=2)
    assert_same(load_generator(TINY / "models" / "best.ckpt"), tiny)


@pytest.mark.parametrize("prefix", ["", "generator.", "model.generator.", "module.generator.", "module.", "model."])
@pytest.mark.parametrize("zipped", [True, False])
def test_plain_state_dict_with_any_prefix(tiny, tmp_path, prefix, zipped):
    path = tmp_path / "weights.pth"
    state = OrderedDict((prefix + key, value) for key, value in tiny.state_dict().items())
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    assert_same(load_generator(path), tiny)


class Lightning(nn.Module):
    """Stands for the training module that the official export wraps."""

    def __init__(self, generator):
        super().__init__()
        self.generator = generator

    def forward(self, image, mask):
        x = torch.cat((image * (1 - mask), mask), dim=1)
        return mask * self.generator(x) + (1 - mask) * image


class Exported(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, image, mask):
        return self.model(image, mask)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_torchscript_archive_is_read_without_running_it(tiny, tmp_path, monkeypatch):
    path = tmp_path / "big-lama.pt"
    example = torch.rand(1, 3, 32, 32), torch.rand(1, 1, 32, 32)
    torch.jit.trace(Exported(Lightning(tiny)).eval(), example, strict=False, check_trace=False).save(str(path))
    monkeypatch.setattr(torch.jit, "load", lambda *_: pytest.fail("the archive's code was run"))
    assert_same(load_generator(path), tiny)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kind": "regular"},
        {"lfu": True},
        {"ratio": 0.5, "n_downsampling": 2},
        {"max_features": 24},
        {"input_nc": 5, "output_nc": 1},
        {"n_downsampling": 1},
        {"kind": "regular", "n_downsampling": 2},
    ],
)
def test_architecture_is_inferred_from_shapes(tmp_path, changes):
    generator = build_generator(GeneratorConfig(ngf=8, n_blocks=3, **changes)).eval()
    torch.save(generator.state_dict(), tmp_path / "weights.pt")
    assert_same(load_generator(tmp_path / "weights.pt"), generator)


@pytest.mark.parametrize("changes", [{"input_nc": 5}, {"output_nc": 1}, {"output_nc": 4}])
def test_a_generator_of_other_channels_is_no_inpainter(tmp_path, changes):
    generator = build_generator(GeneratorConfig(ngf=8, n_blocks=1, **changes)).eval()
    torch.save(generator.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ModelError, match="takes red, green, blue and the mask"):
        LamaInpainter(tmp_path / "weights.pt", name="toy", device=torch.device("cpu"))


def test_a_file_that_may_not_be_read_is_a_model_error(tmp_path, monkeypatch):
    (tmp_path / "weights.pt").write_bytes(b"x" * 99)
    monkeypatch.setattr(Path, "open", Mock(side_effect=PermissionError(13, "Permission denied")))
    with pytest.raises(ModelError, match=r"cannot read weights .*Permission denied"):
        load_generator(tmp_path / "weights.pt")


def test_output_activation_comes_from_the_official_config(tmp_path, tiny):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "best.ckpt").write_bytes((TINY / "models" / "best.ckpt").read_bytes())
    settings = (TINY / "config.yaml").read_text()
    for written, meant in (("sigmoid", "sigmoid"), ("tanh", "tanh"), ("true", "tanh"), ("false", "none")):
        (tmp_path / "config.yaml").write_text(settings.replace("add_out_act: sigmoid", f"add_out_act: {written}"))
        assert load_generator(tmp_path).config.out_act == meant
    (tmp_path / "config.yaml").write_text(settings.replace("add_out_act: sigmoid", "add_out_act: swish"))
    with pytest.raises(ModelError, match="swish"):
        load_generator(tmp_path)


def test_safetensors_round_trip_is_half_precision_with_the_config_inside(tmp_path):
    generator = build_generator(GeneratorConfig(ngf=8, n_blocks=1, lfu=True, out_act="tanh")).eval()
    path = tmp_path / "lama.safetensors"
    save_generator(generator, path, {"licence": "Apache-2.0"})
    again = load_generator(path)
    assert again.config == generator.config
    assert {value.dtype for value in load_file(path).values()} == {torch.float16, torch.int64}
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    for key, value in again.state_dict().items():
        torch.testing.assert_close(value, generator.state_dict()[key], atol=1e-3, rtol=1e-3)
    assert [p.name for p in tmp_path.iterdir()] == ["lama.safetensors"]
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode, (
        "others may read it where they may read new files"
    )


def test_values_beyond_half_precision_survive_saving(tmp_path):
    generator = build_generator(GeneratorConfig(ngf=8, n_blocks=1)).eval()
    generator.model[1].bn_l.running_var.fill_(1e6)
    save_generator(generator, tmp_path / "lama.safetensors")
    assert load_generator(tmp_path / "lama.safetensors").model[1].bn_l.running_var.tolist() == [1e6] * 8


def test_foreign_fp32_safetensors_without_config(tiny, tmp_path):
    save_file({f"generator.{k}": v for k, v in tiny.state_dict().items()}, tmp_path / "w.safetensors")
    assert_same(load_generator(tmp_path / "w.safetensors"), tiny)


class Malicious:
    """What an attacker would put in a checkpoint: a call that the unpickler makes on its own."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_malicious_pickle_does_not_run(tiny, tmp_path, zipped):
    trap, path = tmp_path / "trap", tmp_path / "best.ckpt"
    state = {f"generator.{key}": value for key, value in tiny.state_dict().items()}
    content = {"callbacks": {"x": Malicious(trap)}, "state_dict": state}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    if zipped:
        assert_same(load_generator(path), tiny)  # foreign objects become inert, the weights are read
    else:
        with pytest.raises(ModelError, match="read safely"):
            load_generator(path)
    assert not trap.exists()
    torch.load(path, weights_only=False)  # the trap is a real one
    assert trap.exists()


def rewritten(source: Path, target: Path, **changes: bytes) -> Path:
    """A copy of a zip archive with some entries (named by their last part) replaced."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            name = info.filename.rsplit("/", 1)[1]
            new.writestr(info.filename, changes.get(name.replace(".", "_"), old.read(info)))
    return target


def damaged_files(folder: Path) -> dict[str, Path]:
    whole = (TINY / "models" / "best.ckpt").read_bytes()
    contents = {
        "empty": b"",
        "web page": b"<!DOCTYPE html><html>not found</html>",
        "half": whole[: len(whole) // 2],
        "noise": bytes(range(256)) * 8,
        "flipped": whole[:3000] + bytes(b ^ 0xFF for b in whole[3000:3400]) + whole[3400:],
        "safetensors start": (1 << 40).to_bytes(8, "little") + b"{}",
    }
    files = {}
    for name, data in contents.items():
        files[name] = folder / f"{name}.ckpt"
        files[name].write_bytes(data)
    ckpt = TINY / "models" / "best.ckpt"
    files["pickle garbage"] = rewritten(ckpt, folder / "garbage.ckpt", data_pkl=b"\x80\x02garbage")
    files["no dict"] = rewritten(ckpt, folder / "list.ckpt", data_pkl=pickle.dumps([1, 2]))
    files["big endian"] = rewritten(ckpt, folder / "big.ckpt", byteorder=b"big")
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        archive.writestr("readme.txt", "no weights")
    files["other zip"] = folder / "photos.zip"
    save_file({"a": torch.zeros(1)}, folder / "other.safetensors")
    files["other model"] = folder / "other.safetensors"
    files["missing"] = folder / "missing.ckpt"
    files["empty folder"] = folder / "nothing"
    files["empty folder"].mkdir()
    return files


def test_damaged_and_foreign_files_are_one_line_errors(tmp_path):
    for name, path in damaged_files(tmp_path).items():
        with pytest.raises(ModelError) as caught:
            load_generator(path)
        message = str(caught.value)
        assert "\n" not in message, name
        assert str(path.parent) in message, name


def test_missing_unexpected_and_reshaped_keys_are_counted(tiny, tmp_path):
    path = tmp_path / "weights.pt"
    state = dict(tiny.state_dict())
    torch.save({k: v for k, v in state.items() if not k.endswith("running_mean")}, path)
    with pytest.raises(ModelError, match="24 keys missing, 0 unexpected"):
        load_generator(path)
    torch.save({**state, "model.99.weight": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match=r"1 unexpected.*model\.99\.weight"):
        load_generator(path)
    torch.save({**state, "model.1.bn_l.weight": torch.zeros(9)}, path)
    with pytest.raises(ModelError, match="1 of another shape"):
        load_generator(path)


def test_weights_that_are_not_finite_are_refused(tiny, tmp_path):
    state = {key: value.clone() for key, value in tiny.state_dict().items()}
    state["model.1.ffc.convl2l.weight"][0, 0, 0, 0] = float("nan")
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(ModelError, match=r"not finite.*convl2l"):
        load_generator(tmp_path / "weights.pt")


def test_unreadable_config_in_safetensors(tiny, tmp_path):
    path = tmp_path / "w.safetensors"
    for config in ("{", json.dumps({"n_heads": 3}), json.dumps({"ratio": 7})):
        save_file(dict(tiny.state_dict()), path, metadata={"config": config})
        with pytest.raises(ModelError, match="unreadable config"):
            load_generator(path)


def test_saving_to_a_missing_folder_is_a_model_error(tiny, tmp_path):
    with pytest.raises(ModelError, match="cannot write"):
        save_generator(tiny, tmp_path / "no" / "w.safetensors")
