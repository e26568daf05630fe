"""What the command line's commands do, and the options that several of them share."""
