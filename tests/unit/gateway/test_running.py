"""Work under keys is looked at again: each key once, and only one that is gone ends anything."""

from mesh.errors import MeshError
from services.gateway import errors
from services.gateway.identity.running import Running


class Keys:
    """Keys that are good, revoked or cannot be checked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failures: dict[str, MeshError] = {}

    async def check(self, authorization: str) -> None:
        self.asked.append(authorization)
        if authorization in self.failures:
            raise self.failures[authorization]


async def test_only_work_of_a_key_that_is_gone_is_ended():
    keys, ended = Keys(), list[tuple[str, str]]()
    running = Running(keys.check)
    for name, key in (("1", "a"), ("2", "a"), ("3", "b"), ("4", "c")):
        running.begin(key, lambda why, name=name: ended.append((name, why.message)))
    done = running.begin("d", lambda why: ended.append(("5", "")))
    done()
    keys.failures = {"a": errors.revoked_key(), "b": errors.keys_unreachable(), "d": errors.revoked_key()}
    await running.look()
    assert sorted(keys.asked) == ["a", "b", "c"]
    assert [name for name, _ in ended] == ["1", "2"] and all("revoked" in why for _, why in ended)
