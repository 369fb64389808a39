-- Wrong guesses of passwords and codes, for all replicas: what SQLite's one process keeps in memory.

CREATE TABLE guesses (
    guesser BYTEA  PRIMARY KEY,             -- a MAC over who guesses, under the sealing key
    count   BIGINT NOT NULL,
    last    BIGINT NOT NULL
);

CREATE INDEX guesses_by_last ON guesses (last);

-- In how many seconds an instance was told to speak again, when it last did: by that it is judged.
ALTER TABLE instances ADD COLUMN next_in BIGINT NOT NULL DEFAULT 30;
