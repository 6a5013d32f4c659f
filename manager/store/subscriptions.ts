/** Who subscribed to events; what is secret in a subscription (passwords, signing secrets) only encrypted. */
import type { DatabaseSync } from "node:sqlite";
import type { SecretBox } from "./secret-box.ts";
import { Statement } from "./statement.ts";
import type { StoredSubscription } from "./store.ts";

interface SubscriptionRow {
  id: string;
  kind: StoredSubscription["kind"];
  created_at: number;
  record: string;
  sealed_secrets: Uint8Array | null;
}

export class Subscriptions {
  readonly #box: SecretBox;
  readonly #statements: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync, box: SecretBox) {
    this.#box = box;
    this.#statements = prepare(database);
  }

  all(): StoredSubscription[] {
    return this.#statements.all.all().map(({ id, kind, created_at, record, sealed_secrets }) => {
      const secrets = sealed_secrets === null ? undefined : this.#box.open(sealed_secrets, id);
      return {
        id,
        kind,
        createdAt: created_at,
        record: JSON.parse(record) as unknown,
        secrets: secrets === undefined ? undefined : (JSON.parse(secrets) as unknown),
      };
    });
  }

  save({ id, kind, createdAt, record, secrets }: StoredSubscription): void {
    const sealedSecrets = secrets === undefined ? undefined : this.#box.seal(JSON.stringify(secrets), id);
    this.#statements.save.run({ id, kind, createdAt, record: JSON.stringify(record), sealedSecrets });
  }

  remove(id: string): boolean {
    return this.#statements.remove.run({ id }) > 0;
  }
}

function prepare(database: DatabaseSync) {
  return {
    all: new Statement<SubscriptionRow>(
      database,
      "SELECT id, kind, created_at, record, sealed_secrets FROM subscriptions ORDER BY created_at, id",
    ),
    save: new Statement(
      database,
      `INSERT INTO subscriptions (id, kind, created_at, record, sealed_secrets)
       VALUES (:id, :kind, :createdAt, :record, :sealedSecrets)
       ON CONFLICT (id) DO UPDATE SET record = excluded.record, sealed_secrets = excluded.sealed_secrets`,
    ),
    remove: new Statement(database, "DELETE FROM subscriptions WHERE id = :id"),
  };
}
