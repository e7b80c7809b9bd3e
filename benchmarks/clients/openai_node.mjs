// The openai package for Node: both APIs, whole, streamed, and with a tool.
import assert from "node:assert";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.MOA_URL, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "Hi" }];

const whole = await client.chat.completions.create({ model: "moa", messages });
assert.equal(whole.choices[0].message.content, "agg says: Hi");

let text = "";
for await (const chunk of await client.chat.completions.create({ model: "moa", messages, stream: true }))
  text += chunk.choices[0]?.delta?.content ?? "";
assert.equal(text, "agg says: Hi");

const response = await client.responses.create({ model: "moa", input: "Hi" });
assert.equal(response.output_text, "agg says: Hi");

const stream = client.responses.stream({ model: "moa", input: "Hi" });
assert.equal((await stream.finalResponse()).output_text, "agg says: Hi");

const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", name: "get_weather", parameters, strict: false }];
const input = [{ role: "user", content: "get_weather for Rome" }];
const first = await client.responses.create({ model: "moa", input, tools });
const call = first.output.find((item) => item.type === "function_call");
input.push(...first.output, { type: "function_call_output", call_id: call.call_id, output: "sunny" });
assert.match((await client.responses.create({ model: "moa", input, tools })).output_text, /sunny/);
