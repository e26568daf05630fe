from __future__ import annotations

from pathlib import Path

import pytest

from keysync.errors import KeySyncError
from training.evaluation.benchmark.elo import Vote
from training.evaluation.benchmark.votes import add_vote, read_ballots, read_votes


def test_votes_are_kept_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    assert read_votes(path) == []
    add_vote(path, ("cross-sync", "a, b", "one", "two"), "right")
    add_vote(path, ("reconstruction", "c", "two", "one"), "neither")
    assert read_votes(path) == [Vote("cross-sync", "one", "two", 0.0), Vote("reconstruction", "two", "one", 0.5)]
    assert read_ballots(path)[0] == (("cross-sync", "a, b", "one", "two"), "right")
    assert path.read_text().count("\n") == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,b\n", "does not begin with protocol,name,left,right,choice"),
        ("protocol,name,left,right,choice\nx,y,one,two,both\n", "line 2: expected"),
        ("protocol,name,left,right,choice\nx,y,one,one,left\n", "line 2: expected"),
        ("protocol,name,left,right,choice\nx,y\n", "line 2: expected"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "votes.csv"
    path.write_text(text)
    with pytest.raises(KeySyncError, match=reason):
        read_votes(path)


def test_a_folder_is_no_file_of_votes(tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match="cannot be read"):
        read_votes(tmp_path)
    with pytest.raises(KeySyncError, match="cannot write"):
        add_vote(tmp_path, ("a", "b", "c", "d"), "left")
