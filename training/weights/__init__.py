"""The weights of a stage: where they come from, which are trained, what files say of them."""
