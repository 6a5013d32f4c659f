/** The way from a command to the agent in the same machine: its Unix socket. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Channel } from "../shared/channel.ts";
import { connectUnixSocket } from "../shared/channels/unix-socket.ts";
import { CommandError, systemCode } from "../shared/cli/failure.ts";
import { Client, DEFAULT_TIMEOUT_MS } from "../shared/client.ts";
import { NoAnswerError } from "../shared/peer.ts";
import type { LocalCommand } from "./command.ts";

/** How soon to look whether an agent has come up. */
const CONNECT_AGAIN_MS = 200;

/** Throws CommandError: unreachable where no agent listens, not-permitted where we may not connect. */
export async function connectToAgent(socketPath: string): Promise<Channel> {
  try {
    return await connectUnixSocket(socketPath);
  } catch (error) {
    const code = systemCode(error);
    if (code === "EACCES" || code === "EPERM") {
      throw new CommandError("not-permitted", `${socketPath}: permission denied; are you root?`, {}, { cause: error });
    }
    const message = `no agent answers at ${socketPath} (${code ?? String(error)}); is 'agent run' running? 'agent doctor' says more`;
    throw new CommandError("unreachable", message, {}, { cause: error });
  }
}

/** Tries until an agent listens. Rejects when the signal is aborted first, or for what waiting does not mend. */
export async function connectInTime(socketPath: string, signal: AbortSignal): Promise<Channel> {
  for (;;) {
    try {
      return await connectToAgent(socketPath);
    } catch (error) {
      if (!(error instanceof CommandError) || error.code !== "unreachable") throw error;
      await sleep(CONNECT_AGAIN_MS, undefined, { signal });
    }
  }
}

/** For a {@link connectInTime} that may come to nothing. */
export function undefinedIfAborted(error: unknown): undefined {
  if (error instanceof CommandError) throw error;
}

/** Asks the agent for one thing. Throws CommandError, RequestError. */
export async function withAgent<R>(
  { socketPath, timeoutMs = DEFAULT_TIMEOUT_MS }: Pick<LocalCommand, "socketPath" | "timeoutMs">,
  work: (client: Client) => Promise<R>,
  ifNoAnswer: "unreachable" | "unconfirmed" = "unreachable",
): Promise<R> {
  const client = new Client(await connectToAgent(socketPath), { role: "local", timeoutMs });
  try {
    return await work(client);
  } catch (error) {
    if (!(error instanceof NoAnswerError)) throw error;
    throw new CommandError(ifNoAnswer, `the agent at ${socketPath}: ${error.message}`, {}, { cause: error });
  } finally {
    await client.close();
  }
}
