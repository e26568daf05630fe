"""The weights of a stage: their source, which of them are trained, and the metadata of their files."""
