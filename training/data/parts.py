"""The names of a clip's parts, as they follow its key in a shard; features have the name of their speech encoder."""

LATENTS, LANDMARKS, EMOTION, CROPS, SOUND = "latents.npy", "landmarks.npy", "emotion.npy", "mp4", "flac"
