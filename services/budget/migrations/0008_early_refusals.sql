-- What is left, read without a lock: whoever finds less than it asks for is refused on the spot, and waits for nobody.
-- A row for each request id of `r_request` that is taken, and one for each budget on the levels with what its window has
-- spent and holds (NULL: that window has no counter yet). All of one moment. `w_start` as in run_simply.
CREATE FUNCTION look_simply(
  orgs text, r_org uuid[], r_request uuid[], l_org uuid[], l_kind smallint[], l_id uuid[], w_zone text[],
  w_start timestamptz[]
) RETURNS TABLE (
  for_org uuid, taken uuid, budget uuid, on_kind smallint, on_level uuid, by_window smallint, most bigint, hard boolean,
  narrowed text, in_zone text, said text, since timestamptz, used bigint
) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.org_ids', orgs, true);
  RETURN QUERY
  SELECT r.org_id, r.request_id, NULL::uuid, NULL::smallint, NULL::uuid, NULL::smallint, NULL::bigint, NULL::boolean,
         NULL::text, NULL::text, NULL::text, NULL::timestamptz, NULL::bigint
  FROM unnest(r_org, r_request) AS u (org_id, id) CROSS JOIN LATERAL (
    SELECT a.org_id, a.request_id FROM reservations a WHERE a.org_id = u.org_id AND a.request_id = u.id OFFSET 0) r
  UNION ALL
  SELECT b.org_id, NULL, b.budget_id, b.level_kind, b.level_id, b.window_kind, b.limit_nano_usd, b.is_hard, b.selector,
         b.zone, b.note, w.start, c.used
  FROM unnest(l_org, l_kind, l_id) AS u (org_id, kind, id) CROSS JOIN LATERAL (
    SELECT * FROM budgets a WHERE a.org_id = u.org_id AND a.level_kind = u.kind AND a.level_id = u.id OFFSET 0) b
  CROSS JOIN LATERAL (SELECT
    w_start[(CASE WHEN b.zone = 'UTC' THEN 0 ELSE array_position(w_zone, b.zone) - 1 END) * 6 + b.window_kind] AS start) w
  LEFT JOIN LATERAL (
    SELECT a.committed + a.reserved AS used FROM counters a
    WHERE a.org_id = b.org_id AND a.budget_id = b.budget_id AND a.window_start = w.start OFFSET 0) c ON true;
END $$;

REVOKE ALL ON FUNCTION look_simply(text, uuid[], uuid[], uuid[], smallint[], uuid[], text[], timestamptz[]) FROM PUBLIC;
