/** VMs as they were last seen, and what their guests' caches held. */
import type { DatabaseSync } from "node:sqlite";
import type { WireEntry } from "../../shared/protocol/message.ts";
import { keyEvents } from "../events/key-events.ts";
import type { Vm } from "../vms/vm.ts";
import type { EventTable } from "./events.ts";
import { Statement } from "./statement.ts";
import type { AgentFacts, MirrorChange, MirroredEntry, StoredLifecycle, StoredMirror, StoredVm } from "./store.ts";

interface MirrorRow {
  vm_id: string;
  epoch: string;
  revision: number;
  limit_bytes: number;
  as_of: number;
  agent: string;
}

export class Mirrors {
  readonly #log: EventTable;
  readonly #statements: ReturnType<typeof prepare>;

  /** @param log is told of each change of a key */
  constructor(database: DatabaseSync, log: EventTable) {
    this.#log = log;
    this.#statements = prepare(database);
  }

  loadVms(): StoredVm[] {
    return this.#statements.vms.all().map(({ vm, inventory, status_since }) => {
      return { vm: JSON.parse(vm) as Vm, inventory, statusSince: status_since };
    });
  }

  saveVms(vms: readonly StoredVm[]): void {
    for (const { vm, inventory, statusSince } of vms) {
      this.#statements.saveVm.run({ id: vm.id, vm: JSON.stringify(vm), inventory, statusSince });
    }
  }

  loadLifecycles(): StoredLifecycle[] {
    return this.#statements.lifecycles.all().map(({ vm_id, lifecycle }) => {
      return { vmId: vm_id, lifecycle: JSON.parse(lifecycle) as unknown };
    });
  }

  saveLifecycles(lifecycles: readonly StoredLifecycle[]): void {
    for (const { vmId, lifecycle } of lifecycles) {
      this.#statements.saveLifecycle.run({ vmId, lifecycle: JSON.stringify(lifecycle) });
    }
  }

  forgetVm(vmId: string): void {
    this.#statements.forgetVm.run({ vmId });
    this.#statements.forgetLifecycle.run({ vmId });
    this.#statements.forgetMirror.run({ vmId });
  }

  load(): StoredMirror[] {
    const entries = Map.groupBy(this.#statements.entries.all(), ({ vm_id }) => vm_id);
    return this.#statements.mirrors.all().map((row) => ({
      vmId: row.vm_id,
      epoch: row.epoch,
      revision: row.revision,
      limitBytes: row.limit_bytes,
      asOf: row.as_of,
      agent: JSON.parse(row.agent) as AgentFacts,
      entries: (entries.get(row.vm_id) ?? []).map(({ seen_at, entry }) => {
        return { entry: JSON.parse(entry) as WireEntry, seenAt: seen_at };
      }),
    }));
  }

  save(changes: readonly MirrorChange[]): void {
    for (const change of changes) {
      const set = change.set.map(({ entry, seenAt }) => ({ entry: withoutSecret(entry), seenAt }));
      this.#tell(change, set);
      this.#saveOne({ ...change, set });
    }
  }

  #tell({ vmId, vmName, asOf, isReset, isLate, deleted }: MirrorChange, set: readonly MirroredEntry[]): void {
    const keys = [...set.map(({ entry }) => entry.key), ...deleted];
    const events = keyEvents({
      vm: { id: vmId, name: vmName },
      time: asOf,
      isReset,
      isLate,
      before: isReset ? this.#entriesOf(vmId) : this.#entriesWith(vmId, keys),
      set: set.map(({ entry }) => entry),
      deleted,
    });
    this.#log.append(events);
  }

  #entriesOf(vmId: string): Map<string, WireEntry> {
    return new Map(this.#statements.entriesOf.all({ vmId }).map(keyed));
  }

  #entriesWith(vmId: string, keys: readonly string[]): Map<string, WireEntry> {
    const rows = keys.flatMap((key) => this.#statements.entry.first({ vmId, key }) ?? []);
    return new Map(rows.map(keyed));
  }

  #saveOne({ vmId, isReset, agent, set, deleted, epoch, revision, limitBytes, asOf }: MirrorChange): void {
    const head = { epoch, revision, limitBytes, asOf, agent: JSON.stringify(agent) };
    this.#statements.saveMirror.run({ vmId, ...head });
    if (isReset) this.#statements.forgetEntries.run({ vmId });
    for (const key of deleted) this.#statements.forgetEntry.run({ vmId, key });
    for (const { entry, seenAt } of set) {
      this.#statements.saveEntry.run({ vmId, key: entry.key, seenAt, entry: JSON.stringify(entry) });
    }
  }
}

function keyed({ entry }: { entry: string }): [string, WireEntry] {
  const parsed = JSON.parse(entry) as WireEntry;
  return [parsed.key, parsed];
}

/** A guest's lists come without the values of secrets; whatever it sends, none is kept. */
function withoutSecret(entry: WireEntry): WireEntry {
  return entry.secret === true ? { ...entry, value: undefined, base64: undefined } : entry;
}

function prepare(database: DatabaseSync) {
  return {
    vms: new Statement<{ vm: string; inventory: string; status_since: number }>(
      database,
      "SELECT vm, inventory, status_since FROM vms ORDER BY id",
    ),
    saveVm: new Statement(
      database,
      `INSERT INTO vms (id, vm, inventory, status_since) VALUES (:id, :vm, :inventory, :statusSince)
       ON CONFLICT (id) DO UPDATE SET vm = excluded.vm, inventory = excluded.inventory,
         status_since = excluded.status_since`,
    ),
    forgetVm: new Statement(database, "DELETE FROM vms WHERE id = :vmId"),
    mirrors: new Statement<MirrorRow>(
      database,
      "SELECT vm_id, epoch, revision, limit_bytes, as_of, agent FROM mirrors ORDER BY vm_id",
    ),
    saveMirror: new Statement(
      database,
      `INSERT INTO mirrors (vm_id, epoch, revision, limit_bytes, as_of, agent)
       VALUES (:vmId, :epoch, :revision, :limitBytes, :asOf, :agent)
       ON CONFLICT (vm_id) DO UPDATE SET epoch = excluded.epoch, revision = excluded.revision,
         limit_bytes = excluded.limit_bytes, as_of = excluded.as_of, agent = excluded.agent`,
    ),
    forgetMirror: new Statement(database, "DELETE FROM mirrors WHERE vm_id = :vmId"),
    lifecycles: new Statement<{ vm_id: string; lifecycle: string }>(
      database,
      "SELECT vm_id, lifecycle FROM lifecycles ORDER BY vm_id",
    ),
    saveLifecycle: new Statement(
      database,
      `INSERT INTO lifecycles (vm_id, lifecycle) VALUES (:vmId, :lifecycle)
       ON CONFLICT (vm_id) DO UPDATE SET lifecycle = excluded.lifecycle`,
    ),
    forgetLifecycle: new Statement(database, "DELETE FROM lifecycles WHERE vm_id = :vmId"),
    entries: new Statement<{ vm_id: string; seen_at: number; entry: string }>(
      database,
      "SELECT vm_id, seen_at, entry FROM mirrored_entries ORDER BY vm_id, key",
    ),
    entriesOf: new Statement<{ entry: string }>(
      database,
      "SELECT entry FROM mirrored_entries WHERE vm_id = :vmId ORDER BY key",
    ),
    entry: new Statement<{ entry: string }>(
      database,
      "SELECT entry FROM mirrored_entries WHERE vm_id = :vmId AND key = :key",
    ),
    saveEntry: new Statement(
      database,
      `INSERT INTO mirrored_entries (vm_id, key, seen_at, entry) VALUES (:vmId, :key, :seenAt, :entry)
       ON CONFLICT (vm_id, key) DO UPDATE SET seen_at = excluded.seen_at, entry = excluded.entry`,
    ),
    forgetEntry: new Statement(database, "DELETE FROM mirrored_entries WHERE vm_id = :vmId AND key = :key"),
    forgetEntries: new Statement(database, "DELETE FROM mirrored_entries WHERE vm_id = :vmId"),
  };
}
