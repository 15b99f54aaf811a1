"""The gateway's named failures."""

from mesh.errors import MeshError, Reason, invalid

HOW_TO_SEND = 'Send a key as "Authorization: Bearer dac_…". Make one with `dac key create NAME`.'


def missing_key() -> MeshError:
    """No credential was sent."""
    return MeshError(Reason.MISSING_CREDENTIAL, f"This needs an API key. {HOW_TO_SEND}")


def malformed_key() -> MeshError:
    """What was sent is not a key of DAC's form. It is never repeated."""
    return MeshError(
        Reason.INVALID_CREDENTIAL,
        "This is not a DAC key: a key reads dac_<environment>_<12 characters>_<secret>. Check for missing characters.",
    )


def short_foreign_key(least: int) -> MeshError:
    """A key of another gateway that could be guessed."""
    return MeshError(
        Reason.INVALID_CREDENTIAL,
        f"Keys that begin with sk- are taken over from {least} characters on; a shorter one can be guessed. "
        "Make a new one with `dac key create NAME`.",
    )


def key_elsewhere(name: str) -> MeshError:
    """A key that is to be taken over stands in another organisation."""
    return MeshError(
        Reason.ALREADY_EXISTS,
        f'The key "{name}" belongs to another organisation already: leave it out, or revoke it there.',
    )


def unknown_key() -> MeshError:
    """No such key, or another secret."""
    return MeshError(
        Reason.INVALID_CREDENTIAL, "This API key is not known here. Check it, or make one with `dac key create NAME`."
    )


def revoked_key() -> MeshError:
    """The key was revoked."""
    return MeshError(Reason.INVALID_CREDENTIAL, "This API key was revoked. Make another with `dac key create NAME`.")


def expired_key(at: str) -> MeshError:
    """The key has expired."""
    return MeshError(
        Reason.INVALID_CREDENTIAL, f"This API key expired at {at}. Make another with `dac key create NAME`."
    )


def keys_unreachable() -> MeshError:
    """Keys cannot be checked right now."""
    return MeshError(
        Reason.UNAVAILABLE, "Keys cannot be checked right now: the database does not answer.", retry_after_s=1.0
    )


def checked_elsewhere() -> MeshError:
    """A principal of a key that this gateway has not checked itself."""
    return MeshError(
        Reason.UNAVAILABLE, "This gateway has not checked that key: send the key itself to the gateway's public port."
    )


def weak_key(variable: str, why: str) -> MeshError:
    """A key given by the environment is too weak to be used."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f"{variable} is weak: {why}. Use dac_<environment>_<12 characters>_<32 or more random A-Z a-z 0-9>, "
        "or leave it unset and DAC makes one.",
    )


def other_master_key() -> MeshError:
    """The database belongs to another master key."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        "This database was set up with another master key: no key in it could be checked. Restore data/secrets "
        "(or DAC_MASTER_KEY_FILE) that belongs to it, or use an empty database.",
    )


def not_found(what: str, which: str) -> MeshError:
    """The named thing does not exist for this caller."""
    return MeshError(Reason.NOT_FOUND, f'There is no {what} "{which}" in your organisation.')


def not_a_message(which: str) -> MeshError:
    """The path of a turn names a message by what cannot be an id."""
    return invalid("message_id", f'"{which}" is not the id of a message, which is a UUID: see the thread\'s messages.')


def results_missing() -> MeshError:
    """A result of a tool beside which others are missing cannot be answered."""
    return invalid(
        "message_id",
        "Calls of tools lack results here, so no model can answer: name the message that called, or its question.",
    )


def no_organisation(which: str) -> MeshError:
    """There is no such organisation."""
    return MeshError(
        Reason.NOT_FOUND, f'There is no organisation "{which}"; GET /v2/tenants and GET /v1/organisations list them.'
    )


def team_circle(team_id: str, parent_team_id: str) -> MeshError:
    """A team would lie in itself."""
    return invalid(
        "parent_team_id",
        f'The team "{team_id}" cannot lie in "{parent_team_id}", because that is the same team or lies in it: choose '
        "another, or none.",
    )


def too_deep(most: int) -> MeshError:
    """Too many teams within each other."""
    return invalid("parent_team_id", f"At most {most} teams lie within each other: choose a team nearer to the root.")


def name_taken(kind: str, name: str) -> MeshError:
    """Another one of the organisation has this name."""
    return MeshError(
        Reason.ALREADY_EXISTS,
        f'There is a {kind} "{name}" in your organisation already: choose another name.',
        metadata={"field": "name"},
    )


def in_use(kind: str, name: str, hanging: str) -> MeshError:
    """Something hangs on what is to be deleted."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f'The {kind} "{name}" is not deleted, because this hangs on it: {hanging}. Move, revoke or delete that first.',
    )


def project_elsewhere(project_id: str, team_id: str) -> MeshError:
    """A team and a project of another team were named together."""
    return invalid(
        "project_id",
        f'The project "{project_id}" belongs to the team "{team_id}": name that team, or the project alone.',
    )


def keys_of_another_team(key_name: str, team_id: str) -> MeshError:
    """A project is to go to a team, and one of its keys names another."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f'The key "{key_name}" of this project names the team "{team_id}": move the key out of that team first.',
        metadata={"field": "team_id"},
    )


def may_not_act(kind: str, which: str) -> MeshError:
    """The caller named a team or project that it may not act for, or that is none of its organisation."""
    return MeshError(
        Reason.PERMISSION_DENIED,
        f'This key may not act for the {kind} "{which}": a key may act for where it stands, one that stands in a team '
        "also for what lies in that team, and one with scope admin for any of its organisation.",
        metadata={"field": f"{kind}_id"},
    )


def other_request() -> MeshError:
    """An Idempotency-Key came again with another request."""
    return MeshError(
        Reason.REQUEST_ID_CONFLICT,
        "This Idempotency-Key was sent with another request before: use a new key for a new request.",
        metadata={"field": "idempotency-key"},
    )


def still_running() -> MeshError:
    """A request came again while it runs."""
    return MeshError(
        Reason.REQUEST_IN_PROGRESS,
        "The first request with this Idempotency-Key is still running: ask again in a moment.",
        retry_after_s=1.0,
    )


def answer_not_kept(why: str) -> MeshError:
    """A request came again, was carried out before, and its answer is not there."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f"The request with this Idempotency-Key was carried out, and its answer cannot be shown again: {why}. "
        "Read what it made.",
        metadata={"field": "idempotency-key"},
    )


def too_many_keyed(most: int) -> MeshError:
    """A caller has as many Idempotency-Keys as are kept."""
    return MeshError(
        Reason.RATE_LIMITED,
        f"You have sent {most} requests with an Idempotency-Key within a day: wait, or send this one without.",
        metadata={"field": "idempotency-key"},
    )
