-- Wrong guesses of passwords and codes, for all replicas: what SQLite's one process keeps in memory.

CREATE TABLE guesses (
    guesser BYTEA  PRIMARY KEY,             -- a MAC over who guesses, under the sealing key
    count   BIGINT NOT NULL,
    last    BIGINT NOT NULL
);

CREATE INDEX guesses_by_last ON guesses (last);
