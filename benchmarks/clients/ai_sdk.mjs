// Vercel's AI SDK: openai() by the Responses API, openai-compatible by chat completions; streams, a tool loop, a tool
// and a schema, progress, small tasks, failures.
import assert from "node:assert";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const openai = createOpenAI({ baseURL: process.env.MOA_URL, apiKey: "none" });
const compatible = createOpenAICompatible({ name: "moa", baseURL: process.env.MOA_URL, includeUsage: true, supportsStructuredOutputs: true });
const headers = { "x-moa-progress": "reasoning" };
const weather = tool({
  description: "The weather in a city.",
  inputSchema: z.object({ city: z.string() }),
  execute: async () => "sunny",
});

const kinds = { responses: openai, chat: openai.chat, compatible };
for (const [kind, create] of Object.entries(kinds)) {
  const model = create("moa");
  const settings = { model, providerOptions: { openai: { store: false } }, maxRetries: 0 };
  assert.equal((await generateText({ ...settings, prompt: "Hi" })).text, "moa says: Hi");

  const stream = streamText({ ...settings, prompt: "Hi", headers });
  assert.equal(await stream.text, "moa says: Hi");
  if (kind !== "chat")
    assert.match((await stream.reasoningText) ?? "", /asking 2 models/);

  const loop = { ...settings, prompt: "get_weather for Rome", tools: { get_weather: weather }, stopWhen: stepCountIs(3) };
  assert.match((await generateText(loop)).text, /sunny/);
  assert.match(await streamText(loop).text, /sunny/);

  const output = Output.object({ schema: z.object({ name: z.string(), age: z.number() }) });
  assert.equal((await generateText({ ...loop, prompt: "get_weather, Ann is 41", output })).output.age, 41);

  assert.equal((await generateText({ ...settings, model: create("moa#aggregator"), prompt: "Hi" })).text, "moa says: Hi");

  // With the SDK's own retries.
  for (const failing of ["wrong-key", "broken"]) {
    const again = { model: create(failing), providerOptions: settings.providerOptions };
    await assert.rejects(() => generateText({ ...again, prompt: `${kind} whole` }));
    const errors = [];
    await streamText({ ...again, prompt: `${kind} streamed`, onError: ({ error }) => errors.push(error) }).consumeStream();
    assert.ok(errors.length);
  }
}
