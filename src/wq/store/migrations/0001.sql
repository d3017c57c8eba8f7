-- The server's database, version 1. Rows are the state; events are its audit trail, pruned with age.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    uid INTEGER NOT NULL,
    token TEXT NOT NULL,
    place INTEGER NOT NULL,        -- which job of its submission
    state TEXT NOT NULL CHECK (state IN ('held', 'queued', 'starting', 'running', 'stopping', 'done')),
    ended_s REAL,
    job TEXT NOT NULL,             -- the whole job as JSON (core.job.Job)
    CHECK ((state = 'done') = (ended_s IS NOT NULL))
);
CREATE UNIQUE INDEX jobs_token ON jobs (uid, token, place) WHERE token != '';
CREATE INDEX jobs_live ON jobs (state) WHERE state != 'done';
CREATE INDEX jobs_ended ON jobs (ended_s) WHERE state = 'done';
CREATE TABLE nodes (host TEXT PRIMARY KEY, node TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE limits (
    uid INTEGER NOT NULL, by_owner INTEGER NOT NULL, user TEXT NOT NULL, run INTEGER, cores INTEGER,
    PRIMARY KEY (uid, by_owner)
) WITHOUT ROWID;
CREATE TABLE events (seq INTEGER PRIMARY KEY, at_s REAL NOT NULL, job INTEGER, kind TEXT NOT NULL, event TEXT NOT NULL);
CREATE INDEX events_at ON events (at_s);
