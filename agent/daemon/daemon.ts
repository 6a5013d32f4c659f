/** `agent run`: builds the daemon's parts and runs them until it is told to stop. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { aborted } from "../../shared/abort.ts";
import type { ChannelSource } from "../../shared/channel.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import { newMessageId, newNonce } from "../../shared/random.ts";
import { type NotifySettings, SystemdService } from "../../shared/systemd-service.ts";
import { ApplicationHealth } from "../applications/application-health.ts";
import type { ChannelSpec } from "../channel/channel-spec.ts";
import type { Config } from "../config.ts";
import type { AgentParts } from "../handlers/context.ts";
import type { Log } from "../../shared/log.ts";
import { thisMachine } from "../machine.ts";
import { removeStaleSocket } from "../channel/unix-listener.ts";
import { SOCKET_NAME } from "../paths.ts";
import { DiskSpaces } from "../stats/disk-space.ts";
import { CacheStore } from "./cache-store.ts";
import { Expiry } from "./expiry.ts";
import { HostLink } from "./host-link.ts";
import { KeyFiles } from "./key-files.ts";
import { LocalSockets } from "./local-sockets.ts";
import { OutgoingQueue } from "./outgoing-queue.ts";
import { assertOnlyOne, releasePidFile, writePidFile } from "./pid-file.ts";
import { proveSocketAnswers } from "./proof-of-work.ts";
import { Secrets } from "./secrets.ts";
import { numbersOf } from "../../shared/users.ts";

export interface DaemonOptions {
  config: Config;
  stateDirectory: string;
  runDirectory: string;
  pidFile: string;
  /** Undefined: it is no service of systemd's that notifies. */
  notifySettings: NotifySettings | undefined;
  log: Log;
}

/** Runs until aborted. Throws AlreadyRunningError or SocketInUseError when another agent is there. */
export async function runDaemon(options: DaemonOptions, signal: AbortSignal): Promise<void> {
  const { config, runDirectory, pidFile, log } = options;
  mkdirSync(runDirectory, { recursive: true, mode: 0o755 });
  assertOnlyOne(pidFile);
  // One that was started by another name is known by its socket alone.
  await removeStaleSocket(join(runDirectory, SOCKET_NAME));
  writePidFile(pidFile);
  const agentNonce = newNonce();
  const source = await openSource(config.channel, log);
  const hostLink = new HostLink({ source, agentNonce, heartbeatMs: config.heartbeatSeconds * 1000, log });
  const localSockets = new LocalSockets({ runDirectory, sockets: config.sockets, agentNonce, log });
  const parts = await openParts(options, hostLink);
  const expiry = new Expiry(parts.store, parts.machine, log);
  const service = openService(options, parts);
  const update = (): void => {
    parts.keyFiles.project(parts.store.cache);
    hostLink.update();
    localSockets.update();
    expiry.update();
  };
  parts.store.onCommitted(update);
  try {
    await localSockets.listen(parts);
    update();
    parts.applications.start();
    await reportLosses(parts, log);
    log.info("started", { channel: source.name, ...parts.store.cache.cursor, keys: parts.store.cache.size });
    void service.ready();
    await Promise.race([hostLink.run(parts, signal), aborted(signal)]);
    await hostLink.announceStopping();
  } finally {
    void service.stopping();
    expiry.close();
    await parts.applications.close();
    await localSockets.close();
    releasePidFile(pidFile);
    log.info("stopped");
  }
}

async function openParts(options: DaemonOptions, hostLink: HostLink): Promise<AgentParts> {
  const { config, stateDirectory, runDirectory, log } = options;
  const machine = thisMachine();
  const store = await CacheStore.open({
    path: join(stateDirectory, "cache.json"),
    limitBytes: config.limitBytes,
    machine,
    secrets: new Secrets(runDirectory),
  });
  const rights = config.keyFiles.map(({ prefix, mode, ...names }) => ({ prefix, mode, ...numbersOf(names) }));
  return {
    machine,
    store,
    queue: await OutgoingQueue.open(join(stateDirectory, "queue.json")),
    keyFiles: new KeyFiles(join(runDirectory, "keys"), rights),
    applications: await ApplicationHealth.open(stateDirectory, log),
    disks: new DiskSpaces(),
    hostLink,
    announceRead: (key, messageId) => {
      hostLink.announceRead(key, messageId);
    },
  };
}

/** What programs in this machine depend on is that root's socket answers, whether there is a host or not. */
function openService({ notifySettings, runDirectory, log }: DaemonOptions, parts: AgentParts): SystemdService {
  return new SystemdService({
    settings: notifySettings,
    status: () => `${parts.store.cache.size} keys, ${parts.hostLink.isHostAttached ? "a host" : "no host"} attached`,
    proveWork: () => proveSocketAnswers(join(runDirectory, SOCKET_NAME)),
    log,
  });
}

/** Only what the channel needs is loaded: serialport is of no use on a virtio port. */
async function openSource(spec: ChannelSpec, log: Log): Promise<ChannelSource> {
  switch (spec.kind) {
    case "virtio": {
      const { virtioPort } = await import("../channel/virtio-serial.ts");
      return virtioPort(spec.name, ({ state, ...where }) => {
        log.info(`port-${state}`, where);
      });
    }
    case "tty": {
      const { ttySource } = await import("../channel/tty-source.ts");
      return ttySource(spec.path, spec.baudRate, (error) => {
        log.warn("tty-failed", { path: spec.path, reason: error.message });
      });
    }
    case "unix": {
      const { unixSocketSource } = await import("../channel/unix-listener.ts");
      return unixSocketSource(spec.path);
    }
    default:
      return unreachable(spec);
  }
}

/** Tells whoever set them that secrets are gone, and the log what else was found. */
async function reportLosses({ store, queue, applications }: AgentParts, log: Log): Promise<void> {
  const { clonedFrom, setAside, lostSecrets } = store.report;
  if (setAside !== undefined) log.warn("cache-set-aside", { path: setAside, clonedFrom });
  if (queue.setAside !== undefined) log.warn("queue-set-aside", { path: queue.setAside });
  const { checksSetAside, heartbeatsSetAside } = applications;
  if (checksSetAside !== undefined) log.warn("checks-set-aside", { path: checksSetAside });
  if (heartbeatsSetAside !== undefined) log.warn("heartbeats-set-aside", { path: heartbeatsSetAside });
  if (lostSecrets.length === 0) return;
  const params = { messageId: newMessageId(), event: "SECRETS.LOST", data: { keys: lostSecrets } };
  await queue.add({ method: "event", params }).catch((error: unknown) => {
    log.warn("secrets-lost", { keys: lostSecrets, reason: (error as Error).message });
  });
}
