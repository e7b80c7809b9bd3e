// LangChain.js: ChatOpenAI by both APIs, streams, a tool, a schema; and how often it asks again after a wrong key at a provider.
import assert from "node:assert";
import { ChatOpenAI } from "@langchain/openai";
import { tool } from "@langchain/core/tools";
import { z } from "zod";

const weather = tool(async () => "sunny", { name: "get_weather", schema: z.object({ city: z.string() }) });
for (const useResponsesApi of [false, true]) {
  const model = new ChatOpenAI({ model: "moa", apiKey: "none", configuration: { baseURL: process.env.MOA_URL }, useResponsesApi });
  assert.equal((await model.invoke("Hi")).text, "agg says: Hi");

  let text = "";
  for await (const chunk of await model.stream("Hi")) text += chunk.text;
  assert.equal(text, "agg says: Hi");

  const bound = model.bindTools([weather]);
  const question = { role: "user", content: "get_weather for Rome" };
  const first = await bound.invoke([question]);
  assert.equal(first.tool_calls.length, 1);
  const second = await bound.invoke([question, first, await weather.invoke(first.tool_calls[0])]);
  assert.match(second.text, /sunny/);

  const person = await model.withStructuredOutput(z.object({ name: z.string(), age: z.number() }), { name: "person" }).invoke("Ann is 41");
  assert.equal(person.age, 41);

  const failing = new ChatOpenAI({ model: "wrong-key", apiKey: "none", configuration: { baseURL: process.env.MOA_URL }, useResponsesApi });
  await assert.rejects(() => failing.invoke("Hi"), (error) => error.status === 403);
}
