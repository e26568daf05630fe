"""A GUIDER of windows: the core's sampling loop over all windows of a clip, evaluated in groups that fit memory.

Shapes: b windows of t frames (b, t, ...) are sampled (paper §3.3).
"""

from __future__ import annotations

import logging
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from itertools import islice
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import comfy.samplers
import torch
from torch import Tensor

from ...keysync.errors import KeySyncError
from ...keysync.network.guidance import Prediction
from ...keysync.network.precision import NotFiniteError, is_finite
from ...keysync.network.stage import Windows
from ...keysync.weights.stage_format import in_words
from .checks import spec_of, want_number, want_own_sampling
from .layout import Layout
from .network import KeySyncModel
from .patches import Guidance, StepCaches, compares_conditions, unused, usable, without_context_windows
from .precision import in_float32, is_half, on_cpu, pinned_attention
from .weak import WeakNetwork

log = logging.getLogger(__name__)

# The core needs this many times its own estimate free before it evaluates conditions together.
SPARE_MEMORY = 1.5

OnGroup = Callable[[int, Tensor], None]


class WindowGuider(comfy.samplers.CFGGuider):
    """Samples windows that do not see each other: all go through the sampler together, to the network in groups."""

    def __init__(
        self,
        patcher: comfy.model_patcher.ModelPatcher,
        *,
        weak: comfy.model_patcher.ModelPatcher | None = None,
        **chosen: float,
    ) -> None:
        """`chosen` are guidance scales by name; 0 is the one that the model is best sampled with. `weak` is the weaker
        copy that guides the model, where its rule has one."""
        for name, scale in chosen.items():
            want_number(name, scale)
        self.spec = spec_of(patcher)
        want_own_sampling(patcher)
        self._weak = None if weak is None else WeakNetwork(weak)
        super().__init__(patcher if self._weak is None else self._weak.beside(patcher))
        self.scales = self.spec.scales_with({name: chosen.get(name) or None for name in self.spec.scales})
        # The core's name for the scale that CFG Override changes.
        self._cfg_scale = self.spec.guidance.scales[0]
        self.cfg = self.scales[self._cfg_scale]
        # What a person should know about the nodes between the loader and this one, a line each.
        self.notes = set(unused(self.model_options, self.spec))
        self.on_group: OnGroup | None = None
        self.windows: Windows | None = None
        self.model_options = without_context_windows(self.model_options)
        comfy.patcher_extension.add_wrapper(
            comfy.patcher_extension.WrappersMP.PREPARE_SAMPLING,
            _make_room_for_one_window,
            self.model_options,
            is_model_options=True,
        )
        if on_cpu(patcher.load_device):
            self.model_options["transformer_options"].setdefault("optimized_attention_override", pinned_attention)

    @property
    def branches(self) -> int:
        """How often a step evaluates the network for a window."""
        return len(self.spec.guidance.needed(self.scales))

    def sample_windows(
        self,
        windows: Windows,
        noise: Tensor,
        sampler: comfy.samplers.Sampler,
        sigmas: Tensor,
        callback: Callable[[int, Tensor, Tensor, int], None] | None = None,
    ) -> Tensor:
        """Latents (b, t, 4, h, w) times 0.18215, from noise of that shape.

        After each group that the network was evaluated for, `on_group(windows of the group, denoised)` is called.
        """
        model: KeySyncModel = self.model_patcher.model
        latents = model.process_latent_out(windows.known).flatten(0, 1)
        with self.given(windows):
            sampled = super().sample(
                noise.flatten(0, 1), latents, sampler, sigmas, windows.mask.flatten(0, 1), callback, disable_pbar=True
            )
        return model.process_latent_in(sampled.reshape(noise.shape))

    def in_float32(self) -> AbstractContextManager[None]:
        """Inside, the network computes in float32."""
        return in_float32(self.model_patcher.model)

    @contextmanager
    def given(self, windows: Windows) -> Iterator[None]:
        """Samples these windows inside; the graph keeps guiders, but not a clip's latents with them."""
        self.windows = windows
        self._guidance, self._caches = Guidance(self.model_options), StepCaches()
        self._uuids: defaultdict[tuple[int, str], uuid.UUID] = defaultdict(uuid.uuid4)
        self._guidance.check(len(windows.mask))
        try:
            yield
            if self._guidance and not self._guidance.changes:
                self.notes.add(f"{self._guidance.nodes} has no effect on the {self.spec.name} model")
        finally:
            self.windows = None

    def inner_sample(self, *args: Any, **kwargs: Any) -> Tensor:
        """The core's, which has loaded the model and the weaker copy; the arguments differ between versions."""
        with nullcontext() if self._weak is None else self._weak.running():
            sampled: Tensor = super().inner_sample(*args, **kwargs)
        return sampled

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict[str, Any] | None = None, seed: int | None = None
    ) -> Tensor:
        """The guided denoised latents (b*t, 4, h, w); in a group of windows at a time, cancelled between groups.

        Raises `NotFiniteError` where they are not finite.
        """
        windows = self.windows
        assert windows is not None
        count, frames = windows.mask.shape[:2]
        x, timestep = x.unflatten(0, (count, frames)), timestep.expand(len(x)).unflatten(0, (count, frames))
        options = usable(model_options or {})
        scales = self.spec.scales_with(self.scales | {self._cfg_scale: self.cfg})
        needed = self._needed(scales, options)
        group = 1 if on_cpu(x.device) or self._guidance else windows_at_once(self.inner_model, x, len(needed))
        group = self._caches.group(options, group)
        denoised = torch.empty_like(x)
        for start in range(0, count, group):
            comfy.model_management.throw_exception_if_processing_interrupted()
            part = slice(start, start + group)
            own = self._caches.options(options, start, self.inner_model)
            shown, sigma = x[part].flatten(0, 1), timestep[part].flatten()
            conds = self._conditions(windows[part], x.device, needed, start)
            strong = {name: cond for name, cond in conds.items() if not needed[name].weak}
            with self.inner_model.evaluated(self._together(x.device, options)):
                predicted = comfy.samplers.calc_cond_batch(self.inner_model, [*strong.values()], shown, sigma, own)
            made = dict(zip(strong, predicted, strict=True))
            if self._weak is not None:
                made |= {name: self._weak(conds[name], shown, sigma) for name in conds if name not in strong}
            guided = self.spec.guidance.combined(made, scales)
            if self._guidance:
                scale = next((scale for scale in scales.values() if scale != 1), 1.0)
                evaluated = [*conds.values()]
                pair = [evaluated[0], evaluated[min(1, len(evaluated) - 1)]]
                guided = self._guidance(self.inner_model, shown, sigma, guided, predicted[0], scale, pair, own)
            denoised[part] = guided.reshape(x[part].shape)
            if not is_finite(denoised[part]):
                raise NotFiniteError
            if self.on_group is not None:
                self.on_group(len(denoised[part]), denoised[part].flatten(0, 1))
        return denoised.flatten(0, 1)

    def _needed(self, scales: Mapping[str, float], options: dict[str, Any]) -> dict[str, Prediction]:
        """The predictions to evaluate, in the core's order: the fully conditioned one, then the least conditioned."""
        needed = self.spec.guidance.needed(scales)
        if options.get("disable_cfg1_optimization") and len(needed) == 1:
            needed = dict(islice(self.spec.guidance.predictions.items(), 1)) | needed
        if self._weak is None and any(prediction.weak for prediction in needed.values()):
            raise KeySyncError(
                f"the guidance of the {in_words(self.spec.name)} model needs a weaker copy of its network: choose one "
                "in Load KeyFace Model"
            )
        *others, full = needed
        return {name: needed[name] for name in (full, *others)}

    def _together(self, device: torch.device, options: dict[str, Any]) -> bool | None:
        """Whether the core evaluates conditions together: on a CPU never by the memory that happens to be free."""
        return compares_conditions(options) if on_cpu(device) else None

    def _conditions(
        self, windows: Windows, device: torch.device, needed: Mapping[str, Prediction], start: int
    ) -> dict[str, list[dict[str, Any]]]:
        """What the core evaluates the network with for each prediction; `start` is the number of the first window."""
        conds = {}
        for name, prediction in needed.items():
            network = self._weak.model if self._weak is not None and prediction.weak else self.inner_model
            condition = network.conditioner.condition(windows, audio=prediction.audio, reference=prediction.reference)
            model_conds = network.extra_conds(keysync_condition=condition, device=device)
            # Of one name from step to step: caches know conditions by it.
            conds[name] = [{"model_conds": model_conds, "uuid": self._uuids[start, name]}]
        return conds


class LayoutGuider(WindowGuider):
    """A GUIDER that cuts a clip up into windows by itself, and of whose slots some come out."""

    def layout(self, frames: int) -> Layout:
        """How a clip of so many latents is cut up."""
        raise NotImplementedError

    def prepare(self, latents: Tensor, denoise_mask: Tensor | None, noises: int) -> tuple[Layout, Windows, Tensor]:
        """The layout, its windows, and the latents (b*t, 4, h, w) of every slot, as a LATENT has them.

        Of what `sample` is given: `noises` is how much noise there is. Raises `KeySyncError` for what does not fit.
        """
        raise NotImplementedError

    def finished(self, sampled: Tensor) -> Tensor:
        """What comes out of the wanted latents (k, 4, h, w) that were sampled."""
        return sampled

    def sample(
        self,
        noise: Tensor,
        latent_image: Tensor,
        sampler: comfy.samplers.Sampler,
        sigmas: Tensor,
        denoise_mask: Tensor | None = None,
        callback: Callable[[int, Tensor, Tensor, int], None] | None = None,
        disable_pbar: bool = False,
        seed: int | None = None,
    ) -> Tensor:
        """The wanted latents (k, 4, h, w) of a clip or a head.

        `noise` for every slot of the layout (b*t, 4, h, w), or for every frame: a slot then takes that of its frame.
        `denoise_mask` (n or 1, H, W) or (n or 1, 1, H, W) at the size of the crops or of the latents.
        Raises `KeySyncError` for what does not fit.
        """
        layout, windows, latents = self.prepare(latent_image, denoise_mask, len(noise))
        if len(noise) != layout.slots.numel():
            noise = noise[layout.slots.flatten() % len(noise)]

        def pick(slots: Tensor) -> Tensor:
            return slots[layout.wanted.to(slots.device)]

        def picked(step: int, x0: Tensor, x: Tensor, steps: int) -> None:
            assert callback is not None
            callback(step, pick(x0), pick(x), steps)

        def sampled() -> Tensor:
            return super(LayoutGuider, self).sample(
                noise,
                latents,
                sampler,
                sigmas,
                windows.mask.flatten(0, 1),
                None if callback is None else picked,
                disable_pbar,
                seed,
            )

        with self.given(windows):
            made = pick(self._finite(sampled, int(layout.slots.max()) + 1))
        for line in sorted(self.notes):
            log.warning(line)
        return self.finished(made)

    def _finite(self, sample: Callable[[], Tensor], frames: int) -> Tensor:
        """What is sampled: once more in float32 where half precision overflows. Raises `KeySyncError` where it is not
        finite even so."""
        half = is_half(self.model_patcher.model)
        with suppress(NotFiniteError):
            sampled = sample()
            if is_finite(sampled):
                return sampled
        if half:
            log.warning("half precision overflows in the %s model: sampling again in float32", self.spec.name)
            with self.in_float32(), suppress(NotFiniteError):
                sampled = sample()
                if is_finite(sampled):
                    return sampled
        raise KeySyncError(
            f"the {self.spec.name} model gives numbers that are not finite for frames 0-{frames - 1}"
            f"{', in float32 too' if half else ''}: use other weights, a lower guidance or other sigmas"
        )


def windows_at_once(model: KeySyncModel, x: Tensor, branches: int) -> int:
    """How many of the windows (b, t, 4, h, w) the network can be evaluated for `branches` times each in free memory."""
    needed = SPARE_MEMORY * model.memory_required([branches * x.shape[1], *x.shape[2:]])
    return max(1, min(len(x), int(comfy.model_management.get_free_memory(x.device) / needed)))


def _make_room_for_one_window(
    executor: Callable[..., Any], model: comfy.model_patcher.ModelPatcher, noise_shape: Any, *args: Any, **kwargs: Any
) -> Any:
    """Tells the core's memory manager what is evaluated at once, at the least, instead of the whole clip."""
    return executor(model, [model.model.spec.window, *noise_shape[1:]], *args, **kwargs)
