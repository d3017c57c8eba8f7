-- Version 5: the history. Which jobs and arrays did not end as they should, what they are called, how many tasks an array has,
-- why somebody wanted a task ended; indexes by user and by the time of the end, and of events by their job, with which they are
-- pruned from now on. (SQLite reads an index alone only if it finds there all that is asked: so no `state = 'done'` in these.)
ALTER TABLE jobs ADD COLUMN failed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN name TEXT NOT NULL DEFAULT '';
UPDATE jobs SET failed = state = 'done' AND instr(job, '"outcome":{"kind":"exited","exit_status":0') = 0,
    name = coalesce(json_extract(job, '$.spec.name'), '');
ALTER TABLE arrays ADD COLUMN failed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE arrays ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE arrays ADD COLUMN size INTEGER NOT NULL DEFAULT 1;
UPDATE arrays SET failed = instr(state, '"failed":0,') = 0 OR instr(state, '"removed":[],') = 0,
    name = coalesce(json_extract(spec, '$.name'), ''),
    size = max(1, (SELECT count(*) FROM tasks WHERE tasks.job = arrays.id));
ALTER TABLE tasks ADD COLUMN stop_reason TEXT;
DROP INDEX jobs_ended;
CREATE INDEX jobs_ended ON jobs (ended_s, id) WHERE ended_s IS NOT NULL;
CREATE INDEX jobs_past ON jobs (uid, ended_s, id, name) WHERE ended_s IS NOT NULL;
CREATE INDEX jobs_failed ON jobs (uid, ended_s, id, name) WHERE failed != 0;
CREATE INDEX jobs_user ON jobs (uid);
CREATE INDEX arrays_ended ON arrays (ended_s, id, size) WHERE ended_s IS NOT NULL;
CREATE INDEX arrays_past ON arrays (uid, ended_s, id, name) WHERE ended_s IS NOT NULL;
CREATE INDEX arrays_failed ON arrays (uid, ended_s, id, name) WHERE failed != 0;
CREATE INDEX arrays_user ON arrays (uid);
CREATE INDEX events_job ON events (job) WHERE job IS NOT NULL;
