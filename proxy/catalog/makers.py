"""Data: makers of models, other spellings of their names, and words in the names of their models."""

from __future__ import annotations

SPELLINGS = {
    "openai-internal": "openai", "openai-dev": "openai", "azure-openai": "openai", "openai-community": "openai",
    "meta-llama": "meta", "meta-ai": "meta", "facebook": "meta", "llama": "meta", "azureml-meta": "meta",
    "meta-models": "meta", "codellama": "meta", "mistralai": "mistral", "mistral-ai-community": "mistral",
    "nv-mistralai": "mistral", "azureml-mistral": "mistral", "google-deepmind": "google", "google-ai": "google",
    "google-bert": "google", "google-t5": "google", "google-gemini": "google", "google-palm": "google",
    "gemini": "google", "claude": "anthropic", "qwen": "alibaba", "alibaba-cloud": "alibaba",
    "alibaba-nlp": "alibaba", "ali": "alibaba", "tongyi": "alibaba", "tongyi-zhiwen": "alibaba",
    "alibaba-pai": "alibaba", "wan-ai": "alibaba", "aidc-ai": "alibaba", "tongyi-mai": "alibaba",
    "thenlper": "alibaba", "funaudiollm": "alibaba", "deepseek-ai": "deepseek", "zhipuai": "zhipu",
    "zhipu_4v": "zhipu", "zai-org": "zhipu", "z-ai": "zhipu", "thudm": "zhipu", "bigmodel": "zhipu",
    "chatglm": "zhipu", "moonshotai": "moonshot", "kimi": "moonshot", "minimaxai": "minimax", "baidu-v2": "baidu",
    "paddlepaddle": "baidu", "ernie": "baidu", "tencent-hunyuan": "tencent", "hunyuan": "tencent",
    "tencentarc": "tencent", "bytedance-seed": "bytedance", "bytedance-research": "bytedance", "doubao": "bytedance",
    "stepai": "stepfun", "stepfun-ai": "stepfun", "lingyiwanwu": "01ai", "baichuan-inc": "baichuan",
    "baichuan-ai": "baichuan", "internlm": "shanghai-ai-lab", "opengvlab": "shanghai-ai-lab",
    "shanghai-ai-laboratory": "shanghai-ai-lab", "grok": "xai", "cohereforai": "cohere", "coherelabs": "cohere",
    "ai21-labs": "ai21", "amazon-science": "amazon", "nvidia-nemo": "nvidia", "ibm-granite": "ibm",
    "ibm-research": "ibm", "flux": "black-forest-labs", "flux-pro": "black-forest-labs", "stability-ai": "stability",
    "perplexity-ai": "perplexity", "voyage-ai": "voyage", "jina-ai": "jina", "nomic-ai": "nomic",
    "nous": "nousresearch", "mixedbread-ai": "mixedbread", "databricks-mosaicml": "databricks",
    "mosaicml": "databricks", "snowflake-arctic": "snowflake", "upstage-ai": "upstage", "reka-ai": "reka",
    "writer-inc": "writer", "inflection-ai": "inflection", "liquid-ai": "liquid", "ai2": "allenai",
    "intfloat": "microsoft", "wizardlmteam": "microsoft", "runway-ml": "runway", "luma-ai": "luma",
    "lumalabs": "luma", "kwai-kolors": "kuaishou", "kling": "kuaishou", "klingai": "kuaishou",
    "kwaipilot": "kuaishou", "ideogram-ai": "ideogram", "suno-ai": "suno", "recraft-ai": "recraft",
    "arcee-ai": "arcee", "huggingfaceh4": "huggingface", "huggingfacetb": "huggingface",
    "huggingfacem4": "huggingface", "distil-whisper": "huggingface", "tiiuae": "tii", "lg-ai-exaone": "lg",
    "lg-ai": "lg", "lg-ai-research": "lg", "xiaomi-mimo": "xiaomi", "meituan-longcat": "meituan", "xunfei": "iflytek",
    "iflytekspark": "iflytek", "spark": "iflytek", "huawei-pangu": "huawei", "pangu": "huawei", "openpangu": "huawei",
    "inclusionai": "ant-group", "ant-ling": "ant-group", "ai360": "360", "qihoo360": "360", "360zhinao": "360",
    "tele-ai": "telecom-ai", "sberbank": "sber", "ai-sage": "sber", "yandexgpt": "yandex", "sarvamai": "sarvam",
    "servicenow-ai": "servicenow", "skywork-ai": "skywork", "naver-hyperclovax": "naver",
    "cognitivecomputations": "dphn", "dphn-ai": "dphn", "openai-inc": "openai", "chatgpt": "openai", "gpt": "openai",
    "gpt-oss": "openai", "dall-e": "openai", "sora": "openai", "whisper": "openai", "anthropic-ai": "anthropic",
    "anthropic-claude": "anthropic", "deepmind": "google", "google-research": "google", "gemma": "google",
    "palm": "google", "imagen": "google", "veo": "google", "meta-platforms": "meta", "facebookresearch": "meta",
    "facebook-ai": "meta", "mixtral": "mistral", "codestral": "mistral", "mistralai-sas": "mistral",
    "alibaba-group": "alibaba", "alibaba-qwen": "alibaba", "qwen-team": "alibaba", "qwenlm": "alibaba",
    "tongyi-qianwen": "alibaba", "tongyi-lab": "alibaba", "damo": "alibaba", "deepseek-v3": "deepseek",
    "glm": "zhipu", "zhipu-v4": "zhipu", "zhipu-4": "zhipu", "thukeg": "zhipu", "wenxin": "baidu",
    "ernie-bot": "baidu", "yiyan": "baidu", "bytedance-doubao": "bytedance", "bytedance-ai": "bytedance",
    "jimeng": "bytedance", "hailuo": "minimax", "abab": "minimax", "microsoft-research": "microsoft",
    "msft": "microsoft", "microsoft-ai": "microsoft", "amazon-nova": "amazon", "amazon-titan": "amazon",
    "aws-nova": "amazon", "nvidia-ai": "nvidia", "nemotron": "nvidia", "granite": "ibm", "command-r": "cohere",
    "xai-grok": "xai", "sonar": "perplexity", "pplx": "perplexity", "bfl": "black-forest-labs",
    "black-forest-lab": "black-forest-labs", "stable-diffusion": "stability", "sensenova": "sensetime",
    "shanghai-ai": "shanghai-ai-lab", "pjlab": "shanghai-ai-lab", "internvl": "shanghai-ai-lab",
    "kuaishou-ai": "kuaishou", "baai-ai": "baai", "beijing-academy-of-artificial-intelligence": "baai",
    "voyage-embeddings": "voyage", "inception-labs": "inception", "liquid4all": "liquid", "aion": "aion-labs",
    "智谱": "zhipu", "智谱ai": "zhipu", "智谱清言": "zhipu", "通义": "alibaba", "通义千问": "alibaba",
    "千问": "alibaba", "阿里": "alibaba", "阿里巴巴": "alibaba", "阿里通义千问": "alibaba", "阿里通义": "alibaba",
    "百度": "baidu", "文心": "baidu", "文心一言": "baidu", "百度文心千帆": "baidu", "百度文心": "baidu",
    "讯飞": "iflytek", "科大讯飞": "iflytek", "讯飞星火": "iflytek", "讯飞星火认知": "iflytek", "星火": "iflytek",
    "腾讯": "tencent", "腾讯混元": "tencent", "混元": "tencent", "字节": "bytedance", "字节跳动": "bytedance",
    "豆包": "bytedance", "字节火山引擎": "bytedance", "即梦": "bytedance", "月之暗面": "moonshot",
    "深度求索": "deepseek", "零一万物": "01ai", "百川": "baichuan", "百川智能": "baichuan", "阶跃星辰": "stepfun",
    "商汤": "sensetime", "日日新": "sensetime", "昆仑万维": "skywork", "天工": "skywork", "华为": "huawei",
    "盘古": "huawei", "面壁智能": "openbmb", "快手": "kuaishou", "可灵": "kuaishou", "美团": "meituan",
    "小米": "xiaomi", "蚂蚁": "ant-group", "蚂蚁集团": "ant-group", "智源": "baai",
    "上海人工智能实验室": "shanghai-ai-lab", "书生": "shanghai-ai-lab", "海螺": "minimax", "稀宇": "minimax",
    "360智脑": "360", "奇虎360": "360", "谷歌": "google", "微软": "microsoft", "英伟达": "nvidia",
}  # fmt: skip
"""Other spellings of a maker's name -> the canonical spelling. Compared as in `HOSTS`."""

CLOUDS = frozenset(
    {
        "360", "alibaba", "amazon", "anthropic", "baidu", "bytedance", "databricks", "google", "huawei", "ibm",
        "iflytek", "microsoft", "openai", "perplexity", "sensetime", "snowflake", "telecom-ai", "tencent",
    }
)  # fmt: skip
"""Makers that also host models of others, or give their name to a protocol that others use."""

TUNERS = frozenset(
    {
        "abacusai", "agentica", "aion-labs", "aisingapore", "allenai", "arcee", "deepcogito", "defog", "dphn", "gryphe",
        "intel", "lmsys", "nexusflow", "nousresearch", "nvidia", "openchat", "pankajmathur", "phind", "prime-intellect",
        "sakana", "salesforce", "sao10k", "scb10x", "servicenow", "teknium", "thedrummer", "tngtech", "tokyotech-llm",
    }
)  # fmt: skip
"""Makers known for derivatives of open models of other makers."""


COMMON_WORDS = frozenset(
    {
        "ada", "babbage", "bark", "chirp", "command", "compound", "curie", "davinci", "embedding-2", "embedding-3",
        "flux", "haiku", "inkling", "kokoro", "mercury", "opus", "photon-1", "sonar", "sonnet", "universal-2",
    }
)  # fmt: skip
"""Names of models that models of other makers may have, too."""

WORDS = frozenset(
    {
        "adaptive", "air", "airx", "alpha", "apache", "asr", "audio", "awq", "balanced", "base", "batch", "beta", "bnb",
        "captioner", "character", "chat", "code", "coder", "coding", "context", "ctx", "dec", "dedicated", "deep",
        "dense", "depth", "distilled", "dynamic", "edit", "embed", "embedding", "embeddings", "english", "exacto",
        "exl", "exp", "experimental", "express", "extended", "fast", "flash", "flex", "free", "function", "gen", "gguf",
        "gptq", "guard", "high", "highspeed", "hosted", "hybrid", "image", "imatrix", "inst", "instant", "instruct",
        "instruction", "large", "latest", "lightning", "lite", "live", "llm", "long", "longcontext", "low", "maas",
        "marlin", "math", "maverick", "max", "medium", "mini", "mlx", "moe", "multi", "multilingual", "multimodal",
        "mxfp", "nano", "nemo", "next", "nitro", "non", "nonthinking", "nothinking", "nvfp", "ocr", "omni", "online",
        "optimized", "parallel", "plus", "pretrained", "preview", "prime", "priority", "pro", "prompt", "qat", "quant",
        "quantized", "query", "realtime", "reason", "reasoner", "reasoning", "rerank", "reranker", "research",
        "responsive", "saba", "scout", "search", "serverless", "slow", "small", "snapshot", "spec", "speciale", "speed",
        "stable", "standard", "super", "tee", "terminus", "text", "think", "thinker", "thinking", "tiny", "tool",
        "tools", "tput", "trained", "translate", "translation", "trial", "tts", "turbo", "ultra", "unified", "untuned",
        "versatile", "video", "vision", "vlm", "voice", "web", "zero",
    }
)  # fmt: skip
"""Words, next to those of a family's own patterns, that makers and hosts use in names of models that are not
derivatives.

Words of one or two letters (`it`, `pt`, `hf`, `vl`) and numbers are always accepted.
"""
