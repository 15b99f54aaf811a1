-- Usage: an organisation's lines of some time are read without those of all others.
--
-- The index beside the BRIN one is small beside the ledger and grows at its end for each organisation.
CREATE INDEX ledger_org_at ON ledger (org_id, at);
