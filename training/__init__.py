"""Training: data in, weights out that `keysync` loads; `python -m training.<verb>`."""
