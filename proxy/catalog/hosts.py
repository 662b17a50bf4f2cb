"""Data: names that are not makers: servers, roles, gateways, hosts, channels and folders."""

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
