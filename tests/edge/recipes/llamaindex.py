"""LlamaIndex against DAC: an answer, a stream, a tool, an answer in a shape, embeddings. The last line is JSON."""

import json
import os

from llama_index.core import PromptTemplate
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

model = OpenAILike(
    api_base=os.environ["DAC_BASE_URL"] + "/v1",
    api_key=os.environ["DAC_API_KEY"],
    model="mock/gpt-4o-mini",
    context_window=128000,
    is_chat_model=True,
    is_function_calling_model=True,
    should_use_structured_outputs=True,
)
question = ChatMessage(role="user", content="How is the weather in Rome?")
answer = model.chat([question])
print(answer.message.content)

parts = [part.delta for part in model.stream_chat([question])]
print("".join(parts))


def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun in {city}"


tool = FunctionTool.from_defaults(weather)
asked = model.chat_with_tools([tool], chat_history=[question], tool_required=True)
(call,) = model.get_tool_calls_from_response(asked)
result = tool(**call.tool_kwargs)
told = ChatMessage(role="tool", content=result.content, additional_kwargs={"tool_call_id": call.tool_id})
final = model.chat_with_tools([tool], chat_history=[question, asked.message, told])
print(final.message.content)


class City(BaseModel):
    """A city and how many people live there."""

    name: str
    people: int


city = model.structured_predict(City, PromptTemplate("The largest city of {country}"), country="Italy")
print(city.name, city.people)

embedding = OpenAILikeEmbedding(
    api_base=os.environ["DAC_BASE_URL"] + "/v1",
    api_key=os.environ["DAC_API_KEY"],
    model_name="mock/embed",
)
vectors = embedding.get_text_embedding_batch(["one", "two"])
print(len(vectors), len(embedding.get_query_embedding("one")))

print(
    json.dumps(
        {
            "text": answer.message.content,
            "finish": answer.raw.choices[0].finish_reason,
            "output_tokens": answer.raw.usage.completion_tokens,
            "parts": parts,
            "tool": call.tool_name,
            "arguments": call.tool_kwargs,
            "after_the_tool": final.message.content,
            "city": city.model_dump(),
            "vectors": [len(vector) for vector in vectors],
        }
    )
)
