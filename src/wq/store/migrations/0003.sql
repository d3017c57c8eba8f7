-- Version 3: arrays. One row an array; grants as ranges of tasks, and of jobs that go behind others in a lane; a row for each
-- task of which more is to be known, which stays when the task is over.
CREATE TABLE arrays (
    id INTEGER PRIMARY KEY,
    uid INTEGER NOT NULL,
    token TEXT NOT NULL,
    place INTEGER NOT NULL,        -- which job of its submission
    ended_s REAL,
    spec TEXT NOT NULL,            -- core.job.JobSpec as JSON
    state TEXT NOT NULL            -- the rest of core.array.Array as JSON
);
CREATE UNIQUE INDEX arrays_token ON arrays (uid, token, place) WHERE token != '';
CREATE TABLE grants (
    job INTEGER NOT NULL,          -- the array; 0: of jobs
    first INTEGER NOT NULL,        -- tasks first to last, or ids
    last INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    lane TEXT,
    allocation TEXT NOT NULL,      -- core.job.Allocation as JSON
    PRIMARY KEY (job, first, attempt)
) WITHOUT ROWID;
CREATE TABLE tasks (
    job INTEGER NOT NULL,
    task INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('held', 'queued', 'starting', 'running', 'stopping', 'done')),
    attempt INTEGER NOT NULL,
    lane TEXT,
    allocation TEXT,               -- where it runs, or ran
    started_s REAL,
    ended_s REAL,
    stop_by TEXT,
    stop_grace_s REAL,
    requeued_why TEXT,
    kind TEXT,                     -- core.job.Outcome, this and the following
    exit_status INTEGER,
    signal INTEGER,
    removed_by TEXT,
    message TEXT,
    cpu_s REAL,
    PRIMARY KEY (job, task),
    CHECK ((state = 'done') = (ended_s IS NOT NULL))
) WITHOUT ROWID;
CREATE INDEX tasks_failed ON tasks (job, task) WHERE state = 'done' AND (kind != 'exited' OR exit_status != 0);
