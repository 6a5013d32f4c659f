/** `vmmessaged`: builds the manager's parts, runs them until told to stop, and gives them a new configuration meanwhile. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { aborted } from "../shared/abort.ts";
import { CommandError } from "../shared/cli/failure.ts";
import type { Log } from "../shared/log.ts";
import { Accounts } from "./access/accounts.ts";
import { AuditLog } from "./access/audit-log.ts";
import { readCertificate } from "./api/certificate.ts";
import type { DoorOptions } from "./api/door.ts";
import type { Handlers } from "./api/handler.ts";
import { handlersOf } from "./api/handlers/index.ts";
import { switching } from "./api/handlers/switching.ts";
import { defaultApiLimits } from "./api/limits.ts";
import { ApiServer } from "./api/server.ts";
import { StreamQuota } from "./api/stream-quota.ts";
import type { Config, ConsoleConfig, PeersConfig } from "./config.ts";
import { ConsoleServer } from "./console/ssh-server.ts";
import { Messages } from "./delivery/messages.ts";
import { alertingLog } from "./events/alerting-log.ts";
import { EventHub } from "./events/event-hub.ts";
import { EventLog } from "./events/event-log.ts";
import type { Event } from "./events/event.ts";
import { configuredDisks } from "./images/disk.ts";
import { ImageSaver } from "./images/image-saver.ts";
import { libvirtDisks } from "./images/libvirt-disks.ts";
import { Inventory } from "./inventory/inventory.ts";
import { openSource, type SourceSpec, sourceSpecs } from "./inventory/sources.ts";
import { MirrorKeeper } from "./links/mirror-keeper.ts";
import { Metrics } from "./metrics.ts";
import { GuestAgentProber } from "./monitor/guest-agent/guest-agent-prober.ts";
import { Monitor } from "./monitor/monitor.ts";
import { Recoveries } from "./monitor/recovery/recoveries.ts";
import { type Places, SOCKET_NAME } from "./paths.ts";
import { ManagedLocalVms } from "./peers/holders/local-vms.ts";
import { Peers } from "./peers/peers.ts";
import { type Closable, RunningSet } from "./running-set.ts";
import { ManagerService } from "./service/manager-service.ts";
import { Mailer } from "./sinks/mailer.ts";
import { ownMember } from "./sinks/open-sink.ts";
import { newRateLimits } from "./sinks/rate-limits.ts";
import { openStore } from "./store/open-store.ts";
import type { Store } from "./store/store.ts";
import { Turns } from "./turns.ts";
import { Vms } from "./vms/vms.ts";

/** How often messages that waited too long are looked for. */
const EXPIRE_EVERY_MS = 1_000;

/** How long the inventories are waited for before the doors are opened. */
const FIRST_WORD_MS = 5_000;

/** How often what is too old to be kept is removed. */
const PRUNE_EVERY_MS = 3_600_000;

/**
 * How long a step of stopping may take. Requests, consoles and the message under way end by themselves in less; systemd
 * kills what has not ended in 90 s.
 */
const STOP_STEP_MS = 12_000;

type Live = Pick<Config, "quotas" | "messages" | "events" | "monitor" | "images" | "peers">;

export interface ManagerOptions {
  config: Config;
  places: Places;
  /** This machine's name. */
  host: string;
  uid: number;
  log: Log;
}

interface Parts {
  store: Store;
  accounts: Accounts;
  messages: Messages;
  metrics: Metrics;
  keeper: MirrorKeeper;
  vms: Vms;
  inventory: Inventory;
  events: EventHub;
  images: ImageSaver;
  monitor: Monitor;
  guestAgents: GuestAgentProber;
  recoveries: Recoveries;
  /** One, where a broker is configured for it. */
  peers: RunningSet<PeersConfig, Peers>;
  service: ManagerService;
  /** What serves the API, wherever the VM is that is asked for. */
  handlers: Handlers;
  /** What warns, and tells of it as an event too. */
  log: Log;
  /** What a new configuration changes without anything being opened anew. */
  live: Live;
  /** Rejects when the manager cannot go on. */
  failure: PromiseWithResolvers<never>;
}

export class Manager {
  readonly #options: ManagerOptions;
  readonly #parts: Parts;
  readonly #doors: RunningSet<DoorOptions, ApiServer>;
  readonly #consoles: RunningSet<ConsoleConfig, ConsoleServer>;
  readonly #sources: RunningSet<SourceSpec, Closable>;
  readonly #timers: NodeJS.Timeout[];
  /** Configurations are applied one at a time. */
  readonly #turns = new Turns();
  readonly #stopping = new AbortController();
  readonly #endInventory = new AbortController();
  readonly #inventoryEnded: Promise<void>;
  #stopped: Promise<void> | undefined;

  /** Settles when it serves. Rejects with CommandError when it cannot; then nothing is left open. */
  static async start(options: ManagerOptions): Promise<Manager> {
    mkdirSync(options.places.runDirectory, { recursive: true, mode: 0o755 });
    const manager = new Manager(options, await openParts(options));
    try {
      await manager.#apply(options.config);
    } catch (error) {
      // What else fails now is in the log.
      await manager.stop().catch(() => undefined);
      throw error;
    }
    options.log.info("started", { state: options.places.stateDirectory, vms: manager.#parts.vms.all.length });
    return manager;
  }

  private constructor(options: ManagerOptions, parts: Parts) {
    const { places } = options;
    const { service, handlers, accounts, store, vms, inventory, events, failure, log } = parts;
    this.#options = options;
    this.#parts = parts;
    const streams = new StreamQuota(defaultApiLimits.streamsPerPrincipal);
    this.#doors = new RunningSet<DoorOptions, ApiServer>(async (door) => {
      if (door.type === "tls") await readCertificate(door);
      return () => ApiServer.listen({ service, handlers, authenticator: accounts, log, streams, doors: [door] });
    });
    this.#consoles = new RunningSet<ConsoleConfig, ConsoleServer>((console) => () => {
      const { stateDirectory } = places;
      return ConsoleServer.start({ ...console, service, authenticator: accounts, log, stateDirectory });
    });
    this.#sources = new RunningSet<SourceSpec, Closable>((spec) => () => {
      const source = openSource(spec, options.host, events);
      inventory.add(source);
      return {
        close: async () => {
          await inventory.remove(source.name);
          await events.subscriptions.inventorySays(source.name, []);
        },
      };
    });
    this.#inventoryEnded = inventory.run([], this.#endInventory.signal);
    const every = (ms: number, work: () => Promise<void>): NodeJS.Timeout => {
      return setInterval(() => void work().catch(failure.reject), ms);
    };
    this.#timers = [
      every(EXPIRE_EVERY_MS, async () => {
        for (const receipt of await store.expire(Date.now())) vms.byId(receipt.vm.id)?.settled(receipt);
      }),
      every(PRUNE_EVERY_MS, () => store.prune(Date.now())),
    ];
  }

  /** Rejects when the manager cannot go on: what it accepts would not be kept. */
  get failed(): Promise<never> {
    return this.#parts.failure.promise;
  }

  /** In a few words, for who looks at the service. */
  get status(): string {
    const vms = this.#parts.vms.all;
    return `${vms.length} VMs, ${vms.filter(({ linkState }) => linkState === "up").length} links up`;
  }

  /**
   * Settles when the store's thread has answered, without which nothing is done here; never, when it hangs. That its disk
   * refuses everything is an answer, too: who asks for something is told so, and another manager would have the same disk.
   */
  async proveWork(): Promise<void> {
    try {
      await this.#parts.store.eventLog();
    } catch (error) {
      if (!(error instanceof CommandError && error.code === "failed")) throw error;
    }
  }

  /**
   * Takes another configuration: what it does not change goes on undisturbed. Certificates are read again in any case.
   * Rejects with the first failure, after everything else was applied; when the manager stops, at once.
   */
  async reload(config: Config): Promise<void> {
    await this.#apply(config);
    this.#options.log.info("reloaded");
  }

  /**
   * Takes no new requests, lets those under way end, and puts everything away. Rejects with what failed first, after
   * everything else was put away.
   */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    const { vms, keeper, store, events, images, monitor, guestAgents, recoveries, peers } = this.#parts;
    const { log } = this.#options;
    for (const timer of this.#timers) clearInterval(timer);
    this.#stopping.abort();
    const failures = await doEach([
      // A configuration that is being applied opens no door from here on.
      ["doors", () => inTime(this.#doors.close())],
      ["consoles", () => inTime(this.#consoles.close())],
      ["configuration", () => inTime(this.#turns.take(() => Promise.resolve()))],
      ["peers", () => inTime(peers.close())],
      ["inventory", () => inTime(this.#closeInventory())],
      ["images", () => inTime(images.close())],
      ["monitor", () => inTime(monitor.close())],
      ["guest-agents", () => inTime(guestAgents.close())],
      ["recovery", () => inTime(recoveries.close())],
      ["vms", () => inTime(vms.close())],
      ["mirrors", () => inTime(keeper.close())],
      ["events", () => inTime(events.close())],
      // The last, because the others write to it until they are closed.
      ["store", () => inTime(store.close())],
    ]);
    for (const { part, error } of failures) log.error("stop-failed", { part, error });
    log.info("stopped");
    throwFirst(failures);
  }

  async #closeInventory(): Promise<void> {
    this.#endInventory.abort();
    await this.#inventoryEnded;
  }

  #apply(config: Config): Promise<void> {
    return this.#turns.take(async () => {
      if (this.#stopping.signal.aborted) throw new CommandError("unreachable", "the manager stops");
      Object.assign(this.#parts.live, liveOf(config));
      const failures = await doEach(this.#sectionsOf(config));
      for (const { part, error } of failures.slice(1)) this.#options.log.error("not-applied", { part, error });
      throwFirst(failures);
    });
  }

  #sectionsOf(config: Config): Step[] {
    const { uid, places } = this.#options;
    const { inventory, events, monitor, recoveries, peers } = this.#parts;
    return [
      // Before anything happens that they are to be told of.
      ["events", () => events.apply(config.events)],
      ["recovery", () => recoveries.apply(config.monitor.recovery)],
      [
        "monitor",
        () => {
          monitor.apply();
          return Promise.resolve();
        },
      ],
      ["inventory", () => this.#sources.apply(sourceSpecs(config, uid))],
      // Whoever asks first shall not hear that there are no VMs.
      ["inventory", () => Promise.race([inventory.spoken(), pause(FIRST_WORD_MS), aborted(this.#stopping.signal)])],
      ["events", () => this.#forgetStrayNotifications()],
      ["peers", () => peers.apply(config.peers === undefined ? [] : [config.peers])],
      ["doors", () => this.#doors.apply(doorsOf(config, places))],
      ["consoles", () => this.#consoles.apply(config.console === undefined ? [] : [config.console])],
      ["certificates", () => this.#reloadCertificates()],
    ];
  }

  /** Of inventories that are away nobody knows what they wish. */
  async #forgetStrayNotifications(): Promise<void> {
    const { inventory, events } = this.#parts;
    const sources = inventory.sources();
    if (sources.every(({ isConnected }) => isConnected)) await events.subscriptions.inventoriesSpoke();
  }

  async #reloadCertificates(): Promise<void> {
    const results = await Promise.allSettled(this.#doors.all.map((door) => door.reloadCertificates()));
    for (const result of results) if (result.status === "rejected") throw result.reason;
  }
}

/** What it is done to, for the log, and what is done. */
type Step = readonly [part: string, work: () => Promise<unknown>];

interface FailedStep {
  part: string;
  error: unknown;
}

/** One after the other, each of them whatever became of those before. */
async function doEach(steps: readonly Step[]): Promise<FailedStep[]> {
  const failures: FailedStep[] = [];
  for (const [part, work] of steps) {
    try {
      await work();
    } catch (error) {
      failures.push({ part, error });
    }
  }
  return failures;
}

function throwFirst([first]: readonly FailedStep[]): void {
  if (first !== undefined) throw first.error;
}

/** Rejects when the work takes too long; it is not waited for then. */
async function inTime(work: Promise<unknown>): Promise<void> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    late.reject(new CommandError("failed", `not ended after ${STOP_STEP_MS / 1_000} s`));
  }, STOP_STEP_MS);
  try {
    await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Keeps no process alive. */
function pause(ms: number): Promise<void> {
  return sleep(ms, undefined, { ref: false });
}

/** Root's own socket, those of others, and the network. */
function doorsOf({ sockets, listen }: Config, { runDirectory }: Places): DoorOptions[] {
  const own: DoorOptions = {
    type: "unix",
    path: join(runDirectory, SOCKET_NAME),
    mode: 0o600,
    principal: { role: "admin", vms: ["*"], keys: [""] },
  };
  return [
    ...(sockets.some(({ path }) => path === own.path) ? [] : [own]),
    ...sockets.map(({ path, mode, owner, group, role, vms, keys }): DoorOptions => {
      return { type: "unix", path, mode, owner, group, principal: { role, vms, keys } };
    }),
    ...listen.map(({ address, port, certificate, key }): DoorOptions => {
      return { type: "tls", address, port, certificatePaths: [certificate], keyPath: key };
    }),
  ];
}

async function openParts(options: ManagerOptions): Promise<Parts> {
  const { config, places, log } = options;
  const failure = Promise.withResolvers<never>();
  // Whoever runs the manager looks at it; until then it must not count as unhandled.
  failure.promise.catch(() => undefined);
  let parts: Parts | undefined;
  let eventLog: EventLog | undefined;
  const store = await openStore({
    directory: places.stateDirectory,
    limits: {
      pendingPerVm: config.messages.maxPending,
      pendingBytesPerVm: config.messages.maxPendingBytes,
      eventAgeMs: config.events.keep,
      eventCount: config.events.keepCount,
    },
    log,
    onFailure: failure.reject,
    onSettled: (receipt) => parts?.vms.byId(receipt.vm.id)?.settled(receipt),
    onAppended: (events) => {
      parts?.metrics.events(events);
      eventLog?.appended(events);
      parts?.monitor.appended(events);
    },
  });
  try {
    eventLog = new EventLog(store, await store.eventLog());
    parts = await partsOver(store, eventLog, failure, options);
    return parts;
  } catch (error) {
    await store.close();
    throw error;
  }
}

async function partsOver(
  store: Store,
  eventLog: EventLog,
  failure: Parts["failure"],
  { config, host, log: plainLog }: ManagerOptions,
): Promise<Parts> {
  const live = liveOf(config);
  const failed = failure.reject;
  const log = alertingLog(plainLog, (event) => {
    store.appendEvents([event]).catch(failed);
  });
  const metrics = new Metrics();
  const expireAfterMs = (): number => live.messages.expireAfter;
  const messages = new Messages({ store, expireAfterMs });
  const keeper = new MirrorKeeper(store, failed);
  const audit = new AuditLog({ store, log });
  const accounts = await Accounts.open({ store, audit, log });
  const mailer = new Mailer(() => live.events.mail);
  const guestAgents = new GuestAgentProber({
    intervalMs: () => live.monitor.interval,
    threshold: () => live.monitor.threshold,
  });
  const monitor = await Monitor.open({
    store,
    settings: () => live.monitor,
    guestAgents,
    pinged: (outcome) => {
      metrics.pinged(outcome);
    },
    doubted: (vmId) => {
      inventory.look(vmId);
    },
    log,
    failed,
  });
  const stands = (event: Event): boolean => monitor.stands(event);
  const events = await EventHub.open({
    store,
    eventLog,
    log,
    context: { host, config: () => live.events, mailer, limits: newRateLimits(), journal: store, stands, log },
    rightsOf: (user) => accounts.rightsOf(user),
    rightsOfOthers: () => live.peers?.rights,
    attempted: (sink, outcome) => {
      metrics.attempted(sink, outcome);
    },
    failed,
  });
  const known = await store.loadVms();
  const vms = await Vms.load(known, {
    store,
    log,
    metrics,
    quotas: () => live.quotas,
    receiptChanged: (receipt, message) => {
      messages.board.publish(receipt);
      if (receipt.state !== "refused" && message !== undefined) metrics.delivered(sinceSeconds(message.queuedAt));
    },
    mirrorChanged: (vm) => {
      keeper.add(vm);
    },
    standingChanged: (vmId) => {
      localVms.changed(vmId);
    },
    failed,
  });
  const localVms = new ManagedLocalVms(vms);
  const recoveries = await Recoveries.open({
    store,
    dispatcher: events.dispatcher,
    host,
    program: (name) => ownMember(live.events.commands, name),
    vmOf: (id) => vms.byId(id)?.ref,
    stands,
    recovered: (policy, outcome) => {
      metrics.recovered(policy, outcome);
    },
    log,
    failed,
  });
  const images = await ImageSaver.open({
    store,
    mailer,
    log,
    directories: () => live.images.directories,
    vmOf: (id) => vms.byId(id),
    disksOf: async (vm, inventory) => configuredDisks(live.images.disks, vm) ?? libvirtDisks(vm, inventory),
    failed,
  });
  const inventory = new Inventory({
    known,
    onChange: (change) => {
      vms.update(change);
      monitor.changed(vms.byId(change.vm.id));
      events.lifecycles.changed(change);
      images.statusChanged(change.vm);
    },
    log,
  });
  const kept = { vms, messages, store, accounts, audit, inventory, metrics, events, images, monitor, recoveries };
  const service = new ManagerService({ ...kept, peers: () => peers.all[0]?.health(), startedAt: Date.now() });
  const local = handlersOf(service);
  const peers = new RunningSet<PeersConfig, Peers>((peersConfig) => {
    const parts = { vms, localVms, store, accounts, audit, expireAfterMs };
    return Peers.prepare({ config: peersConfig, host, local, ...parts, log, failed });
  });
  const handlers = switching(() => peers.all[0]?.handlers ?? local);
  return { ...kept, guestAgents, peers, live, keeper, log, failure, service, handlers };
}

function liveOf({ quotas, messages, events, monitor, images, peers }: Config): Live {
  return { quotas, messages, events, monitor, images, peers };
}

function sinceSeconds(time: number): number {
  return (Date.now() - time) / 1_000;
}
