"""Which points of MediaPipe's face mesh stand for the 68 points of iBUG's scheme.

The mesh has 468 points (478 with irises) in the canonical face model that MediaPipe publishes
(`mediapipe/modules/face_geometry/data/canonical_face_model.obj` and the contours FACEMESH_FACE_OVAL, _LIPS, _LEFT_EYE,
_RIGHT_EYE, _LEFT_EYEBROW, _RIGHT_EYEBROW of its Python package). iBUG counts from the viewer's left, which is the
person's right: jaw 0–16, brows 17–26, nose 27–35, eyes 36–47, outer lips 48–59, inner lips 60–67
(https://ibug.doc.ic.ac.uk/resources/facial-point-annotations/). Of each contour those points are taken that divide it
as iBUG's annotators do; checked by eye on faces in front view, in profile and behind a hand.
"""

from __future__ import annotations

JAW = (127, 234, 132, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 361, 454, 356)
BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
NOSE = (168, 197, 5, 4, 98, 97, 2, 326, 327)
EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
OUTER_LIPS = (61, 39, 37, 0, 267, 269, 291, 321, 314, 17, 84, 91)
INNER_LIPS = (78, 81, 13, 311, 308, 402, 14, 178)

MESH_TO_68: tuple[int, ...] = JAW + BROWS + NOSE + EYES + OUTER_LIPS + INNER_LIPS
