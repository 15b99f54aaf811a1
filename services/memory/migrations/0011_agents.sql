-- The agent that a thread is held with: its turns are that agent's memories. A constant default rewrites no row, and the
-- program before this one goes on making threads of no agent.
ALTER TABLE threads ADD COLUMN agent_id text NOT NULL DEFAULT '';
