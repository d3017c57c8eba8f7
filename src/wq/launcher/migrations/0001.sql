-- A launcher's ledger, version 1.
CREATE TABLE settings (name TEXT PRIMARY KEY, setting BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (
    token TEXT NOT NULL, place INTEGER NOT NULL, setting TEXT NOT NULL REFERENCES settings (name),
    entry BLOB NOT NULL, PRIMARY KEY (token, place)
) WITHOUT ROWID;
CREATE INDEX entries_setting ON entries (setting);
