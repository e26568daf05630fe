"""FlashLips: lips vectors from speech, and an editor that draws each frame in one pass."""
