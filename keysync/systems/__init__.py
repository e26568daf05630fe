"""The systems that render a face in new speech, each in a folder of its own."""
