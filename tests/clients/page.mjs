// What a page receives from an API of another origin, with the package `openai`.
import OpenAI from "openai";

globalThis.received = async ({ url, key, model }) => {
  const client = new OpenAI({ baseURL: url, apiKey: key, maxRetries: 0, dangerouslyAllowBrowser: true });
  const messages = [{ role: "user", content: "hello" }];

  const created = await client.chat.completions.create({ model, messages }).withResponse();
  const streamed = await client.chat.completions.create({ model, messages, stream: true }).withResponse();
  const parts = [];
  for await (const chunk of streamed.data) parts.push(chunk.choices[0].delta.content);

  const failed = async (call) => {
    const error = await call.then(() => undefined, (error) => error);
    return { status: error.status, code: error.code, message: error.message, request: error.requestID };
  };
  return {
    created: {
      model: created.data.model,
      text: created.data.choices[0].message.content,
      request: created.request_id,
      remaining: created.response.headers.get("x-ratelimit-remaining-requests"),
    },
    streamed: { parts, request: streamed.request_id },
    unknown: await failed(client.chat.completions.create({ model: "unknown", messages })),
    rejected: await failed(client.withOptions({ apiKey: "sk-canary-unknown" }).models.list()),
    listed: (await client.models.list()).data.map(({ id }) => id),
  };
};
