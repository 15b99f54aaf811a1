-- Usage: an organisation's lines of some time are read without those of all others.
--
-- The index beside the BRIN one is small beside the ledger and grows at its end for each organisation.
CREATE INDEX ledger_org_at ON ledger (org_id, at);

-- Each way of telling takes an alert by itself, so that one that fails is tried again alone. `alert_id` names the alert to
-- those who are told, the same at every try.
ALTER TABLE alerts
  ADD COLUMN alert_id uuid NOT NULL DEFAULT gen_random_uuid(),
  ADD COLUMN webhook_told_at timestamptz,
  ADD COLUMN mail_told_at timestamptz;
