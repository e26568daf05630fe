"""The training of FlashLips: its four parts, each a course of `training.train`."""
