/** `vm.*`: 1,000 round trips of each kind, host -> guest -> host, in one virtual machine. */
import { newMessageId } from "../../shared/random.ts";
import type { Figure } from "./figure.ts";
import { BenchGuest } from "./guest.ts";
import type { Progress } from "./progress.ts";
import { AgentLink, LineLink } from "./request-link.ts";
import { echo, guestPing, guestSync, interleaved, latencyFigures, type RoundTrip } from "./round-trips.ts";

const KEY = "bench.key";
const VALUE = "x".repeat(100);

export async function vmFigures(progress: Progress): Promise<Figure[]> {
  progress("starting the guest");
  await using guest = await BenchGuest.start();
  const agent = await AgentLink.open(guest.guest.channelPath);
  const tmpfsAgent = await AgentLink.open(await guest.startTmpfsAgent());
  const qemuGa = await LineLink.open((await guest.startQemuGa()).path);
  const floor = await LineLink.open(await guest.startEcho());
  const links = [agent, tmpfsAgent, qemuGa, floor];
  await setKey(agent)();
  try {
    return figuresOf(
      await interleaved(
        {
          echo: echo(floor),
          guestSync: guestSync(qemuGa),
          guestPing: guestPing(qemuGa),
          ping: () => agent.roundTripMs("ping", {}),
          get: () => agent.roundTripMs("get", { key: KEY }),
          setTmpfs: setKey(tmpfsAgent),
          setExt4: setKey(agent),
        },
        progress,
      ),
    );
  } finally {
    for (const link of links) await link.close();
  }
}

function setKey(link: AgentLink): RoundTrip {
  const entries = [{ key: KEY, value: VALUE }];
  return () => link.roundTripMs("set", { messageId: newMessageId(), entries });
}

type Kind = "echo" | "guestSync" | "guestPing" | "ping" | "get" | "setTmpfs" | "setExt4";

function figuresOf(measured: Record<Kind, number[]>): Figure[] {
  const peer = { peer: measured.guestPing, peerName: "guest-ping" };
  const moonshot = { peer: measured.guestSync, peerName: "guest-sync" };
  const floor = { floor: measured.echo, floorName: "C echo" };
  const goals = { p50: "ours <= peer" };
  return [
    ...latencyFigures("vm.ping", { ours: measured.ping, ...peer, ...floor, goals }),
    ...latencyFigures("vm.ping", { ours: measured.ping, ...moonshot, ...floor, goals }, ".vs_guest_sync"),
    ...latencyFigures("vm.get", { ours: measured.get, ...peer, ...floor }),
    ...latencyFigures("vm.set_tmpfs", { ours: measured.setTmpfs, ...peer, ...floor }),
    ...latencyFigures("vm.set_ext4", { ours: measured.setExt4, ...peer, ...floor }),
  ];
}
