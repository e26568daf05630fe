"""What a FlashLips says of the data that it was trained on."""

from __future__ import annotations

import pytest

from keysync.systems.flashlips.spec import NAME
from keysync.systems.keysync.small import BUILT_IN, SMALL
from training.flashlips.course import vae_name


@pytest.mark.parametrize(
    ("origin", "name"),
    [
        (BUILT_IN, "keysync-small-vae"),
        (str(SMALL["vae"]), "keysync-small-vae"),
        ("C/assets/small/keysync-small-vae", "keysync-small-vae"),  # of data that another machine prepared
        ("run/keysync-small-vae", "keysync-small-vae trained anew"),  # a dub must not take the built-in one
        ("keysync-small-vae", "keysync-small-vae trained anew"),
        ("models/svd/vae", "vae"),
    ],
)
def test_no_other_vae_goes_by_the_name_of_the_built_in_one(origin: str, name: str) -> None:
    assert vae_name(origin) == name
    assert NAME.fullmatch(name.replace(" ", "-"))  # else no file with it could be opened
