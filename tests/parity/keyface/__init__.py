"""KeyFace against golden vectors of its reference implementation."""
