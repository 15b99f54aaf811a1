"""The gateway's named failures."""

from mesh.errors import MeshError, Reason

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
