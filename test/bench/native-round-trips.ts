/** `native.*`: 1,000 round trips over a Unix socket on this machine, at the speed that the processor really has. */
import { join } from "node:path";
import { ensureGuestTools } from "../../scripts/guest-tools.ts";
import type { Figure } from "./figure.ts";
import { childEnvironment, LocalAgent, LocalServer } from "./local-agent.ts";
import type { Progress } from "./progress.ts";
import { AgentLink, LineLink } from "./request-link.ts";
import { echo, guestPing, guestSync, interleaved, latencyFigures } from "./round-trips.ts";

const ECHO = "require('node:net').createServer((socket) => socket.pipe(socket)).listen(process.argv[1])";

export async function nativeFigures(progress: Progress): Promise<Figure[]> {
  progress("starting an agent");
  await using agent = await LocalAgent.start();
  const echoPath = join(agent.dir, "echo");
  const qemuGaPath = join(agent.dir, "qemu-ga");
  await using servers = new AsyncDisposableStack();
  servers.use(await LocalServer.start([process.execPath, "-e", ECHO, echoPath], echoPath));
  servers.use(await startQemuGa(qemuGaPath, agent.dir));
  const links = {
    agent: await AgentLink.open(agent.channelPath),
    echo: await LineLink.open(echoPath),
    qemuGa: await LineLink.open(qemuGaPath),
  };
  try {
    const measured = await interleaved(
      {
        echo: echo(links.echo),
        guestSync: guestSync(links.qemuGa),
        guestPing: guestPing(links.qemuGa),
        ping: () => links.agent.roundTripMs("ping", {}),
      },
      progress,
    );
    const ours = { ours: measured.ping, floor: measured.echo, floorName: "Node echo" };
    return [
      ...latencyFigures("native.ping", { ...ours, peer: measured.guestPing, peerName: "guest-ping" }),
      ...latencyFigures("native.ping", { ...ours, peer: measured.guestSync, peerName: "guest-sync" }, ".vs_guest_sync"),
    ];
  } finally {
    for (const link of Object.values(links)) await link.close();
  }
}

async function startQemuGa(path: string, dir: string): Promise<LocalServer> {
  const { qemuGa, libraries } = await ensureGuestTools(console.error);
  const args = ["-m", "unix-listen", "-p", path, "-t", dir];
  return LocalServer.start([qemuGa, ...args], path, { ...childEnvironment, LD_LIBRARY_PATH: libraries });
}
