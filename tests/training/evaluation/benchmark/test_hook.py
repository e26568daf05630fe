from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from keysync.errors import KeySyncError
from keysync.systems.renderer import Option
from training.evaluation.benchmark.hook import Hook, Missing, fill, read_weights

HOOK = Hook(Option.file("--toy", "a toy"), "the toy's weights", "example.org", "MIT", "no-such-package", "BSD")


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def test_a_network_gets_its_weights_by_name() -> None:
    """On the meta device too; counters may be missing, and what it does not have is left out."""
    given = {
        name: torch.rand_like(tensor, dtype=torch.float64)
        for name, tensor in network().state_dict().items()
        if tensor.ndim
    }
    with torch.device("meta"):
        made = network()
    fill(made, {**given, "decoder.weight": torch.zeros(1)}, Path("file.pt"), "a toy")
    for name, tensor in given.items():
        torch.testing.assert_close(made.state_dict()[name], tensor.float())
    assert not made.training
    assert made(torch.zeros(1, 2)).isfinite().all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"0.bias": None}, r"file.pt has no tensor 0.bias: expected a toy"),
        ({"0.bias": torch.zeros(4)}, r"file.pt: 0.bias has the shape \(4,\), not \(3,\): expected a toy"),
        ({"1.weight": torch.full((3,), torch.nan)}, r"file.pt: 1.weight contains numbers that are not finite"),
    ],
)
def test_other_weights_are_refused(change: dict[str, torch.Tensor | None], reason: str) -> None:
    given = {name: tensor for name, tensor in {**network().state_dict(), **change}.items() if tensor is not None}
    with pytest.raises(KeySyncError, match=reason):
        fill(network(), given, Path("file.pt"), "a toy")


def test_pickles_of_any_ending_are_read(tmp_path: Path) -> None:
    path = tmp_path / "net.model"
    torch.save({"epoch": 3, "params": {"module.a": torch.ones(2), "name": "x"}}, path)
    assert read_weights(path, "state_dict", "params")["a"].tolist() == [1, 1]
    with pytest.raises(KeySyncError, match="contains no tensors"):
        read_weights(path)
    path.write_bytes(b"no pickle")
    with pytest.raises(KeySyncError, match="not a PyTorch weight file"):
        read_weights(path)
    with pytest.raises(KeySyncError, match="cannot be read"):
        read_weights(tmp_path)


def test_pickles_that_run_code_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.model"
    torch.save({"a": torch.ones(1), "evil": print}, path)
    with pytest.raises(KeySyncError, match="is refused: its pickle imports"):
        read_weights(path)


def test_what_is_missing_says_where_it_is_from(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"needs the toy's weights: name it with --toy \(from example.org; MIT\)"):
        HOOK.file({"toy": None})
    with pytest.raises(KeySyncError, match=r"absent: no such file: expected the toy's weights \(--toy\)"):
        HOOK.file({"toy": tmp_path / "absent"})
    assert HOOK.file({"toy": tmp_path}) == tmp_path
    with pytest.raises(Missing, match=r"needs no-such-package \(BSD\): .* -m pip install no-such-package"):
        HOOK.code("no_such_package.module")
    assert HOOK.code("json.decoder").JSONDecoder
