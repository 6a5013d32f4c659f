import { expect, describe, it } from "vitest";
import { encodeFrame } from "../../../shared/protocol/frame.ts";
import type { Params } from "../../../shared/protocol/message.ts";
import { GuestSession, OpenerSession, type SessionEvent } from "../../../shared/protocol/session.ts";
import { type Done, type Received, type SessionVector, sessionVectors } from "../../vectors/load.ts";
import { byteByByte, inPieces, LINE_FEEDS, payloadsOf, whole } from "./pieces.ts";
import { AGENT_NONCE, nonces, FACTS } from "./sessions.ts";

type Tested = GuestSession | OpenerSession;

function newSession({ tested, opener }: SessionVector): Tested {
  if (tested === "guest") return new GuestSession({ role: opener, agentNonce: AGENT_NONCE, onHello: () => FACTS });
  return new OpenerSession({ role: opener, software: "example 1.0", makeNonce: nonces() });
}

function eventName(event: SessionEvent): string {
  switch (event.type) {
    case "request":
      return `request ${event.request.method}`;
    case "refused":
      return `refused ${event.error.code}`;
    case "notification":
      return `notification ${event.notification.method}`;
    case "damaged":
      return `damaged ${event.damage}`;
    default:
      return event.type;
  }
}

/** An error's message is for people: a vector leaves it out, and any will do. */
function withAnyMessage(reply: unknown): unknown {
  const { error, ...rest } = reply as { error?: object };
  if (error === undefined) return reply;
  return { ...rest, error: { ...error, message: expect.any(String) as string } };
}

function receive(session: Tested, step: Received, cut: (bytes: Buffer) => Buffer[]): void {
  const { receives, receivesBytes } = step;
  const bytes = receivesBytes === undefined ? encodeFrame(receives) : Buffer.from(receivesBytes, "hex");
  const events = cut(bytes).flatMap((piece) => session.receive(piece));
  const sent = events.filter((event) => event.type === "send");
  expect(events.filter(({ type }) => type !== "send").map(eventName)).toEqual(step.events);
  expect(sent.flatMap((event) => payloadsOf(event.bytes))).toEqual(step.replies.map(withAnyMessage));
}

function act(session: Tested, { does, writes }: Done): void {
  const written = does === "hello" ? (session as OpenerSession).hello() : request(session, does);
  expect(payloadsOf(written.bytes)).toEqual([writes]);
}

function request(session: Tested, { request: method, params }: Exclude<Done["does"], "hello">): { bytes: Buffer } {
  return session.request(method as "event", params as Params<"event">);
}

function play(vector: SessionVector, cut: (bytes: Buffer) => Buffer[]): void {
  const session = newSession(vector);
  for (const step of vector.steps) {
    if ("does" in step) act(session, step);
    else receive(session, step, cut);
  }
}

describe.each(sessionVectors)("session/$name: $rule", (vector) => {
  it("happens so whole, byte by byte and in odd pieces", () => {
    play(vector, whole);
    play(vector, byteByByte);
    play(vector, (bytes) => inPieces(bytes, 13));
  });

  it("happens so with lone line feeds around everything", () => {
    play(vector, (bytes) => [Buffer.concat([LINE_FEEDS, bytes, LINE_FEEDS])]);
  });
});
