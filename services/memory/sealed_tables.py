"""The tables with text, as the background sealer and the count of what is plain see them: one statement of each kind.

`find` reads a page behind a row: `$1` organisation, `$2` the row before, as text[], `$3` how many, `$4` the header that
rows sealed by the present key begin with. It gives `row_key`, `needs` (whether the row has to be sealed), `about`,
`version`, `sealed`, and the texts by the names they have inside of `sealed`. `seal` writes a row that nobody has
changed since: `$1` organisation, `$2` its key, `$3` its version, `$4` what is sealed. `count` counts plain, sealed,
earlier rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SealedTable:
    """One table's statements."""

    first: tuple[str, ...]
    """What comes before every row's key."""
    find: str
    seal: str
    count: str
    is_data: bool = False
    """Whether the row's content is bytes, in a column `data`."""


TABLES: Mapping[str, SealedTable] = {
    "threads": SealedTable(
        first=("",),
        find="""SELECT ARRAY[thread_id] AS row_key, 'threads/' || thread_id AS about, version_read AS version, needs,
            CASE WHEN needs THEN sealed END AS sealed, CASE WHEN needs THEN title END AS title
            FROM (SELECT *, xmin::text AS version_read, coalesce(substring(sealed FROM 1 FOR 17) <> $4, title <> '')
                AS needs FROM threads WHERE org_id = $1 AND thread_id > ($2::text[])[1]
                ORDER BY thread_id LIMIT $3) AS page ORDER BY thread_id""",
        seal="""UPDATE threads SET sealed = $4, title = '' WHERE org_id = $1 AND thread_id = ($2::text[])[1]
            AND xmin::text = $3""",
        count="""SELECT count(*) FILTER (WHERE sealed IS NULL AND title <> ''),
            count(*) FILTER (WHERE substring(sealed FROM 1 FOR 17) = $2),
            count(*) FILTER (WHERE substring(sealed FROM 1 FOR 17) <> $2) FROM threads WHERE org_id = $1""",
    ),
    "messages": SealedTable(
        first=("", "-1"),
        find="""SELECT ARRAY[thread_id, position::text] AS row_key, 'messages/' || message_id AS about,
            version_read AS version, needs, CASE WHEN needs THEN sealed END AS sealed,
            CASE WHEN needs THEN text END AS text, CASE WHEN needs THEN openai_json END AS openai_json
            FROM (SELECT *, xmin::text AS version_read,
                coalesce(substring(sealed FROM 1 FOR 17) <> $4, text <> '' OR openai_json <> '') AS needs
                FROM messages WHERE org_id = $1
                AND (thread_id, position) > (($2::text[])[1], ($2::text[])[2]::bigint)
                ORDER BY thread_id, position LIMIT $3) AS page ORDER BY thread_id, position""",
        seal="""UPDATE messages SET sealed = $4, text = '', openai_json = '' WHERE org_id = $1
            AND thread_id = ($2::text[])[1] AND position = ($2::text[])[2]::bigint AND xmin::text = $3""",
        count="""SELECT count(*) FILTER (WHERE sealed IS NULL AND (text <> '' OR openai_json <> '')),
            count(*) FILTER (WHERE substring(sealed FROM 1 FOR 17) = $2),
            count(*) FILTER (WHERE substring(sealed FROM 1 FOR 17) <> $2) FROM messages WHERE org_id = $1""",
    ),
    "cache_entries": SealedTable(
        first=("",),
        find="""SELECT ARRAY[encode(fingerprint, 'hex')] AS row_key,
            'cache_entries/' || encode(fingerprint, 'hex') AS about, version_read AS version, needs,
            CASE WHEN needs THEN sealed END AS sealed, CASE WHEN needs THEN answer END AS data
            FROM (SELECT *, xmin::text AS version_read,
                coalesce(substring(sealed FROM 1 FOR 17) <> $4, answer <> '') AS needs
                FROM cache_entries WHERE org_id = $1 AND fingerprint > decode(($2::text[])[1], 'hex')
                ORDER BY fingerprint LIMIT $3) AS page ORDER BY fingerprint""",
        seal="""UPDATE cache_entries SET sealed = $4, answer = '' WHERE org_id = $1
            AND fingerprint = decode(($2::text[])[1], 'hex') AND xmin::text = $3""",
        count="""SELECT count(*) FILTER (WHERE sealed IS NULL AND answer <> ''),
            count(*) FILTER (WHERE substring(sealed FROM 1 FOR 17) = $2),
            count(*) FILTER (WHERE substring(sealed FROM 1 FOR 17) <> $2) FROM cache_entries WHERE org_id = $1""",
        is_data=True,
    ),
}
"""By table."""
