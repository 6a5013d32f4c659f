/** The way from a command to the agent in the same machine: its Unix socket. */
import type { Channel } from "../shared/channel.ts";
import { connectUnixSocket } from "../shared/channels/unix-socket.ts";
import { CommandError, systemCode } from "../shared/cli/failure.ts";
import { Client, DEFAULT_TIMEOUT_MS } from "../shared/client.ts";
import { NoAnswerError } from "../shared/peer.ts";
import type { LocalCommand } from "./command.ts";

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
