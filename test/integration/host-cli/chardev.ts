/**
 * What QEMU's socket chardev is between host and guest: the host's connection stays when the agent goes, and its bytes
 * reach the next one that opens the port.
 */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { onTestFinished } from "vitest";

const RECONNECT_MS = 20;

export async function chardev(hostPath: string, agentPath: string): Promise<void> {
  const server = createServer((host) => {
    join(host, agentPath);
  });
  server.listen(hostPath);
  await once(server, "listening");
  onTestFinished(() => {
    server.close();
  });
}

function join(host: Socket, agentPath: string): void {
  host.on("error", () => undefined);
  onTestFinished(() => {
    host.destroy();
  });
  let agent: Socket | undefined;
  host.on("data", (bytes) => agent?.write(bytes));
  host.on("close", () => agent?.destroy());
  const open = (): void => {
    if (host.destroyed) return;
    agent = connect(agentPath);
    agent.on("error", () => undefined);
    agent.on("data", (bytes) => host.write(bytes));
    agent.on("close", () => setTimeout(open, RECONNECT_MS));
  };
  open();
}
