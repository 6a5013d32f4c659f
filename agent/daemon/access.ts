/** What the one at the other end of a connection may do. */
import type { Caller } from "../../shared/protocol/cache.ts";
import { RequestError } from "../../shared/protocol/errors.ts";
import type { Method } from "../../shared/protocol/message.ts";
import type { OpenerRole } from "../../shared/protocol/session.ts";

/** The operations that a restricted socket can be given: `read` and `write` of keys, messages to the host, its heartbeat. */
export const operations = ["read", "write", "event", "acknowledge", "report", "beat"] as const;
export type Operation = (typeof operations)[number];

/**
 * `root`: for root's own socket alone, since a check's command runs with the agent's rights. Who may begin to beat may end
 * it: of `dismiss`, checks are root's too.
 */
const OPERATION_OF: Record<Method, Operation | "always" | "root"> = {
  hello: "always",
  ping: "always",
  unwatch: "always",
  get: "read",
  list: "read",
  watch: "read",
  info: "read",
  stats: "read",
  set: "write",
  delete: "write",
  clear: "write",
  event: "event",
  acknowledge: "acknowledge",
  report: "report",
  beat: "beat",
  applications: "read",
  addCheck: "root",
  dismiss: "beat",
};

/** What a host cannot ask for. */
const LOCAL_ONLY: readonly Method[] = ["event", "acknowledge", "report", "beat", "addCheck", "dismiss", "applications"];

export interface AccessRules {
  prefixes: readonly string[];
  operations: readonly Operation[];
  quotaBytes?: number | undefined;
}

export class Access {
  readonly role: OpenerRole;
  /** For the log: the port, or the socket's path. */
  readonly name: string;
  readonly #rules: AccessRules | undefined;

  private constructor(role: OpenerRole, name: string, rules?: AccessRules) {
    this.role = role;
    this.name = name;
    this.#rules = rules;
  }

  static host(name: string): Access {
    return new Access("host", name);
  }

  /** Root in the guest, or with rules a program that is given its own keys. */
  static local(name: string, rules?: AccessRules): Access {
    return new Access("local", name, rules);
  }

  /** Throws RequestError (not-permitted, or unknown-method for what a host cannot ask for). */
  assertMayUse(method: Method): void {
    const operation = OPERATION_OF[method];
    if (this.role === "host" && LOCAL_ONLY.includes(method)) {
      throw new RequestError("unknown-method", `'${method}' is not for a host to ask`);
    }
    if (operation === "always" || this.#rules === undefined) return;
    if (operation !== "root" && this.#rules.operations.includes(operation)) return;
    throw new RequestError("not-permitted", `this socket does not permit '${method}'`);
  }

  /** Throws RequestError (not-permitted). */
  assertMaySee(key: string): void {
    if (this.mayTouch(key)) return;
    throw new RequestError("not-permitted", `the key '${key}' is not among those of this socket`, { key });
  }

  /** Throws RequestError (not-permitted). */
  assertMayBeatFor(application: string): void {
    if (this.mayTouch(application)) return;
    const message = `the name '${application}' does not begin with one of this socket's prefixes`;
    throw new RequestError("not-permitted", message);
  }

  /** Throws RequestError (not-permitted). */
  assertMayDismiss(application: string, kind: "heartbeat" | "check" | undefined): void {
    this.assertMayBeatFor(application);
    if (kind !== "check" || this.#rules === undefined) return;
    throw new RequestError("not-permitted", `'${application}' is a check, which root alone can remove`);
  }

  /** The path of a restricted socket; null for root's own. */
  get owner(): string | null {
    return this.#rules === undefined ? null : this.name;
  }

  /** Whether a key, or an application's name, is one that it is given. */
  mayTouch = (key: string): boolean => {
    return this.#rules === undefined || this.#rules.prefixes.some((prefix) => key.startsWith(prefix));
  };

  get caller(): Caller {
    const quota = this.#rules?.quotaBytes;
    return {
      setBy: this.role === "host" ? "host" : "guest",
      mayChange: this.mayTouch,
      ...(quota !== undefined && { quota }),
    };
  }
}
