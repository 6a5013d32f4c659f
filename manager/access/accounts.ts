/**
 * Users, their passwords, public keys and tokens. They are few, so all are in memory; a change is on disk before it is
 * answered, and holds from then on. The last admin may go: whoever can open the admin socket can make another.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import ssh2, { type ParsedKey } from "ssh2";
import * as z from "zod/mini";
import * as schemas from "../../shared/api/schemas.ts";
import type { CreatedToken, NewToken, Token, User, UserChange } from "../../shared/api/schemas.ts";
import { CommandError, usageError } from "../../shared/cli/failure.ts";
import { describeIssues } from "../../shared/protocol/message.ts";
import { printable } from "../../shared/terminal-text.ts";
import type { Log } from "../../shared/log.ts";
import type { Store, StoredToken, StoredUser } from "../store/store.ts";
import type { AuditLog } from "./audit-log.ts";
import { AuthenticationError, type Authenticator } from "./authenticator.ts";
import { LoginLimits } from "./login-limits.ts";
import { Passwords } from "./passwords.ts";
import { rfc3339 } from "../../shared/rfc3339.ts";
import { Turns } from "../turns.ts";
import type { Principal } from "./principal.ts";

/** How long a right password is known without computing it again: a client sends it with every request. */
const REMEMBER_PASSWORD_MS = 60_000;

/** How exact a token's `lastUsedAt` is: one write a minute, not one for each request. */
const LAST_USED_EXACT_TO_MS = 60_000;

/** All are in memory. Not measured: both are far above what an installation has. */
const MAX_USERS = 10_000;
const MAX_TOKENS_PER_USER = 100;

/** VMs' patterns and keys' prefixes of a user: each is tried at each request. Not measured. */
const MAX_RIGHTS = 1000;
const MAX_PATTERN = 256;

const TOKEN = /^vmm_([0-9a-f]{16})_[A-Za-z0-9_-]{43}$/;

export interface AccountsOptions {
  store: Pick<Store, "users" | "saveUser" | "removeUser" | "tokens" | "saveToken" | "touchToken" | "removeToken">;
  audit: Pick<AuditLog, "record">;
  log: Log;
  passwords?: Passwords;
  /** Milliseconds since 1970. */
  clock?: () => number;
}

export class Accounts implements Authenticator {
  readonly #store: AccountsOptions["store"];
  readonly #audit: AccountsOptions["audit"];
  readonly #log: Log;
  readonly #passwords: Passwords;
  readonly #clock: () => number;
  readonly #limits: LoginLimits;
  readonly #users = new Map<string, StoredUser>();
  readonly #tokens = new Map<string, StoredToken>();
  /** For each user the password that was right last, as a MAC under a key that nobody else has. */
  readonly #remembered = new Map<string, { mac: Buffer; until: number }>();
  readonly #macKey = randomBytes(32);
  /** Logins under way, so that many requests with one password cost one computation and one attempt. */
  readonly #attempts = new Map<string, Promise<StoredUser>>();
  /** They follow one another, so that none is made to what another one just replaced. */
  readonly #changes = new Turns();

  private constructor({ store, audit, log, passwords = new Passwords(), clock = Date.now }: AccountsOptions) {
    this.#store = store;
    this.#audit = audit;
    this.#log = log;
    this.#limits = new LoginLimits(log);
    this.#passwords = passwords;
    this.#clock = clock;
  }

  static async open(options: AccountsOptions): Promise<Accounts> {
    const accounts = new Accounts(options);
    const [users, tokens] = await Promise.all([options.store.users(), options.store.tokens()]);
    for (const user of users) accounts.#users.set(user.name, user);
    for (const token of tokens) accounts.#tokens.set(token.id, token);
    return accounts;
  }

  // ---- Who is it?

  async byPassword({ user: name, password }: { user: string; password: string }, via: string): Promise<Principal> {
    const mac = createHmac("sha256", this.#macKey)
      .update(JSON.stringify([name, password]))
      .digest();
    const user = this.#rememberedUser(name, mac) ?? (await this.#attempt(name, password, via, mac));
    return this.#admitted(user, via);
  }

  #rememberedUser(name: string, mac: Buffer): StoredUser | undefined {
    const remembered = this.#remembered.get(name);
    if (remembered === undefined || remembered.until <= this.#clock()) return undefined;
    return timingSafeEqual(remembered.mac, mac) ? this.#users.get(name) : undefined;
  }

  #attempt(name: string, password: string, via: string, mac: Buffer): Promise<StoredUser> {
    const id = `${mac.toString("base64")} ${via}`;
    const underWay = this.#attempts.get(id);
    if (underWay !== undefined) return underWay;
    const attempt = this.#checkPassword(name, password, via, mac).finally(() => this.#attempts.delete(id));
    this.#attempts.set(id, attempt);
    return attempt;
  }

  async #checkPassword(name: string, password: string, via: string, mac: Buffer): Promise<StoredUser> {
    await this.#limits.take(via, name);
    const kept = this.#users.get(name)?.passwordHash;
    const isRight = await this.#passwords.matches(password, kept);
    const user = this.#users.get(name);
    // The password may have been changed meanwhile.
    if (!isRight || user === undefined || user.passwordHash !== kept) return this.#refuse(name, via);
    await this.#limits.giveBack(via, name);
    this.#remembered.set(name, { mac, until: this.#clock() + REMEMBER_PASSWORD_MS });
    return user;
  }

  /** A right token always gets in: nobody guesses 256 bits, and others at the same address may fail as they like. */
  async byToken(text: string, via: string): Promise<Principal> {
    const token = this.#tokenOf(text);
    const user = token && this.#users.get(token.user);
    if (token !== undefined && user !== undefined) {
      this.#touch(token);
      return this.#admitted(user, via);
    }
    await this.#limits.take(via);
    return this.#refuse("(token)", via);
  }

  #tokenOf(text: string): StoredToken | undefined {
    const token = this.#tokens.get(TOKEN.exec(text)?.[1] ?? "");
    if (token === undefined || !timingSafeEqual(Buffer.from(digestOf(text)), Buffer.from(token.digest)))
      return undefined;
    return token.expiresAt !== undefined && token.expiresAt <= this.#clock() ? undefined : token;
  }

  #touch(token: StoredToken): void {
    const now = this.#clock();
    if (token.lastUsedAt !== undefined && now - token.lastUsedAt < LAST_USED_EXACT_TO_MS) return;
    token.lastUsedAt = now;
    this.#store.touchToken(token.id, now).catch((error: unknown) => {
      this.#log.error("token-use-not-written", { token: token.id, error });
    });
  }

  async byPublicKey({ user: name, key }: { user: string; key: string }, via: string): Promise<Principal> {
    const user = this.#users.get(name);
    if (user?.publicKeys.some((known) => withoutComment(known) === withoutComment(key)) === true) {
      return this.#admitted(user, via);
    }
    await this.#limits.take(via);
    return this.#refuse(name, via);
  }

  async #admitted({ name, role, vms, keys }: StoredUser, via: string): Promise<Principal> {
    const who = { name, via, role, vms, keys };
    if (via.startsWith("ssh:")) await this.#audit.record({ who, action: "login", outcome: "ok" });
    return who;
  }

  /** What the limits turned away does not get here, or the audit log would fill up. */
  async #refuse(name: string, via: string): Promise<never> {
    await this.#audit.record({ who: { name, via }, action: "login", outcome: "not-permitted" });
    throw new AuthenticationError();
  }

  // ---- Users

  listUsers(): User[] {
    return [...this.#users.values()].sort(byName).map(shownUser);
  }

  /** What a user may do now; undefined when there is none of that name. */
  rightsOf(name: string): Pick<Principal, "role" | "vms" | "keys"> | undefined {
    return this.#users.get(name);
  }

  /** Makes the user if there is none of that name, with the role `read` unless it says otherwise. */
  changeUser(name: string, change: UserChange): Promise<User> {
    return this.#changes.take(async () => {
      const { password, ...rights } = validChange(name, change);
      const before = this.#users.get(name) ?? this.#newUser(name);
      const passwordHash = password === undefined ? before.passwordHash : await this.#passwords.hash(password);
      const user: StoredUser = { ...before, ...rights, passwordHash };
      await this.#store.saveUser(user);
      this.#users.set(name, user);
      this.#remembered.delete(name);
      return shownUser(user);
    });
  }

  #newUser(name: string): StoredUser {
    if (this.#users.size >= MAX_USERS)
      throw overLimit(`there are ${MAX_USERS} users, and no more can be made`, MAX_USERS);
    const all = { vms: ["*"], keys: [""] };
    return { name, role: "read", ...all, passwordHash: undefined, publicKeys: [], createdAt: this.#clock() };
  }

  removeUser(name: string): Promise<void> {
    return this.#changes.take(async () => {
      if (!this.#users.has(name)) throw noSuchUser(name);
      await this.#store.removeUser(name);
      this.#users.delete(name);
      this.#remembered.delete(name);
      for (const { id } of this.#tokensOf(name)) this.#tokens.delete(id);
    });
  }

  // ---- Tokens

  listTokens(): Token[] {
    return [...this.#tokens.values()].map(shownToken);
  }

  createToken(request: NewToken): Promise<CreatedToken> {
    return this.#changes.take(async () => {
      const { user, label, expiresInMs } = valid(schemas.newToken, request);
      if (!this.#users.has(user)) throw noSuchUser(user);
      if (this.#tokensOf(user).length >= MAX_TOKENS_PER_USER) {
        throw overLimit(`${user} has ${MAX_TOKENS_PER_USER} tokens; revoke one first`, MAX_TOKENS_PER_USER);
      }
      const createdAt = this.#clock();
      const expiresAt = expiresInMs === undefined ? undefined : createdAt + expiresInMs;
      const id = randomBytes(8).toString("hex");
      const text = `vmm_${id}_${randomBytes(32).toString("base64url")}`;
      const token = { id, user, label, digest: digestOf(text), createdAt, expiresAt, lastUsedAt: undefined };
      await this.#store.saveToken(token);
      this.#tokens.set(id, token);
      return { ...shownToken(token), token: text };
    });
  }

  revokeToken(id: string): Promise<void> {
    return this.#changes.take(async () => {
      if (!this.#tokens.has(id)) throw new CommandError("failed", `there is no token '${id}'`);
      await this.#store.removeToken(id);
      this.#tokens.delete(id);
    });
  }

  #tokensOf(user: string): StoredToken[] {
    return [...this.#tokens.values()].filter((token) => token.user === user);
  }
}

function validChange(name: string, change: UserChange): Partial<StoredUser> & { password?: string | undefined } {
  valid(schemas.userName, name);
  const { password, role, vms, keys, publicKeys } = valid(schemas.userChange, change);
  for (const rights of [vms, keys]) {
    if ((rights?.length ?? 0) > MAX_RIGHTS)
      throw usageError(`a user has at most ${MAX_RIGHTS} patterns of VMs or prefixes of keys`);
  }
  if (vms?.some((pattern) => pattern.length > MAX_PATTERN) === true) {
    throw usageError(`a pattern of VMs has at most ${MAX_PATTERN} characters`);
  }
  for (const key of publicKeys ?? []) assertPublicKey(key);
  const rights = { role, vms, keys, publicKeys };
  const given = Object.entries(rights).filter(([, value]) => value !== undefined);
  return { ...(Object.fromEntries(given) as Partial<StoredUser>), password };
}

function valid<Schema extends z.ZodMiniType>(schema: Schema, value: z.input<Schema>): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw usageError(describeIssues(parsed.error));
  return parsed.data;
}

function assertPublicKey(text: string): void {
  const key: ParsedKey | ParsedKey[] | Error = ssh2.utils.parseKey(text);
  const isPublic = !(key instanceof Error) && !Array.isArray(key) && !key.isPrivateKey();
  if (isPublic && !text.trim().includes("\n")) return;
  throw usageError(`'${printable(text.slice(0, 32))}...' is no public key in OpenSSH's form: TYPE BASE64 [COMMENT]`);
}

/** `TYPE BASE64` of `TYPE BASE64 COMMENT`. */
function withoutComment(key: string): string {
  return key.trim().split(/\s+/).slice(0, 2).join(" ");
}

function digestOf(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}

function shownUser({ passwordHash, createdAt, ...user }: StoredUser): User {
  return { ...user, hasPassword: passwordHash !== undefined, createdAt: rfc3339(createdAt) };
}

function shownToken({ id, user, label, createdAt, expiresAt, lastUsedAt }: StoredToken): Token {
  return {
    id,
    user,
    label,
    createdAt: rfc3339(createdAt),
    ...(expiresAt !== undefined && { expiresAt: rfc3339(expiresAt) }),
    ...(lastUsedAt !== undefined && { lastUsedAt: rfc3339(lastUsedAt) }),
  };
}

function byName(one: StoredUser, other: StoredUser): number {
  return one.name < other.name ? -1 : 1;
}

function noSuchUser(name: string): CommandError {
  return new CommandError("failed", `there is no user '${name}'`);
}

function overLimit(message: string, limit: number): CommandError {
  return new CommandError("over-limit", message, { limit });
}
