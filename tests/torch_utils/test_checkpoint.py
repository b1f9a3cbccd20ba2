"""Network files survive nothing but being whole, and say so in one line."""

import pickle

import pytest
import torch
from torch import nn

from torch_utils.checkpoint import load_network, load_strictly, load_tensors, save_network, save_tensors
from torch_utils.errors import UserError
from torch_utils.files import WriteError


@pytest.fixture
def network(tmp_path):
    torch.manual_seed(0)
    module = nn.Linear(3, 4)
    path = tmp_path / "network.safetensors"
    save_network(path, module, {"category": "chair"}, nimg=1234, extra={"data": "Stühle"})
    return module, path


def test_round_trip(network):
    module, path = network
    file = load_network(path)
    assert (file.nimg, file.config, file.header["data"]) == (1234, {"category": "chair"}, "Stühle")
    assert file.commit
    other = nn.Linear(3, 4)
    load_strictly(other, file.state, path)
    assert torch.equal(other.weight, module.weight)
    assert list(path.parent.iterdir()) == [path], "a temporary file was left behind"


def test_others_may_read_it(network):
    _, path = network
    plain = path.with_name("plain")
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


def test_half_precision(network, tmp_path):
    module, _ = network
    path = tmp_path / "half.safetensors"
    save_network(path, module, {}, 0, half=True)
    file = load_network(path)
    assert file.header["precision"] == "fp16" and file.state["weight"].dtype == torch.float32
    assert torch.equal(file.state["weight"], module.weight.half().float())
    module.weight.data[0, 0] = 1e6
    with pytest.raises(ValueError, match="fit float16"):
        save_network(path, module, {}, 0, half=True)


def test_any_dtype_and_shared_memory(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {"a": base, "b": base[:, 1:3], "c": base.t(), "n": torch.tensor(3), "e": torch.empty(0, 2)}
    path = tmp_path / "tensors.safetensors"
    save_tensors(path, tensors, {"kind": "test"})
    loaded, header = load_tensors(path, kind="test")
    assert header["kind"] == "test" and loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor) and loaded[name].dtype == tensor.dtype


def test_every_truncation_and_bit_flip_is_refused(network, tmp_path):
    data = network[1].read_bytes()
    broken = tmp_path / "broken.safetensors"
    for position in range(0, len(data), 3):
        flipped = bytearray(data)
        flipped[position] ^= 1 << (position % 8)
        for content in (bytes(flipped), data[:position]):
            broken.write_bytes(content)
            with pytest.raises(UserError, match=r"broken\.safetensors: ") as caught:
                load_network(broken)
            assert "\n" not in str(caught.value)


def test_wrong_files_are_named(network, tmp_path):
    module, path = network
    other = tmp_path / "other"
    torch.save(module.state_dict(), other)
    with pytest.raises(UserError, match="pickle"):
        load_network(other)
    other.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UserError, match="pickle"):
        load_network(other)
    other.write_bytes(b"glTF" * 100)
    with pytest.raises(UserError, match="not a safetensors file"):
        load_network(other)
    with pytest.raises(UserError, match="no such file"):
        load_network(tmp_path / "missing")
    with pytest.raises(UserError, match="cannot be read"):
        load_network(tmp_path)
    with pytest.raises(UserError, match="expected a training-state file, got a network file"):
        load_tensors(path, kind="training-state")


@pytest.mark.parametrize("nimg", [None, [], "x", 1.5])
def test_a_header_whose_values_have_other_types_is_one_line(tmp_path, nimg):
    path = tmp_path / "network.safetensors"
    save_tensors(path, {}, {"kind": "network", "config": {}, "nimg": nimg})
    with pytest.raises(UserError, match="expected an integer"):
        load_network(path)
    save_tensors(path, {}, {"kind": "several\nlines " * 50})
    with pytest.raises(UserError, match="expected a network file, got a several lines") as caught:
        load_network(path)
    assert "\n" not in str(caught.value)


def test_a_header_whose_length_begins_like_a_pickle_is_read(tmp_path):
    path = tmp_path / "network.safetensors"
    for padding in range(1200):
        save_tensors(path, {}, {"kind": "network", "config": {}, "x": "x" * padding})
        if path.read_bytes()[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
            break
    else:
        pytest.fail("no such length")
    assert load_network(path).nimg == 0


def test_state_of_another_module_is_refused(network):
    _, path = network
    state = load_network(path).state
    with pytest.raises(UserError, match=r"expected weight of shape \(5, 3\), got \(4, 3\)"):
        load_strictly(nn.Linear(3, 5), state, path)
    with pytest.raises(UserError, match="has a tensor 'bias' too many"):
        load_strictly(nn.Linear(3, 4, bias=False), state, path)
    with pytest.raises(UserError, match=r"has no tensor '0\.bias'"):
        load_strictly(nn.Sequential(nn.Linear(3, 4)), state, path)


def test_interrupted_write_leaves_the_old_file(network, monkeypatch):
    module, path = network
    before = path.read_bytes()
    monkeypatch.setattr("safetensors.torch.save_file", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(WriteError, match=r"cannot be written \(disk full\)"):
        save_network(path, module, {}, 5)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]
