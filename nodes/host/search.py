"""What people type into ComfyUI's node search to find each node, beside its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec

from comfy_api.latest import io

P = ParamSpec("P")

# Words for what all nodes are for; 口型, 对口型 and 唇形 are the lips and their sync, 配音 is dubbing.
LIP_SYNC = ("lip sync", "lipsync", "lip-sync", "口型", "对口型", "唇形", "唇形同步")
DUBBING = ("dubbing", "dub", "talking head", "配音")
# By node id. The words of what a node is for come after those for what it does.
ALIASES: dict[str, tuple[str, ...]] = {
    "KeySyncLoadModel": ("lip sync model", "dubbing model", "keysync checkpoint", "口型模型", *LIP_SYNC),
    "KeySyncLoadVAE": ("lip sync vae", "svd vae", "stable video diffusion vae", *LIP_SYNC),
    "KeySyncDecodeFrames": ("vae decode frames", "decode face crops", *LIP_SYNC),
    "KeySyncFitAudio": ("match audio length", "sync audio to video", "trim audio", "pad audio", *LIP_SYNC),
    "KeySyncLoadSpeechEncoder": ("hubert", "wavlm", "wav2vec", "audio encoder", *LIP_SYNC),
    "KeySyncEncodeSpeech": ("speech features", "audio features", "audio embeds", "voice", *LIP_SYNC),
    "KeySyncTrackFace": ("face detection", "detect face", "face landmarks", "face tracking", "人脸", *LIP_SYNC),
    "KeySyncCropFace": ("face crop", "cut out face", "face align", "人脸", *LIP_SYNC),
    "KeySyncMouthMask": ("lip mask", "lips mask", "mouth inpaint", "jaw mask", "嘴", *LIP_SYNC),
    "KeySyncSubtractOcclusion": ("occlusion", "hand over mouth", "microphone", "遮挡", *LIP_SYNC),
    "KeySyncTrackOccluder": ("sam2", "segment anything", "occlusion", "hand over mouth", "遮挡", *LIP_SYNC),
    "KeySyncFindOccluder": ("occlusion", "auto mask", "hand over mouth", "microphone", "遮挡", *LIP_SYNC),
    "KeySyncSampleKeyframes": ("keysync sampler", "lip sync sampler", *LIP_SYNC, *DUBBING),
    "KeySyncInterpolateKeyframes": ("keysync sampler", "lip sync sampler", *LIP_SYNC, *DUBBING),
    "KeySyncGuider": ("lip sync guider", "custom sampler guider", *LIP_SYNC),
    "KeySyncSigmas": ("align your steps", "AYS scheduler", "lip sync scheduler", *LIP_SYNC),
    "KeySyncPasteFace": ("face paste", "uncrop face", "stitch face", "composite face", "人脸", *LIP_SYNC),
    "KeySyncLipSync": (*LIP_SYNC, *DUBBING, "no download", "easy lip sync", "revoice", "数字人"),
    "KeySyncLipsCurveFromSpeech": ("audio to lips", "visemes", "mouth curve", *LIP_SYNC),
    "KeySyncLipsCurveFromVideo": ("measure lips", "mouth tracking", "mouth curve", *LIP_SYNC),
    "KeySyncEditLipsCurve": ("mouth curve", "lips strength", "shift lips", "smooth lips", *LIP_SYNC),
    "KeySyncPlotLipsCurve": ("mouth curve", "draw curve", "waveform", *LIP_SYNC),
    "KeySyncChooseMouths": ("mouth bank", "pick mouths", *LIP_SYNC, *DUBBING),
    "KeySyncWarpMouths": ("warp lips", "morph mouth", *LIP_SYNC, *DUBBING),
    "KeySyncLoadExample": ("example video", "demo", "sample clip", "test video", "示例", *LIP_SYNC),
    "KeySyncCompareVideos": ("side by side", "before and after", "compare video", "对比", *LIP_SYNC),
    "KeySyncMeasureLipSync": ("evaluate lip sync", "sync score", "lipleak", "offset", "lag", "评估", "测量", *LIP_SYNC),
    "KeySyncPlotMouth": ("mouth aspect ratio", "draw curve", "waveform", "lipleak", *LIP_SYNC),
    "KeySyncSpeaker": ("several speakers", "multiple speakers", "dialogue", "two people", "多人", *LIP_SYNC, *DUBBING),
    "KeySyncSpeakers": ("several speakers", "multiple speakers", "dialogue", "two people", "多人", *LIP_SYNC, *DUBBING),
    "KeySyncPrepareClips": ("training data", "dataset", "train lip sync", "finetune", "训练", "数据集", *LIP_SYNC),
    "KeySyncTrainLoRA": ("train lora", "training", "finetune", "fine-tune", "speaker lora", "训练", *LIP_SYNC),
    "KeySyncLoadKeyFaceModel": ("keyface", "talking portrait model", "keyface checkpoint", *LIP_SYNC),
    "KeySyncEncodeSound": ("beats", "wav2vec", "audio features", "sound features", *LIP_SYNC),
    "KeySyncEmotionCurve": ("emotion", "valence", "arousal", "feeling", "情绪", "表情", *LIP_SYNC),
    "KeySyncAnimatePortrait": ("keyface", "talking portrait", "animate photo", "肖像", *LIP_SYNC, *DUBBING, "数字人"),
    "KeySyncJoinWindows": ("keyface", "average windows", "talking portrait", *LIP_SYNC),
    "KeySyncLoadFlashLips": ("flashlips model", "fast lip sync", "real time lip sync", "口型模型", *LIP_SYNC),
    "KeySyncLipsVectorsFromSpeech": ("audio to lips", "visemes", "flashlips", *LIP_SYNC),
    "KeySyncLipsVectorsFromVideo": ("performance transfer", "read lips", "mouth tracking", "flashlips", *LIP_SYNC),
    "KeySyncEditLipsVectors": ("blend lips", "shift lips", "smooth lips", "flashlips", *LIP_SYNC),
    "KeySyncDrawLipsVectors": ("mouth curve", "draw curve", "timeline", "keyframes", "flashlips", *LIP_SYNC),
    "KeySyncFlashLipsEdit": ("draw lips", "edit mouth", "latent editor", "flashlips", *LIP_SYNC, *DUBBING),
    "KeySyncFlashLipsDub": (*LIP_SYNC, *DUBBING, "fast lip sync", "real time lip sync", "revoice", "数字人"),
    "KeySyncDubLive": ("real time lip sync", "stream", "webcam", "camera", "实时", *LIP_SYNC, *DUBBING),
    "KeySyncDubVideo": (*LIP_SYNC, *DUBBING, "dubbed video", "revoice", "video to video lip sync", "数字人"),
}


def findable(make: Callable[P, io.Schema]) -> Callable[P, io.Schema]:
    """`make`, with the node's aliases in the schema. ComfyUI 0.8.0 has no field for them."""

    def made(*args: P.args, **kwargs: P.kwargs) -> io.Schema:
        schema = make(*args, **kwargs)
        if hasattr(schema, "search_aliases"):
            schema.search_aliases = list(ALIASES[schema.node_id])
        return schema

    return made


# Of every node: what `io.Schema` takes.
schema = findable(io.Schema)
