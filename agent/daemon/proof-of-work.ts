/** Whether the agent still does its work, asked as a program of this machine asks. */
import { connectUnixSocket } from "../../shared/channels/unix-socket.ts";
import { Client } from "../../shared/client.ts";

/**
 * Settles when the socket answers. One that has as many clients as it takes lets us go at once, which is an answer: those
 * clients are served. Rejects when nobody listens at the path any more, or no answer comes.
 */
export async function proveSocketAnswers(socketPath: string): Promise<void> {
  const client = new Client(await connectUnixSocket(socketPath), { role: "local" });
  try {
    await Promise.race([client.hello(), client.ended]);
  } finally {
    await client.close();
  }
}
