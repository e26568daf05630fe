"""Systems side by side on the clips of a folder: the protocols and the columns of the paper's tables 1 and 2."""
