-- Read with each list: the few instances that are on their way out.
CREATE INDEX instances_removing ON instances (account) WHERE removal_keys IS NOT NULL;
