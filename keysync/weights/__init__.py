"""Weight files: read, written, identified, described; stages in and out."""
