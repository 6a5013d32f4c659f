/** Sessions with known nonces, alone or joined. */
import type { HelloParams } from "../../../shared/protocol/message.ts";
import {
  GuestSession,
  type HelloFacts,
  type OpenerRole,
  OpenerSession,
  type SessionEvent,
} from "../../../shared/protocol/session.ts";

export const AGENT_NONCE = "aaaaaaaaaaaaaaaa";
export const EPOCH = "eeeeeeeeeeeeeeee";

export const FACTS: HelloFacts = {
  software: "agent 1.0",
  uuid: "6f2b0c1e-98c5-4a53-9c0e-2f7d1a3b4c5d",
  bootId: "0f6f2d5c-7e0f-4f7c-8a52-3f0b9f6f2a11",
  epoch: EPOCH,
  revision: 7,
  limits: { cache: 8192, value: 32_768, key: 256, payload: 262_144 },
};

/** `1111111111111111`, `2222222222222222` and so on. */
export function nonces(): () => string {
  let count = 0;
  return () => {
    count += 1;
    return count.toString(16).slice(-1).repeat(16);
  };
}

/** An opener and a guest that hear each other at once. */
export class JoinedSessions {
  readonly opener: OpenerSession;
  readonly guest: GuestSession;
  readonly hellos: HelloParams[] = [];

  constructor(role: OpenerRole = "host", agentNonce = AGENT_NONCE) {
    this.opener = new OpenerSession({ role, software: "example 1.0", makeNonce: nonces() });
    this.guest = new GuestSession({
      role,
      agentNonce,
      onHello: (hello) => {
        this.hellos.push(hello);
        return FACTS;
      },
    });
  }

  /** Greets, and gives what both ends heard. */
  open(): { opener: SessionEvent[]; guest: SessionEvent[] } {
    return this.toGuest(this.opener.hello().bytes);
  }

  /** Delivers the bytes, and what is sent in answer, until neither end has more to say. */
  toGuest(bytes: Uint8Array): { opener: SessionEvent[]; guest: SessionEvent[] } {
    const guest = this.guest.receive(bytes);
    const back = Buffer.concat(guest.flatMap((event) => (event.type === "send" ? [event.bytes] : [])));
    return { guest: guest.filter(isHeard), opener: this.toOpener(back) };
  }

  toOpener(bytes: Uint8Array): SessionEvent[] {
    return this.opener.receive(bytes).filter(isHeard);
  }
}

function isHeard(event: SessionEvent): boolean {
  return event.type !== "send";
}
