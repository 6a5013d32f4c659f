/** What a handler has to work with: the agent's parts and whoever asks. Never a channel. */
import type { ApplicationHealth } from "../applications/application-health.ts";
import type { LinkState } from "../daemon/host-link.ts";
import type { Access } from "../daemon/access.ts";
import type { CacheStore } from "../daemon/cache-store.ts";
import type { KeyFiles } from "../daemon/key-files.ts";
import type { OutgoingQueue } from "../daemon/outgoing-queue.ts";
import type { Watches } from "../daemon/watches.ts";
import type { Machine } from "../machine.ts";
import type { DiskSpaces } from "../stats/disk-space.ts";
import type { Params, Result, Method } from "../../shared/protocol/message.ts";

/** The parts that all connections share. */
export interface AgentParts {
  machine: Machine;
  store: CacheStore;
  queue: OutgoingQueue;
  keyFiles: KeyFiles;
  applications: ApplicationHealth;
  disks: DiskSpaces;
  hostLink: LinkState;
  /** Tells the host, when one is there, that a program in the guest fetched what a change of its had set. */
  announceRead: (key: string, messageId: string) => void;
}

export interface HandlerContext extends AgentParts {
  access: Access;
  watches: Watches;
}

export type Handler<M extends Method> = (params: Params<M>, context: HandlerContext) => Promise<Result<M>> | Result<M>;
