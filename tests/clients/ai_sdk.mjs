// The Vercel AI SDK: a text, a streamed text, and sessions with a tool. Prints what it received as JSON.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const { BASE_URL, KEY, MODEL } = process.env;
const provider = createOpenAICompatible({ name: "models-proxy", baseURL: BASE_URL, apiKey: KEY, includeUsage: true });
const model = provider(MODEL);

async function text() {
  const { text, response, usage } = await generateText({ model, prompt: "hello" });
  return { text, model: response.modelId, tokens: usage.totalTokens };
}

async function stream() {
  const result = streamText({ model, prompt: "hello" });
  const parts = [];
  for await (const part of result.textStream) parts.push(part);
  return { parts, model: (await result.response).modelId, tokens: (await result.usage).totalTokens };
}

const weather = tool({
  description: "The weather in a city.",
  inputSchema: z.object({ city: z.string(), model: z.string().optional() }),
  execute: async ({ city }) => `sunny in ${city}`,
});

async function tools() {
  const { text, steps } = await generateText({
    model,
    prompt: "How is the weather?",
    tools: { weather },
    stopWhen: stepCountIs(3),
  });
  return { text, steps: steps.length };
}

// Two turns through the Responses API, with the defaults of @ai-sdk/openai: `store` is not set.
async function session(generate) {
  const model = createOpenAI({ baseURL: BASE_URL, apiKey: KEY })(MODEL);
  const messages = [];
  const texts = [];
  for (const content of ["How is the weather?", "And tomorrow?"]) {
    messages.push({ role: "user", content });
    const result = await generate({ model, messages, tools: { weather }, stopWhen: stepCountIs(3) });
    texts.push(await result.text);
    messages.push(...(await result.response).messages);
  }
  return texts;
}

const responses = () => session(generateText);

const streamed_responses = () =>
  session(async (options) => {
    const result = streamText(options);
    await result.consumeStream();
    return result;
  });

console.log(JSON.stringify(await { text, stream, tools, responses, streamed_responses }[process.argv[2]]()));
