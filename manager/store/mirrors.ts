/** VMs as they were last seen, and what their guests' caches held. */
import type { DatabaseSync } from "node:sqlite";
import type { WireEntry } from "../../shared/protocol/message.ts";
import type { Vm } from "../vms/vm.ts";
import { Statement } from "./statement.ts";
import type { AgentFacts, MirrorChange, MirroredEntry, StoredMirror, StoredVm } from "./store.ts";

interface MirrorRow {
  vm_id: string;
  epoch: string;
  revision: number;
  limit_bytes: number;
  as_of: number;
  agent: string;
}

export class Mirrors {
  readonly #statements: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync) {
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

  forgetVm(vmId: string): void {
    this.#statements.forgetVm.run({ vmId });
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
    for (const change of changes) this.#saveOne(change);
  }

  #saveOne({ vmId, isReset, agent, set, deleted, ...head }: MirrorChange): void {
    this.#statements.saveMirror.run({ vmId, ...head, agent: JSON.stringify(agent) });
    if (isReset) this.#statements.forgetEntries.run({ vmId });
    for (const key of deleted) this.#statements.forgetEntry.run({ vmId, key });
    for (const entry of set) this.#saveEntry(vmId, entry);
  }

  #saveEntry(vmId: string, { entry, seenAt }: MirroredEntry): void {
    const kept = JSON.stringify(withoutSecret(entry));
    this.#statements.saveEntry.run({ vmId, key: entry.key, seenAt, entry: kept });
  }
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
    entries: new Statement<{ vm_id: string; seen_at: number; entry: string }>(
      database,
      "SELECT vm_id, seen_at, entry FROM mirrored_entries ORDER BY vm_id, key",
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
