"""Dubs that keep up with a camera: frames and sound in as they come, dubbed frames out soon after."""
