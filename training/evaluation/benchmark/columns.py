"""The columns of the table: first those of the paper's tables 1 and 2, in their order, then others of the field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch

from . import lipscore, pictures, syncnet
from .hook import Hook, Missing
from .meters import Meter, Scores
from .pairs import CROSS, RECONSTRUCTION, SILENCE
from .pictures import Files
from .take import Take

Open = Callable[[Files, torch.device], Meter]
UP, DOWN, NEITHER = "↑", "↓", ""
# Where a column is measured: the protocol of a row, and that of the videos that are looked at for it.
AS_IT_IS = {RECONSTRUCTION: RECONSTRUCTION, CROSS: CROSS}
IN_SILENCE = {CROSS: SILENCE}


@dataclass(frozen=True)
class Column:
    """A column: its `title`, what is `better`, the `digits` after the point, and what it is.

    `open` makes its meter and raises `Missing` where that cannot be; None for a column that is made of votes. `where`
    are the protocols of its rows, each with that of the videos it is read in. `hook` is the network it needs.
    """

    title: str
    better: str
    digits: int
    what: str
    open: Open | None
    hook: Hook | None = None
    where: Mapping[str, str] = field(default_factory=lambda: AS_IT_IS)

    @property
    def head(self) -> str:
        """The title as the paper writes it."""
        return f"{self.title} {self.better}".strip()


def _figure(name: str) -> Open:
    """A figure of `keysync measure` by its name in JSON."""

    def read(take: Take) -> float | None:
        value = None if take.figures is None else getattr(take.figures, name)
        return None if value is None else float(value)

    return lambda files, device: Scores(read)


COLUMNS: dict[str, Column] = {
    "cmmd": Column(
        "CMMD",
        DOWN,
        3,
        "distance of CLIP's features of frames from those of the clips",
        pictures.open_cmmd,
        pictures.CLIP,
    ),
    "topiq": Column("TOPIQ", UP, 2, "quality of faces, 0 to 1", pictures.open_topiq, pictures.TOPIQ),
    "vl": Column(
        "VL",
        UP,
        2,
        "variance of the Laplacian of the face, in crops of 512 x 512 pixels",
        lambda files, device: Scores(pictures.sharpness),
    ),
    "fvd": Column(
        "FVD",
        DOWN,
        2,
        "distance of I3D's features of 16 frames from those of the clips",
        pictures.open_fvd,
        pictures.I3D,
    ),
    "lipscore": Column(
        "LipScore",
        UP,
        2,
        "likeness of the mouth, to a lip reader, and that of the clip that speaks, -1 to 1",
        lipscore.open_lipscore,
        lipscore.LIP_READER,
    ),
    "lipleak": Column(
        "LipLeak",
        DOWN,
        2,
        "share of frames with an open mouth when the clip is dubbed with silence",
        _figure("lipleak"),
        where=IN_SILENCE,
    ),
    "elo": Column("Elo", UP, 0, "rating by votes on pairs of videos, 1000 in the mean", None),
    "fid": Column(
        "FID",
        DOWN,
        2,
        "distance of Inception's features of frames from the clips'",
        pictures.open_fid,
        pictures.INCEPTION,
    ),
    "lse_c": Column("LSE-C", UP, 2, "confidence of SyncNet", partial(syncnet.open_lse, "confidence"), syncnet.SYNCNET),
    "lse_d": Column("LSE-D", DOWN, 2, "distance of SyncNet", partial(syncnet.open_lse, "distance"), syncnet.SYNCNET),
    "correlation": Column(
        "sync", UP, 2, "correlation of the opening with the one that the speech asks for", _figure("correlation")
    ),
    "lag_frames": Column("lag", NEITHER, 1, "frames that the mouth is late", _figure("lag_frames")),
    "identity": Column("identity", UP, 3, "likeness of the dub's face and the clip's", _figure("identity")),
    "sharpness_over_source": Column(
        "VL of the mouth",
        NEITHER,
        2,
        "VL of the mouth over the clip's with an equal opening",
        _figure("sharpness_over_source"),
    ),
}
HOOKS: tuple[Hook, ...] = tuple({c.hook.option.name: c.hook for c in COLUMNS.values() if c.hook}.values())


def open_meters(files: Files, device: torch.device) -> tuple[dict[str, Meter], dict[str, str]]:
    """The meters of all columns that can be measured, and why others cannot.

    Raises `KeySyncError` for a file that is given and cannot be used.
    """
    meters: dict[str, Meter] = {}
    missing: dict[str, str] = {}
    for key, column in COLUMNS.items():
        if column.open is None:
            continue
        try:
            meters[key] = column.open(files, device)
        except Missing as reason:
            missing[key] = str(reason)
    return meters, missing
