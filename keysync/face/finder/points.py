"""The points of MediaPipe's face mesh that correspond to the 68 points of iBUG's scheme.

The mesh has 468 points (478 with irises) in the canonical face model that MediaPipe publishes
(`mediapipe/modules/face_geometry/data/canonical_face_model.obj` and the contours FACEMESH_FACE_OVAL, _LIPS, _LEFT_EYE,
_RIGHT_EYE, _LEFT_EYEBROW, _RIGHT_EYEBROW of its Python package). iBUG counts from the viewer's left, which is the
person's right: jaw 0–16, brows 17–26, nose 27–35, eyes 36–47, outer lips 48–59, inner lips 60–67
(https://ibug.doc.ic.ac.uk/resources/facial-point-annotations/). The points chosen divide each contour as iBUG's
annotators do; checked by eye on faces in front view, in profile and behind a hand.
"""

from __future__ import annotations

JAW = (127, 234, 132, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 361, 454, 356)
BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
NOSE = (168, 197, 5, 4, 98, 97, 2, 326, 327)
EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
OUTER_LIPS = (61, 39, 37, 0, 267, 269, 291, 321, 314, 17, 84, 91)
INNER_LIPS = (78, 81, 13, 311, 308, 402, 14, 178)

MESH_TO_68: tuple[int, ...] = JAW + BROWS + NOSE + EYES + OUTER_LIPS + INNER_LIPS

# The points of each part that the mesh refines, in the order of that part's network, and the corners whose line defines
# the part's rotation. Right and left are the person's own.
# fmt: off
PARTS: dict[str, tuple[int, ...]] = {
    "lips": (
        61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409, 78, 95, 88, 178,
        87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415, 76, 77, 90, 180, 85, 16, 315, 404,
        320, 307, 306, 184, 74, 73, 72, 11, 302, 303, 304, 408, 62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292,
        183, 42, 41, 38, 12, 268, 271, 272, 407,
    ),
    "right_eye": (
        33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173, 130, 25, 110, 24, 23, 22, 26,
        112, 243, 247, 30, 29, 27, 28, 56, 190, 226, 31, 228, 229, 230, 231, 232, 233, 244, 113, 225, 224, 223, 222,
        221, 189, 35, 124, 46, 53, 52, 65, 143, 111, 117, 118, 119, 120, 121, 128, 245, 156, 70, 63, 105, 66, 107,
        55, 193,
    ),
    "left_eye": (
        263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398, 359, 255, 339, 254, 253,
        252, 256, 341, 463, 467, 260, 259, 257, 258, 286, 414, 446, 261, 448, 449, 450, 451, 452, 453, 464, 342,
        445, 444, 443, 442, 441, 413, 265, 353, 276, 283, 282, 295, 372, 340, 346, 347, 348, 349, 350, 357, 465,
        383, 300, 293, 334, 296, 336, 285, 417,
    ),
}
# fmt: on
CORNERS: dict[str, tuple[int, int]] = {"lips": (61, 291), "right_eye": (33, 133), "left_eye": (362, 263)}
# The outer corners of the eyes, the person's right one first.
EYE_CORNERS = (33, 263)
