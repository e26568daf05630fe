"""How well models dub people and sentences that no training has seen."""
