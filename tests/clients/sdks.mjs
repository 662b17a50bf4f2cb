// Lists, retrieves, calls and streams with one SDK (the first argument) through BASE_URL. Prints what it returned as JSON.
import Anthropic from "@anthropic-ai/sdk";
import { GoogleGenAI } from "@google/genai";
import { Ollama } from "ollama";
import OpenAI from "openai";

const { BASE_URL: url, KEY: apiKey, MODEL: model } = process.env;
const messages = [{ role: "user", content: "Hi" }];

const collected = async (items, read) => {
  const found = [];
  for await (const item of items) found.push(read(item));
  return found;
};

// The status and the message of the error that a call throws.
const error = async (call) => {
  try {
    await call();
  } catch (thrown) {
    return [thrown.status ?? thrown.status_code, thrown.message];
  }
  return [];
};

const sdks = {
  async openai() {
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey });
    const answer = await client.chat.completions.create({ model, messages });
    const stream = await client.chat.completions.create({ model, messages, stream: true });
    return {
      listed: await collected(client.models.list(), (each) => each.id),
      retrieved: (await client.models.retrieve(model)).id,
      called: [answer.model, answer.choices[0].message.content, answer.usage.total_tokens],
      streamed: await collected(stream, (part) => part.choices[0].delta.content ?? ""),
      error: await error(() => client.chat.completions.create({ model: "unknown", messages })),
    };
  },
  async anthropic() {
    const client = new Anthropic({ baseURL: url, apiKey });
    const call = { model, max_tokens: 10, messages };
    const answer = await client.messages.create(call);
    const parts = [];
    await client.messages.stream(call).on("text", (text) => parts.push(text)).finalMessage();
    return {
      listed: await collected(client.models.list({ limit: 1 }), (each) => each.id),
      retrieved: (await client.models.retrieve(model)).id,
      called: [answer.model, answer.content[0].text, answer.usage.input_tokens + answer.usage.output_tokens],
      streamed: parts,
      error: await error(() => client.messages.create({ ...call, model: "unknown" })),
    };
  },
  async gemini() {
    const { models } = new GoogleGenAI({ apiKey, httpOptions: { baseUrl: url } });
    const call = { model, contents: "Hi" };
    const answer = await models.generateContent(call);
    return {
      listed: await collected(await models.list({ config: { pageSize: 1 } }), (each) => each.name.slice("models/".length)),
      retrieved: (await models.get({ model })).name.slice("models/".length),
      called: [answer.modelVersion, answer.text, answer.usageMetadata.totalTokenCount],
      streamed: await collected(await models.generateContentStream(call), (part) => part.text),
      counted: (await models.countTokens(call)).totalTokens,
      embedded: (await models.embedContent(call)).embeddings[0].values,
      error: await error(() => models.generateContent({ ...call, model: "unknown" })),
    };
  },
  async ollama() {
    const client = new Ollama({ host: url, headers: { Authorization: `Bearer ${apiKey}` } });
    const answer = await client.chat({ model, messages });
    const generated = await client.generate({ model, prompt: "Hi", stream: true });
    return {
      listed: (await client.list()).models.map((each) => each.model),
      retrieved: (await client.show({ model })).model_info ? model : "",
      called: [answer.model, answer.message.content, answer.prompt_eval_count + answer.eval_count],
      streamed: await collected(await client.chat({ model, messages, stream: true }), (part) => part.message.content),
      generated: await collected(generated, (part) => part.response),
      embedded: (await client.embed({ model, input: "Hi" })).embeddings[0],
      error: await error(() => client.chat({ model: "unknown", messages })),
    };
  },
};

console.log(JSON.stringify(await sdks[process.argv[2]]()));
