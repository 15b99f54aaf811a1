"""Files of conversations: any tree comes back as it was; what is no tree is refused by name."""

import dataclasses
import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dac.memory.v1 import archive_pb2
from mesh.errors import MeshError, Reason
from services.memory.conversations.archive_form import ProtoEncoder, file_of
from services.memory.conversations.file import FORMAT, ConversationFile, checked, dated, derived_id, is_within, renamed
from services.memory.conversations.markdown import TreeComment, head_of, linear_in, section_of, tree_in
from services.memory.conversations.threads import COMPLETE, MAIN, PARTIAL, Branch, Thread
from services.memory.conversations.window import Message

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), max_size=60) | st.sampled_from(
    [
        "## User",
        "\\## Assistant · x",
        "-->",
        "<!-- dac.conversation/1 sha256:" + "0" * 64 + "\n{}\n-->",
        "> *[cut off]*",
        "> *[calls]* x\n\ntext",
        "a\r\nb",
        "# Title",
        " lead\n\n",
    ]
)


def message(place: int, parent: str = "", text: str = "hello", **values: object) -> Message:
    defaults: dict[str, object] = {
        "message_id": derived_id(place, "m", str(place)),
        "thread_id": "t",
        "role": "user",
        "text": text,
        "openai_json": "",
        "tokens_estimated": 50,
        "request_id": "",
        "model": "",
        "position": place,
        "created_at_s": NOW.timestamp() + place,
        "parent_id": parent,
    }
    return Message(**{**defaults, **values})  # type: ignore[arg-type]


@st.composite
def trees(draw: st.DrawFn) -> ConversationFile:
    messages: list[Message] = []
    for place in range(draw(st.integers(0, 8))):
        parent = draw(st.sampled_from(["", *(one.message_id for one in messages)]))
        messages.append(
            message(
                place,
                parent,
                draw(TEXT),
                role=draw(st.sampled_from(["user", "assistant", "system", "tool"])),
                status=draw(st.sampled_from([COMPLETE, PARTIAL])),
                openai_json=draw(st.sampled_from(["", '{"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}'])),
                model=draw(st.sampled_from(["", "openai/gpt-4o"])),
            )
        )
    heads = ["", *(one.message_id for one in messages)]
    branches = [Branch(MAIN, "main", head=draw(st.sampled_from(heads)), created_at=NOW, updated_at=NOW)]
    for place in range(draw(st.integers(0, 3))):
        branch_id = derived_id(place, "b", str(place))
        head = draw(st.sampled_from(heads))
        branches.append(Branch(branch_id, draw(TEXT)[:100], head=head, created_at=NOW, updated_at=NOW))
    thread = Thread(
        "t",
        draw(TEXT),
        0,
        NOW,
        NOW,
        tags=tuple(draw(st.lists(st.sampled_from(["a", "b c"]), unique=True))),
        parameters=draw(st.sampled_from(["", '{"temperature":0.2,"n":3}'])),
        active_branch=draw(st.sampled_from([one.branch_id for one in branches])),
    )
    return checked(ConversationFile(thread, branches, messages), max_bytes=10**6)


def json_of(file: ConversationFile) -> str:
    encoder = ProtoEncoder()
    branches, messages = map(encoder.branch, file.branches), map(encoder.message, file.messages)
    return (
        f'{{"format":"{FORMAT}","thread":{encoder.thread(file.thread)},"branches":[{",".join(branches)}],'
        f'"messages":[{",".join(messages)}]}}'
    )


def markdown_of(file: ConversationFile) -> str:
    comment = TreeComment()
    text = comment.read(head_of(file.thread)) + "".join(comment.read(section_of(one)) for one in file.messages)
    return text + comment.head() + comment.body(json_of(file)) + comment.tail()


@given(trees())
def test_a_tree_comes_back_from_markdown_as_it_was(file: ConversationFile) -> None:
    back = file_of(archive_pb2.ImportConversationRequest(markdown=markdown_of(file)))
    assert back.notes == ()
    again = checked(back, max_bytes=10**6)
    assert json_of(again) == json_of(file)


@given(trees())
def test_a_tree_made_anew_keeps_its_shape_and_is_known_again(file: ConversationFile) -> None:
    made = dated(renamed(file, "copy"), NOW)
    ids = {old.message_id: new.message_id for old, new in zip(file.messages, made.messages, strict=True)} | {"": ""}
    assert len(set(ids.values())) == len(ids), "no two messages become one"
    assert [one.parent_id for one in made.messages] == [ids[one.parent_id] for one in file.messages]
    assert [one.head for one in made.branches] == [ids[one.head] for one in file.branches]
    assert [(one.role, one.text, one.status) for one in made.messages] == [
        (one.role, one.text, one.status) for one in file.messages
    ]
    assert not {one.message_id for one in file.messages} & {one.message_id for one in made.messages}
    assert is_within(file, "copy", made.messages)
    assert is_within(file, "t", file.messages)


@given(trees(), st.integers(0, 7))
def test_another_text_is_not_taken_for_the_same(file: ConversationFile, place: int) -> None:
    if place < len(file.messages):
        other = list(file.messages)
        other[place] = dataclasses.replace(other[place], text=other[place].text + "!")
        assert not is_within(file, "t", other)


@given(st.lists(TEXT.filter(str.strip), min_size=1, max_size=5), st.booleans())
def test_markdown_without_its_comment_is_one_line_of_the_same_texts(texts: list[str], cut: bool) -> None:
    texts = [text.replace("\r", "").strip("\n") or "x" for text in texts]
    messages = [message(place, text=text, role="assistant") for place, text in enumerate(texts)]
    if cut:
        messages[-1] = dataclasses.replace(messages[-1], status=PARTIAL)
    markdown = head_of(Thread("t", "Title", 0, NOW, NOW)) + "".join(map(section_of, messages))
    linear = linear_in(markdown)
    assert linear.title == "Title"
    assert [one.text for one in linear.messages] == texts
    assert [one.status for one in linear.messages] == [one.status for one in messages]
    assert [one.created_at_s for one in linear.messages] == [one.created_at_s for one in messages]


def test_a_change_before_the_comment_is_told() -> None:
    file = checked(ConversationFile(Thread("t", "", 0, NOW, NOW), (), [message(0, text="old words")]), max_bytes=100)
    changed = markdown_of(file).replace("old words", "new words", 1)
    assert tree_in(changed) is not None and not tree_in(changed)[1]  # type: ignore[index]
    back = file_of(archive_pb2.ImportConversationRequest(markdown=changed))
    assert back.messages[0].text == "old words" and "was changed" in back.notes[0]


@given(st.text())
def test_any_markdown_is_read_or_refused(markdown: str) -> None:
    try:
        checked(file_of(archive_pb2.ImportConversationRequest(markdown=markdown)), max_bytes=10**6)
    except MeshError as error:
        assert error.reason is Reason.INVALID_REQUEST


FIRST = message(0)


@pytest.mark.parametrize(
    ("messages", "branches", "active", "named"),
    [
        ([message(0), message(0)], [], MAIN, "messages[1].message_id"),
        ([message(0, parent="nobody")], [], MAIN, "messages[0].parent_message_id"),
        ([message(0, role="robot")], [], MAIN, "messages[0].role"),
        ([message(0, branch_id="x")], [], MAIN, "messages[0].branch_id"),
        ([message(0, created_at_s=-1.0)], [], MAIN, "messages[0].created_at"),
        ([message(0, message_id="")], [], MAIN, "messages[0].message_id"),
        ([FIRST], [Branch(MAIN, "", head="nobody")], MAIN, "branches[0].head_message_id"),
        ([FIRST], [Branch(MAIN, ""), Branch(MAIN, "")], MAIN, "branches[1].branch_id"),
        ([FIRST], [Branch(derived_id(1, "x"), "")], MAIN, "branches"),
        ([FIRST], [], "nowhere", "thread.active_branch_id"),
    ],
)
def test_what_is_no_tree_is_refused_by_name(
    messages: list[Message], branches: list[Branch], active: str, named: str
) -> None:
    thread = Thread("t", "", 0, NOW, NOW, active_branch=active)
    with pytest.raises(MeshError) as caught:
        checked(ConversationFile(thread, branches, messages), max_bytes=1000)
    assert caught.value.metadata["field"] == named


def test_references_to_strangers_are_left_out_and_told() -> None:
    file = ConversationFile(Thread("t", "", 0, NOW, NOW), (), [message(0, replaces="other", copied_from="other")])
    found = checked(file, max_bytes=1000)
    assert (found.messages[0].replaces, found.messages[0].copied_from) == ("", "")
    assert found.notes and "2 references" in found.notes[0]


def test_tokens_of_a_file_are_believed_only_when_they_could_be() -> None:
    file = ConversationFile(Thread("t", "", 0, NOW, NOW), (), [message(0, text="x" * 8000, tokens_estimated=1)])
    assert checked(file, max_bytes=10**5).messages[0].tokens_estimated > 1000
