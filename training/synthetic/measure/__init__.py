"""What a mouth does, read from pixels, and how far it is from the truth."""
