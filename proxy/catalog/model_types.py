"""The type of a model by the family in its name, for providers that do not report it. Pure.

Only families whose models have one purpose are here. A name that matches several families, or none, has no type: access
rules use the type, so an unknown one is better than a wrong one.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

_WORD = r"(?:^|[-_.])(?:{})(?=$|[-_.:@\d])"
_FAMILIES = (
    # The first match applies: names of special purposes contain names of chat families.
    ("rerank", _WORD.format("re-?rank|reranker|reranking")),
    ("moderation", r"^(?:text|omni)-moderation|" + _WORD.format("moderation")),
    ("embedding",
     r"^(?:embeddinggemma|textembedding-|multimodalembedding|all-minilm|bge-(?:m3|small|base|large|multilingual)|e5-|"
     r"multilingual-e5|gte-|voyage-|mxbai-embed|nv-?embed)|" + _WORD.format("embed|embedding|embeddings")),
    ("video", r"^(?:sora(?:$|[-_\d])|veo-?\d|kling|cogvideo|hailuo|nova-reel|seedance|wan-?\d[\d.]*-[it]2v)|"
     + _WORD.format("[it]2v|text-to-video|image-to-video")),
    ("image",
     r"^(?:dall-e|gpt-image|chatgpt-image|imagen-?\d|imagegeneration|flux|stable-diffusion|stable-image|sdxl|sd3|"
     r"cogview|seedream|nova-canvas|titan-image|qwen-image|kolors|hidream|ideogram|recraft|midjourney|z-image|image-01)"),
    ("audio",
     r"^(?:whisper|distil-whisper|cosyvoice|sensevoice|paraformer|chirp|parakeet|canary-\d|speech-0\d|eleven_|orpheus|"
     r"lyria|musicgen)|" + _WORD.format("tts|asr|stt|transcribe")),
    ("completion", r"^(?:gpt-3\.5-turbo-instruct|(?:davinci|babbage)-002)"),
    ("chat",
     r"^(?:gpt-[3-9]|gpt-oss|chatgpt-|o[1-9](?:$|-)|claude-|gemini-\d|gemini-pro|gemma-?\d|grok-\d|command-[ar]|"
     r"deepseek-(?:chat|reasoner|v\d|r\d)|mistral-(?:large|medium|small|tiny|nemo)|open-mi[sx]tral|ministral|magistral|"
     r"devstral|pixtral|kimi-|moonshot-v|glm-\d|minimax-(?:m\d|text)|qwen-(?:max|plus|turbo|flash|long)|qwq|"
     r"qwen\d[\d.]*(?=.*(?:instruct|thinking|chat))|llama-?\d(?=.*(?:instruct|chat))|nova-(?:micro|lite|pro|premier)|"
     r"sonar(?:$|-)|jamba-|ernie-\d|hunyuan-(?:turbo|large|standard|lite)|doubao-(?:seed-)?\d|phi-\d(?=.*instruct))"),
)  # fmt: skip
_OTHER_PURPOSE = _WORD.format(
    "audio|base|fim|guard|image|imagine|live|ocr|realtime|robotics|speech|translate|vae|video|voice"
)
"""Words in names of models that are not chat models, although their family is."""
_MAX_NAME = 200


@cache
def _expressions() -> tuple[tuple[tuple[str, re.Pattern[str]], ...], re.Pattern[str]]:
    """Compiled at first use: most deployments need none of them."""
    families = tuple((type_, re.compile(expression, re.ASCII)) for type_, expression in _FAMILIES)
    return families, re.compile(_OTHER_PURPOSE, re.ASCII)


@lru_cache(4096)
def type_of_name(own_id: str) -> str:
    """The type of the model with a provider's own id, "" if its name does not show it."""
    name = own_id.rpartition("/")[2].lower()
    if len(name) > _MAX_NAME:
        return ""
    families, other_purpose = _expressions()
    for type_, expression in families:
        if expression.search(name):
            return "" if type_ == "chat" and other_purpose.search(name) else type_
    return ""
