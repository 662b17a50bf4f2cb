"""Who makes which models: data, and the few functions that read it.

Read from the top, first match wins. A family is a pattern over the last part of a model's id, lower case.
"""

from __future__ import annotations

import fnmatch
import re
from functools import lru_cache

SAYS_NOTHING = frozenset(
    {
        "", "system", "library", "custom", "vllm", "sglang", "llamacpp", "llama.cpp", "tgi", "localai", "lmstudio",
        "lm-studio", "ollama", "organization_owner", "organization-owner", "user", "owner", "self", "local", "unknown",
        "none", "null", "n/a", "na", "-", "default", "public", "private", "model", "models", "other", "others",
        "undefined", "provider", "proxy", "one-api", "new-api", "root", "admin",
    }
)  # fmt: skip
"""Values of `owned_by` that name no maker: servers, roles and fillers."""

SPELLINGS = {
    "openai-internal": "openai", "openai-dev": "openai", "open-ai": "openai", "azure-openai": "openai",
    "azureml": "microsoft", "azure": "microsoft", "meta-llama": "meta", "meta-ai": "meta", "facebook": "meta",
    "llama": "meta", "mistralai": "mistral", "mistral-ai": "mistral", "mistral-ai-community": "mistral",
    "google-deepmind": "google", "google-ai": "google", "vertex-ai": "google", "vertexai": "google", "gemini": "google",
    "claude": "anthropic", "qwen": "alibaba", "alibaba-cloud": "alibaba", "alibaba-nlp": "alibaba",
    "aliyun": "alibaba", "dashscope": "alibaba", "tongyi": "alibaba", "alibaba-pai": "alibaba", "wan-ai": "alibaba",
    "tongyi-mai": "alibaba", "deepseek-ai": "deepseek", "zhipuai": "zhipu", "zhipu-ai": "zhipu", "zai-org": "zhipu",
    "z-ai": "zhipu", "zai": "zhipu", "z.ai": "zhipu", "thudm": "zhipu", "chatglm": "zhipu", "moonshotai": "moonshot",
    "moonshot-ai": "moonshot", "kimi": "moonshot", "minimaxai": "minimax", "minimax-ai": "minimax",
    "baidu-qianfan": "baidu", "ernie": "baidu", "tencent-hunyuan": "tencent", "hunyuan": "tencent",
    "tencentarc": "tencent", "bytedance-seed": "bytedance", "bytedance-research": "bytedance", "volcengine": "bytedance",
    "doubao": "bytedance", "stepai": "stepfun", "stepfun-ai": "stepfun", "01-ai": "01ai", "01.ai": "01ai",
    "lingyiwanwu": "01ai", "baichuan-inc": "baichuan", "baichuan-ai": "baichuan", "internlm": "shanghai-ai-lab",
    "opengvlab": "shanghai-ai-lab", "shanghai-ai-laboratory": "shanghai-ai-lab", "x-ai": "xai", "x.ai": "xai",
    "grok": "xai", "cohereforai": "cohere", "coherelabs": "cohere", "cohere-labs": "cohere", "cohere-for-ai": "cohere",
    "ai21-labs": "ai21", "ai21labs": "ai21", "amazon-bedrock": "amazon", "aws": "amazon", "bedrock": "amazon",
    "nvidia-nim": "nvidia", "ibm-granite": "ibm", "black-forest-labs": "black-forest-labs",
    "blackforestlabs": "black-forest-labs", "stability-ai": "stability", "stabilityai": "stability",
    "stability.ai": "stability", "perplexity-ai": "perplexity", "voyage-ai": "voyage", "voyageai": "voyage",
    "jina-ai": "jina", "jinaai": "jina", "nous-research": "nousresearch", "nous": "nousresearch",
    "databricks-mosaicml": "databricks", "mosaicml": "databricks", "snowflake-arctic": "snowflake",
    "upstage-ai": "upstage", "reka-ai": "reka", "rekaai": "reka", "writer-inc": "writer", "inflection-ai": "inflection",
    "liquid-ai": "liquid", "liquidai": "liquid", "allen-ai": "allenai", "ai2": "allenai",
    "intfloat": "microsoft", "runway-ml": "runway", "runwayml": "runway", "luma-ai": "luma", "lumalabs": "luma",
    "kwai-kolors": "kuaishou", "kling": "kuaishou", "kwaipilot": "kuaishou", "ideogram-ai": "ideogram",
    "eleven-labs": "elevenlabs", "recraft-ai": "recraft", "arcee-ai": "arcee", "huggingfaceh4": "huggingface",
    "huggingfacetb": "huggingface", "tiiuae": "tii", "eleutherai": "eleutherai", "lg-ai-exaone": "lg",
    "lgai-exaone": "lg", "lg-ai": "lg", "xiaomi-mimo": "xiaomi", "xiaomimimo": "xiaomi", "meituan-longcat": "meituan",
    "iflytek": "iflytek", "spark": "iflytek", "huawei-pangu": "huawei", "huaweicloud": "huawei", "pangu": "huawei",
    "inclusionai": "ant-group", "antgroup": "ant-group", "ant-ling": "ant-group", "baai": "baai",
    "nari-labs": "nari-labs", "hexgrad": "hexgrad", "playai": "playai", "groq-inc": "groq", "sdaia": "sdaia",
    "sberbank": "sber", "ai-sage": "sber", "yandexgpt": "yandex", "sarvamai": "sarvam", "sarvam-ai": "sarvam",
    "servicenow-ai": "servicenow", "openbmb": "openbmb", "skywork-ai": "skywork", "thebloke": "thebloke",
}  # fmt: skip
"""Other spellings of a maker's name (lower case, `-` for blanks) -> the one that we show."""

FAMILIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    # owner, patterns. What looks like a maker's family but is somebody's derivative comes first.
    ("nvidia", ("*nemotron*", "nvidia-*", "nv-embed*", "nv-rerank*", "nemoretriever*", "parakeet-*", "canary-*")),
    ("eleutherai", ("gpt-neo*", "gpt-j*", "pythia-*")),
    ("nousresearch", ("hermes-[0-9]*", "nous-hermes*", "deephermes*", "*-hermes-*")),
    ("perplexity", ("sonar", "sonar-*", "r1-1776*", "pplx-*", "llama-*-sonar-*")),
    ("microsoft", ("phi-[0-9]*", "phi[0-9]*", "wizardlm*", "mai-*", "orca-*", "e5-*", "multilingual-e5*", "florence-*")),
    ("openai", (
        "gpt-*", "gpt[0-9]*", "chatgpt-*", "o[1-9]", "o[1-9]-*", "davinci*", "babbage*", "curie*", "ada", "ada-*",
        "text-embedding-[ab3]*", "text-davinci*", "text-curie*", "text-babbage*", "text-ada*", "text-moderation*",
        "omni-moderation*", "code-davinci*", "codex-*", "dall-e*", "whisper-*", "whisper", "tts-1*", "sora-*", "sora",
        "computer-use-preview*", "gpt-oss*", "ft:gpt-*", "ft:davinci*", "ft:babbage*", "ft:o[1-9]*",
    )),
    ("anthropic", ("claude*", "anthropic.claude*", "*.anthropic.claude*")),
    ("google", (
        "gemini*", "gemma*", "codegemma*", "shieldgemma*", "medgemma*", "palm*", "text-bison*", "chat-bison*",
        "imagen*", "veo-*", "lyria-*", "learnlm*", "aqa", "text-embedding-00[0-9]", "text-multilingual-embedding-*",
        "embedding-00[0-9]", "embeddinggemma*", "nano-banana*", "flan-*", "txgemma*",
    )),
    ("deepseek", ("deepseek*", "janus-*")),
    ("alibaba", (
        "qwen*", "qwq*", "qvq*", "wan[0-9]*", "wanx*", "tongyi*", "gte-*", "cosyvoice*", "paraformer*", "sambert*",
        "gui-plus*", "text-embedding-v[0-9]*", "multimodal-embedding-v*", "z-image*", "farui-*", "fun-asr*",
        "sensevoice*", "codeqwen*", "marco-o1*",
    )),
    ("mistral", (
        "mistral*", "mixtral*", "codestral*", "ministral*", "pixtral*", "devstral*", "magistral*", "voxtral*",
        "open-mistral*", "open-mixtral*", "mathstral*", "mamba-codestral*", "open-codestral*",
    )),
    ("meta", (
        "llama*", "meta-llama*", "codellama*", "code-llama*", "meta.llama*", "*.meta.llama*", "llamaguard*",
        "esmfold*", "sam2*", "musicgen*", "muse-spark*",
    )),
    ("xai", ("grok*",)),
    ("zhipu", (
        "glm-*", "glm[0-9]*", "chatglm*", "cogview*", "cogvideo*", "codegeex*", "charglm*", "emohaa*", "autoglm*",
        "embedding-[23]", "vidu*-glm*",
    )),
    ("moonshot", ("moonshot*", "kimi*")),
    ("minimax", ("minimax*", "abab*", "hailuo*", "speech-0[12]*", "image-01*", "music-0[12]*", "t2v-01*", "i2v-01*")),
    ("baidu", ("ernie*", "eb-*", "bge-large-zh-baidu*", "qianfan*", "irag-*", "yi-34b-chat-baidu*")),
    ("bytedance", ("doubao*", "seed-*", "seedream*", "seedance*", "seededit*", "skylark*", "ui-tars*", "bagel*")),
    ("tencent", ("hunyuan*", "hy-*", "hy[0-9]*")),
    ("iflytek", ("spark*", "sparkdesk*", "xdeepseek*")),
    ("huawei", ("pangu*",)),
    ("stepfun", ("step-[0-9r]*", "step-audio*", "step[0-9]*")),
    ("01ai", ("yi-*",)),
    ("baichuan", ("baichuan*",)),
    ("shanghai-ai-lab", ("internlm*", "internvl*", "intern-s*")),
    ("360", ("360gpt*", "360zhinao*")),
    ("sensetime", ("sensechat*", "sensenova*")),
    ("kuaishou", ("kling*", "kolors*", "kat-coder*", "kat-dev*", "keye-*")),
    ("xiaomi", ("mimo-*",)),
    ("meituan", ("longcat*",)),
    ("ant-group", ("ling-*", "ring-*", "ming-*", "bailing*")),
    ("openbmb", ("minicpm*",)),
    ("skywork", ("skywork*",)),
    ("telecom-ai", ("telechat*",)),
    ("baai", ("bge-*", "bge[0-9]*", "aquila*", "emu[0-9]*")),
    ("cohere", ("command*", "c4ai-*", "aya-*", "embed-english*", "embed-multilingual*", "embed-v[0-9]*", "rerank-english*",
                "rerank-multilingual*", "rerank-v[0-9]*", "cohere.*")),
    ("ai21", ("jamba*", "j2-*", "ai21.*")),
    ("amazon", ("nova-*", "titan-*", "amazon.*", "*.amazon.*")),
    ("ibm", ("granite*", "slate-*")),
    ("databricks", ("dbrx*", "dolly-*", "mpt-*")),
    ("snowflake", ("snowflake-*", "arctic-*")),
    ("upstage", ("solar-*",)),
    ("lg", ("exaone*", "k-exaone*")),
    ("tii", ("falcon*",)),
    ("allenai", ("olmo*", "tulu*", "molmo*", "olmocr*")),
    ("huggingface", ("smollm*", "smolvlm*", "zephyr*", "starcoder*", "idefics*")),
    ("reka", ("reka-*",)),
    ("writer", ("palmyra*",)),
    ("inflection", ("inflection-*",)),
    ("liquid", ("lfm*",)),
    ("inception", ("mercury*",)),
    ("arcee", ("arcee-*", "afm-*", "trinity-*", "virtuoso-*", "maestro-reasoning*", "coder-large*")),
    ("deepcogito", ("cogito-*",)),
    ("servicenow", ("apriel-*",)),
    ("essentialai", ("rnj-*",)),
    ("prime-intellect", ("intellect-*",)),
    ("aion-labs", ("aion-*",)),
    ("morph", ("morph-*",)),
    ("relace", ("relace-*",)),
    ("black-forest-labs", ("flux*",)),
    ("stability", ("stable-diffusion*", "sd3*", "sdxl*", "stable-image*", "stable-video*", "stablelm*", "stability.*",
                   "stable-code*")),
    ("midjourney", ("midjourney*", "mj_*", "mj-*")),
    ("ideogram", ("ideogram*", "v_[0-9]*")),
    ("recraft", ("recraft*",)),
    ("runway", ("gen[34]_*", "gen-[34]*", "runway*")),
    ("luma", ("luma*", "ray-[0-9]*", "photon-*")),
    ("vidu", ("vidu*",)),
    ("suno", ("suno*", "chirp-*", "bark*")),
    ("elevenlabs", ("eleven_*", "eleven-*", "scribe_v*")),
    ("playai", ("playai-*",)),
    ("canopylabs", ("orpheus*",)),
    ("hexgrad", ("kokoro*",)),
    ("deepgram", ("nova-[23]-deepgram*", "aura-*")),
    ("assemblyai", ("universal-[0-9]*", "slam-1*")),
    ("voyage", ("voyage-*", "rerank-2*", "rerank-lite-*")),
    ("jina", ("jina-*", "readerlm*")),
    ("nomic", ("nomic-embed*",)),
    ("mixedbread", ("mxbai-*", "deepset-mxbai*")),
    ("salesforce", ("xgen-*", "codegen*", "sfr-*", "blip*")),
    ("bigscience", ("bloom*", "t0pp*")),
    ("lmsys", ("vicuna*", "fastchat*")),
    ("openchat", ("openchat*",)),
    ("sber", ("gigachat*",)),
    ("yandex", ("yandexgpt*", "aliceai*")),
    ("naver", ("hyperclova*", "hcx-*")),
    ("sarvam", ("sarvam-*",)),
    ("sdaia", ("allam-*",)),
    ("swiss-ai", ("apertus*",)),
)  # fmt: skip
"""Maker -> patterns of its model names."""

NO_VENDORS = frozenset(
    {
        "", ".", "..", "accounts", "models", "model", "publishers", "library", "pro", "lora", "free", "system", "openrouter",
        "siliconflow", "cf", "hf", "huggingface", "fireworks", "together", "togethercomputer", "groq", "deepinfra", "azure",
        "vertex_ai", "bedrock", "replicate", "ollama", "local", "lmstudio-community", "unsloth", "bartowski", "thebloke",
        "mlx-community", "ggml-org", "casperhansen", "turboderp", "lmstudio", "online", "auto", "data", "home", "mnt",
        "root", "opt", "workspace", "app", "tmp", "usr", "var", "srv",
    }
)  # fmt: skip
"""First parts of ids that name a host, a folder or somebody who only converts files, not a maker."""

_MAKERS = {maker for maker, _ in FAMILIES} | set(SPELLINGS.values())
# One expression for all families, a group for each: a tenth of the time of trying them one after the other.
_FAMILY = re.compile(
    "|".join(f"({'|'.join(fnmatch.translate(pattern) for pattern in patterns)})" for _, patterns in FAMILIES)
)


def canonical(name: str) -> str:
    """A maker's name as we write it: lower case, `-` for blanks, one spelling for each known maker."""
    plain = "-".join(name.split()).lower()
    return SPELLINGS.get(plain, plain)


@lru_cache(maxsize=100_000)
def owner_said(owner: str, own_id: str) -> str:
    """The maker that a provider names, "" where it names none (a filler, an e-mail address, the model's own id)."""
    name = canonical(owner)
    says_nothing = name in SAYS_NOTHING or "@" in name or owner == own_id
    return "" if says_nothing else name


@lru_cache(maxsize=100_000)
def owner_guessed(own_id: str) -> str:
    """The maker that a model's id names by its vendor part or by its family, "" where it names none."""
    *vendors, name = own_id.lower().lstrip("@").split("/")
    for vendor in vendors:
        if canonical(vendor) in _MAKERS and vendor not in NO_VENDORS:
            return canonical(vendor)
    if vendors and vendors[0] not in NO_VENDORS:
        return canonical(vendors[0])
    family = _FAMILY.match(name)
    return FAMILIES[family.lastindex - 1][0] if family and family.lastindex else ""
