"""Video and sound, in and out: nothing else reads or writes media files."""
