-- Signers of snapshots, one set after the other, and whether secrets-dir is that of this database.

CREATE TABLE signer_sets (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    signers   TEXT    NOT NULL,   -- JSON: public key lines, the one that stays first
    at        INTEGER NOT NULL,
    payload   BLOB,               -- the hand-over; NULL: the first set, or one without hand-over
    signature TEXT                -- over the payload, by a signer of the set before
) STRICT;

CREATE TABLE sealing (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    tag BLOB    NOT NULL          -- a MAC under the sealing key
) STRICT;
