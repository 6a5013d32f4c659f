/** The tables of the events, of who is told of them, and of what goes on for long. */

export const eventTables = `
  -- Facts of which there is one. The log's name is another in another database: cursors of one mean nothing in the other.
  CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
  INSERT INTO facts VALUES ('event-log', lower(hex(randomblob(8))));

  -- Positions have no gaps. The resource is a UUID, or the empty text for the manager itself.
  CREATE TABLE events (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    resource TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    time INTEGER NOT NULL,
    -- Of the log, up to the end of this event: the difference of two says what lies between them.
    bytes_so_far INTEGER NOT NULL,
    event TEXT NOT NULL
  ) STRICT;

  -- No event of the resource comes after the last position.
  CREATE TABLE sequences (
    resource TEXT PRIMARY KEY,
    last INTEGER NOT NULL,
    last_position INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE lifecycles (vm_id TEXT PRIMARY KEY, lifecycle TEXT NOT NULL) STRICT, WITHOUT ROWID;

  CREATE TABLE monitors (
    vm_id TEXT NOT NULL,
    part TEXT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (vm_id, part)
  ) STRICT, WITHOUT ROWID;

  -- What Masakari was told, or is being told.
  CREATE TABLE journal (
    sink TEXT NOT NULL,
    event_id TEXT NOT NULL,
    vm_id TEXT NOT NULL,
    event TEXT NOT NULL,
    generated_at INTEGER NOT NULL,
    sent_at INTEGER,
    notification_id TEXT,
    PRIMARY KEY (sink, event_id)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX journal_by_age ON journal (generated_at);

  CREATE TABLE feeds (
    sink TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    failing_since INTEGER,
    disabled TEXT,
    last_delivered_at INTEGER,
    -- How many were ever written down.
    attempts INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  -- An event that was a dead letter brings its copy along: the log may have it no more.
  CREATE TABLE parked (
    position INTEGER NOT NULL,
    sink TEXT NOT NULL REFERENCES feeds (sink) ON DELETE CASCADE,
    resource TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    parked_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    holds_others INTEGER NOT NULL,
    error TEXT,
    copy TEXT,
    PRIMARY KEY (position, sink)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX parked_at_sink ON parked (sink, position);

  CREATE TABLE dead_letters (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    sink TEXT NOT NULL REFERENCES feeds (sink) ON DELETE CASCADE,
    event_id TEXT NOT NULL,
    event TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    error TEXT NOT NULL,
    at INTEGER NOT NULL,
    UNIQUE (sink, event_id)
  ) STRICT;
  CREATE INDEX dead_letters_of_sink ON dead_letters (sink, sequence);

  -- A ring for each sink: the newest takes the slot of the oldest.
  CREATE TABLE attempts (
    sink TEXT NOT NULL REFERENCES feeds (sink) ON DELETE CASCADE,
    slot INTEGER NOT NULL,
    number INTEGER NOT NULL,
    attempt TEXT NOT NULL,
    PRIMARY KEY (sink, slot)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE subscriptions (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    record TEXT NOT NULL,
    sealed_secrets BLOB
  ) STRICT;

  CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    vm_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    is_over INTEGER NOT NULL,
    job TEXT NOT NULL
  ) STRICT;
  CREATE INDEX jobs_by_age ON jobs (is_over, created_at, id);
`;
