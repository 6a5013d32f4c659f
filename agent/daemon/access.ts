/** What the one at the other end of a connection may do. */
import type { Caller } from "../../shared/protocol/cache.ts";
import { RequestError } from "../../shared/protocol/errors.ts";
import type { Method } from "../../shared/protocol/message.ts";
import type { OpenerRole } from "../../shared/protocol/session.ts";

/** The operations that a restricted socket can be given; `read` and `write` of keys, and messages to the host. */
export const operations = ["read", "write", "event", "acknowledge", "report"] as const;
export type Operation = (typeof operations)[number];

const OPERATION_OF: Record<Method, Operation | "always"> = {
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
};

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
    if (this.role === "host" && (operation === "event" || operation === "acknowledge" || operation === "report")) {
      throw new RequestError("unknown-method", `'${method}' is for the host, not for the guest`);
    }
    if (operation === "always" || this.#rules === undefined || this.#rules.operations.includes(operation)) return;
    throw new RequestError("not-permitted", `this socket does not permit '${method}'`);
  }

  /** Throws RequestError (not-permitted). */
  assertMaySee(key: string): void {
    if (this.mayTouch(key)) return;
    throw new RequestError("not-permitted", `the key '${key}' is not among those of this socket`, { key });
  }

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
