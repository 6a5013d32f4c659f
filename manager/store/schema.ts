/**
 * The database's tables. `user_version` says how many of the migrations it has seen; one that was released never changes.
 * Times are milliseconds since 1970; what no query looks into is JSON.
 */
import type { DatabaseSync } from "node:sqlite";
import { CommandError } from "../../shared/cli/failure.ts";
import { eventTables } from "./schema-events.ts";

const first = `
  CREATE TABLE vms (
    id TEXT PRIMARY KEY,
    inventory TEXT NOT NULL,
    status_since INTEGER NOT NULL,
    vm TEXT NOT NULL
  ) STRICT;

  CREATE TABLE mirrors (
    vm_id TEXT PRIMARY KEY,
    epoch TEXT NOT NULL,
    revision INTEGER NOT NULL,
    limit_bytes INTEGER NOT NULL,
    as_of INTEGER NOT NULL,
    agent TEXT NOT NULL
  ) STRICT;

  CREATE TABLE mirrored_entries (
    vm_id TEXT NOT NULL REFERENCES mirrors (vm_id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    seen_at INTEGER NOT NULL,
    entry TEXT NOT NULL,
    PRIMARY KEY (vm_id, key)
  ) STRICT;

  -- In the order of keeping. Not settled: the guest has not answered. Settled: its parameters are erased.
  CREATE TABLE messages (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id TEXT NOT NULL UNIQUE,
    vm_id TEXT NOT NULL,
    vm_name TEXT NOT NULL,
    method TEXT NOT NULL,
    keys TEXT NOT NULL,
    sender TEXT NOT NULL,
    digest BLOB NOT NULL,
    params TEXT,
    sealed_params BLOB,
    bytes INTEGER NOT NULL,
    queued_at INTEGER NOT NULL,
    expires_at INTEGER,
    begun_at INTEGER,
    settled_at INTEGER,
    outcome TEXT CHECK (outcome IN ('delivered', 'refused', 'expired')),
    result TEXT,
    refusal TEXT,
    read_at INTEGER,
    acknowledged_at INTEGER,
    acknowledgement TEXT,
    state TEXT NOT NULL GENERATED ALWAYS AS (
      CASE
        WHEN outcome IN ('refused', 'expired') THEN outcome
        WHEN acknowledged_at IS NOT NULL THEN 'acknowledged'
        WHEN read_at IS NOT NULL THEN 'read'
        WHEN outcome IS NOT NULL THEN 'delivered'
        ELSE 'queued'
      END
    ) VIRTUAL,
    CHECK ((settled_at IS NULL) = (outcome IS NULL)),
    CHECK (settled_at IS NULL OR (params IS NULL AND sealed_params IS NULL))
  ) STRICT;
  CREATE INDEX messages_of_vm ON messages (vm_id, sequence);
  CREATE INDEX pending_messages ON messages (vm_id, sequence) WHERE settled_at IS NULL;
  CREATE INDEX expiring_messages ON messages (expires_at) WHERE settled_at IS NULL AND expires_at IS NOT NULL;

  -- Counts that are asked for at every message, kept right by the triggers below.
  CREATE TABLE pending (vm_id TEXT PRIMARY KEY, messages INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;
  CREATE TABLE pending_total (messages INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;
  INSERT INTO pending_total VALUES (0, 0);
  CREATE TABLE message_states (state TEXT PRIMARY KEY, messages INTEGER NOT NULL) STRICT;
  INSERT INTO message_states VALUES
    ('queued', 0), ('delivered', 0), ('read', 0), ('acknowledged', 0), ('expired', 0), ('refused', 0);

  CREATE TRIGGER message_kept AFTER INSERT ON messages BEGIN
    INSERT INTO pending VALUES (NEW.vm_id, 1, NEW.bytes)
      ON CONFLICT (vm_id) DO UPDATE SET messages = messages + 1, bytes = bytes + NEW.bytes;
    UPDATE pending_total SET messages = messages + 1, bytes = bytes + NEW.bytes;
    UPDATE message_states SET messages = messages + 1 WHERE state = NEW.state;
  END;
  CREATE TRIGGER message_settled AFTER UPDATE OF settled_at ON messages
  WHEN OLD.settled_at IS NULL AND NEW.settled_at IS NOT NULL BEGIN
    UPDATE pending SET messages = messages - 1, bytes = bytes - OLD.bytes WHERE vm_id = OLD.vm_id;
    DELETE FROM pending WHERE vm_id = OLD.vm_id AND messages = 0;
    UPDATE pending_total SET messages = messages - 1, bytes = bytes - OLD.bytes;
  END;
  CREATE TRIGGER pending_message_removed AFTER DELETE ON messages WHEN OLD.settled_at IS NULL BEGIN
    UPDATE pending SET messages = messages - 1, bytes = bytes - OLD.bytes WHERE vm_id = OLD.vm_id;
    DELETE FROM pending WHERE vm_id = OLD.vm_id AND messages = 0;
    UPDATE pending_total SET messages = messages - 1, bytes = bytes - OLD.bytes;
  END;
  CREATE TRIGGER message_changed_state AFTER UPDATE ON messages WHEN OLD.state <> NEW.state BEGIN
    UPDATE message_states SET messages = messages - 1 WHERE state = OLD.state;
    UPDATE message_states SET messages = messages + 1 WHERE state = NEW.state;
  END;
  CREATE TRIGGER message_removed AFTER DELETE ON messages BEGIN
    UPDATE message_states SET messages = messages - 1 WHERE state = OLD.state;
  END;

  CREATE TABLE received (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    vm_id TEXT NOT NULL,
    vm_name TEXT NOT NULL,
    message_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    params TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    UNIQUE (vm_id, message_id)
  ) STRICT;
  CREATE INDEX received_from_vm ON received (vm_id, sequence, bytes);

  CREATE TABLE users (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    vms TEXT NOT NULL,
    keys TEXT NOT NULL,
    password_hash TEXT,
    public_keys TEXT NOT NULL,
    created_at INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    user TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    label TEXT NOT NULL,
    digest TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    last_used_at INTEGER
  ) STRICT;
  CREATE INDEX tokens_of_user ON tokens (user);

  CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time INTEGER NOT NULL,
    who TEXT NOT NULL,
    vm_id TEXT,
    record TEXT NOT NULL
  ) STRICT;
  CREATE INDEX audit_by_time ON audit (time);
  CREATE INDEX audit_of_who ON audit (who, id);
  CREATE INDEX audit_of_vm ON audit (vm_id, id) WHERE vm_id IS NOT NULL;
`;

const movingMessages = `
  -- What waits for a VM is delivered in this order, then by the sequence: see messages.ts.
  ALTER TABLE messages ADD COLUMN ordered_at INTEGER NOT NULL DEFAULT 0;
  -- When it was first given to another manager that may or may not have it.
  ALTER TABLE messages ADD COLUMN moving_at INTEGER;
  -- Of one that may be done: the revision of the guest's cache before that, or an earlier one.
  ALTER TABLE messages ADD COLUMN begun_at_revision INTEGER;
  -- What another manager keeps: sent here again under its id, it is not new.
  CREATE TABLE moved_messages (
    message_id TEXT PRIMARY KEY,
    vm_id TEXT NOT NULL,
    digest BLOB NOT NULL,
    moved_to TEXT NOT NULL,
    moved_at INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX moved_messages_of_vm ON moved_messages (vm_id, moved_at);
  DROP INDEX pending_messages;
  CREATE INDEX pending_messages ON messages (vm_id, ordered_at, sequence) WHERE settled_at IS NULL;
`;

const migrations: readonly string[] = [`${first} ${eventTables}`, movingMessages];

/** Brings a database, new or old, to the newest schema, all or nothing. */
export function migrate(database: DatabaseSync): void {
  const { user_version: version } = database.prepare("PRAGMA user_version").get() as { user_version: number };
  if (version === migrations.length) return;
  if (version > migrations.length) {
    const message = `its schema is version ${version}, and this vmmessaged knows versions up to ${migrations.length}; run the newer one`;
    throw new CommandError("failed", message);
  }
  const steps = migrations.slice(version).join("\n");
  database.exec(`BEGIN; ${steps} PRAGMA user_version = ${migrations.length}; COMMIT;`);
}
