"""The tables of choices and what the documents say of them; `tests/host/test_documents.py` has the nodes' texts."""

from __future__ import annotations

import pytest

from keysync.speech.encoders import ENCODERS

from .documents import CHOICES, differences, documents

# What argparse or the frontend's translations would take for an instruction.
SPECIAL = set("{}@|%\n")
TEXTS = {
    f"{table}[{name!r}]": (choice.text, choice.zh) for table, rows in CHOICES.items() for name, choice in rows.items()
} | {f"ENCODERS[{name!r}]": (encoder.files, encoder.files_zh) for name, encoder in ENCODERS.items()}


@pytest.mark.parametrize("language", ["English", "Chinese"])
def test_every_choice_has_its_line(language: str) -> None:
    said = {row: texts[language == "Chinese"] for row, texts in TEXTS.items()}
    assert not [row for row, text in said.items() if not text], f"no {language} text"
    assert not {row: text for row, text in said.items() if SPECIAL & set(text)}


def test_the_readme_has_the_tables() -> None:
    assert not (found := differences(documents(None))), found
