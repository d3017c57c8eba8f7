-- Version 6: when a task of an array that waits to be tried again may stand in the line. Before this it was not kept, so that
-- such a task was held for ever when the server was started again: those that are held so may go on.
ALTER TABLE tasks ADD COLUMN begin_s REAL;
UPDATE tasks SET state = 'queued' WHERE state = 'held';
