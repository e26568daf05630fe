"""What a CPU computes in its own way is what torch computes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses import FakeTensorMode

from keysync.network import cpu
from keysync.network.cpu import LARGE, Linear, attend, gated

# Rows, channels and outputs above and below the size from which oneDNN multiplies.
SHAPES = [((5, 700), 64, 512), ((3, 4), 64, 96)]


@pytest.fixture(params=[True, False], ids=["oneDNN", "without it"])
def _built(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.param:
        monkeypatch.setattr(cpu, "ONEDNN", None)


def tensors(rows: tuple[int, ...], channels: int, *, strided: bool) -> Tensor:
    torch.manual_seed(0)
    if strided:
        return torch.randn(*rows[:-1], channels, rows[-1]).transpose(-1, -2)
    return torch.randn(*rows, channels)


def test_torch_has_the_operator_where_it_has_onednn() -> None:
    """A newer torch that renames it makes linear layers take twice as long on AMD's processors."""
    assert (cpu.ONEDNN is not None) == torch.backends.mkldnn.is_available()


@pytest.mark.usefixtures("_built")
@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("rows", "channels", "outputs"), SHAPES)
def test_linear_layers(rows: tuple[int, ...], channels: int, outputs: int, *, bias: bool, strided: bool) -> None:
    x, layer = tensors(rows, channels, strided=strided), Linear(channels, outputs, bias=bias)
    expected = F.linear(x.double(), layer.weight.double(), None if layer.bias is None else layer.bias.double())
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("_built")
@pytest.mark.parametrize("kind", [Linear, torch.nn.Linear])
@pytest.mark.parametrize(("rows", "channels", "outputs"), SHAPES)
def test_gated_layers(rows: tuple[int, ...], channels: int, outputs: int, kind: type[torch.nn.Linear]) -> None:
    x, layer = tensors(rows, channels, strided=False), kind(channels, outputs)
    value, gate = F.linear(x.double(), layer.weight.double(), layer.bias.double()).chunk(2, -1)
    with torch.no_grad():
        torch.testing.assert_close(gated(x, layer), (value * F.gelu(gate)).float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("queries", "keys"), [(14, 14), (56, 14), (300, 3)])
def test_attention(queries: int, keys: int) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 3, queries, 16), torch.randn(2, 3, keys, 16), torch.randn(2, 3, keys, 16)
    expected = F.scaled_dot_product_attention(q.double(), k.double(), v.double())
    with torch.no_grad():
        torch.testing.assert_close(attend(q, k, v), expected.float(), rtol=1e-5, atol=1e-6)


def test_attention_learns_in_bfloat16() -> None:
    torch.manual_seed(0)
    q, k, v = parts = tuple(torch.randn(2, 3, 14, 16, requires_grad=True) for _ in range(3))
    exact = F.scaled_dot_product_attention(q, k, v)
    half = attend(q.bfloat16(), k.bfloat16(), v.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, rtol=0.03, atol=0.03)
    wanted = torch.autograd.grad(exact.square().sum(), parts)
    for ours, theirs in zip(torch.autograd.grad(half.float().square().sum(), parts), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.1)


def test_gradients_and_other_precisions_are_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Tensor:
        raise AssertionError

    monkeypatch.setattr(cpu, "ONEDNN", refuse)
    layer = Linear(64, 512)
    x = torch.randn(LARGE // 64 // 512 + 1, 64)
    layer(x).sum().backward()
    assert layer.weight.grad is not None
    with torch.no_grad():
        assert layer.double()(x.double()).dtype == torch.float64
        assert layer.bfloat16()(x.bfloat16()).dtype == torch.bfloat16
        assert layer.to("meta")(x.to("meta")).device.type == "meta"
        with FakeTensorMode() as mode:
            fake = mode.from_tensor(x)
            assert Linear(64, 512)(fake).shape == (len(x), 512)
        with pytest.raises(AssertionError):
            layer.to_empty(device="cpu").float()(x)
