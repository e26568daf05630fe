"""What the core's nodes patch onto a MODEL, as it acts on windows: guidance functions, and caches of steps."""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.samplers
from torch import Tensor

from ...keysync.errors import KeySyncError
from ...keysync.network.stage import StageSpec
from .network import KeySyncModel

# Guidance functions change what is predicted by less than this, relative to its largest number: they do nothing.
UNCHANGED = 1e-4
PRE, CFG, POST = "sampler_pre_cfg_function", "sampler_cfg_function", "sampler_post_cfg_function"
# Options that windows have no use for, and whose they are.
UNUSED = {
    "context_handler": "Context Windows has no effect on a KeySync model, which has windows of its own",
    "sampler_calc_cond_batch_function": "Skip Layer Guidance has no effect on a KeySync model: its layers are others",
}
ROPE = "Scale ROPE has no effect on a KeySync model, which has no rotary embeddings"

Options = dict[str, Any]
Cond = list[dict[str, Any]]


class Guidance:
    """The guidance functions of nodes such as RescaleCFG, called as the core calls them.

    They see two predictions and one scale s: the fully conditioned c, and u such that u + s (c - u) is what KeySync's
    own guidance gives. So u is a weighted mean of the predictions with fewer conditions.
    """

    def __init__(self, options: Options) -> None:
        self._functions: list[Callable[..., Any]] = [*options.get(PRE, []), *options.get(POST, [])]
        if CFG in options:
            self._functions.append(options[CFG])
        self.changes = False

    def __bool__(self) -> bool:
        return bool(self._functions)

    @property
    def nodes(self) -> str:
        """The classes of the nodes that the functions are from."""
        return ", ".join(dict.fromkeys(_node_of(function) for function in self._functions))

    def check(self, windows: int) -> None:
        """Raises `KeySyncError` for a function that would carry numbers from one window into the next."""
        for function in self._functions:
            if windows > 1 and _held(function).get("momentum"):
                raise KeySyncError(
                    f"the momentum of {_node_of(function)} would mix the {windows} windows of the clip: set it to 0"
                )

    def __call__(
        self,
        model: KeySyncModel,
        x: Tensor,
        sigma: Tensor,
        made: Tensor,
        full: Tensor,
        scale: float,
        conds: list[Cond],
        options: Options,
    ) -> Tensor:
        """`made` of one window as the functions change it, all (t, 4, h, w); `conds` of c and of the least conditioned
        prediction."""
        least = (scale * full - made) / (scale - 1) if scale != 1 else full
        said = {"conds": conds, "cond_scale": scale, "timestep": sigma, "sigma": sigma, "input": x, "model": model}
        pair = [full, least]
        try:
            for function in options.get(PRE, []):
                pair = function({**said, "conds_out": pair, "model_options": options})
            guided = comfy.samplers.cfg_function(
                model, pair[0], pair[1], scale, x, sigma, model_options=options, cond=conds[0], uncond=conds[1]
            )
        except comfy.model_management.OOM_EXCEPTION:
            raise
        except RuntimeError as error:
            raise KeySyncError(
                f"{self.nodes} fails on several frames at once ({str(error).partition(chr(10))[0]}): remove it"
            ) from error
        self.changes |= bool((guided - made).abs().max() > UNCHANGED * made.abs().max())
        return guided


def _node_of(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__)).partition(".")[0]


def without_context_windows(options: Options) -> Options:
    """A copy of a MODEL's options in which Context Windows does nothing: what it wraps around sampling asks for it."""
    copied = comfy.model_patcher.create_model_options_clone(options)
    if handler := copied.get("context_handler"):
        copied["context_handler"] = handler = copy.copy(handler)
        handler.context_length, handler.freenoise = sys.maxsize, False
    return copied


def usable(options: Options) -> Options:
    """The options without those that windows have no use for."""
    return {name: option for name, option in options.items() if name not in UNUSED}


def unused(options: Options, spec: StageSpec) -> Iterator[str]:
    """A line for each patch that has no effect."""
    inner = options.get("transformer_options", {})
    yield from (line for name, line in UNUSED.items() if options.get(name))
    if inner.get("rope_options"):
        yield ROPE
    functions = [function for patches in inner.get("patches", {}).values() for function in patches]
    acting = {_node_of(function) for function in functions if _acts(function, spec)}
    for node in dict.fromkeys(_node_of(function) for function in functions if _node_of(function) not in acting):
        yield f"{node} has no effect on the {spec.name} model: its network has no layers of that size"


def _acts(function: Callable[..., Any], spec: StageSpec) -> bool:
    """Whether a patch of the network finds layers that it changes; those of unknown nodes are taken to."""
    unet, side = spec.unet, min(spec.latent_size)
    match _node_of(function):
        case "FreeU" | "FreeU_V2":
            return not {2, 4}.isdisjoint(unet.channel_mult)
        case "TomePatchModel":
            return unet.attention[0]
        case "HyperTile":
            held = _held(function)
            levels = enumerate(unet.attention[: held.get("max_depth", 0) + 1])
            return any(attends and side / 2**level > held.get("latent_tile_size", 0) for level, attends in levels)
    return True


def _held(function: Callable[..., Any]) -> Mapping[str, Any]:
    """What a function inside a node's function has of that one's variables."""
    return inspect.getclosurevars(function).nonlocals if inspect.isfunction(function) else {}


def compares_conditions(options: Options) -> bool:
    """Whether a patch looks at several conditions in one evaluation, as Normalized Attention Guidance does."""
    patches: Mapping[str, Any] = options.get("transformer_options", {}).get("patches", {})
    return "attn1_output_patch" in patches


@dataclass
class StepCaches:
    """EasyCache, once for each group of windows: it decides by the first one that it sees when steps are skipped."""

    _of: Any = None
    _by_start: dict[int, Any] = field(default_factory=dict)
    _group: int = 0

    def group(self, options: Options, windows: int) -> int:
        """How many windows are evaluated at once: with a cache always as many as at first."""
        if "easycache" not in options.get("transformer_options", {}):
            return windows
        self._group = self._group or windows
        return self._group

    def options(self, options: Options, start: int, model: KeySyncModel) -> Options:
        """The options for the group of windows that begins at `start`."""
        cache = options.get("transformer_options", {}).get("easycache")
        if cache is None:
            return options
        if cache is not self._of:  # sampled anew
            self._of, self._by_start = cache, {0: cache}
        if start not in self._by_start:
            self._by_start[start] = cache.clone().prepare_timesteps(model.model_sampling)
        own = comfy.model_patcher.create_model_options_clone(options)
        own["transformer_options"]["easycache"] = self._by_start[start]
        return own
