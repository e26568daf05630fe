"""Converts the weights of the built-in face finder: python -m training.weights.face_finder mediapipe-….whl -o FOLDER.

Reads MediaPipe's three TFLite files from its wheel and writes their constants under our modules' names. Needed only to
rebuild the shipped file; requires `pip install tflite`.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from keysync.errors import KeySyncError, install_line
from keysync.face.finder.finder import WEIGHTS
from keysync.face.finder.networks import Attention, FaceMesh, FullRange, Residual, ShortRange

FILES = {
    "short_range": "mediapipe/modules/face_detection/face_detection_short_range.tflite",
    "full_range": "mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite",
    "mesh": "mediapipe/modules/face_landmark/face_landmark_with_attention.tflite",
}
# The largest has 2.5 MB; a crafted archive unpacks to a thousand times its own size.
MOST_BYTES = 16 * 2**20
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
DTYPES = {0: np.float32, 1: np.float16, 2: np.int32}  # of TFLite's TensorType


@dataclass(frozen=True)
class Operation:
    """One operation of a graph: its kind, and the indices of the tensors that it reads and writes."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Graph:
    """The operations of a TFLite file in order, except those that only unpack constants, and its constants."""

    def __init__(self, data: bytes) -> None:
        try:
            import tflite
        except ImportError as error:
            raise KeySyncError(f"reading TFLite files needs tflite: {install_line('tflite')}") from error
        self._tflite: Any = tflite
        self._model = tflite.Model.GetRootAsModel(data, 0)
        self._graph = self._model.Subgraphs(0)
        kinds = {code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}
        self._unpacked: dict[int, int] = {}
        self.operations: list[Operation] = []
        self.readers: dict[int, list[Operation]] = defaultdict(list)
        for number in range(self._graph.OperatorsLength()):
            row = self._graph.Operators(number)
            code = self._model.OperatorCodes(row.OpcodeIndex())
            kind = kinds[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            operation = Operation(kind, tuple(row.InputsAsNumpy().tolist()), tuple(row.OutputsAsNumpy().tolist()))
            if kind in ("DEQUANTIZE", "DENSIFY"):
                self._unpacked[operation.outputs[0]] = operation.inputs[0]
                continue
            self.operations.append(operation)
            for tensor in operation.inputs:
                self.readers[tensor].append(operation)

    def constant(self, number: int) -> NDArray[Any]:
        """The constant with that index, in the precision of the file."""
        while number in self._unpacked:
            number = self._unpacked[number]
        tensor = self._graph.Tensors(number)
        values = np.frombuffer(self._model.Buffers(tensor.Buffer()).DataAsNumpy().tobytes(), DTYPES[tensor.Type()])
        shape = tuple(tensor.ShapeAsNumpy().tolist())
        sparsity = tensor.Sparsity()
        return values.reshape(shape) if sparsity is None else self._dense(values, shape, sparsity)

    def _dense(self, values: NDArray[Any], shape: tuple[int, ...], sparsity: Any) -> NDArray[Any]:
        """A sparse constant as a dense array: TFLite traverses dimensions, then blocks, in a stored order."""
        order = sparsity.TraversalOrderAsNumpy().tolist()
        blocked = sparsity.BlockMapAsNumpy().tolist() if sparsity.BlockMapLength() else []
        levels = [sparsity.DimMetadata(level) for level in range(sparsity.DimMetadataLength())]
        rank = len(shape)
        sides = {order[level]: levels[level].DenseSize() for level in range(rank, len(order))}
        dense = np.zeros(shape, values.dtype)
        for index, place in self._places(levels, 0, (), 0):
            by_dimension = dict(zip(order, index, strict=True))
            cell = [by_dimension[dimension] for dimension in range(rank)]
            for block, dimension in enumerate(blocked):
                cell[dimension] = cell[dimension] * sides[rank + block] + by_dimension[rank + block]
            dense[tuple(cell)] = values[place]
        return dense

    def _places(
        self, levels: list[Any], level: int, index: tuple[int, ...], place: int
    ) -> Iterator[tuple[tuple[int, ...], int]]:
        """Every stored value: its index per level, and its position among the values."""
        if level == len(levels):
            yield index, place
            return
        metadata = levels[level]
        if metadata.Format() == self._tflite.DimensionType.DENSE:
            size = metadata.DenseSize()
            steps: Iterable[tuple[int, int]] = ((step, place * size + step) for step in range(size))
        else:
            segments = self._vector(metadata.ArraySegmentsType(), metadata.ArraySegments())
            indices = self._vector(metadata.ArrayIndicesType(), metadata.ArrayIndices())
            steps = ((indices[step], step) for step in range(segments[place], segments[place + 1]))
        for step, next_place in steps:
            yield from self._places(levels, level + 1, (*index, step), next_place)

    def _vector(self, kind: int, table: Any) -> list[int]:
        tflite = self._tflite
        vector = {1: tflite.Int32Vector, 2: tflite.Uint16Vector, 3: tflite.Uint8Vector}[kind]()
        vector.Init(table.Bytes, table.Pos)
        values: list[int] = vector.ValuesAsNumpy().tolist()
        return values


def load_detector(graph: Graph, layers: Iterable[nn.Conv2d]) -> None:
    """Fills the convolutions of a detector, given in the order of the file."""
    convolutions = [operation for operation in graph.operations if operation.kind in CONVOLUTIONS]
    for operation, layer in zip(convolutions, layers, strict=True):
        _fill(layer, graph, operation)


def load_short_range(graph: Graph) -> ShortRange:
    network = ShortRange()
    load_detector(graph, _convolutions(network))
    return network


def load_full_range(graph: Graph) -> FullRange:
    network = FullRange()
    load_detector(graph, _convolutions(network))
    # TFLite's DEPTH_TO_SPACE orders cell position before channel, torch's PixelShuffle after it.
    for values in network.box.parameters():
        values.data = values.data.unflatten(0, (4, -1)).transpose(0, 1).flatten(0, 1).contiguous()
    return network


def load_mesh(graph: Graph) -> FaceMesh:
    """Fills the mesh by following the data flow: its attention branches are interleaved in the file."""
    network = FaceMesh()
    (picture,) = graph.operations[0].inputs[:1]
    early = _follow(graph, _follow(graph, picture, network.stem), network.early)
    neck = _follow(graph, _follow(graph, early, network.late), network.neck)
    _follow(graph, neck, network.mesh)
    _fill(network.presence, graph, _reader(graph, neck, "CONV_2D", 1))
    crops = [operation.outputs[0] for operation in graph.readers[early] if operation.kind == "CUSTOM"]
    for crop, attention in zip(crops, network.attention.values(), strict=True):
        assert isinstance(attention, Attention)
        # The blocks of an eye feed two heads: the eye and, second, the iris, which is not used.
        _follow(graph, _follow(graph, _follow(graph, crop, attention.blocks), attention.neck), attention.points)
    return network


def _follow(graph: Graph, tensor: int, layer: nn.Module) -> int:
    """Fills the layer that reads a tensor; returns the tensor that it writes."""
    if isinstance(layer, nn.Sequential):
        for part in layer:
            tensor = _follow(graph, tensor, part)
        return tensor
    if isinstance(layer, Residual):
        tensor = _follow(graph, _follow(graph, tensor, layer.depthwise), layer.pointwise)
        return _follow(graph, _reader(graph, tensor, "ADD").outputs[0], layer.activation)
    if isinstance(layer, nn.PReLU):
        operation = _reader(graph, tensor, "PRELU")
        _set(layer.weight, torch.from_numpy(graph.constant(operation.inputs[1]).copy()).flatten())
        return operation.outputs[0]
    assert isinstance(layer, nn.Conv2d)
    operation = _reader(graph, tensor, CONVOLUTIONS[layer.groups > 1])
    _fill(layer, graph, operation)
    return operation.outputs[0]


def _reader(graph: Graph, tensor: int, kind: str, number: int = 0) -> Operation:
    """The operation of a kind that reads the tensor: number `number` in the order of the file."""
    return [operation for operation in graph.readers[tensor] if operation.kind == kind][number]


def _fill(layer: nn.Conv2d, graph: Graph, operation: Operation) -> None:
    weight = torch.from_numpy(graph.constant(operation.inputs[1]).copy())
    # o h w i -> o i h w; depthwise: 1 h w o -> o 1 h w
    _set(layer.weight, weight.permute(3, 0, 1, 2) if layer.groups > 1 else weight.permute(0, 3, 1, 2))
    assert layer.bias is not None
    _set(layer.bias, torch.from_numpy(graph.constant(operation.inputs[2]).copy()))


def _set(parameter: Tensor, values: Tensor) -> None:
    if parameter.shape != values.shape:
        raise KeySyncError(
            f"a constant has shape {tuple(values.shape)}: expected {tuple(parameter.shape)}; use the wheel of "
            "mediapipe 0.10.21"
        )
    parameter.data.copy_(values)


def _convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A file of the wheel. Raises `KeySyncError` if it is larger than any of the three, whatever the archive states."""
    with archive.open(name) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise KeySyncError(
            f"{name} has more than {MOST_BYTES} bytes: expected a face network; use the wheel of mediapipe 0.10.21"
        )
    return content


def convert(wheel: Path) -> dict[str, Tensor]:
    """The weights of all three networks, float16 as in the wheel."""
    loaders = {"short_range": load_short_range, "full_range": load_full_range, "mesh": load_mesh}
    weights: dict[str, Tensor] = {}
    with zipfile.ZipFile(wheel) as archive:
        for name, loader in loaders.items():
            network = loader(Graph(_member(archive, FILES[name])))
            weights |= {f"{name}.{key}": value.half().contiguous() for key, value in network.state_dict().items()}
    return weights


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.weights.face_finder", description=__doc__.partition(":")[0]
    )
    parser.add_argument("wheel", type=Path, help="the wheel of mediapipe 0.10.21")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder to write the weights to")
    arguments = parser.parse_args()
    try:
        weights = convert(arguments.wheel)
    except (KeySyncError, OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    save_file(weights, arguments.output / WEIGHTS.name, {"source": "mediapipe 0.10.21", "license": "Apache-2.0"})
    return 0


if __name__ == "__main__":
    sys.exit(main())
