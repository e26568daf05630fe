"""The built-in face finder: MediaPipe's three networks as torch modules, and the way from a frame to its faces.

`networks` holds the networks, `detections` reads the detectors' outputs, `squares` cuts turned squares out of frames,
`points` maps the mesh to the 68 landmarks, and `finder` strings them together. The weights are MediaPipe's
(Apache-2.0), converted by `training.weights.face_finder`; see the notice beside them in the assets.
"""
