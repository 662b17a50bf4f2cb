"""Data: makers of models, and names that are not makers."""

from __future__ import annotations

PLACEHOLDER_OWNERS = frozenset(
    {
        # roles and placeholders; inference servers
        "", "admin", "administrator", "anon", "anonymous", "any", "aphrodite", "aphrodite-engine", "api", "api-server",
        "bentoml", "bert.cpp", "bitnet.cpp", "bot", "candle", "client", "clip.cpp", "company", "cortex", "creator",
        "ctransformers", "custom", "customer", "deepspeed-mii", "default", "demo", "dev", "developer", "docker",
        "docker-model-runner", "dynamo", "edgen", "empty", "exllama", "exllamav2", "exllamav3", "exo",
        "false", "fastapi", "fastchat", "faster-whisper", "fastflowlm", "fastllm", "flexgen", "foundry-local",
        "gateway", "ggml", "global", "gpt4all", "gpustack", "group", "guest", "humanity", "individual", "infinity",
        "internal", "jan", "jan-ai", "janhq", "koboldai", "koboldcpp", "kserve", "ktransformers", "langserve",
        "leapfrogai", "lemonade", "lemonade-server", "library", "litserve", "llama-box", "llama-cpp",
        "llama-cpp-python", "llama-server", "llama-swap", "llamaedge", "llamafile", "llm-d", "lm-studio", "lmdeploy",
        "lmql", "local", "local-ai", "localhost", "lorax", "maxserve", "me", "member", "mindie", "mistral.rs", "mlc",
        "mlc-llm", "mlx", "mlx-lm", "mlx-omni-server", "mlx-server", "model", "model-runner", "models", "modular",
        "msty", "na", "nexa", "nexa-sdk", "nil", "nim", "nobody", "node-llama-cpp", "none", "null", "ollama",
        "ollama-cloud", "onnx", "onnxruntime", "oobabooga", "open-llm", "openvino", "openvino-model-server", "org",
        "organization", "organization-owner", "other", "others", "ovms", "own", "owned-by", "owner", "personal",
        "petals", "powerinfer", "private", "private-gpt", "prod", "production", "provider", "proxy", "public", "ray",
        "ray-serve", "remote", "rkllama", "root", "self", "server", "service-account", "sglang", "shared", "shimmy",
        "someone", "speaches", "staging", "string", "super-admin", "superuser", "sys", "system", "tabby", "tabbyapi",
        "tbd", "team", "tei", "tenant", "tensorrt", "tensorrt-llm", "test", "text-embeddings-inference",
        "text-generation-inference", "text-generation-webui", "tgi", "tgwui", "torchserve", "transformerlab",
        "transformers", "triton", "triton-server", "trt-llm", "true", "undefined", "unknown", "unspecified", "user",
        "vllm", "vllm-mlx", "vllm-omni", "webllm", "whisper.cpp", "xinference", "xllm", "your-company",
        "your-org", "your-organization",
    }
)  # fmt: skip
"""Values of `owned_by` that are not makers: servers, roles and placeholders. One spelling of each."""

HOSTS = frozenset(
    {
        # gateways and routers
        "9router", "agentgateway", "ai-gateway", "ai-proxy", "aibrix", "any-llm", "any-router", "apipark", "apisix",
        "arch-gateway", "archgw", "berri-ai", "bifrost", "braintrust", "bricksllm", "cc-switch", "claude-code-router",
        "claude-relay-service", "cli-proxy-api", "copilot-api", "copilot-proxy", "crazyrouter", "crs", "done-hub",
        "eden-ai", "envoy", "envoy-ai-gateway", "envoy-gateway", "gcli2api", "glama", "gloo", "gpt-load", "gravitee",
        "helicone", "higress", "inworld-router", "keywordsai", "kong", "kong-ai-gateway", "langdb", "latitude",
        "litellm", "litellm-proxy", "llm-gateway", "llm-proxy", "lunary", "martian", "metapi", "model-router",
        "models-proxy", "new-api", "nexos", "nexos-ai", "not-diamond", "octopus", "olla", "omniroute", "one-api",
        "one-hub", "openai-forward", "openai-proxy", "optillm", "plexus", "pomerium", "portkey", "prism", "proxyapi",
        "relay", "requesty", "rix-api", "routellm", "router", "router-api", "shell-api", "simple-one-api", "sub2api",
        "tensorzero", "tokenpony", "traefik", "traefik-hub", "tyk", "uni-api", "unify", "unify-ai", "v-api", "veloapi",
        "veloera", "vercel", "vercel-ai-gateway", "voapi", "withmartian", "z-api", "zenmux", "zuplo",
        # clients and subscriptions whose models are resold
        "ai-studio", "aider", "amazon-q", "amazon-q-developer", "amp", "amp-code", "antigravity", "augment",
        "augment-code", "bolt", "boltai", "chatbox", "chatgpt-web", "cherry-studio", "claude-ai", "claude-code",
        "claude-desktop", "claude-web", "cline", "code-assist", "codebuddy", "codeium", "codex", "codex-cli",
        "continue", "copilot", "copilot-chat", "copilot-cli", "coze", "crush", "cursor", "cursor-ai", "deepseek-web",
        "devin", "dify", "droid", "factory", "factory-ai", "gemini-cli", "gemini-web", "github", "github-copilot",
        "github-copilot-chat", "github-models", "google-ai-studio", "google-antigravity", "google-code-assist",
        "grok-web", "iflow", "iflow-cli", "jetbrains", "jetbrains-ai", "junie", "kilo", "kilo-code", "kimi-cli",
        "kimi-code", "kiro", "kiro-cli", "kiro-ide", "librechat", "lobechat", "lobehub", "lovable", "microsoft-copilot",
        "mistral-vibe", "ms-copilot", "open-webui", "openclaw", "opencode", "opencode-go", "opencode-zen", "poe",
        "qoder", "qodo", "qwen-cli", "qwen-code", "qwen-web", "raycast", "replit", "reverse", "reversed", "roo",
        "roo-code", "sider", "sourcegraph", "t3-chat", "tabnine", "theb", "trae", "trae-cn", "typingmind", "v0",
        "vs-code", "warp", "warp-dev", "web", "web2api", "windsurf", "you", "you.com", "zed", "zed-dev", "zen",
        # hosting providers and resellers
        "302.ai", "360-ai-cloud", "abacus", "accounts", "ace", "ace-cloud", "ai-foundry", "ai-ml-api", "aihubmix",
        "aiservices", "akamai", "akash", "akashchat", "alibaba-cloud-bailian", "aliyun", "aliyun-bailian", "aliyuncs",
        "amazon-bedrock", "amazon-sagemaker", "anyscale", "arcee-conductor", "ark", "arliai", "atlas-cloud", "aws",
        "aws-bedrock", "aws-boto3", "aws-claude", "aws-sagemaker", "azure", "azure-ai", "azure-ai-foundry",
        "azure-ai-inference", "azure-anthropic", "azure-cognitive-services", "azure-foundry", "azure-inference",
        "azure-ml", "baidu-cloud", "baidu-qianfan", "baidubce", "bailian", "baseten", "bedrock", "bedrock-converse",
        "bedrock-mantle", "bedrock-runtime", "bigmodel-cn", "blackbox", "blackboxai", "boto3", "burncloud", "byteplus",
        "byteplus-modelark", "cerebras", "cerebrium", "cf", "chutes", "chutes-ai", "cirrascale", "clarifai",
        "claude-azure", "cloudflare", "cloudflare-ai", "cloudflare-ai-gateway", "cloudflare-workers-ai", "cloudrift",
        "cometapi", "coreweave", "cortecs", "crusoe", "crusoe-cloud", "ctyun", "dashscope", "dashscope-intl",
        "databricks-model-serving", "deepbricks", "deepinfra", "deepinfra-turbo", "deerapi", "digitalocean",
        "do-gradient", "doubao-ark", "doubleword", "duckduckgo", "electronhub", "endpoints-ai", "everlyai", "exoscale",
        "fal", "fal-ai", "featherless", "featherless-ai", "fireworks", "fireworks-ai", "foundry", "friendli",
        "friendliai", "gcore", "gcp", "gcp-vertex", "gemini-vertex", "gitee", "gitee-ai", "gmi", "gmi-cloud",
        "google-cloud", "google-vertex", "google-vertex-ai", "google-vertex-anthropic", "goose-ai", "gradient",
        "gradient-ai", "groq", "groq-cloud", "heroku", "heroku-ai", "hetzner", "hf", "hf-inference", "hf-inference-api",
        "hf-inference-endpoints", "hf-router", "hf.co", "hpc-ai", "huawei-cloud", "huawei-maas", "huggingface",
        "huggingface.co", "hyperbolic", "hyperstack", "ibm-watsonx", "inference-net", "infermatic", "infini-ai",
        "infinigence", "intelligence.io", "io-intelligence", "io-net", "ionos", "ionrouter", "jiekou", "jiekou-ai",
        "kluster", "kluster-ai", "koyeb", "lambda", "lambda-ai", "lambda-labs", "langchain-hub", "lepton", "lepton-ai",
        "linkapi", "lkeap", "maas", "moark", "modal", "model-studio", "modelark", "modelarts", "modelscope",
        "modelscope.cn", "moka-ai", "monsterapi", "naga", "nagaai", "nano-gpt", "navy", "nebius", "nebius-ai",
        "nebius-studio", "nebius-token-factory", "nlp-cloud", "novita", "novita-ai", "nscale", "nvcf", "nvidia-build",
        "nvidia-nim", "oci", "oci-genai", "oci-generative-ai", "octoai", "ohmygpt", "open-router", "openrouter-ai",
        "oracle", "oracle-cloud", "oracle-oci", "ovh", "ovhcloud", "parasail", "phala", "phala-network", "poixe",
        "ppinfra", "ppio", "predibase", "privatemode", "proxyllm", "publishers", "qianfan", "qiniu", "qiniu-cloud",
        "qnaigc", "replicate", "requesty-ai", "routers", "runpod", "runware", "sagemaker", "sagemaker-chat",
        "sambanova", "sambanova-systems", "sap", "sap-ai-core", "scaleway", "sealos", "sensecore", "shuttleai",
        "silicon-cloud", "siliconflow", "siliconflow-cn", "simplismart", "stima", "streamlake", "sub-model", "targon",
        "tencent-cloud", "tencent-lkeap", "tencent-ti", "theta", "thetaedgecloud", "tinfoil", "together", "together-ai",
        "togethercomputer", "token-factory", "tokenhub", "truefoundry", "ubicloud", "ucloud", "uncloseai",
        "universal-ai", "upcloud", "venice", "venice-ai", "vertex", "vertex-ai", "vertex-ai-anthropic",
        "vertex-ai-beta", "vertex-anthropic", "vertex-claude", "vertex-gemini", "vivgrid", "volcano-engine", "volcark",
        "volcengine", "volcengine-ark", "volces", "vultr", "wafer", "wandb", "wandb-inference", "watsonx", "watsonx-ai",
        "weights-and-biases", "workers-ai", "xai-oauth", "yunwu", "zeabur", "zhongzhuan",
        # the same, and placeholders, in Chinese
        "openai兼容", "七牛云", "中转", "京东云", "优刻得", "其他", "兼容", "千帆", "华为云", "天翼云", "官转",
        "并行科技", "无问芯穹", "未知", "本地", "模力方舟", "派欧云", "测试", "渠道", "火山", "火山引擎", "火山方舟",
        "百度云", "百度千帆", "百度智能云", "百炼", "硅基流动", "移动云", "系统", "联通云", "腾讯云", "自定义", "逆向",
        "阿里云", "阿里云百炼", "阿里百炼", "青云", "魔搭", "魔搭社区", "默认",
        # protocols, transports and channel types
        "aigc2d", "aiproxy-library", "anthropic-compatible", "anthropic-messages", "api2d", "api2gpt", "chat",
        "chat-completions", "claude-compatible", "closeai", "compatible", "converse", "converse-like", "custom-llm",
        "custom-openai", "custom-provider", "embeddings", "fastgpt", "gemini-compatible", "grpc", "http", "https",
        "invoke", "messages", "mock", "oauth", "openai-chat", "openai-chat-completions", "openai-codex",
        "openai-compat", "openai-compatible", "openai-compatible-api", "openai-completions", "openai-format",
        "openai-like", "openai-max", "openai-oauth", "openai-response", "openai-responses", "openai-sb", "pass-through",
        "responses", "rest", "sse", "stdio", "text-completion-openai", "webhook", "websocket",
        # tiers and variants
        "auto", "basic", "free", "lora", "online", "paid", "premium", "pro", "standard", "trial", "vip",
        # publishers of converted files
        "aessedai", "anikifoss", "bartowski", "casperhansen", "cyankiwi", "devquasar", "gaianet", "ggml-org",
        "hugging-quants", "isotr0py", "kaitchup", "lmstudio-ai", "lmstudio-community", "maziyarpanahi", "mlx-community",
        "mradermacher", "neuralmagic", "nm-testing", "noctrex", "ollama-library", "onnx-community", "optimum",
        "quantfactory", "quanttrio", "redhatai", "second-state", "solidrust", "techxgenus", "tensorblock", "thebloke",
        "turboderp", "ubergarm", "unsloth", "xtuner",
    }
)  # fmt: skip
"""Names that are not makers. They are ignored in `owned_by`, and in an id the next part is the vendor.

One spelling of each: case, spaces, `-`, `_`, `.` and `/` make no difference.
"""

CHANNELS = (
    "amazonbedrock", "antigravity", "augment", "aws", "azure", "bedrock", "claudecode", "cloudflare", "codex",
    "copilot", "cursor", "dashscope", "gcp", "geminicli", "githubcopilot", "googlevertex", "iflow", "kiro", "litellm",
    "llamacpp", "lmstudio", "newapi", "ollama", "oneapi", "openaicompat", "openrouter", "qwencode", "sglang",
    "siliconflow", "vertex", "vllm", "volcengine", "windsurf", "xinference",
)  # fmt: skip
"""Beginnings of names of channels, as in `azure-eastus2` or `kiro-pool`; lower case, without separators."""

PLACES = frozenset(
    {
        ".", "..", "app", "blobs", "cache", "content", "data", "endpoints", "gguf", "home", "locations", "mnt",
        "opt", "projects", "registries", "repository", "snapshots", "srv", "tmp", "tunedmodels", "users",
        "usr", "var", "versions", "volumes", "weights", "workspace",
    }
)  # fmt: skip
"""First parts of ids that are paths: in such an id only known makers are recognized."""

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

OPEN = (
    "aya", "baichuan", "bge-", "bloom", "chatglm", "code-llama", "codegemma", "codellama", "codeqwen", "command-r",
    "deepseek", "devstral", "e5-", "exaone", "falcon", "flux", "gemma", "glm", "gpt-j", "gpt-neo", "gpt-oss", "gpt2",
    "granite", "gte-", "internlm", "internvl", "kimi", "llama", "magistral", "medgemma", "meta-llama", "minicpm",
    "ministral", "mistral", "mixtral", "mpt-", "multilingual-e5", "nemotron", "olmo", "opt-", "phi", "pythia", "qwen",
    "qwq", "sd3", "sdxl", "smollm", "solar", "stable-diffusion", "starcoder", "tinyllama", "wan", "whisper", "yi",
)  # fmt: skip
"""Beginnings of names of families whose weights are published, and of which others make derivatives."""

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

FAMILIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    # Derivatives of another family come first; "" is a derivative whose maker is unknown.
    ("", (
        "*uncensored*", "*abliterated*", "*-lora", "*-lora-*", "*-finetune*", "*-clone*", "*-merge*", "*roleplay*",
        "*-chinese-alpaca*", "llama*-chinese*",
        "llama*-gradient*", "llama*-lumimaid*", "llama*-elyza*", "llama*-youko*", "llama*-taiwan*", "llama*-typhoon*",
        "llama*-lynx*", "llama*-euryale*", "llama*-storm*", "llama*-smaug*", "llama*-openbiollm*", "llama*-med42*",
        "llama*-orca*", "llama*-instructlab*", "llama*-krikri*", "llama*-finance*", "llama*-refueled*",
        "llama*-joycaption*", "mistral-openorca*", "mistral-trismegistus*", "qwen*-rp-*", "claude-*distill*",
        "claude-*-[0-9]b*", "claude-*-[0-9][0-9]b*", "gpt-[345]*distill*", "gpt-[345]*-[0-9]b*",
        "gemini-*distill*", "gemini-*-[0-9]b-*",
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
    ("tngtech", ("deepseek-r1t*", "deepseek-*chimera*", "deepseek-tng*", "tng-r1t*")),
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
    ("anthropic", (
        "claude", "claude-*", "claude[0-9]*", "anthropic-claude*", "gemini-claude*", "sonnet", "sonnet-[0-9]*", "opus",
        "opus-[0-9]*", "haiku", "haiku-[0-9]*",
    )),
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
    ("deepseek", ("deepseek-r1-distill-*", "deepseek*", "janus-pro*", "janus-1*", "xdeepseek*")),
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
        "mistral", "mistral-nemotron*", "mistral-*", "mistral[0-9]*", "mistralai-*", "mixtral", "mixtral-*",
        "mixtral[0-9]*", "codestral*",
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
"""Maker -> patterns over the last part of an id, lower case, without a tag; in order, the first match wins."""
