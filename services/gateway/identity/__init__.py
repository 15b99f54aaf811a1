"""Who is calling and where they stand: organisations, teams, projects, users and keys."""
