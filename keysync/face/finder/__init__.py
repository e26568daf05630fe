"""The built-in face finder: MediaPipe's three networks as torch modules, and the detector that combines them.

`networks` defines the networks, `detections` decodes the detectors' outputs, `squares` samples rotated squares of
frames, `points` maps the mesh to the 68 landmarks, and `finder` is the detector. The weights are MediaPipe's
(Apache-2.0), converted by `training.weights.face_finder`; see the notice next to them in the assets.
"""
