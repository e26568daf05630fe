from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keysync.errors import KeySyncError
from keysync.measure.drawing import Elements, Pixels, drawing_kind, write_drawing

SIZE = 40, 60
RED = (255, 0, 0)


def drawn(kind: type[Pixels] | type[Elements]) -> Pixels | Elements:
    drawing = kind(SIZE, (0, 0, 0))
    drawing.area(((10, 10), (20, 30)), (0, 255, 0))
    drawing.line([(0, 5), (60, 5)], RED, 2)
    drawing.text((30, 20), "a < b & c", (255, 255, 255))
    return drawing


def test_a_png_shows_what_was_drawn(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    drawing = drawn(Pixels)
    write_drawing(drawing, path)
    picture = np.asarray(Image.open(path))
    assert picture.shape == (*SIZE, 3)
    assert picture[5, 30].tolist() == list(RED)
    assert picture[20, 15].tolist() == [0, 255, 0]
    assert picture[20:34, 30:].max() > 200
    assert isinstance(drawing, Pixels)
    assert np.array_equal(picture, drawing.picture)


def test_an_svg_holds_what_was_drawn(tmp_path: Path) -> None:
    path = tmp_path / "picture.svg"
    write_drawing(drawn(Elements), path)
    root = ET.parse(path).getroot()
    assert root.attrib["viewBox"] == "0 0 60 40"
    names = [element.tag.rpartition("}")[2] for element in root]
    assert names == ["rect", "rect", "polyline", "text"]
    assert root[3].text == "a < b & c"
    assert root[2].attrib["points"] == "0.00,5.00 60.00,5.00"


def test_names_and_places_that_cannot_be_are_errors(tmp_path: Path) -> None:
    assert drawing_kind(Path("a.PNG")) is Pixels
    with pytest.raises(KeySyncError, match=r"picture\.jpg: expected a name that ends in \.png or \.svg") as caught:
        drawing_kind(Path("picture.jpg"))
    assert caught.value.about == "plot"
    with pytest.raises(KeySyncError, match=r"cannot write the picture .*none/a\.svg: the folder .* does not exist"):
        write_drawing(drawn(Elements), tmp_path / "none" / "a.svg")
