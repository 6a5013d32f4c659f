/**
 * The invariant: whatever bytes arrive and however they are cut, a decoder and both ends of a session give events or
 * violations and never throw, give the same for the whole as for its pieces, and hold no more than one frame.
 */
import { FrameDecoder, type FrameEvent } from "../../shared/protocol/frame.ts";
import { FRAME_OVERHEAD, MAX_PAYLOAD } from "../../shared/protocol/limits.ts";
import { GuestSession, OpenerSession, type SessionEvent } from "../../shared/protocol/session.ts";
import { AGENT_NONCE, FACTS, nonces } from "../unit/protocol/sessions.ts";
import { Random } from "./random.ts";
import { sequence } from "./sequences.ts";

/** Sequences that go to the same decoder and sessions, one behind the other. */
export const SEQUENCES_PER_EPISODE = 128;

/** The largest answer that wrong bytes may provoke: a complaint that names a few mistakes. */
const MAX_ANSWER = 4096;

const SHORT = 24;
const MAX_PIECE = 128;

export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

/** One who receives: what it said to some bytes, as text, and how it stands. */
interface Receiver {
  readonly name: string;
  receive(bytes: Uint8Array): string;
  readonly damagedFrames: number;
  readonly bufferSize: number;
}

/** Feeds one episode. Throws InvariantError with the bytes that led there. */
export function playEpisode(seed: number, episode: number): void {
  // Nobody reads the stacks of the errors in a violation, and they would cost a third of the time.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    play(seed, episode);
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

function play(seed: number, episode: number): void {
  const random = new Random(seed + Math.imul(episode, 0x01000193));
  const isGreeted = random.isOneIn(2);
  const wholes = receivers.map((make) => make(isGreeted));
  // One in turn gets the pieces as well: all three would take twice the time.
  const turn = episode % receivers.length;
  const cut = receivers[turn]?.(isGreeted);
  if (cut === undefined) throw new Error("a turn is one of the receivers'");
  const fed: Buffer[] = [];
  try {
    for (let count = 0; count < SEQUENCES_PER_EPISODE; count += 1) {
      const bytes = sequence(random);
      fed.push(bytes);
      feed(wholes, turn, cut, bytes, piecesOf(bytes, random));
    }
  } catch (error) {
    const message = `seed ${seed}, episode ${episode}${isGreeted ? ", greeted" : ""}: ${String(error)}`;
    throw new InvariantError(`${message}\n${fed.map((bytes) => bytes.toString("hex")).join("\n")}`, { cause: error });
  }
}

function feed(wholes: Receiver[], turn: number, cut: Receiver, bytes: Buffer, pieces: Buffer[]): void {
  const said = wholes.map((whole) => whole.receive(bytes));
  let ofPieces = "";
  for (const piece of pieces) ofPieces += cut.receive(piece);
  if (said[turn] !== ofPieces) throw new Error(`${cut.name}: whole\n${said[turn]}\nin pieces\n${ofPieces}`);
  for (const receiver of [...wholes, cut]) assertSound(receiver, cut);
}

function assertSound({ name, damagedFrames, bufferSize }: Receiver, cut: Receiver): void {
  if (damagedFrames !== cut.damagedFrames) throw new Error(`${name}: ${damagedFrames} damaged frames`);
  if (bufferSize > MAX_PAYLOAD + FRAME_OVERHEAD) throw new Error(`${name}: holds ${bufferSize} bytes`);
}

function piecesOf(bytes: Buffer, random: Random): Buffer[] {
  const pieces: Buffer[] = [];
  const isByteByByte = bytes.length <= SHORT || (bytes.length < 1000 && random.isOneIn(16));
  const largest = bytes.length > 10_000 ? 20_000 : MAX_PIECE;
  for (let at = 0; at < bytes.length;) {
    const size = isByteByByte ? 1 : 1 + random.below(largest);
    pieces.push(bytes.subarray(at, at + size));
    at += size;
  }
  return pieces;
}

const receivers: ((isGreeted: boolean) => Receiver)[] = [
  () => decoder(),
  (isGreeted) => session("guest", guest(isGreeted)),
  (isGreeted) => session("opener", opener(isGreeted)),
];

function decoder(): Receiver {
  const frames = new FrameDecoder();
  return {
    name: "decoder",
    receive: (bytes) => frames.push(bytes).map(frameTrace).join(""),
    get damagedFrames() {
      return frames.damagedFrames;
    },
    get bufferSize() {
      return frames.bufferSize;
    },
  };
}

function session(name: string, end: GuestSession | OpenerSession): Receiver {
  return {
    name,
    receive: (bytes) => end.receive(bytes).map(sessionTrace).join(""),
    get damagedFrames() {
      return end.damagedFrames;
    },
    get bufferSize() {
      return end.bufferSize;
    },
  };
}

/** An agent, with requests of its own under way when it is greeted. */
function guest(isGreeted: boolean): GuestSession {
  const end = new GuestSession({ role: "host", agentNonce: AGENT_NONCE, onHello: () => FACTS });
  if (!isGreeted) return end;
  const greeting = new OpenerSession({ role: "host", software: "example 1.0", makeNonce: nonces() });
  end.receive(greeting.hello().bytes);
  end.request("event", { messageId: "g-1", event: "UP" });
  end.request("acknowledge", { messageId: "g-2", of: "m", key: "a" });
  end.request("report", { messageId: "g-3", name: "x", data: {} });
  return end;
}

/** A host with a hello under way, and one of every kind of request when the samples are to answer them. */
function opener(isGreeted: boolean): OpenerSession {
  const end = new OpenerSession({ role: "host", software: "example 1.0", makeNonce: nonces() });
  end.hello();
  if (!isGreeted) return end;
  for (const key of ["a", "b"]) end.request("set", { messageId: key, entries: [{ key, value: "1" }] });
  for (const key of ["a", "b"]) end.request("get", { key });
  for (const limit of [1, 2]) end.request("list", { limit });
  end.request("delete", { messageId: "d", keys: ["a"] });
  end.request("clear", { messageId: "c" });
  end.request("watch", {});
  end.request("unwatch", { watch: 1 });
  end.request("ping", {});
  end.request("info", {});
  end.request("stats", {});
  return end;
}

function frameTrace(event: FrameEvent): string {
  return event.type === "payload" ? `payload ${event.text}\n` : `damaged ${event.damage}\n`;
}

function sessionTrace(event: SessionEvent): string {
  switch (event.type) {
    case "send":
      if (event.bytes.length > MAX_ANSWER) throw new Error(`an answer of ${event.bytes.length} bytes`);
      return `send ${event.bytes.toString("latin1")}`;
    case "violation":
      return `violation ${event.error.message}\n`;
    case "refused":
      return `refused ${event.id} ${event.error.code} ${event.error.message} ${JSON.stringify(event.error.details)}\n`;
    default:
      return `${JSON.stringify(event)}\n`;
  }
}
