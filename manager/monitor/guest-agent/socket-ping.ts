/** A ping of qemu-ga on its Unix socket, which QEMU serves to one client at a time and others need too. */
import { pause } from "../../../shared/abort.ts";
import { findHolder, holderInWords } from "../../../shared/channel-holder.ts";
import type { Channel } from "../../../shared/channel.ts";
import { connectUnixSocket } from "../../../shared/channels/unix-socket.ts";
import { systemCode } from "../../../shared/cli/failure.ts";
import { type Probe, unknown } from "../probe.ts";
import { boundedReason } from "./reason.ts";
import { newSyncId, SyncAnswer, syncRequest } from "./sync-answer.ts";

/** After this part of the time without an answer it is asked whether another client is served. */
const UNTIL_DOUBT = 0.25;

/** A time-out that comes so late says that this host is busy, and nothing of the guest. Not measured. */
const LATE_MS = 500;

/** More than what clients before us may have left unread. */
const MAX_SKIPPED_BYTES = 1024 * 1024;

export interface SocketPingOptions {
  timeoutMs: number;
  signal: AbortSignal;
  connect?: typeof connectUnixSocket;
  /** Who else is served on a socket. */
  holderOf?: typeof findHolder;
}

/**
 * Connects for this ping alone. One exchange, guest-sync-delimited: an answer with our number is the sign of life, and a
 * guest-ping after it would say no more. Never rejects; settles at `timeoutMs` at the latest.
 *
 * Whoever is not served cannot tell that from silence. So the kernel is asked who is, early in the silence: when nobody else
 * is then, we are from there to the end.
 */
export async function pingSocket(path: string, options: SocketPingOptions): Promise<Probe> {
  const { connect = connectUnixSocket, signal } = options;
  const over = new AbortController();
  try {
    const channel = await connect(path, signal);
    try {
      const silence = silenceOn(path, { ...options, signal: AbortSignal.any([signal, over.signal]) });
      return await Promise.race([answerOn(channel), silence]);
    } finally {
      over.abort();
      await channel.close();
    }
  } catch (error) {
    return unknown(whyNotConnected(error));
  }
}

async function answerOn(channel: Channel): Promise<Probe> {
  const id = newSyncId();
  const answer = new SyncAnswer(id);
  let skippedBytes = 0;
  try {
    await channel.write(syncRequest(id));
    for await (const piece of channel.incoming) {
      if (answer.take(piece)) return { type: "answered" };
      skippedBytes += piece.length;
      if (skippedBytes > MAX_SKIPPED_BYTES) return unknown("what speaks on its socket is not qemu-ga");
    }
  } catch {
    // As when it ends without an error: QEMU ended, or took the port away.
  }
  return unknown("QEMU closed its socket");
}

/** Settles when the silence says something: as soon as another client is found to be served, else when the time is over. */
async function silenceOn(path: string, options: SocketPingOptions): Promise<Probe> {
  const { timeoutMs, signal, holderOf = findHolder } = options;
  const startedAt = performance.now();
  const timeIsOver = pause(timeoutMs, signal);
  await pause(timeoutMs * UNTIL_DOUBT, signal);
  const found = await Promise.race([holderOf(path).then((holder) => ({ holder })), timeIsOver]);
  if (found === undefined) return unknown("it is not known in time whether another client has its socket");
  if (found.holder !== undefined) return unknown(boundedReason(`${holderInWords(found.holder)} has its socket`));
  await timeIsOver;
  const lateMs = performance.now() - startedAt - timeoutMs;
  // What has come meanwhile is read first.
  await new Promise((resolve) => setImmediate(resolve));
  if (signal.aborted) return unknown("it was not waited for");
  return lateMs > LATE_MS ? unknown("this host is too busy to tell") : { type: "missed" };
}

function whyNotConnected(error: unknown): string {
  switch (systemCode(error)) {
    case "ENOENT":
    case "ECONNREFUSED":
      return "QEMU does not listen on its socket";
    case "EAGAIN":
      return "other clients wait for its socket";
    case "EACCES":
    case "EPERM":
      return "not permitted to open its socket";
    default:
      return boundedReason(`cannot connect to its socket: ${String(error)}`);
  }
}
