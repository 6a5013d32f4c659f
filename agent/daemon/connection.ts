/** One opener's session with the agent, on the port or on a local socket: its requests, its watches, its rights. */
import type { Channel } from "../../shared/channel.ts";
import { Peer, type PeerEvents } from "../../shared/peer.ts";
import { MAX_KEY, MAX_PAYLOAD, MAX_VALUE } from "../../shared/protocol/limits.ts";
import type { HelloParams } from "../../shared/protocol/message.ts";
import { GuestSession, type HelloFacts } from "../../shared/protocol/session.ts";
import { software } from "../../shared/version.ts";
import type { AgentParts } from "../handlers/context.ts";
import { answer } from "../handlers/index.ts";
import type { Access } from "./access.ts";
import { Watches } from "./watches.ts";

export interface ConnectionOptions {
  parts: AgentParts;
  access: Access;
  agentNonce: string;
  log: Pick<PeerEvents, "damaged" | "violated" | "failed">;
  opened?: (hello: HelloParams) => void;
}

export class Connection {
  readonly peer: Peer<GuestSession>;
  readonly watches: Watches;

  constructor(channel: Channel, { parts, access, agentNonce, log, opened }: ConnectionOptions) {
    const session = new GuestSession({
      role: access.role,
      agentNonce,
      onHello: (hello) => {
        if (access.role === "host" && hello.newEpoch === true) parts.store.renewEpoch();
        return factsOf(parts);
      },
    });
    this.watches = new Watches({
      store: parts.store,
      machine: parts.machine,
      maySee: access.mayTouch,
      sink: {
        changed: (batch) => channel.write(session.notify("changed", batch)),
        watchEnded: (end) => channel.write(session.notify("watchEnded", end)),
      },
    });
    const context = { ...parts, access, watches: this.watches };
    this.peer = new Peer(session, channel, {
      ...log,
      answer: (request) => answer(request, context),
      opened: (hello) => {
        // Not at the hello itself: a watch of the session before may have been asked for in the same bytes.
        this.watches.clear();
        opened?.(hello as HelloParams);
      },
    });
  }

  /** Serves until the channel ends; never rejects for what the other side did. */
  async serve(): Promise<void> {
    try {
      await this.peer.run();
    } finally {
      this.watches.clear();
      this.peer.session.close();
    }
  }
}

function factsOf({ machine, store }: AgentParts): HelloFacts {
  const { clonedFrom } = store.report;
  return {
    software,
    uuid: machine.uuid,
    bootId: machine.bootId,
    ...store.cache.cursor,
    limits: {
      cache: store.cache.limit,
      value: MAX_VALUE,
      key: MAX_KEY,
      payload: MAX_PAYLOAD,
    },
    ...(clonedFrom !== undefined && { clonedFrom }),
  };
}
