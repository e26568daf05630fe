"""A synthetic world of talking heads with known ground truth: videos, speech and training data."""
