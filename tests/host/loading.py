"""Loads the extension as ComfyUI does and prints what loading did, as JSON; runs in ComfyUI's own Python and folder.

`python loading.py <folder of the extension>` -> {"loaded": bool, "seconds": float, "core_seconds": float, "events":
[what it must not do]}; seconds are those of the processor: other programs do not slow them.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

sys.path[0] = str(Path.cwd())
folder, sys.argv = sys.argv[1], ["main.py", "--cpu"]
warnings.simplefilter("ignore")
import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
import comfy_config.config_parser  # noqa: E402, F401

began = time.thread_time()
import nodes  # noqa: E402

asyncio.run(nodes.init_builtin_extra_nodes())  # what the core's own nodes import is there before any extension
core_seconds = time.thread_time() - began

FORBIDDEN = (
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
    "os.system",
    "os.posix_spawn",
    "urllib.Request",
)
events: list[str] = []
sys.addaudithook(lambda event, _: events.append(event) if event in FORBIDDEN else None)


def load(extension: str) -> tuple[bool, float]:
    """Whether ComfyUI could load it, and the seconds of the processor that took."""
    start = time.thread_time()
    loaded = asyncio.run(nodes.load_custom_node(extension))
    return loaded, time.thread_time() - start


with tempfile.TemporaryDirectory() as empty:  # what any extension costs: the core reads its pyproject.toml
    shutil.copy(Path(folder, "pyproject.toml"), empty)
    Path(empty, "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}")
    _, least = load(empty)
events.clear()
modules = set(sys.modules)
loaded, seconds = load(folder)
new = sorted({name.partition(".")[0] for name in set(sys.modules) - modules if "/" not in name})
answer = {"loaded": loaded, "seconds": seconds - least, "core_seconds": core_seconds}
print(json.dumps(answer | {"events": events, "modules": new}))
