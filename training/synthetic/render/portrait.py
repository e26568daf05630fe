"""Draws one person into a picture and returns the true 68 landmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from keysync.face.face import Points

from . import eyes, hair, skin
from .body import body, ear, follow
from .camera import Camera, Pose
from .head import HeadShape, Motion
from .identity import Identity
from .light import Light, shade
from .lips import LipPaint, draw_opening
from .mouth import Lips, MouthShape, lip_places, lips
from .opencv import cv2
from .raster import Floats, draw
from .surface import STRIDE, Atlas, Surface

Array = NDArray[np.float64]

FINE = 54 * STRIDE + 1
FAR = -4000.0  # depth of the background, mm
JAW = 17


class Portrait:
    """A person prepared for drawing. Preparation takes about half a second, a frame a few hundredths."""

    def __init__(self, person: Identity) -> None:
        rng = np.random.default_rng(person.seed)
        self.person = person
        self.shape = HeadShape(person)
        surfaces = [self._head(rng), body(person, rng, 30 * STRIDE + 1, 34 * STRIDE + 1)]
        if person.style == "long":  # which covers the ears
            surfaces.append(hair.curtain(person, rng, 15 * STRIDE + 1, 24 * STRIDE + 1))
        else:
            surfaces += [ear(person, side, rng, 12 * STRIDE + 1, 7 * STRIDE + 1) for side in (-1, 1)]
        self.atlas = Atlas(surfaces)
        points, part = self.atlas.points, self.atlas.part
        self._of_head = (part == 0) | ((part > 1) & (person.style != "long"))
        falling = 1 - 0.7 * np.clip((points[:, 1] - 20) / 120, 0, 1)
        self._follow = np.where(self._of_head, 1, np.where(part == 1, follow(points[:, 1]), falling))
        self._motion = Motion(person, points[part == 0])
        self._skull = int((part == 0).sum())
        self._lip_paint = LipPaint(person, rng)
        self._marks = self._resting_marks()
        self._mark_motion = Motion(person, self._marks)

    def draw(
        self, picture: Floats, pose: Pose, mouth: MouthShape, light: Light, camera: Camera
    ) -> tuple[Points, Floats]:
        """Draws into a picture (h, w, 3) of linear colours; returns the landmarks (68, 2) and the coverage (h, w)."""
        camera = Camera(camera.centre, camera.scale * pose.scale)
        where = self._drawn(picture.shape[:2], pose, mouth, camera)
        covered = (where[..., 2] > FAR / 2).astype(np.uint8)
        left, top, wide, high = cv2.boundingRect(covered)
        coverage = np.zeros(covered.shape, dtype=np.float32)
        edge = self.lips(mouth)
        lids = eyes.lids(self.person, self.shape, pose)
        marks = self.landmarks(pose, mouth, edge, lids, camera)
        if not wide:
            return marks, coverage
        left, top = max(left - 3, 0), max(top - 3, 0)
        window = slice(top, top + high + 6), slice(left, left + wide + 6)
        local = Camera((camera.centre[0] - left, camera.centre[1] - top), camera.scale)
        colour = self._lit(where[window], pose, edge, light, local)
        facing = pose.head[2, 2] > 0.2
        if facing:
            eyes.draw(colour, self.person, self.shape, lids, pose, local, light)
            draw_opening(colour, self.person, mouth, edge, pose.place_head, local, light)
        cover = _smooth_cover(covered[window])
        part = picture[window]
        part += (colour - part) * cover[..., None]
        coverage[window] = cover
        return marks, coverage

    def lips(self, mouth: MouthShape) -> Lips:
        """The lips in mm."""
        places = lip_places(self.person, mouth)
        # Their depth is that of the skin before the jaw moves.
        rest = lip_places(self.person, MouthShape(wide=mouth.wide, round=mouth.round))
        return lips(self.person, mouth, self.shape.depth(places[..., 0], rest[..., 1]))

    def landmarks(self, pose: Pose, mouth: MouthShape, edge: Lips, lids: Array, camera: Camera) -> Points:
        """The landmarks (68, 2) in pixels with these lips and lids."""
        resting = self._mark_motion.move(self._marks, mouth, pose.brows, pose.frown)
        points = np.concatenate([resting, eyes.points(lids), edge.outer_points, edge.inner_points])
        return camera.project(pose.place_head(points)).astype(np.float32)

    def _head(self, rng: np.random.Generator) -> Surface:
        points = self.shape.grid(FINE, FINE)
        skin.carve(self.person, points, rng)
        colour, gloss, openness = skin.paint(self.person, points, rng)
        if self.person.beard:
            x, y, z = np.moveaxis(points, -1, 0)
            grown = self.person.beard * skin.whisker_area(x, y, z) * 5.0
            points += grown[..., None] * points / np.maximum(np.linalg.norm(points, axis=-1, keepdims=True), 1)
        mask, strands = hair.grow(self.person, points, rng)
        hairs, shine = hair.colours(self.person, strands, rng)
        near = cv2.GaussianBlur(mask, (0, 0), 5) * (1 - mask)
        openness = openness * (1 - 0.55 * near)
        if self.person.style == "bald":
            mask = mask * 0.72
        colour += (hairs - colour) * mask[..., None]
        gloss += (shine - gloss) * mask
        openness += (1 - openness) * mask * 0.7
        return Surface(points, colour, gloss, openness)

    def _drawn(self, size: tuple[int, int], pose: Pose, mouth: MouthShape, camera: Camera) -> Floats:
        """Per pixel (h, w, 4): position in the atlas, depth in mm, and 1 for parts that move with the head."""
        points = self.atlas.points.copy()
        points[: self._skull] = self._motion.move(points[: self._skull], mouth, pose.brows, pose.frown)
        head, torso = pose.place_head(points), pose.place_torso(points)
        seen = torso + (head - torso) * self._follow[:, None]
        depth = seen[:, 2].astype(np.float32)
        values = np.column_stack([self.atlas.places, depth, self._of_head]).astype(np.float32)
        where = np.full((*size, 4), FAR, dtype=np.float32)
        pixels = camera.project(seen).astype(np.float32)
        draw(pixels, depth, values, self.atlas.triangles, where, self.atlas.two_sided)
        return where

    def _lit(self, where: Floats, pose: Pose, edge: Lips, light: Light, camera: Camera) -> Floats:
        """Linear colours (h, w, 3) of the surfaces and the lips."""
        column, row, depth, of_head = (np.ascontiguousarray(where[..., k]) for k in range(4))
        paint, form = (_looked_up(texture, column, row) for texture in (self.atlas.paint, self.atlas.form))
        openness = np.ascontiguousarray(form[..., 3])
        normal, of_torso = (_turned(form, matrix) for matrix in (pose.head, pose.torso))
        cv2.copyTo(of_torso, (of_head < 0.5).astype(np.uint8), normal)
        if self.person.style == "long":
            normal *= np.where(normal[..., 2:] < -0.35, np.float32(-1), np.float32(1))  # a curtain's far side
        if pose.head[2, 2] > 0.2:
            self._lip_paint.lay(edge, pose.place_head, camera, paint, normal, openness)
        return shade(paint, normal, openness, depth, light, camera.scale) * np.float32(pose.light)

    def _resting_marks(self) -> Array:
        """Landmarks 0 to 35 in mm at rest: jaw, brows, nose."""
        person, shape = self.person, self.shape
        turn = np.linspace(-1, 1, JAW)
        jaw_y = np.interp(np.abs(turn), np.linspace(0, 1, 9), (114, 112.5, 104, 91, 78, 63, 46, 17, 0))
        jaw_y = jaw_y * person.face_length
        width, _ = np.moveaxis(shape.front(jaw_y), -1, 0)
        out = np.interp(np.abs(turn), np.linspace(0, 1, 9), (0, 0.56, 0.82, 0.93, 0.955, 0.965, 0.97, 0.975, 0.98))
        jaw_x = np.sign(turn) * width * out
        brow = np.array([14, 25, 36, 45, 53])
        brow_x = np.concatenate([-brow[::-1], brow])
        brow_y, thick = skin.brow_line(person, brow_x)
        long, wide = 40 * person.nose_length, 13 * person.nose_width
        nose_x = np.array([0, 0, 0, 0, -wide, -0.5 * wide, 0, 0.5 * wide, wide])
        nose_y = np.array([-2, 0.32 * long, 0.66 * long, long, long + 7, long + 9.5, long + 10.5, long + 9.5, long + 7])
        x = np.concatenate([jaw_x, brow_x, nose_x])
        y = np.concatenate([jaw_y, brow_y - 0.3 * thick, nose_y])
        return np.stack([x, y, shape.depth(x, y)], -1)


def _looked_up(texture: Floats, column: Floats, row: Floats) -> Floats:
    return np.asarray(cv2.remap(texture, column, row, cv2.INTER_LINEAR), dtype=np.float32)


def _turned(form: Floats, matrix: Array) -> Floats:
    """Normals (h, w, 3) of a form (h, w, 4), rotated by a matrix (3, 3)."""
    return np.asarray(cv2.transform(form, np.c_[matrix, np.zeros(3)].astype(np.float32)), dtype=np.float32)


def _smooth_cover(covered: NDArray[np.uint8]) -> Floats:
    """The coverage 0..1, antialiased at the edge."""
    soft = cv2.GaussianBlur(covered.astype(np.float32), (0, 0), 0.8)
    return np.asarray(np.clip((soft - np.float32(0.45)) * np.float32(1.9), 0, 1), dtype=np.float32)
