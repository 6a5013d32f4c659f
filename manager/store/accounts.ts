/** Users and their tokens; what they mean is access/accounts.ts's matter. */
import type { DatabaseSync } from "node:sqlite";
import type { Role } from "../../shared/api/schemas.ts";
import { Statement } from "./statement.ts";
import type { StoredToken, StoredUser } from "./store.ts";

interface UserRow {
  name: string;
  role: Role;
  vms: string;
  keys: string;
  password_hash: string | null;
  public_keys: string;
  created_at: number;
}

interface TokenRow {
  id: string;
  user: string;
  label: string;
  digest: string;
  created_at: number;
  expires_at: number | null;
  last_used_at: number | null;
}

export class AccountTables {
  readonly #statements: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync) {
    this.#statements = prepare(database);
  }

  users(): StoredUser[] {
    return this.#statements.users.all().map(({ name, role, vms, keys, password_hash, public_keys, created_at }) => ({
      name,
      role,
      vms: JSON.parse(vms) as string[],
      keys: JSON.parse(keys) as string[],
      passwordHash: password_hash ?? undefined,
      publicKeys: JSON.parse(public_keys) as string[],
      createdAt: created_at,
    }));
  }

  saveUser({ vms, keys, publicKeys, ...user }: StoredUser): void {
    this.#statements.saveUser.run({
      ...user,
      vms: JSON.stringify(vms),
      keys: JSON.stringify(keys),
      publicKeys: JSON.stringify(publicKeys),
    });
  }

  removeUser(name: string): boolean {
    return this.#statements.removeUser.run({ name }) > 0;
  }

  tokens(): StoredToken[] {
    return this.#statements.tokens.all().map(({ created_at, expires_at, last_used_at, ...token }) => ({
      ...token,
      createdAt: created_at,
      expiresAt: expires_at ?? undefined,
      lastUsedAt: last_used_at ?? undefined,
    }));
  }

  saveToken(token: StoredToken): void {
    this.#statements.saveToken.run({ ...token });
  }

  touchToken(id: string, at: number): boolean {
    return this.#statements.touchToken.run({ id, at }) > 0;
  }

  removeToken(id: string): boolean {
    return this.#statements.removeToken.run({ id }) > 0;
  }
}

function prepare(database: DatabaseSync) {
  return {
    users: new Statement<UserRow>(
      database,
      "SELECT name, role, vms, keys, password_hash, public_keys, created_at FROM users ORDER BY name",
    ),
    saveUser: new Statement(
      database,
      `INSERT INTO users (name, role, vms, keys, password_hash, public_keys, created_at)
       VALUES (:name, :role, :vms, :keys, :passwordHash, :publicKeys, :createdAt)
       ON CONFLICT (name) DO UPDATE SET role = excluded.role, vms = excluded.vms, keys = excluded.keys,
         password_hash = excluded.password_hash, public_keys = excluded.public_keys, created_at = excluded.created_at`,
    ),
    removeUser: new Statement(database, "DELETE FROM users WHERE name = :name"),
    tokens: new Statement<TokenRow>(
      database,
      "SELECT id, user, label, digest, created_at, expires_at, last_used_at FROM tokens ORDER BY created_at, id",
    ),
    saveToken: new Statement(
      database,
      `INSERT INTO tokens (id, user, label, digest, created_at, expires_at, last_used_at)
       VALUES (:id, :user, :label, :digest, :createdAt, :expiresAt, :lastUsedAt)
       ON CONFLICT (id) DO UPDATE SET label = excluded.label, expires_at = excluded.expires_at,
         last_used_at = excluded.last_used_at`,
    ),
    touchToken: new Statement(database, "UPDATE tokens SET last_used_at = :at WHERE id = :id"),
    removeToken: new Statement(database, "DELETE FROM tokens WHERE id = :id"),
  };
}
