/** A process of simulated managers: `simulated-managers.ts URL KEY_FILE FIRST COUNT VMS_EACH`. It needs no commands. */
import { parseConfig } from "../../../manager/config.ts";
import type { Log } from "../../../shared/log.ts";
import { waitFor } from "../../vm/harness/wait-for.ts";
import { serveCommands } from "../events/worker-process.ts";
import { startSimulatedManager } from "./simulated-manager.ts";

const CONNECT_TIMEOUT_MS = 60_000;

const [, , url = "", keyFile = "", first = "", count = "", vms = ""] = process.argv;
const { peers } = parseConfig({ peers: { url, keyFile } }, "the benchmark");
if (peers === undefined) throw new Error("the configuration has lost its peers");

function failed(...what: unknown[]): never {
  throw new Error(`a simulated manager: ${JSON.stringify(what)}`);
}

// Of connections: the broker is busy while all of them start.
const ignored = (): void => undefined;
const log: Log = { info: ignored, warn: ignored, error: failed };

for (let number = Number(first); number < Number(first) + Number(count); number += 1) {
  const manager = startSimulatedManager({ number, vms: Number(vms), config: peers, log, failed });
  await waitFor("the broker", () => manager.health().state === "connected", { timeoutMs: CONNECT_TIMEOUT_MS });
}

serveCommands(() => Promise.resolve(undefined));
