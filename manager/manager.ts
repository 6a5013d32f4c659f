/** `vmmessaged`: builds the manager's parts, runs them until told to stop, and gives them a new configuration meanwhile. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Receipt } from "../shared/api/schemas.ts";
import { Accounts } from "./access/accounts.ts";
import { AuditLog } from "./access/audit-log.ts";
import type { DoorOptions } from "./api/door.ts";
import { defaultApiLimits } from "./api/limits.ts";
import { ApiServer } from "./api/server.ts";
import { StreamQuota } from "./api/stream-quota.ts";
import type { Config, ConsoleConfig } from "./config.ts";
import { ConsoleServer } from "./console/ssh-server.ts";
import { Inventory } from "./inventory/inventory.ts";
import { MirrorKeeper } from "./links/mirror-keeper.ts";
import type { Log } from "../shared/log.ts";
import { ManagerService } from "./service/manager-service.ts";
import { Messages } from "./delivery/messages.ts";
import { Metrics } from "./metrics.ts";
import { type Places, SOCKET_NAME } from "./paths.ts";
import { type Closable, RunningSet } from "./running-set.ts";
import { openSource, type SourceSpec, sourceSpecs } from "./inventory/sources.ts";
import { openStore } from "./store/open-store.ts";
import type { Store, WaitingMessage } from "./store/store.ts";
import { Vms } from "./vms/vms.ts";

/** How often messages that waited too long are looked for. */
const EXPIRE_EVERY_MS = 1_000;

/** How long the inventories are waited for before the doors are opened. */
const FIRST_WORD_MS = 5_000;

/** How often what is too old to be kept is removed. */
const PRUNE_EVERY_MS = 3_600_000;

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
  service: ManagerService;
  /** What a new configuration changes without anything being opened anew. */
  live: Pick<Config, "quotas" | "messages">;
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
      await manager.stop();
      throw error;
    }
    options.log.info("started", { state: options.places.stateDirectory, vms: manager.#parts.vms.all.length });
    return manager;
  }

  private constructor(options: ManagerOptions, parts: Parts) {
    const { log, places } = options;
    const { service, accounts, store, vms, inventory, failure } = parts;
    this.#options = options;
    this.#parts = parts;
    const streams = new StreamQuota(defaultApiLimits.streamsPerPrincipal);
    this.#doors = new RunningSet((door) => {
      return ApiServer.listen({ service, authenticator: accounts, log, streams, doors: [door] });
    });
    this.#consoles = new RunningSet((console) => {
      const { stateDirectory } = places;
      return ConsoleServer.start({ ...console, service, authenticator: accounts, log, stateDirectory });
    });
    this.#sources = new RunningSet((spec) => {
      const source = openSource(spec, options.host);
      inventory.add(source);
      return Promise.resolve({ close: () => inventory.remove(source.name) });
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

  /** Takes another configuration: what it does not change goes on undisturbed. Certificates are read again in any case. */
  async reload(config: Config): Promise<void> {
    await this.#apply(config);
    await Promise.all(this.#doors.all.map((door) => door.reloadCertificates()));
    this.#options.log.info("reloaded");
  }

  /** Takes no new requests, lets those under way end, and puts everything away. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    const { vms, keeper, store } = this.#parts;
    for (const timer of this.#timers) clearInterval(timer);
    await Promise.all([this.#doors.close(), this.#consoles.close()]);
    this.#endInventory.abort();
    await this.#inventoryEnded;
    await vms.close();
    await keeper.close();
    await store.close();
    this.#options.log.info("stopped");
  }

  async #apply(config: Config): Promise<void> {
    const { uid, places } = this.#options;
    const { live, inventory } = this.#parts;
    Object.assign(live, { quotas: config.quotas, messages: config.messages });
    await this.#sources.apply(sourceSpecs(config, uid));
    // Whoever asks first shall not hear that there are no VMs.
    await Promise.race([inventory.spoken(), sleep(FIRST_WORD_MS, undefined, { ref: false })]);
    await this.#doors.apply(doorsOf(config, places));
    await this.#consoles.apply(config.console === undefined ? [] : [config.console]);
  }
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

async function openParts({ config, places, log }: ManagerOptions): Promise<Parts> {
  const failure = Promise.withResolvers<never>();
  // Whoever runs the manager looks at it; until then it must not count as unhandled.
  failure.promise.catch(() => undefined);
  const live = { quotas: config.quotas, messages: config.messages };
  const metrics = new Metrics();
  const store = await openStore({
    directory: places.stateDirectory,
    limits: { pendingPerVm: config.messages.maxPending, pendingBytesPerVm: config.messages.maxPendingBytes },
    log,
    onFailure: failure.reject,
    onRefused: (receipt) => vms.byId(receipt.vm.id)?.settled(receipt),
  });
  const messages = new Messages({ store, expireAfterMs: () => live.messages.expireAfter });
  const keeper = new MirrorKeeper(store, failure.reject);
  const receiptChanged = (receipt: Receipt, message?: WaitingMessage): void => {
    messages.board.publish(receipt);
    if (receipt.state !== "refused" && message !== undefined)
      metrics.delivered((Date.now() - message.queuedAt) / 1_000);
  };
  const known = await store.loadVms();
  const vms = await Vms.load(known, {
    store,
    log,
    metrics,
    quotas: () => live.quotas,
    receiptChanged,
    mirrorChanged: (vm) => {
      keeper.add(vm);
    },
    failed: failure.reject,
  });
  const audit = new AuditLog({ store, log });
  const accounts = await Accounts.open({ store, audit, log });
  const inventory = new Inventory({
    known,
    onChange: (change) => {
      vms.update(change);
    },
    log,
  });
  const parts = { vms, messages, store, accounts, audit, inventory, metrics, startedAt: Date.now() };
  return { ...parts, live, keeper, failure, service: new ManagerService(parts) };
}
