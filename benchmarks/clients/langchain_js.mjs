// LangChain.js: ChatOpenAI by both APIs, streams, a tool, a schema, a tool and a schema, small tasks, failures.
import assert from "node:assert";
import { ChatOpenAI } from "@langchain/openai";
import { tool } from "@langchain/core/tools";
import { z } from "zod";

const weather = tool(async () => "sunny", { name: "get_weather", schema: z.object({ city: z.string() }) });
const schema = { type: "object", properties: { name: { type: "string" }, age: { type: "integer" } }, required: ["name", "age"], additionalProperties: false };
for (const useResponsesApi of [false, true]) {
  const model = new ChatOpenAI({ model: "moa", apiKey: "none", configuration: { baseURL: process.env.MOA_URL }, useResponsesApi });
  assert.equal((await model.invoke("Hi")).text, "moa says: Hi");

  let text = "";
  for await (const chunk of await model.stream("Hi")) text += chunk.text;
  assert.equal(text, "moa says: Hi");

  const bound = model.bindTools([weather]);
  const question = { role: "user", content: "get_weather for Rome" };
  const first = await bound.invoke([question]);
  assert.equal(first.tool_calls.length, 1);
  const second = await bound.invoke([question, first, await weather.invoke(first.tool_calls[0])]);
  assert.match(second.text, /sunny/);

  const person = await model.withStructuredOutput(z.object({ name: z.string(), age: z.number() }), { name: "person" }).invoke("Ann is 41");
  assert.equal(person.age, 41);

  const form = useResponsesApi ? { type: "json_schema", name: "person", schema, strict: true } : { type: "json_schema", json_schema: { name: "person", schema, strict: true } };
  const both = model.bindTools([weather], useResponsesApi ? { text: { format: form } } : { response_format: form });
  const talk = [{ role: "user", content: "get_weather, Ann is 41" }];
  const asked = await both.invoke(talk);
  assert.equal(asked.tool_calls.length, 1);
  const answer = await both.invoke([...talk, asked, await weather.invoke(asked.tool_calls[0])]);
  assert.equal(JSON.parse(answer.text).age, 41);

  const create = (name) => new ChatOpenAI({ model: name, apiKey: "none", configuration: { baseURL: process.env.MOA_URL }, useResponsesApi });
  assert.equal((await create("moa#aggregator").invoke("Hi")).text, "moa says: Hi");
  const api = useResponsesApi ? "responses" : "chat";
  await Promise.all(
    ["wrong-key", "broken"].flatMap((name) => [
      assert.rejects(() => create(name).invoke(`${api} whole`), (error) => error.status === (name === "broken" ? 502 : 403)),
      (async () => {
        let said = "";
        const read = async () => {
          for await (const chunk of await create(name).stream(`${api} streamed`)) said += chunk.text;
        };
        // It ends a stream of the Responses API that has failed without an error and without a text.
        if (useResponsesApi) await read();
        else await assert.rejects(read);
        assert.equal(said, "");
      })(),
    ]),
  );
}
