-- In how many seconds an instance was told to speak again, when it last did: by that it is judged.
ALTER TABLE instances ADD COLUMN next_in INTEGER NOT NULL DEFAULT 30;
