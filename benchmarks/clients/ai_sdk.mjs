// Vercel's AI SDK: openai() by the Responses API, openai-compatible by chat completions; streams, a tool loop, progress.
import assert from "node:assert";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const openai = createOpenAI({ baseURL: process.env.MOA_URL, apiKey: "none" });
const compatible = createOpenAICompatible({ name: "moa", baseURL: process.env.MOA_URL, includeUsage: true });
const headers = { "x-moa-progress": "reasoning" };
const weather = tool({
  description: "The weather in a city.",
  inputSchema: z.object({ city: z.string() }),
  execute: async () => "sunny",
});

for (const model of [openai("moa"), openai.chat("moa"), compatible("moa")]) {
  const settings = { model, providerOptions: { openai: { store: false } }, maxRetries: 0 };
  assert.equal((await generateText({ ...settings, prompt: "Hi" })).text, "agg says: Hi");

  const stream = streamText({ ...settings, prompt: "Hi", headers });
  assert.equal(await stream.text, "agg says: Hi");
  if (model === compatible("moa") || model.provider.includes("responses"))
    assert.match((await stream.reasoningText) ?? "", /asking 2 models/);

  const loop = { ...settings, prompt: "get_weather for Rome", tools: { get_weather: weather }, stopWhen: stepCountIs(3) };
  assert.match((await generateText(loop)).text, /sunny/);
  assert.match(await streamText(loop).text, /sunny/);
}
