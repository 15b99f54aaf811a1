// The Vercel AI SDK against DAC: an answer, a stream, a tool, embeddings. Prints one JSON line.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, generateText, jsonSchema, streamText, tool } from "ai";

const dac = createOpenAICompatible({
  name: "dac",
  baseURL: process.env.DAC_BASE_URL + "/v1",
  apiKey: process.env.DAC_API_KEY,
  includeUsage: true,
});
const model = dac("mock/gpt-4o-mini");

const whole = await generateText({ model, prompt: "Hello" });
const streamed = streamText({ model, prompt: "Hello" });
let parts = "";
for await (const part of streamed.textStream) parts += part;
const weather = tool({
  description: "The weather of a city.",
  inputSchema: jsonSchema({ type: "object", properties: { city: { type: "string" } }, required: ["city"] }),
});
const called = await generateText({ model, prompt: "Weather?", tools: { weather }, toolChoice: "required" });
const { embedding } = await embed({ model: dac.textEmbeddingModel("mock/embed"), value: "Hello" });
const usage = await streamed.usage;
console.log(
  JSON.stringify({
    text: whole.text,
    finish: whole.finishReason,
    streamed: parts,
    outputTokens: usage.outputTokens,
    tool: called.toolCalls[0].toolName,
    embedding: embedding.length,
  }),
);
