/** What goes on for long, and goes on after a restart; of what is over, the newest. */
import type { DatabaseSync } from "node:sqlite";
import { Statement } from "./statement.ts";
import type { StoredJob } from "./store.ts";

/** Jobs that are over and still told of. Not measured. */
const KEPT_JOBS = 1000;

interface JobRow {
  id: string;
  vm_id: string;
  created_at: number;
  is_over: number;
  job: string;
}

export class Jobs {
  readonly #statements: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync) {
    this.#statements = prepare(database);
  }

  all(): StoredJob[] {
    return this.#statements.all.all().map(({ id, vm_id, created_at, is_over, job }) => {
      return { id, vmId: vm_id, createdAt: created_at, isOver: is_over === 1, job: JSON.parse(job) as unknown };
    });
  }

  save({ id, vmId, createdAt, isOver, job }: StoredJob): void {
    this.#statements.save.run({ id, vmId, createdAt, isOver: isOver ? 1 : 0, job: JSON.stringify(job) });
    if (isOver) this.#statements.trim.run({ kept: KEPT_JOBS });
  }
}

function prepare(database: DatabaseSync) {
  return {
    all: new Statement<JobRow>(
      database,
      "SELECT id, vm_id, created_at, is_over, job FROM jobs ORDER BY created_at, id",
    ),
    save: new Statement(
      database,
      `INSERT INTO jobs (id, vm_id, created_at, is_over, job) VALUES (:id, :vmId, :createdAt, :isOver, :job)
       ON CONFLICT (id) DO UPDATE SET is_over = excluded.is_over, job = excluded.job`,
    ),
    trim: new Statement(
      database,
      `DELETE FROM jobs WHERE id IN (
         SELECT id FROM jobs WHERE is_over = 1 ORDER BY created_at DESC, id DESC LIMIT -1 OFFSET :kept
       )`,
    ),
  };
}
