/** A service that answers from a script, for what is the API's own: it has two VMs and remembers what it was asked. */
import { CommandError } from "../../../../shared/cli/failure.ts";
import type {
  FleetEvent,
  FleetRequest,
  KeyAnswer,
  NewMessage,
  Receipt,
  User,
  UserChange,
  VmSummary,
} from "../../../../shared/api/schemas.ts";
import {
  AuthenticationError,
  type Authenticator,
  TooManyAttemptsError,
} from "../../../../manager/access/authenticator.ts";
import type { VmHealth } from "../../../../shared/api/monitor-schemas.ts";
import type { Result } from "../../../../shared/protocol/message.ts";
import type { Principal } from "../../../../manager/access/principal.ts";
import { mainSink, ScriptedEvents, ScriptedImages, ScriptedSinks, ScriptedSubscriptions } from "./scripted-events.ts";
import type { Service, WatchEvent, WatchOptions } from "../../../../manager/service/service.ts";

export const EPOCH = "00112233445566aa";
const NOW = "2026-11-21T09:00:00.000Z";

export const web: VmSummary = {
  id: "6d2a7d6e-5f0b-4b5e-9d4e-0a6f0f7f0001",
  name: "web",
  host: "host-1",
  status: "Running",
  statusSince: NOW,
  inventory: "file vms.json",
  link: { state: "up", since: NOW },
  pending: 0,
};

const health: VmHealth = {
  vm: { id: web.id, name: web.name },
  isMonitored: true,
  state: "healthy",
  since: NOW,
  misses: 0,
  agent: { result: "answered", at: NOW, answeredAt: NOW },
  applications: [],
  recovery: [],
};

const stats: Result<"stats"> = {
  uptimeMs: 10,
  loadAverage: [0.5, 0.25, 0],
  cpus: 2,
  cpuBusyMs: 100,
  cpuIdleMs: 900,
  memoryTotalBytes: 1024,
  memoryAvailableBytes: 512,
  disks: [{ path: "/", totalBytes: 100, availableBytes: 50 }],
};

const receipt: Receipt = {
  messageId: "m1",
  vm: { id: web.id, name: web.name },
  method: "set",
  keys: ["a"],
  state: "delivered",
  by: "alice",
  queuedAt: NOW,
};

const user: User = {
  name: "alice",
  role: "write",
  vms: [],
  keys: [],
  hasPassword: true,
  publicKeys: [],
  createdAt: NOW,
};

export interface Asked {
  /** Of the service, or `GROUP.METHOD`. */
  method: string;
  who?: Principal;
  arguments: unknown[];
}

export class ScriptedService implements Service {
  readonly asked: Asked[] = [];
  /** What `getKey` answers beside the entry's key. */
  entry: Record<string, unknown> = { value: "v" };
  metricsText = 'vmmessage_links{state="up"} 1\n';
  /** Signals of the calls that take one. */
  readonly signals: AbortSignal[] = [];
  /** What a watch says. */
  watch: (options: WatchOptions, signal: AbortSignal) => AsyncIterable<WatchEvent> = untilAborted;
  /** What any method does before it answers. */
  before: () => void | Promise<void> = () => undefined;

  readonly events = new ScriptedEvents((...asked) => this.#asked(...asked));
  readonly sinks = new ScriptedSinks((...asked) => this.#asked(...asked));
  readonly subscriptions = new ScriptedSubscriptions((...asked) => this.#asked(...asked));
  readonly images = new ScriptedImages((...asked) => this.#asked(...asked));
  readonly monitor = {
    list: (who: Principal) => {
      this.#note("monitor.list", who);
      return [health];
    },
    show: (who: Principal, vm: string) => {
      this.#note("monitor.show", who, vm);
      known(vm);
      return health;
    },
  };

  listVms(who: Principal): VmSummary[] {
    this.#note("listVms", who);
    return [web];
  }

  showVm(who: Principal, vm: string): VmSummary {
    this.#note("showVm", who, vm);
    return known(vm);
  }

  async forgetVm(who: Principal, vm: string): Promise<void> {
    await this.#asked("forgetVm", who, vm);
    known(vm);
  }

  async getKey(who: Principal, vm: string, key: string): Promise<KeyAnswer> {
    await this.#asked("getKey", who, vm, key);
    known(vm);
    const entry = { key, setBy: "host", setAt: NOW, ageMs: 5, revision: 1, ...this.entry };
    return { ...head, epoch: EPOCH, entry } as KeyAnswer;
  }

  async listKeys(who: Principal, vm: string, prefix: string) {
    await this.#asked("listKeys", who, vm, prefix);
    return { ...head, epoch: EPOCH, revision: 1, usedBytes: 0, limitBytes: 8192, entries: [] };
  }

  async *watchKeys(who: Principal, vm: string, options: WatchOptions, signal: AbortSignal): AsyncIterable<WatchEvent> {
    await this.#asked("watchKeys", who, vm, options);
    this.signals.push(signal);
    known(vm);
    yield* this.watch(options, signal);
  }

  async info(who: Principal, vm: string) {
    await this.#asked("info", who, vm);
    return {
      software: "agent",
      hostname: "web",
      kernel: "6.1",
      channel: "c",
      isHostAttached: true,
      uptimeMs: 1,
      agentUptimeMs: 1,
      uuid: null,
      bootId: null,
      epoch: EPOCH,
      revision: 1,
      keys: 0,
      usedBytes: 0,
      limitBytes: 8192,
      answersSince: 0,
      queuedMessages: 0,
      damagedFrames: 0,
      unprojectedKeys: [],
      notes: [],
    };
  }

  async ping(who: Principal, vm: string) {
    await this.#asked("ping", who, vm);
    return { vm: head.vm, roundTripMs: 1.5, uptimeMs: 10 };
  }

  async stats(who: Principal, vm: string) {
    await this.#asked("stats", who, vm);
    return stats;
  }

  async send(who: Principal, vm: string, message: NewMessage, signal?: AbortSignal): Promise<Receipt> {
    if (signal !== undefined) this.signals.push(signal);
    await this.#asked("send", who, vm, message);
    if (message.waitFor !== undefined && signal !== undefined) await rejectedWhenAborted(signal);
    return receipt;
  }

  async receipt(who: Principal, messageId: string, wait?: object): Promise<Receipt> {
    await this.#asked("receipt", who, messageId, wait);
    return { ...receipt, messageId };
  }

  async listSent(who: Principal, vm: string, limit?: number): Promise<Receipt[]> {
    await this.#asked("listSent", who, vm, limit);
    return [receipt];
  }

  async listReceived(who: Principal, vm: string, limit?: number) {
    await this.#asked("listReceived", who, vm, limit);
    return [{ vm: head.vm, kind: "event" as const, receivedAt: NOW, name: "E", data: { deep: { er: [1] } } }];
  }

  async *fleet(who: Principal, request: FleetRequest, signal: AbortSignal): AsyncIterable<FleetEvent> {
    await this.#asked("fleet", who, request);
    this.signals.push(signal);
    yield { type: "begin", vms: 1 };
    yield { type: "result", result: { vm: head.vm, status: "Running", receipt } };
    yield { type: "summary", summary: { vms: 1, done: 1, queued: 0, failed: 0 } };
  }

  async listUsers(who: Principal) {
    await this.#asked("listUsers", who);
    if (who.role !== "admin") throw new CommandError("not-permitted", "only an admin may see users");
    return [user];
  }

  async changeUser(who: Principal, name: string, change: UserChange) {
    await this.#asked("changeUser", who, name, change);
    return { ...user, name };
  }

  async removeUser(who: Principal, name: string) {
    await this.#asked("removeUser", who, name);
  }

  async listTokens(who: Principal) {
    await this.#asked("listTokens", who);
    return [{ id: "t1", user: "alice", label: "", createdAt: NOW }];
  }

  async createToken(who: Principal, token: { user: string; label: string }) {
    await this.#asked("createToken", who, token);
    return { id: "t1", user: token.user, label: token.label, createdAt: NOW, token: "vmm_secret" };
  }

  async revokeToken(who: Principal, id: string) {
    await this.#asked("revokeToken", who, id);
  }

  async listAudit(who: Principal, query: object) {
    await this.#asked("listAudit", who, query);
    return [{ id: 1, time: NOW, who: "alice", via: "unix:x", action: "set", keys: ["a"], outcome: "ok" }];
  }

  async health() {
    this.asked.push({ method: "health", arguments: [] });
    await this.before();
    const counts = { inventory: [], links: noLinks, messages: noMessages, sinks };
    return { status: "ok" as const, version: "0", startedAt: NOW, ...counts };
  }

  async metrics(who: Principal) {
    await this.#asked("metrics", who);
    return this.metricsText;
  }

  async #asked(method: string, who: Principal, ...rest: unknown[]): Promise<void> {
    this.#note(method, who, ...rest);
    await this.before();
  }

  #note(method: string, who: Principal, ...rest: unknown[]): void {
    this.asked.push({ method, who, arguments: rest });
  }
}

const head = {
  vm: { id: web.id, name: web.name },
  status: "Running" as const,
  from: "guest" as const,
  asOf: NOW,
  pending: [],
};
const noLinks = { up: 1, silent: 0, held: 0, down: 0, connecting: 0, off: 0 };
const { id, state, reason, backlog, deadLetters } = mainSink;
const sinks = {
  configured: [{ id, state, ...(reason && { reason }), backlog, deadLetters }],
  subscribed: { connected: 0, disconnected: 0, idle: 3, disabled: 1 },
};
const noMessages = { queued: 0, delivered: 1, read: 0, acknowledged: 0, expired: 0, refused: 0 };

function known(vm: string): VmSummary {
  if (vm === web.name || vm === web.id) return web;
  throw new CommandError("failed", `there is no VM '${vm}'`, { unknownVm: true });
}

/** A batch that sets one key. */
export function changed(revision: number, { more = false, value = "v" } = {}): WatchEvent {
  const entry = { key: "a", value, setBy: "host" as const, setAt: NOW, ageMs: 0, revision };
  return { type: "changed", batch: { epoch: EPOCH, revision, more, resync: false, changes: [entry] } };
}

/** A watch of nothing. */
export async function* untilAborted(_options: WatchOptions, signal: AbortSignal): AsyncIterable<WatchEvent> {
  yield changed(1);
  await aborted(signal);
}

export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => {
      resolve();
    });
  });
}

async function rejectedWhenAborted(signal: AbortSignal): Promise<never> {
  await aborted(signal);
  throw signal.reason;
}

/** Knows alice's password and one token; `expired` and `blocked` are what they are called. */
export const authenticator: Authenticator = {
  byPassword: ({ user: name, password }, via) => settled(name === "alice" && password === "correct: horse", name, via),
  byToken: (token, via) => {
    if (token === "blocked") return Promise.reject(new TooManyAttemptsError(4500));
    return settled(token === "vmm_good", "bob", via);
  },
  byPublicKey: () => Promise.reject(new AuthenticationError()),
};

function settled(isRight: boolean, name: string, via: string): Promise<Principal> {
  if (!isRight) return Promise.reject(new AuthenticationError());
  return Promise.resolve({ name, via, role: "write", vms: ["*"], keys: [""] });
}
