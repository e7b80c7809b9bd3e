// The openai package for Node: both APIs, whole, streamed, and with a tool; a tool and a schema, progress, small tasks, failures.
import assert from "node:assert";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.MOA_URL, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "Hi" }];

const whole = await client.chat.completions.create({ model: "moa", messages });
assert.equal(whole.choices[0].message.content, "moa says: Hi");

let text = "";
for await (const chunk of await client.chat.completions.create({ model: "moa", messages, stream: true }))
  text += chunk.choices[0]?.delta?.content ?? "";
assert.equal(text, "moa says: Hi");

const response = await client.responses.create({ model: "moa", input: "Hi" });
assert.equal(response.output_text, "moa says: Hi");

const stream = client.responses.stream({ model: "moa", input: "Hi" });
assert.equal((await stream.finalResponse()).output_text, "moa says: Hi");

const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", name: "get_weather", parameters, strict: false }];
const input = [{ role: "user", content: "get_weather for Rome" }];
const first = await client.responses.create({ model: "moa", input, tools });
const call = first.output.find((item) => item.type === "function_call");
input.push(...first.output, { type: "function_call_output", call_id: call.call_id, output: "sunny" });
assert.match((await client.responses.create({ model: "moa", input, tools })).output_text, /sunny/);

// A tool and a schema in one request.
const schema = { type: "object", properties: { name: { type: "string" }, age: { type: "integer" } }, required: ["name", "age"], additionalProperties: false };
const both = { model: "moa", tools: [{ type: "function", function: { name: "get_weather", parameters } }], response_format: { type: "json_schema", json_schema: { name: "person", schema, strict: true } } };
const talk = [{ role: "user", content: "get_weather, Ann is 41" }];
const asked = (await client.chat.completions.create({ ...both, messages: talk })).choices[0].message;
talk.push(asked, { role: "tool", tool_call_id: asked.tool_calls[0].id, content: "sunny" });
assert.equal(JSON.parse((await client.chat.completions.create({ ...both, messages: talk })).choices[0].message.content).age, 41);

// Progress as reasoning, by both APIs.
const headers = { "x-moa-progress": "reasoning" };
let thoughts = "";
for await (const chunk of await client.chat.completions.create({ model: "moa", messages, stream: true }, { headers }))
  thoughts += chunk.choices[0]?.delta?.reasoning_content ?? "";
assert.match(thoughts, /asking 2 models/);
const shown = await client.responses.stream({ model: "moa", input: "Hi" }, { headers }).finalResponse();
assert.match(shown.output[0].summary[0].text, /asking 2 models/);

// The aggregator alone, for small tasks.
assert.equal((await client.chat.completions.create({ model: "moa#aggregator", messages })).moa.calls, 1);

// Failures, with the package's own retries.
const retrying = new OpenAI({ baseURL: process.env.MOA_URL, apiKey: "none" });
for (const model of ["wrong-key", "broken"]) {
  const says = (content) => ({ model, messages: [{ role: "user", content }] });
  await assert.rejects(() => retrying.chat.completions.create(says("chat whole")), OpenAI.APIError);
  await assert.rejects(async () => {
    for await (const _ of await retrying.chat.completions.create({ ...says("chat streamed"), stream: true }));
  }, OpenAI.APIError);
  await assert.rejects(() => retrying.responses.create({ model, input: "response whole" }), OpenAI.APIError);
  const kinds = [];
  for await (const event of await retrying.responses.create({ model, input: "response streamed", stream: true })) kinds.push(event.type);
  assert.equal(kinds.at(-1), "response.failed");
}
