"""Search in messages against a real PostgreSQL: what is found, how it is ranked, and by whom never."""

import datetime as dt
from collections.abc import Awaitable, Callable

import pytest

from dac.memory.v1 import archive_pb2, conversation_pb2
from dac.type.v1.principal_pb2 import Principal
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.postgres import Database
from services.memory.config import MemoryConfig
from services.memory.conversations.nearest_turns import RecalledTurns
from services.memory.embedding.embedder import open_embedder
from services.memory.recall.server import Remembering
from services.memory.sealing.sealing import PlainSealer
from tests.integration.memory.archive_house import Caller, House, refused

Open = Callable[..., Awaitable[Database]]


@pytest.fixture
async def house(database_for: Open) -> House:
    return House(await database_for("memory"))


@pytest.fixture
def anna(house: House, org_id: str) -> Caller:
    return house.caller(Principal(org_id=org_id, user_id="anna", scopes=["chat", "read"]))


@pytest.fixture
def bob(house: House, org_id: str) -> Caller:
    return house.caller(Principal(org_id=org_id, user_id="bob", scopes=["chat", "read"]))


@pytest.fixture
def admin(house: House, org_id: str) -> Caller:
    return house.caller(Principal(org_id=org_id, scopes=["admin"]))


@pytest.fixture
def stranger(house: House) -> Caller:
    return house.caller(Principal(org_id=uuid7(), user_id="anna", scopes=["admin"]))


async def test_search_finds_what_was_said_and_shows_where(anna: Caller) -> None:
    await anna.begin("t", title="Walls")
    await anna.say("t", "We painted the kitchen yellow.")
    await anna.say("t", "Nice, and the bathroom?", "assistant")
    await anna.say("t", "The kitchen took two days; painting is slow.")
    answer = await anna.search("painting the kitchen")
    assert [one.message.text for one in answer.hits] == [
        "We painted the kitchen yellow.",
        "The kitchen took two days; painting is slow.",
    ]
    hit = answer.hits[0]
    marked = [hit.snippets[0].text[span.start : span.end] for span in hit.snippets[0].found]
    assert (hit.thread_title, marked) == ("Walls", ["painted", "kitchen"])
    assert hit.score == hit.word_score > 0 and not answer.by_meaning
    assert await anna.found("rowing") == []
    assert await anna.found("?!") == []


async def test_a_rare_word_weighs_more_than_a_common_one(anna: Caller) -> None:
    await anna.begin("t")
    for n in range(8):
        await anna.say("t", f"the report number {n} is done")
    await anna.say("t", "the quokka is here")
    assert (await anna.found("quokka report"))[0] == "the quokka is here"
    assert await anna.found("quokka report", all_words=True) == []


async def test_search_keeps_to_its_filters(anna: Caller, house: House) -> None:
    await anna.begin("one", tags=["home"])
    await anna.begin("two", tags=["work", "home"])
    await anna.say("one", "apples in one")
    await anna.say("two", "apples in two", "assistant", model="m/1")
    noon = house.now + dt.timedelta(seconds=1)
    house.now += dt.timedelta(hours=1)
    await anna.say("two", "late apples in two")
    assert set(await anna.found("apple")) == {"apples in one", "apples in two", "late apples in two"}
    assert await anna.found("apple", thread_id="one") == ["apples in one"]
    assert await anna.found("apple", conversation_id="one") == ["apples in one"]
    assert await anna.found("apple", role=["assistant"]) == ["apples in two"]
    assert await anna.found("apple", model=["m/1", "m/2"]) == ["apples in two"]
    assert set(await anna.found("apple", tag=["home", "work"])) == {"apples in two", "late apples in two"}
    assert await anna.found("apple", start_at=noon) == ["late apples in two"]
    assert set(await anna.found("apple", end_at=noon)) == {"apples in one", "apples in two"}
    assert await refused(anna.found("apple", thread_id="nowhere")) is Reason.NOT_FOUND
    assert await refused(anna.found(" ")) is Reason.INVALID_REQUEST
    assert await refused(anna.found("x" * 2001)) is Reason.INVALID_REQUEST


async def test_pages_of_a_search_hold_everything_once(anna: Caller) -> None:
    await anna.begin("t")
    for n in range(5):
        await anna.say("t", f"pear {n}")
    texts, token = [], ""
    while True:
        page = await anna.search("pear", page_size=2, page_token=token)
        texts += [one.message.text for one in page.hits]
        token = page.next_page_token
        if not token:
            break
    assert texts == [f"pear {n}" for n in reversed(range(5))], "of equals the newest first"
    token = (await anna.search("pear", page_size=2)).next_page_token
    assert await refused(anna.search("plum", page_size=2, page_token=token)) is Reason.INVALID_REQUEST


async def test_nobody_finds_what_is_anothers(
    anna: Caller, bob: Caller, admin: Caller, stranger: Caller, house: House, org_id: str
) -> None:
    await anna.begin("t")
    await anna.say("t", "the secret word is xylophone")
    nobody = house.caller(Principal(org_id=org_id, scopes=["chat", "read"]))
    for other in (bob, stranger, nobody):
        assert await other.found("xylophone") == []
        assert await refused(other.found("xylophone", thread_id="t")) is Reason.NOT_FOUND
        full = archive_pb2.GetConversationFullRequest(thread_id="t")
        assert await refused(other.ask("GetConversationFull", full)) is Reason.NOT_FOUND
        assert await refused(other.file("t")) is Reason.NOT_FOUND
        assert (await other.ask("GetConversationStats", archive_pb2.GetConversationStatsRequest())).messages == 0
        result = await other.batch({"delete": {"thread_id": "t"}}, {"tag": {"thread_id": "t", "add": ["x"]}})
        assert [one.error.reason for one in result.results] == ["NOT_FOUND", "NOT_FOUND"]
    assert await admin.found("xylophone") == await anna.found("xylophone") != []
    assert await admin.found("xylophone", user_id="bob") == []
    assert await refused(bob.found("xylophone", user_id="anna")) is Reason.PERMISSION_DENIED


async def test_the_search_function_answers_only_for_the_organisation_that_is_set(
    anna: Caller, house: House, org_id: str
) -> None:
    await anna.begin("t")
    await anna.say("t", "xylophone")
    numbers = [(await house.sealer.key_of(org_id)).term_id("xylophon")]
    ask = "SELECT * FROM find_messages($1, $2, false, 5, '', '', true, NULL, '{}', '{}', '{}', NULL, NULL)"
    async with house.database.transaction(org_id) as connection:
        assert len(await connection.fetch(ask, org_id, numbers)) == 1
    async with house.database.transaction(uuid7()) as connection:
        assert (
            await connection.fetch(
                ask.replace("$1", "current_setting('app.org_ids')::uuid").replace("$2", "$1"), numbers
            )
            == []
        )
    with pytest.raises(MeshError):
        async with house.database.transaction(uuid7()) as connection:
            await connection.fetch(ask, org_id, numbers)


async def test_what_is_deleted_or_erased_is_not_found(anna: Caller) -> None:
    await anna.begin("t")
    first, second = await anna.say("t", "walnut one"), await anna.say("t", "walnut two")
    delete = conversation_pb2.DeleteMessageRequest
    await anna.ask("DeleteMessage", delete(thread_id="t", message_id=first))
    assert await anna.found("walnut") == await anna.found("walnut", thread_id="t") == ["walnut two"]
    await anna.ask("DeleteMessage", delete(thread_id="t", message_id=second, erase=True))
    assert await anna.found("walnut") == []
    await anna.begin("u")
    await anna.say("u", "walnut three")
    await anna.ask("DeleteThread", conversation_pb2.DeleteThreadRequest(thread_id="u"))
    assert await anna.found("walnut") == []
    await anna.ask("RestoreThread", conversation_pb2.RestoreThreadRequest(thread_id="u"))
    assert await anna.found("walnut") == ["walnut three"]
    await anna.ask("DeleteThread", conversation_pb2.DeleteThreadRequest(thread_id="u", erase=True))
    assert await anna.found("walnut") == []


async def test_messages_of_an_older_program_are_found_once_they_are_numbered(
    anna: Caller, house: House, org_id: str
) -> None:
    await anna.begin("t")
    await anna.say("t", "hazelnut")
    async with house.database.transaction(org_id) as connection:
        await connection.execute("UPDATE messages SET terms = NULL")
    assert await anna.found("hazelnut") == []
    assert await house.numberer.number_once() >= 1
    assert await anna.found("hazelnut") == ["hazelnut"]
    async with house.database.transaction(org_id) as connection:
        assert await connection.fetchval("SELECT count(*) FROM messages WHERE terms IS NULL") == 0


async def test_meaning_is_mixed_in_where_there_is_an_index(anna: Caller, bob: Caller, house: House) -> None:
    await anna.begin("t")
    dog, cat = await anna.say("t", "the dog barked"), await anna.say("t", "a kitten purred")
    await bob.begin("b")
    hidden = await bob.say("b", "a puppy purred")
    assert await refused(anna.search("dog", mode=archive_pb2.SEARCH_MODE_MEANING)) is Reason.FAILED_PRECONDITION
    house.meanings.said = [(hidden, 0.99), (cat, 0.9), (uuid7(), 0.8), (dog, 0.35)]
    answer = await anna.search("dog", mode=archive_pb2.SEARCH_MODE_MEANING)
    assert [one.message.text for one in answer.hits] == ["a kitten purred", "the dog barked"]
    assert answer.by_meaning and answer.hits[0].meaning_score == 0.9
    assert set(await anna.found("dog")) == {"a kitten purred", "the dog barked"}
    assert await anna.found("dog", all_words=True) == ["the dog barked"]
    house.meanings.said = [(cat, 0.2)]
    assert await anna.found("dog") == ["the dog barked"], "something is always nearest"
    assert await anna.found("dog", mode=archive_pb2.SEARCH_MODE_WORDS) == ["the dog barked"]


async def test_the_index_of_turns_finds_by_meaning(database_for: Open, org_id: str) -> None:
    database, sealer = await database_for("memory"), PlainSealer()
    embedder = open_embedder(MemoryConfig())
    if not embedder.semantic:
        pytest.skip("the embedding model is not installed")
    part = Remembering(database, MemoryConfig(), sealer, embedder)
    house = House(database, nearest=RecalledTurns(part.recaller), listeners=[part.turn_index])
    anna = house.caller(Principal(org_id=org_id, user_id="anna", scopes=["chat", "read"]))
    bob = house.caller(Principal(org_id=org_id, user_id="bob", scopes=["chat", "read"]))
    try:
        await anna.begin("t")
        await anna.say("t", "My puppy chewed the sofa again.")
        await anna.say("t", "The tax return is due in March.", "assistant")
        await bob.begin("b")
        await bob.say("b", "Our dog sleeps all day.")
        await part.vector_maker.make_all()
        answer = await anna.search("dog", mode=archive_pb2.SEARCH_MODE_MEANING)
        assert [one.message.text for one in answer.hits] == ["My puppy chewed the sofa again."]
        assert await bob.found("dog", mode=archive_pb2.SEARCH_MODE_MEANING) == ["Our dog sleeps all day."]
        assert await anna.found("dog") == ["My puppy chewed the sofa again."]
        await anna.ask("DeleteThread", conversation_pb2.DeleteThreadRequest(thread_id="t"))
        assert await anna.found("dog") == []
    finally:
        await embedder.close()
