"""A rendered world of talking heads whose every truth is known: videos, speech and training data from nothing."""
