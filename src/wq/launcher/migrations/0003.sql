-- Version 3: what a user wrote is stored once, apart from what becomes of it; tasks of arrays, and their intents as ranges.
ALTER TABLE entries RENAME TO entries_2;
CREATE TABLE submissions (          -- first: the id of the first of its jobs, if the others have the next ones
    token TEXT PRIMARY KEY, setting TEXT NOT NULL REFERENCES settings (name), first INTEGER
) WITHOUT ROWID;
INSERT INTO submissions SELECT DISTINCT token, setting, NULL FROM entries_2;
CREATE TABLE entries (
    token TEXT NOT NULL REFERENCES submissions (token), place INTEGER NOT NULL,
    task BLOB NOT NULL, state BLOB NOT NULL, PRIMARY KEY (token, place)
) WITHOUT ROWID;
INSERT INTO entries SELECT token, place,
    CAST(json_extract(CAST(entry AS TEXT), '$.task') AS BLOB),
    CAST(json_remove(CAST(entry AS TEXT), '$.task') AS BLOB) FROM entries_2;
DROP TABLE entries_2;
CREATE INDEX submissions_setting ON submissions (setting);
CREATE TABLE chunks (               -- tasks of one array that were granted together, some of which may be in a later one
    serial INTEGER PRIMARY KEY, token TEXT NOT NULL, place INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    attempt INTEGER NOT NULL, chunk BLOB NOT NULL
);
CREATE TABLE tasks (                -- those of which more is to be known
    token TEXT NOT NULL, place INTEGER NOT NULL, number INTEGER NOT NULL, state BLOB NOT NULL,
    PRIMARY KEY (token, place, number)
) WITHOUT ROWID;
CREATE TABLE outputs (              -- of jobs that are over: where their files are, and what they were, to run them again
    id INTEGER PRIMARY KEY, ended REAL NOT NULL, kept BLOB NOT NULL, setting TEXT REFERENCES settings (name), task BLOB
);
CREATE INDEX outputs_setting ON outputs (setting);
