"""Data: the names under which providers report facts about models, in lower case without separators."""

from __future__ import annotations

from collections.abc import Mapping

IMAGE, AUDIO, VIDEO, FILE = "+image", "+audio", "+video", "+file"
"""Inputs besides text. They become `input_modalities` if no list of these is found."""
INPUTS = {IMAGE: "image", AUDIO: "audio", VIDEO: "video", FILE: "file"}

# -- names of limits ---------------------------------------------------------------------------------------------------

CONTEXT_IN_USE = (
    "loadedcontextlength", "loadedcontextsize", "currentcontextlength", "runtimecontextlength",
    "effectivecontextlength",
    "nctx", "numctx", "ctxsize", "ctxlen", "contextsizeinuse", "maxmodellen", "maxmodellength", "maxtotaltokens",
    "maxseqlen", "maxseqlength",
)  # fmt: skip
CONTEXT = (
    "contextlength", "contextwindow", "contextwindowtokens", "contextwindowsize", "contextlengthtokens", "contextsize",
    "contexttokens", "contextlimit", "contextlen", "maxcontextlength", "maxcontextwindow", "maxcontextwindowtokens",
    "maxcontexttokens", "maxcontextsize", "maxcontextlen", "maxcontext", "availablecontexttokens", "tokencontext",
    "sequencelength", "maxsequencelength", "inputtokenlimit", "maxinputtokens", "maxinputtoken", "maxinputlength",
    "maxprompttokens", "maxtokensinput", "inputtokenslimit", "inputlimit",
)  # fmt: skip
CONTEXT_POSSIBLE = ("maxpositionembeddings", "nctxtrain", "trainingcontextlength")
OUTPUT = (
    "maxoutputtokens", "maxcompletiontokens", "maxoutputtoken", "outputtokenlimit", "maxoutputtokenlength",
    "maxoutputlength", "maxoutput", "outputlimit", "outputtokenslimit", "maxgenerationtokens", "maxgeneratedtokens",
    "maxnewtokens", "maxresponsetokens", "maxtokensoutput",
)  # fmt: skip

# -- names of capabilities ---------------------------------------------------------------------------------------------

TOOLS = (
    "supportstools", "supporttools", "supporttoolcalls", "supporttoolcalling", "supportstool",
    "supportstooluse", "supportstoolcall", "supportstoolcalls",
    "supportstoolcalling", "supportsfunctioncalling", "supportfunctioncalling", "supportsfunctioncall",
    "supportsfunctions", "supportsparallelfunctioncalling", "supportstoolchoice", "supportsparalleltoolcalls",
    "toolcall", "toolcalls", "toolcalling", "tooluse", "toolusage", "toolsupport", "tools", "toolchoice",
    "paralleltoolcalls", "functioncalling", "functioncall", "functioncalls", "functions", "trainedfortooluse",
)  # fmt: skip
REASONING = (
    "supportsreasoning", "supportreasoning", "supportsthinking", "supportthinking", "supportsextendedthinking",
    "supportsreasoningeffort", "supportsadaptivethinking", "reasoning", "thinking", "extendedthinking",
    "adaptivethinking", "isreasoning", "isreasoningmodel", "reasoningmodel", "canreason", "reasoningenabled",
)  # fmt: skip
REASONING_LEVELS = (
    "reasoningeffort", "reasoningefforts", "supportedreasoningefforts", "supportedreasoninglevels", "reasoninglevels",
    "thinkinglevels", "effortlevels",
)  # fmt: skip
IMAGE_FLAGS = (
    "supportsvision", "supportvision", "supportsimages", "supportsimage", "supportsimagein", "supportsimageinput",
    "supportimageinput", "supportsimageinputs", "supportsimagesinput", "vision", "visionsupport", "imageinput",
    "imagein", "hasvision", "isvision", "visionenabled",
)  # fmt: skip
AUDIO_FLAGS = ("supportsaudioinput", "supportsaudioin", "audioinput", "audioin")
VIDEO_FLAGS = ("supportsvideoinput", "supportsvideoin", "supportsvideo", "videoinput", "videoin")
FILE_FLAGS = ("supportspdfinput", "supportspdf", "supportsfileinput", "pdfinput", "fileinput")

INPUT_MODALITIES = ("inputmodalities", "supportedinputmodalities", "inputmodality", "requestmodality")
OUTPUT_MODALITIES = ("outputmodalities", "supportedoutputmodalities", "outputmodality", "responsemodality")

TOOL_WORDS = frozenset([*TOOLS, "tool", "function"]) - {"toolsupport"}
REASONING_WORDS = frozenset([*REASONING, *REASONING_LEVELS, "reason", "includereasoning", "hybridthinking"])
IMAGE_WORDS = frozenset(
    [*IMAGE_FLAGS, "vlm", "multimodalvision", "imageunderstanding", "imagetotext", "imagetexttotext"]
)
SIGNS: Mapping[str, frozenset[str]] = {
    "supports_tools": TOOL_WORDS,
    "supports_reasoning": REASONING_WORDS,
    IMAGE: IMAGE_WORDS,
    AUDIO: frozenset(AUDIO_FLAGS),
    VIDEO: frozenset(VIDEO_FLAGS),
    FILE: frozenset(FILE_FLAGS),
}
"""Capability -> the words in lists of capabilities, features and tags that mean it."""

# Endpoints, methods and abilities of each type. Those of "" have no type, but prevent a conclusion from the others.
WORDS_OF_TYPES = {
    "chat": "chat chatcompletion chatcompletions completionchat messages responses conversational llm",
    "completion": "completion completions generate completionfim fim",
    "embedding": "embed embedding embeddings embedcontent embedtext textembedding featureextraction",
    "rerank": "rerank reranker reranking jinarerank",
    "moderation": "moderation moderations",
    "image": "imagegeneration imagesgenerations imagesedits texttoimage text2image",
    "audio": "audiospeech audiotranscriptions audiotranslations texttospeech speechtotext transcription text2audio "
    "audio2text",
    "video": "videos videogeneration texttovideo text2video openaivideo",
    "": "generatecontent openai anthropic gemini openairesponse predict",
}
TYPE_WORDS = {word: type_ for type_, words in WORDS_OF_TYPES.items() for word in words.split()}
CHAT_SIGNS = frozenset(["supports_tools", "supports_reasoning", IMAGE])

# -- groups ------------------------------------------------------------------------------------------------------------

LIMITS, FLAGS, MODALITIES, TYPE = 1, 2, 4, 8
CATEGORIES = (
    # What is looked for in objects with these names.
    (LIMITS, "limit limits tokenlimits contextlimits modellimits contextwindow config parameters params settings "
              "runtime recipeoptions defaultgenerationsettings"),
    (MODALITIES, "modalities supportedmodalities inferencemetadata"),
    (FLAGS | MODALITIES, "supports features featureflags abilities capability"),
    (LIMITS | FLAGS | MODALITIES | TYPE, "capabilities modelcapabilities modelinfo modelspec metadata meta info "
     "details spec specs specification specifications properties attributes modelproperties"),
)  # fmt: skip
GROUPS: Mapping[str, int] = {name: categories for categories, names in CATEGORIES for name in names.split()}
SHORT_LIMITS = frozenset(["limit", "limits", "tokenlimits", "contextlimits", "modellimits", "contextwindow"])
WORD_LISTS = (
    "capabilities", "capability", "modelcapabilities", "supportedcapabilities", "features", "supportedfeatures",
    "modelfeatures", "tags", "abilities", "ability", "modelability", "modelabilities", "supportedparameters",
    "supportedopenaiparams", "supportedparams",
)  # fmt: skip
ABILITIES = frozenset(["capabilities", "capability", "modelcapabilities", "abilities", "ability", "modelability",
                        "modelabilities", "supportedcapabilities"])  # fmt: skip
METHODS = ("supportedgenerationmethods", "supportedmethods", "endpoints", "supportedendpoints",
            "supportedendpointtypes", "endpointtypes", "defaultendpoints", "categories")  # fmt: skip
ROUTE_LISTS = ("providers", "endpoints", "deployments", "routes", "channels", "upstreams", "backends", "instances",
                "hosts", "offers")  # fmt: skip
