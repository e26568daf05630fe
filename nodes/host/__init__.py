"""What knows ComfyUI's core: its models, samplers, files and sockets, as the nodes use them."""
