"""The speech encoder of the small model."""
