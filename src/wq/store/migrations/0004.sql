-- Version 4: time limits that were changed, suspended jobs, and what jobs used. The states that there are stand in
-- core/lifecycle.py alone from now on: a table with a list of them must be made anew for each new one.
CREATE TABLE jobs_4 (
    id INTEGER PRIMARY KEY,
    uid INTEGER NOT NULL,
    token TEXT NOT NULL,
    place INTEGER NOT NULL,        -- which job of its submission
    state TEXT NOT NULL,           -- core.job.State
    ended_s REAL,
    job TEXT NOT NULL,             -- the whole job as JSON (core.job.Job)
    CHECK ((state = 'done') = (ended_s IS NOT NULL))
);
INSERT INTO jobs_4 SELECT id, uid, token, place, state, ended_s, job FROM jobs;
DROP TABLE jobs;
ALTER TABLE jobs_4 RENAME TO jobs;
CREATE UNIQUE INDEX jobs_token ON jobs (uid, token, place) WHERE token != '';
CREATE INDEX jobs_live ON jobs (state) WHERE state != 'done';
CREATE INDEX jobs_ended ON jobs (ended_s) WHERE state = 'done';
CREATE TABLE tasks_4 (
    job INTEGER NOT NULL,
    task INTEGER NOT NULL,
    state TEXT NOT NULL,           -- core.job.State
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
    wall_s REAL,
    peak_mem_bytes INTEGER,
    io_read_bytes INTEGER,
    io_write_bytes INTEGER,
    time_s REAL,                   -- its time limit, where that was changed
    suspensions INTEGER,           -- how often it was suspended
    PRIMARY KEY (job, task),
    CHECK ((state = 'done') = (ended_s IS NOT NULL))
) WITHOUT ROWID;
INSERT INTO tasks_4 SELECT job, task, state, attempt, lane, allocation, started_s, ended_s, stop_by, stop_grace_s,
    requeued_why, kind, exit_status, signal, removed_by, message, cpu_s, NULL, NULL, NULL, NULL, NULL, NULL FROM tasks;
DROP TABLE tasks;
ALTER TABLE tasks_4 RENAME TO tasks;
CREATE INDEX tasks_failed ON tasks (job, task) WHERE state = 'done' AND (kind != 'exited' OR exit_status != 0);
