"""Who makes which models: data, and the few functions that read it.

A family claims only names that its maker has given: what is somebody's derivative, and what anybody might call a
model, belongs to no family. Nothing is guessed.
"""

from __future__ import annotations

import fnmatch
import re
from functools import cache, lru_cache

SAYS_NOTHING = frozenset(
    {
        "", "-", "admin", "anonymous", "api", "aphrodite", "custom", "default", "exllamav2", "fastchat", "gateway",
        "gpt4all", "gpustack", "guest", "humanity", "infinity", "internal", "jan", "koboldcpp", "ktransformers",
        "library", "litellm", "llama-cpp", "llama-swap", "llama.cpp", "llamacpp", "llamafile", "lm-studio", "lmdeploy",
        "lmstudio", "local", "localai", "localhost", "me", "mlx", "mlx-lm", "model", "models", "n-a", "na", "new-api",
        "none", "null", "ollama", "one-api", "oobabooga", "openai-compatible", "org", "organization",
        "organization-owner", "organization_owner", "other", "others", "owner", "personal", "private", "provider",
        "proxy", "public", "root", "self", "server", "sglang", "shared", "string", "system", "tabbyapi", "team", "tei",
        "tensorrt-llm", "tgi", "triton", "undefined", "unknown", "user", "vllm", "xinference",
    }
)  # fmt: skip
"""Values of `owned_by` that name no maker: servers, roles and fillers."""

HOSTS = frozenset(
    {
        # who serves, sells or forwards what others made
        "302ai", "accounts", "ai-gateway", "aihubmix", "alibaba-cloud-bailian", "aliyun", "anyscale", "ark", "aws",
        "azure", "azure_ai", "azureml", "azure-ai", "bailian", "baseten", "bedrock", "amazon-bedrock", "baidu-qianfan",
        "cerebras", "cf", "chutes", "clarifai", "cloudflare", "coze", "crusoe", "ctyun", "dashscope", "deepinfra",
        "dify", "fal", "fal-ai", "featherless", "featherless-ai", "fireworks", "fireworks-ai", "fireworks_ai",
        "friendli", "friendliai", "github", "gmi", "groq", "helicone", "hf", "hf.co", "huaweicloud", "huggingface",
        "huggingface.co", "hyperbolic", "inference-net", "infini-ai", "kluster", "lambda", "lambda-ai", "lepton",
        "lkeap", "maas", "modelarts", "modelscope", "modelscope.cn", "nebius", "nscale", "nvidia-nim", "nvidia_nim",
        "novita", "novita-ai", "oci", "octoai", "openrouter", "ovhcloud", "parasail", "poe", "portkey", "ppio",
        "ppinfra", "publishers", "replicate", "requesty", "routers", "sambanova", "scaleway", "siliconcloud",
        "siliconflow", "streamlake", "targon", "tencent-cloud", "together", "together-ai", "together_ai", "togetherai",
        "togethercomputer", "vercel", "vertex", "vertex-ai", "vertex_ai", "vertexai", "volcengine", "volces", "watsonx",
        "workers-ai", "xai-oauth",
        # how they sell it
        "auto", "free", "lora", "online", "pro",
        # who only converts files
        "bartowski", "casperhansen", "ggml-org", "lmstudio-community", "mlx-community", "mradermacher", "quantfactory",
        "redhatai", "neuralmagic", "second-state", "thebloke", "turboderp", "unsloth", "xtuner",
    }
)  # fmt: skip
"""Names that are no maker's: as `owned_by` they say nothing, and in an id the vendor stands behind them."""

PLACES = frozenset(
    {
        ".", "..", "app", "blobs", "cache", "content", "data", "endpoints", "gguf", "home", "locations", "mnt",
        "opt", "projects", "registries", "repository", "snapshots", "srv", "tmp", "tunedmodels", "users",
        "usr", "var", "versions", "volumes", "weights", "workspace",
    }
)  # fmt: skip
"""First parts of an id that is a path: only a known maker counts in it."""

SPELLINGS = {
    "openai-internal": "openai", "openai-dev": "openai", "open-ai": "openai", "azure-openai": "openai",
    "openai-community": "openai", "meta-llama": "meta", "meta-ai": "meta", "facebook": "meta", "llama": "meta",
    "azureml-meta": "meta", "meta-models": "meta", "codellama": "meta", "mistralai": "mistral", "mistral-ai": "mistral",
    "mistral-ai-community": "mistral", "nv-mistralai": "mistral", "azureml-mistral": "mistral",
    "google-deepmind": "google", "google-ai": "google", "google-bert": "google", "google-t5": "google",
    "google-gemini": "google", "google-palm": "google", "gemini": "google", "claude": "anthropic", "qwen": "alibaba",
    "alibaba-cloud": "alibaba", "alibaba-nlp": "alibaba", "ali": "alibaba", "tongyi": "alibaba",
    "tongyi-zhiwen": "alibaba", "alibaba-pai": "alibaba", "wan-ai": "alibaba", "aidc-ai": "alibaba",
    "tongyi-mai": "alibaba", "thenlper": "alibaba", "funaudiollm": "alibaba", "deepseek-ai": "deepseek",
    "zhipuai": "zhipu", "zhipu-ai": "zhipu", "zhipu_4v": "zhipu", "zai-org": "zhipu", "z-ai": "zhipu", "zai": "zhipu",
    "z.ai": "zhipu", "thudm": "zhipu", "bigmodel": "zhipu", "chatglm": "zhipu", "moonshotai": "moonshot",
    "moonshot-ai": "moonshot", "kimi": "moonshot", "minimaxai": "minimax", "minimax-ai": "minimax", "baidu-v2": "baidu",
    "paddlepaddle": "baidu", "ernie": "baidu", "tencent-hunyuan": "tencent", "hunyuan": "tencent",
    "tencentarc": "tencent", "bytedance-seed": "bytedance", "bytedance-research": "bytedance", "doubao": "bytedance",
    "stepai": "stepfun", "stepfun-ai": "stepfun", "01-ai": "01ai", "01.ai": "01ai", "lingyiwanwu": "01ai",
    "baichuan-inc": "baichuan", "baichuan-ai": "baichuan", "internlm": "shanghai-ai-lab",
    "opengvlab": "shanghai-ai-lab", "shanghai-ai-laboratory": "shanghai-ai-lab", "x-ai": "xai", "x.ai": "xai",
    "grok": "xai", "cohereforai": "cohere", "coherelabs": "cohere", "cohere-labs": "cohere", "cohere-for-ai": "cohere",
    "ai21-labs": "ai21", "ai21labs": "ai21", "amazon-science": "amazon", "nvidia-nemo": "nvidia", "ibm-granite": "ibm",
    "ibm-research": "ibm", "blackforestlabs": "black-forest-labs", "flux": "black-forest-labs",
    "flux-pro": "black-forest-labs", "stability-ai": "stability", "stabilityai": "stability",
    "stability.ai": "stability", "perplexity-ai": "perplexity", "voyage-ai": "voyage", "voyageai": "voyage",
    "jina-ai": "jina", "jinaai": "jina", "nomic-ai": "nomic", "nous-research": "nousresearch", "nous": "nousresearch",
    "mixedbread-ai": "mixedbread", "databricks-mosaicml": "databricks", "mosaicml": "databricks",
    "snowflake-arctic": "snowflake", "upstage-ai": "upstage", "reka-ai": "reka", "rekaai": "reka",
    "writer-inc": "writer", "inflection-ai": "inflection", "liquid-ai": "liquid", "liquidai": "liquid",
    "allen-ai": "allenai", "ai2": "allenai", "intfloat": "microsoft", "wizardlmteam": "microsoft",
    "runway-ml": "runway", "runwayml": "runway", "luma-ai": "luma", "lumalabs": "luma", "lumaai": "luma",
    "kwai-kolors": "kuaishou", "kling": "kuaishou", "klingai": "kuaishou", "kwaipilot": "kuaishou",
    "ideogram-ai": "ideogram", "suno-ai": "suno", "eleven-labs": "elevenlabs", "recraft-ai": "recraft",
    "arcee-ai": "arcee", "hugging-face": "huggingface", "huggingfaceh4": "huggingface", "huggingfacetb": "huggingface",
    "huggingfacem4": "huggingface", "distil-whisper": "huggingface", "tiiuae": "tii", "lg-ai-exaone": "lg",
    "lgai-exaone": "lg", "lg-ai": "lg", "lg-ai-research": "lg", "lgai": "lg", "xiaomi-mimo": "xiaomi",
    "xiaomimimo": "xiaomi", "meituan-longcat": "meituan", "xunfei": "iflytek", "iflytekspark": "iflytek",
    "spark": "iflytek", "huawei-pangu": "huawei", "pangu": "huawei", "openpangu": "huawei", "inclusionai": "ant-group",
    "antgroup": "ant-group", "ant-ling": "ant-group", "ai360": "360", "qihoo360": "360", "360zhinao": "360",
    "tele-ai": "telecom-ai", "canopy-labs": "canopylabs", "sberbank": "sber", "ai-sage": "sber", "yandexgpt": "yandex",
    "sarvamai": "sarvam", "sarvam-ai": "sarvam", "servicenow-ai": "servicenow", "skywork-ai": "skywork",
    "naver-hyperclovax": "naver", "primeintellect": "prime-intellect", "ai-singapore": "aisingapore",
    "cognitivecomputations": "dphn", "dphn-ai": "dphn",
}  # fmt: skip
"""Other spellings of a maker's name (lower case, `-` for blanks) -> the one that we show."""

FAMILIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    # Somebody's derivative of another family comes first; "" is one of which the name does not tell whose.
    ("", (
        "*uncensored*", "*abliterated*", "*-lora", "*-lora-*", "*-finetune*", "*-chinese-alpaca*", "llama*-chinese*",
        "llama*-gradient*", "llama*-lumimaid*", "llama*-elyza*", "llama*-youko*", "llama*-taiwan*", "llama*-typhoon*",
        "llama*-lynx*", "llama*-euryale*", "llama*-storm*", "llama*-smaug*", "llama*-openbiollm*", "llama*-med42*",
        "llama*-orca*", "llama*-instructlab*", "llama*-krikri*", "llama*-finance*", "llama*-refueled*",
        "llama*-joycaption*", "mistral-openorca*", "mistral-trismegistus*", "qwen*-rp-*",
    )),
    ("nvidia", (
        "*llama*nemotron*", "nemotron*", "llama*-chatqa*", "*minitron*", "*nemoretriever*", "nvidia-*", "nv-embed*",
        "nv-rerank*", "nvclip*", "acereason-*", "acemath-*", "openreasoning-nemotron*", "cosmos-reason*",
        "cosmos-nemotron*", "cosmos-predict*", "cosmos-transfer*", "parakeet-ctc*", "parakeet-rnnt*", "parakeet-tdt*",
        "canary-1b*", "canary-180m*", "canary-qwen*", "audio-flamingo*", "vila-*", "nvila-*",
    )),
    ("nousresearch", (
        "hermes-[2-9]*", "hermes[2-9]*", "nous-hermes*", "nous-capybara*", "yi-34b-200k-capybara*", "deephermes*",
        "yarn-mistral*", "yarn-llama*",
    )),
    ("perplexity", (
        "sonar", "sonar-pro*", "sonar-reasoning*", "sonar-deep-research*", "sonar-small*", "sonar-medium*", "r1-1776*",
        "pplx-*", "llama-*-sonar-*",
    )),
    ("allenai", ("olmo*", "tulu[-0-9]*", "llama*-tulu*", "molmo*")),
    ("salesforce", ("xgen-*", "codegen-[0-9]*", "codegen2*", "sfr-*", "blip-*", "blip2*", "xlam-*", "llama-xlam*")),
    ("groq", ("compound", "compound-mini", "compound-beta*", "llama*-groq-*tool-use*")),
    ("together", ("gpt-jt*", "redpajama*", "stripedhyena*", "m2-bert-*", "llama-2-7b-32k*")),
    ("featherless", ("qwerky*",)),
    ("sakana", ("tinyswallow*", "evollm*")),
    ("tokyotech-llm", ("llama*-swallow*", "swallow-*", "gemma*-swallow*", "qwen*-swallow*")),
    ("aisingapore", ("*sea-lion*",)),
    ("tngtech", ("deepseek-r1t*", "deepseek-tng*", "tng-r1t*")),
    ("dphn", (
        "dolphin-[0-9]*", "dolphin[0-9]*", "dolphin-mistral*", "dolphin-mixtral*", "dolphin-llama*", "dolphin-phi*",
        "tinydolphin*", "megadolphin*", "dolphincoder*",
    )),
    ("amazon", (
        "titan-text-*", "titan-embed-*", "titan-image-*", "titan-tg1*", "nova-micro*", "nova-lite*", "nova-pro*",
        "nova-premier*", "nova-canvas*", "nova-reel*", "nova-sonic*", "nova-act*", "nova-2-lite*", "nova-2-pro*",
        "nova-2-sonic*", "nova-2-omni*", "nova-2-multimodal*", "mistrallite*", "falconlite*", "chronos-bolt*",
        "chronos-t5*",
    )),
    ("openai", (
        "gpt-[3-9]*", "gpt2", "gpt2-*", "gpt4o*", "gpt-oss*", "gpt-image*", "gpt-audio*", "gpt-realtime*", "gpt-chat-*",
        "gpt-live-*", "gpt-transcribe*", "gpt-daybreak-*", "openai-gpt-*", "openai-o[1-9]*", "chatgpt-*", "o[1-9]",
        "o[1-9]-mini*", "o[1-9]-pro*", "o[1-9]-preview*", "o[1-9]-deep-research*", "o[1-9]-20*", "davinci",
        "davinci-00*", "babbage", "babbage-00*", "curie", "curie-00*", "ada", "ada-00*", "text-embedding-ada*",
        "text-embedding-3-*", "text-davinci*", "text-curie*", "text-babbage*", "text-ada*", "text-moderation*",
        "omni-moderation*", "code-davinci*", "code-cushman*", "codex-mini*", "dall-e", "dall-e-*", "whisper",
        "whisper-1", "whisper-tiny*", "whisper-base*", "whisper-small*", "whisper-medium*", "whisper-large*", "tts-1",
        "tts-1-hd*", "tts-1-1106", "sora", "sora-[12]*", "sora2*", "sora_*", "computer-use-preview*",
    )),
    ("anthropic", ("claude", "claude-*", "claude[0-9]*", "anthropic-claude*")),
    ("google", (
        "gemini", "gemini-*", "gemini[0-9]*", "gemini_*", "gemma", "gemma[0-9]*", "gemma-[0-9]*", "codegemma*",
        "shieldgemma*", "medgemma*", "paligemma*", "recurrentgemma*", "embeddinggemma*", "functiongemma*",
        "translategemma*", "t5gemma*", "txgemma*", "datagemma*", "vaultgemma*", "palm-2*", "palm2*", "text-bison*",
        "chat-bison*", "code-bison*", "codechat-bison*", "code-gecko*", "text-unicorn*", "imagen-[0-9]*",
        "imagen[0-9]*", "imagegeneration*", "veo-[0-9]*", "veo[0-9]*", "lyria-*", "learnlm*", "aqa", "medlm-*",
        "textembedding-gecko*", "multimodalembedding*", "text-embedding-00[0-9]", "text-embedding-large-exp*",
        "text-embedding-preview-*", "text-multilingual-embedding-*", "embedding-gecko*", "embedding-00[0-9]",
        "nano-banana*", "flan-t5*", "flan-ul2*", "deep-research-pro-preview*", "chirp", "chirp-[23]*", "chirp_[23]*",
    )),
    ("deepseek", ("deepseek*", "janus-pro*", "janus-1*", "xdeepseek*")),
    ("iflytek", (
        "spark-lite*", "spark-pro*", "spark-max*", "spark-ultra*", "spark-x", "spark-x[12]*", "spark-4*",
        "spark-v[0-9]*", "sparkdesk*", "generalv[23]*", "4.0ultra",
    )),
    ("microsoft", (
        "phi-[0-9]*", "phi[0-9]*", "phi-ground*", "phi-tiny-moe*", "phi-mini-moe*", "wizardlm*", "wizardcoder*",
        "wizardmath*", "wizard-math*", "mai-[0-9]*", "mai-ds-*", "mai-code*", "mai-thinking*", "mai-voice*",
        "mai-image*", "mai-transcribe*", "orca-2*", "orca2*", "e5-small*", "e5-base*", "e5-large*", "e5-mistral*",
        "multilingual-e5*", "florence-2*", "kosmos-2*", "vibevoice*", "fara-7b*", "bitnet-b1*",
    )),
    ("mistral", (
        "mistral", "mistral-*", "mistral[0-9]*", "mistralai-*", "mixtral", "mixtral-*", "mixtral[0-9]*", "codestral*",
        "ministral*", "pixtral*", "devstral*", "magistral*", "voxtral*", "mathstral*", "leanstral*", "labs-*stral*",
        "open-mistral*", "open-mixtral*", "open-codestral*", "mamba-codestral*",
    )),
    ("meta", (
        "llama", "llama[0-9]*", "llama-[0-9]*", "llama-v[0-9]*", "llama-guard*", "llamaguard*", "llama-prompt-guard*",
        "prompt-guard*", "meta-llama*", "codellama*", "code-llama*", "sam2*", "sam-2*", "sam3*", "sam-3*",
        "seamless-m4t*", "seamlessm4t*", "nllb-*", "musicgen*", "esmfold*", "esm2*", "opt-[0-9]*b", "opt-125m",
        "opt-350m", "bart-large*", "muse-spark*", "muse-glimmer*",
    )),
    ("zhipu", (
        "glm-*", "glm[0-9]*", "zai-glm-*", "chatglm*", "cogview*", "cogvideo*", "cogvlm*", "cogagent*", "codegeex*",
        "charglm*", "emohaa*", "autoglm*", "embedding-[23]",
    )),
    ("alibaba", (
        "qwen*", "qwq*", "qvq*", "codeqwen*", "code-qwen*", "alibaba-qwen*", "wan[0-9]*", "wan-[0-9]*", "wanx*",
        "tongyi*", "gte-*", "cosyvoice*", "fun-asr*", "fun-cosyvoice*", "paraformer*", "sambert*", "sensevoice*",
        "gui-plus*", "text-embedding-v[1-9]*", "multimodal-embedding-v*", "tongyi-embedding*", "z-image*", "farui-*",
        "marco-o1*", "ovis[0-9]*", "mai-ui-*", "gui-owl*", "opennlu*", "happyhorse-*",
    )),
    ("xai", ("grok", "grok-*", "grok[0-9]*")),
    ("moonshot", ("moonshot-*", "kimi", "kimi-*", "kimi[0-9]*", "moonlight-16b*")),
    ("minimax", (
        "minimax*", "abab[5-9]*", "hailuo*", "speech-0[12]-*", "speech-2.[0-9]-*", "image-01*", "music-01*", "t2v-01*",
        "i2v-01*", "s2v-01*",
    )),
    ("baidu", ("ernie", "ernie-*", "ernie[0-9]*", "qianfan-*", "irag-*", "paddleocr*", "eb-instant*")),
    ("bytedance", (
        "doubao*", "seed-1.[0-9]*", "seed-2.[0-9]*", "seed-oss*", "seed-coder*", "seed-x-*", "seed-tts*", "seed-asr*",
        "seed-thinking*", "seed-prover*", "seed-translation*", "seedream*", "seedance*", "seededit*", "skylark*",
        "ui-tars*", "bagel-7b-mot*", "dreamina*", "jimeng*", "omnihuman*", "sdxl-lightning*",
        "stable-diffusion-xl-lightning*",
    )),
    ("tencent", ("hunyuan*", "hy-mt*", "hy-[0-9]*", "hy-motion*", "hy-world*", "hy-image*", "hy[0-9]*")),
    ("huawei", ("pangu*", "openpangu*")),
    ("stepfun", (
        "step-1-[0-9]*k", "step-1-flash", "step-1.5v*", "step-1v-*", "step-1o-*", "step-1x-*", "step-2-16k*",
        "step-2-mini", "step-3", "step-3-*", "step-3.[0-9]*", "step-r1*", "step-audio*", "step-tts*", "step-asr*",
        "step-video*", "step1x-*", "step3*", "gelab-zero*",
    )),
    ("01ai", (
        "yi", "yi-[0-9]*", "yi-chat*", "yi-large*", "yi-medium*", "yi-small*", "yi-spark*", "yi-vision*", "yi-vl-*",
        "yi-lightning*", "yi-coder*",
    )),
    ("baichuan", ("baichuan*",)),
    ("shanghai-ai-lab", ("internlm*", "internvl*", "internvideo*", "internthinker*", "intern-s[0-9]*")),
    ("360", ("360gpt*", "360zhinao*", "light-r1*")),
    ("sensetime", ("sensechat*", "sensenova*")),
    ("kuaishou", (
        "kling", "kling-*", "kling[0-9]*", "kling_*", "kolors*", "kat-coder*", "kat-dev*", "kat-v[0-9]*", "keye-*",
    )),
    ("xiaomi", ("mimo-v[0-9]*", "mimo-7b*", "mimo-vl*", "mimo-audio*", "mimo-embodied*")),
    ("meituan", ("longcat*",)),
    ("ant-group", (
        "ling-[0-9]*", "ling-lite*", "ling-mini*", "ling-flash*", "ling-plus*", "ling-max*", "ling-coder*",
        "ring-[0-9]*", "ring-lite*", "ring-mini*", "ring-flash*", "ring-plus*", "ming-lite*", "ming-flash*",
        "ming-omni*", "bailing*",
    )),
    ("openbmb", ("minicpm*", "voxcpm*", "cpm-bee*", "agentcpm*")),
    ("skywork", ("skywork*",)),
    ("telecom-ai", ("telechat*",)),
    ("rednote", ("dots.llm*", "dots.ocr*", "dots.vlm*")),
    ("netease-youdao", ("bce-embedding*", "bce-reranker*")),
    ("bilibili", ("indextts*", "index-tts*")),
    ("baai", ("bge-*", "aquila-*", "aquila[0-9]*", "aquilachat*", "emu[23]*", "robobrain*")),
    ("cohere", (
        "command", "command-r", "command-r-*", "command-r7b*", "command-a", "command-a-*", "command-light*",
        "command-nightly", "command-medium*", "command-xlarge*", "command-text-*", "cohere-*", "c4ai-*", "aya",
        "aya-expanse*", "aya-vision*", "aya-23*", "aya-101*", "tiny-aya*", "embed-english*", "embed-multilingual*",
        "embed-v[0-9]*", "embed-v-[0-9]*", "rerank-english*", "rerank-multilingual*", "rerank-v[0-9]*",
    )),
    ("ai21", ("jamba-*", "j2-light*", "j2-mid*", "j2-ultra*", "j2-grande*", "j2-jumbo*", "ai21-*")),
    ("ibm", (
        "granite-[0-9]*", "granite[0-9]*", "granite-code*", "granite-embedding*", "granite-guardian*",
        "granite-vision*", "granite-speech*", "granite-docling*", "granite-ttm*", "slate-30m*", "slate-125m*",
    )),
    ("databricks", ("dbrx*", "dolly-v[12]*", "mpt-7b*", "mpt-30b*")),
    ("snowflake", (
        "snowflake-arctic*", "snowflake-llama*", "arctic-embed*", "arctic-instruct*", "arctic-extract*", "arctic-tilt*",
    )),
    ("upstage", (
        "solar", "solar-[0-9]*", "solar-pro*", "solar-mini*", "solar-open*", "solar-docvision*", "solar-embedding*",
    )),
    ("lg", ("exaone*", "k-exaone*")),
    ("tii", (
        "falcon", "falcon[23]*", "falcon-[0-9]*", "falcon-h1*", "falcon-e-*", "falcon-mamba*", "falcon-rw-*",
        "falcon-arabic*",
    )),
    ("bigcode", ("starcoder*", "santacoder*", "octocoder*")),
    ("huggingface", (
        "smollm*", "smolvlm*", "zephyr", "zephyr-7b*", "zephyr-orpo*", "idefics*", "distil-whisper*", "distilbert*",
        "distilgpt2*", "starchat*",
    )),
    ("eleutherai", ("gpt-neo-*", "gpt-neox*", "gpt-j", "gpt-j-*", "gptj-*", "pythia-[0-9]*", "llemma*")),
    ("cerebras", ("cerebras-gpt*", "btlm-*")),
    ("fireworks", ("firefunction*", "firellava*")),
    ("reka", ("reka-*",)),
    ("writer", ("palmyra-x*", "palmyra-med*", "palmyra-fin*", "palmyra-creative*", "palmyra-vision*")),
    ("inflection", ("inflection-[0-9]*",)),
    ("liquid", ("lfm-[0-9]*", "lfm[0-9]*")),
    ("inception", ("mercury", "mercury-coder*", "mercury-edit*", "mercury-[0-9]*")),
    ("arcee", (
        "arcee-*", "afm-4.5b*", "trinity-mini*", "trinity-nano*", "trinity-large*", "virtuoso-small*",
        "virtuoso-medium*", "virtuoso-large*", "maestro-reasoning*",
    )),
    ("deepcogito", ("cogito", "cogito-v[0-9]*", "cogito-[0-9]*")),
    ("servicenow", ("apriel-*",)),
    ("essentialai", ("rnj-1*",)),
    ("prime-intellect", ("intellect-[1-9]*",)),
    ("aion-labs", ("aion-[0-9]*", "aion-rp-*")),
    ("morph", ("morph-v[0-9]*",)),
    ("relace", ("relace-apply*", "relace-search*")),
    ("thinkingmachines", ("inkling", "inkling-small*")),
    ("apple", ("openelm*", "fastvlm*", "mobileclip*", "dclm-*")),
    ("intel", ("neural-chat*",)),
    ("nexusflow", ("starling-lm*", "athene-v*", "nexusraven*")),
    ("lmsys", ("vicuna", "vicuna-[0-9]*", "fastchat-t5*")),
    ("openchat", ("openchat*",)),
    ("teknium", ("openhermes*",)),
    ("gryphe", ("mythomax*", "mythomist*")),
    ("sao10k", (
        "l3-euryale*", "l3.1-euryale*", "l3.3-euryale*", "l3-lunaris*", "l3-stheno*", "l3-8b-stheno*", "l3-8b-lunaris*",
        "fimbulvetr*",
    )),
    ("thedrummer", ("rocinante-12b*", "unslopnemo*", "cydonia-*", "skyfall-36b*", "anubis-70b*")),
    ("abacusai", ("smaug-*", "dracarys*")),
    ("agentica", ("deepscaler*", "deepcoder-*", "deepswe*")),
    ("defog", ("sqlcoder*",)),
    ("tinyllama", ("tinyllama*",)),
    ("pankajmathur", ("orca-mini*", "orca_mini*")),
    ("phind", ("phind-*",)),
    ("vikhyatk", ("moondream*",)),
    ("scb10x", ("typhoon-v*", "typhoon-[0-9]*", "typhoon2*")),
    ("black-forest-labs", (
        "flux", "flux-[12]*", "flux-dev*", "flux-pro*", "flux-schnell*", "flux-kontext*", "flux-krea*", "flux-fill*",
        "flux.[12]*", "flux[12]*",
    )),
    ("runway", (
        "stable-diffusion-v1-5*", "stable-diffusion-1.5*", "gen3a_*", "gen4_*", "gen4.5*", "gen-3-alpha*",
        "runway-gen*",
    )),
    ("stability", (
        "stable-diffusion", "stable-diffusion-*", "sd3", "sd3-*", "sd3.[0-9]*", "sd-turbo", "sdxl", "sdxl-base*",
        "sdxl-turbo*", "stable-image*", "stable-video*", "stable-audio*", "stable-cascade*", "stable-beluga*",
        "stablelm*", "stable-code*", "stablecode-*", "stable-fast-3d*", "stable-outpaint*",
    )),
    ("midjourney", ("midjourney*", "mj_*", "mj-chat")),
    ("ideogram", ("ideogram", "ideogram-v[0-9]*", "ideogram-[0-9]*", "ideogram-turbo*")),
    ("recraft", ("recraft*",)),
    ("luma", ("luma-*", "ray-[0-9]*", "ray-flash-*", "ray2*", "photon-1*", "photon-flash-1*")),
    ("vidu", ("vidu-*", "vidu[0-9]*", "viduq[0-9]*")),
    ("pixverse", ("pixverse*",)),
    ("pika", ("pika-[0-9]*",)),
    ("lightricks", ("ltx-*", "ltxv-*")),
    ("genmo", ("mochi-1*",)),
    ("hidream", ("hidream-*",)),
    ("playground", ("playground-v[0-9]*",)),
    ("bria", ("bria-[0-9]*",)),
    ("suno", (
        "suno", "suno-*", "suno_*", "chirp-v[0-9]*", "chirp-auk*", "chirp-bluejay*", "chirp-crow*", "bark",
        "bark-small",
    )),
    ("elevenlabs", (
        "eleven_*", "eleven-multilingual*", "eleven-turbo*", "eleven-flash*", "eleven-v[0-9]*", "scribe_v[0-9]*",
    )),
    ("playai", ("playai-*",)),
    ("canopylabs", ("orpheus-3b*", "orpheus-v1*", "orpheus-tts*")),
    ("hexgrad", ("kokoro-82m*", "kokoro")),
    ("nari-labs", ("dia-1.6b*",)),
    ("sesame", ("csm-1b*",)),
    ("twelvelabs", ("marengo-embed*", "pegasus-1.[0-9]*", "pegasus-1-[0-9]*")),
    ("fishaudio", ("fish-speech*", "openaudio-s1*")),
    ("deepgram", (
        "nova-[23]", "nova-[23]-general*", "nova-[23]-medical*", "nova-2-meeting*", "nova-2-phonecall*",
        "nova-2-finance*", "nova-2-conversationalai*", "nova-2-voicemail*", "nova-2-video*", "nova-2-drivethru*",
        "nova-2-automotive*", "nova-2-atc*", "aura-[12]*", "aura-*-en", "flux-general-*",
    )),
    ("assemblyai", ("universal-2", "universal-3-pro*", "universal-streaming-*", "slam-1")),
    ("voyage", ("voyage-*", "rerank-2", "rerank-2-lite", "rerank-2.5*", "rerank-lite-1")),
    ("jina", ("jina-*", "readerlm*", "reader-lm*")),
    ("nomic", ("nomic-embed*", "gpt4all-*")),
    ("mixedbread", ("mxbai-*",)),
    ("sentence-transformers", ("all-minilm*", "all-mpnet*", "paraphrase-multilingual*", "multi-qa-*")),
    ("bigscience", ("bloom", "bloom-[0-9]*", "bloomz*", "t0pp*")),
    ("sber", ("gigachat*",)),
    ("yandex", ("yandexgpt*", "yandex-gpt*", "aliceai*")),
    ("naver", ("hyperclova*", "hcx-*")),
    ("kakao", ("kanana-*",)),
    ("skt", ("a.x-[0-9]*",)),
    ("kt", ("midm-*",)),
    ("rakuten", ("rakutenai-*",)),
    ("pfn", ("plamo-*",)),
    ("sarvam", ("sarvam-*",)),
    ("sdaia", ("allam-*",)),
    ("swiss-ai", ("apertus-*",)),
    ("utter-project", ("eurollm-*",)),
    ("speakleash", ("bielik-*",)),
)  # fmt: skip
"""Maker -> patterns over the last part of an id, lower case, without a tag; read from the top, first match wins."""

_REGIONS = frozenset({"in", "us", "us-gov", "eu", "apac", "ap", "jp", "au", "ca", "sa", "global"})
"""What Bedrock and Azure write before a model, as in `us.anthropic.claude-...` and `eu/gpt-4o`."""
_LONGEST_NAME = 64
_MAKERS = ({maker for maker, _ in FAMILIES} | set(SPELLINGS.values())) - {""}
_FOREIGN_PREFIX = re.compile(r"^(ft:|hf:|@)")  # fine-tunes of OpenAI and Mistral; Hugging Face; Cloudflare
_VENDOR = re.compile(r"(?![a-z]{2}(-[a-z]+)+-\d$)\w[\w.-]*")  # no us-east-1, no drive, no ARN
_ACCOUNT = re.compile(r"(org|user)-[a-z0-9]{12,}")


@cache
def _families(first: str) -> tuple[re.Pattern[str], list[str]]:
    """One expression for all patterns that a name with this first letter may match, a group each; and the makers.

    Made when a first name with this letter comes: all of them take 60 ms, which a start should not wait for.
    """
    rows = [(maker, pattern) for maker, patterns in FAMILIES for pattern in patterns if pattern[0] in (first, "*")]
    return re.compile("|".join(f"({fnmatch.translate(pattern)})" for _, pattern in rows)), [maker for maker, _ in rows]


# A name that fits nothing is compared with all patterns: by first letters that takes a fifth of the time.
_FIRSTS = frozenset(pattern[0] for _, patterns in FAMILIES for pattern in patterns)


def canonical(name: str) -> str:
    """A maker's name as we write it: lower case, `-` for blanks and slashes, one spelling for each known maker."""
    plain = "-".join(name.replace("/", " ").split()).lower()
    return SPELLINGS.get(plain, plain)


def owner_said(owner: str, own_id: str) -> str:
    """The maker that a provider names, "" where it names none.

    A filler names none, nor does a host, an e-mail address, somebody's account, or the model's own id.
    """
    return "" if owner == own_id else _maker_said(owner)


@lru_cache(maxsize=10_000)
def _maker_said(owner: str) -> str:
    name = canonical(owner.partition(" / ")[0])  # "DeepSeek / Meta"
    says_nothing = (
        name in SAYS_NOTHING
        or name in HOSTS
        or "@" in name
        or _ACCOUNT.fullmatch(name)
        or not name.isprintable()
        or len(name) > _LONGEST_NAME
    )
    return "" if says_nothing else name


@lru_cache(maxsize=100_000)
def owner_guessed(own_id: str) -> str:
    """The maker that a model's id names by its vendor part or by its family, "" where it names none."""
    *parts, name = _FOREIGN_PREFIX.sub("", own_id.lower()).split("/")
    vendors = [canonical(part) for part in parts if part not in HOSTS]
    known = next((vendor for vendor in vendors if vendor in _MAKERS), "")
    return known or (vendors[0] if vendors and _is_vendor(vendors[0]) else _of_family(name))


def _is_vendor(name: str) -> bool:
    if name in SAYS_NOTHING or name in PLACES or name in _REGIONS:
        return False
    return _VENDOR.fullmatch(name) is not None and len(name) <= _LONGEST_NAME


def _of_family(name: str) -> str:
    plain = re.split("[:@]", name, maxsplit=1)[0]  # less the tag of `phi3:14b` and `gemini-pro@001`
    vendor, dot, rest = plain.partition(".")
    if vendor in _REGIONS:
        vendor, dot, _ = rest.partition(".")
    if dot and canonical(vendor) in _MAKERS:  # Bedrock's `meta.llama3-8b-instruct-v1:0`
        return canonical(vendor)
    # LM Studio puts `text-embedding-` before every embedding model, Databricks its own name before all.
    candidates = dict.fromkeys((plain, plain.removeprefix("text-embedding-"), plain.removeprefix("databricks-")))
    return next((maker for maker in map(_maker, candidates) if maker), "")


def _maker(name: str) -> str:
    expression, makers = _families(name[:1] if name[:1] in _FIRSTS else "*")
    family = expression.match(name)
    return makers[family.lastindex - 1] if family and family.lastindex else ""
