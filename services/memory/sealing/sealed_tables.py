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

NO_UUID = "00000000-0000-0000-0000-000000000000"


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
            CASE WHEN needs THEN sealed END AS sealed, CASE WHEN needs THEN title END AS title,
            CASE WHEN needs THEN to_jsonb(tags)::text END AS tags, CASE WHEN needs THEN parameters END AS parameters
            FROM (SELECT *, xmin::text AS version_read, coalesce(substring(sealed FROM 1 FOR 17) <> $4,
                    title <> '' OR tags <> '{}' OR parameters <> '') AS needs
                FROM threads WHERE org_id = $1 AND thread_id > ($2::text[])[1]
                ORDER BY thread_id LIMIT $3) AS page ORDER BY thread_id""",
        seal="""UPDATE threads SET sealed = $4, title = '', tags = '{}', parameters = '' WHERE org_id = $1
            AND thread_id = ($2::text[])[1] AND xmin::text = $3""",
        count="""SELECT count(*) FILTER (WHERE sealed IS NULL AND (title <> '' OR tags <> '{}' OR parameters <> '')),
            count(*) FILTER (WHERE substring(sealed FROM 1 FOR 17) = $2),
            count(*) FILTER (WHERE substring(sealed FROM 1 FOR 17) <> $2) FROM threads WHERE org_id = $1""",
    ),
    # A branch has the name 'main' without anybody having said it.
    "branches": SealedTable(
        first=("", ""),
        find="""SELECT ARRAY[thread_id, branch_id] AS row_key, 'branches/' || thread_id || '/' || branch_id AS about,
            version_read AS version, needs, CASE WHEN needs THEN sealed END AS sealed, CASE WHEN needs THEN name END
            AS name FROM (SELECT *, xmin::text AS version_read,
                coalesce(substring(sealed FROM 1 FOR 17) <> $4, name NOT IN ('', 'main')) AS needs
                FROM branches WHERE org_id = $1 AND (thread_id, branch_id) > (($2::text[])[1], ($2::text[])[2])
                ORDER BY thread_id, branch_id LIMIT $3) AS page ORDER BY thread_id, branch_id""",
        seal="""UPDATE branches SET sealed = $4, name = '' WHERE org_id = $1 AND thread_id = ($2::text[])[1]
            AND branch_id = ($2::text[])[2] AND xmin::text = $3""",
        count="""SELECT count(*) FILTER (WHERE sealed IS NULL AND name NOT IN ('', 'main')),
            count(*) FILTER (WHERE substring(sealed FROM 1 FOR 17) = $2),
            count(*) FILTER (WHERE substring(sealed FROM 1 FOR 17) <> $2) FROM branches WHERE org_id = $1""",
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
    "memories": SealedTable(
        first=(NO_UUID,),
        find="""SELECT ARRAY[memory_id::text] AS row_key, 'memories/' || memory_id AS about, version_read AS version,
            needs, CASE WHEN needs THEN sealed END AS sealed, CASE WHEN needs THEN speaker END AS speaker,
            CASE WHEN needs THEN text END AS text, CASE WHEN needs THEN metadata END AS metadata
            FROM (SELECT *, xmin::text AS version_read, coalesce(substring(sealed FROM 1 FOR 17) <> $4,
                    text <> '' OR speaker <> '' OR metadata <> '') AS needs
                FROM memories WHERE org_id = $1 AND memory_id > ($2::text[])[1]::uuid
                ORDER BY memory_id LIMIT $3) AS page ORDER BY memory_id""",
        seal="""UPDATE memories SET sealed = $4, text = '', speaker = '', metadata = '' WHERE org_id = $1
            AND memory_id = ($2::text[])[1]::uuid AND xmin::text = $3""",
        count="""SELECT count(*) FILTER (WHERE sealed IS NULL AND (text <> '' OR speaker <> '' OR metadata <> '')),
            count(*) FILTER (WHERE substring(sealed FROM 1 FOR 17) = $2),
            count(*) FILTER (WHERE substring(sealed FROM 1 FOR 17) <> $2) FROM memories WHERE org_id = $1""",
    ),
    "memory_history": SealedTable(
        first=(NO_UUID, "0"),
        find="""SELECT ARRAY[memory_id::text, change_id::text] AS row_key, 'memory_history/' || memory_id AS about,
            version_read AS version, needs, CASE WHEN needs THEN sealed END AS sealed,
            CASE WHEN needs THEN snapshot END AS snapshot
            FROM (SELECT *, xmin::text AS version_read,
                coalesce(substring(sealed FROM 1 FOR 17) <> $4, snapshot <> '') AS needs FROM memory_history
                WHERE org_id = $1 AND (memory_id, change_id) > (($2::text[])[1]::uuid, ($2::text[])[2]::bigint)
                ORDER BY memory_id, change_id LIMIT $3) AS page ORDER BY memory_id, change_id""",
        seal="""UPDATE memory_history SET sealed = $4, snapshot = '' WHERE org_id = $1
            AND memory_id = ($2::text[])[1]::uuid AND change_id = ($2::text[])[2]::bigint AND xmin::text = $3""",
        count="""SELECT count(*) FILTER (WHERE sealed IS NULL AND snapshot <> ''),
            count(*) FILTER (WHERE substring(sealed FROM 1 FOR 17) = $2),
            count(*) FILTER (WHERE substring(sealed FROM 1 FOR 17) <> $2) FROM memory_history WHERE org_id = $1""",
    ),
    "thread_summaries": SealedTable(
        first=("", NO_UUID, ""),
        find="""SELECT ARRAY[thread_id, until_message_id::text, written_by] AS row_key,
            'thread_summaries/' || thread_id AS about, version_read AS version, needs,
            CASE WHEN needs THEN sealed END AS sealed, CASE WHEN needs THEN text END AS text
            FROM (SELECT *, xmin::text AS version_read,
                coalesce(substring(sealed FROM 1 FOR 17) <> $4, text <> '') AS needs FROM thread_summaries
                WHERE org_id = $1 AND (thread_id, until_message_id, written_by)
                    > (($2::text[])[1], ($2::text[])[2]::uuid, ($2::text[])[3])
                ORDER BY thread_id, until_message_id, written_by LIMIT $3) AS page
            ORDER BY thread_id, until_message_id, written_by""",
        seal="""UPDATE thread_summaries SET sealed = $4, text = '' WHERE org_id = $1 AND thread_id = ($2::text[])[1]
            AND until_message_id = ($2::text[])[2]::uuid AND written_by = ($2::text[])[3] AND xmin::text = $3""",
        count="""SELECT count(*) FILTER (WHERE sealed IS NULL AND text <> ''),
            count(*) FILTER (WHERE substring(sealed FROM 1 FOR 17) = $2),
            count(*) FILTER (WHERE substring(sealed FROM 1 FOR 17) <> $2) FROM thread_summaries WHERE org_id = $1""",
    ),
    "vector_items": SealedTable(
        first=(NO_UUID, ""),
        find="""SELECT ARRAY[collection_id::text, item_id] AS row_key,
            'vector_items/' || collection_id || '/' || item_id AS about, version_read AS version, needs,
            CASE WHEN needs THEN sealed END AS sealed, CASE WHEN needs THEN text END AS text,
            CASE WHEN needs THEN metadata::text END AS metadata
            FROM (SELECT *, xmin::text AS version_read,
                coalesce(substring(sealed FROM 1 FOR 17) <> $4, text <> '' OR metadata <> '{}') AS needs
                FROM vector_items WHERE org_id = $1
                AND (collection_id, item_id) > (($2::text[])[1]::uuid, ($2::text[])[2])
                ORDER BY collection_id, item_id LIMIT $3) AS page ORDER BY collection_id, item_id""",
        seal="""UPDATE vector_items SET sealed = $4, text = '', metadata = '{}' WHERE org_id = $1
            AND collection_id = ($2::text[])[1]::uuid AND item_id = ($2::text[])[2] AND xmin::text = $3""",
        count="""SELECT count(*) FILTER (WHERE sealed IS NULL AND (text <> '' OR metadata <> '{}')),
            count(*) FILTER (WHERE substring(sealed FROM 1 FOR 17) = $2),
            count(*) FILTER (WHERE substring(sealed FROM 1 FOR 17) <> $2) FROM vector_items WHERE org_id = $1""",
    ),
    "cache_answers": SealedTable(
        first=(NO_UUID,),
        find="""SELECT ARRAY[entry_id::text] AS row_key, 'cache_answers/' || entry_id AS about, version_read AS version,
            needs, CASE WHEN needs THEN sealed END AS sealed, CASE WHEN needs THEN content END AS data
            FROM (SELECT *, xmin::text AS version_read,
                coalesce(substring(sealed FROM 1 FOR 17) <> $4, content <> '') AS needs
                FROM cache_answers WHERE org_id = $1 AND entry_id > ($2::text[])[1]::uuid
                ORDER BY entry_id LIMIT $3) AS page ORDER BY entry_id""",
        seal="""UPDATE cache_answers SET sealed = $4, content = '' WHERE org_id = $1
            AND entry_id = ($2::text[])[1]::uuid AND xmin::text = $3""",
        count="""SELECT count(*) FILTER (WHERE sealed IS NULL AND content <> ''),
            count(*) FILTER (WHERE substring(sealed FROM 1 FOR 17) = $2),
            count(*) FILTER (WHERE substring(sealed FROM 1 FOR 17) <> $2) FROM cache_answers WHERE org_id = $1""",
        is_data=True,
    ),
    # Of the program before, which could not read sealed ones: they are dropped, which costs it a hit.
    "cache_entries": SealedTable(
        first=("",),
        find="""SELECT ARRAY[encode(fingerprint, 'hex')] AS row_key, '' AS about, xmin::text AS version, true AS needs,
            NULL::bytea AS sealed, ''::bytea AS data FROM cache_entries
            WHERE org_id = $1 AND fingerprint > decode(($2::text[])[1], 'hex') AND octet_length($4::bytea) > 0
            ORDER BY fingerprint LIMIT $3""",
        seal="""DELETE FROM cache_entries WHERE org_id = $1 AND fingerprint = decode(($2::text[])[1], 'hex')
            AND xmin::text = $3 AND octet_length($4::bytea) > 0""",
        count="""SELECT count(*), count(*) FILTER (WHERE octet_length($2::bytea) = 0), 0 FROM cache_entries
            WHERE org_id = $1""",
        is_data=True,
    ),
}
"""By table."""
