-- Version 2: which wq wrote it; and instead of the boot id of an attempt's first node, those of all its nodes.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
UPDATE entries SET entry = CAST(
    json_remove(
        json_set(
            CAST(entry AS TEXT),
            '$.boots',
            CASE
                WHEN coalesce(json_extract(CAST(entry AS TEXT), '$.boot'), '') = '' THEN json('{}')
                WHEN json_extract(CAST(entry AS TEXT), '$.allocation') IS NULL THEN json('{}')
                ELSE json_object(
                    json_extract(CAST(entry AS TEXT), '$.allocation.slices[0].host'),
                    json_extract(CAST(entry AS TEXT), '$.boot')
                )
            END
        ),
        '$.boot'
    ) AS BLOB
);
