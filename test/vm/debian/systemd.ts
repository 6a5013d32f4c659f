// What systemd in a guest has to say.
import type { Guest } from "../harness/guest.ts";
import { waitFor } from "../harness/wait-for.ts";
import { Host } from "../support/host.ts";

export interface SystemState {
  /** "running", or "degraded" where a unit failed; see is-system-running of systemctl(1). */
  state: string;
  failedUnits: string[];
}

/** A boot's worth, on a busy machine. */
const timeoutMs = 240_000;
/** Each question takes an emulated guest a good part of this. */
const pollMs = 500;

/** Waits until nothing that the boot starts is still starting. */
export async function systemIsUp(guest: Guest): Promise<SystemState> {
  const { stdout } = await guest.exec(["systemctl", "is-system-running", "--wait"], { timeoutMs, pollMs });
  const failed = await guest.shell("systemctl list-units --failed --plain --no-legend");
  const failedUnits = failed.split("\n").map((line) => line.split(" ")[0] ?? "");
  return { state: stdout.trim(), failedUnits: failedUnits.filter(Boolean) };
}

/** "active", "inactive", "activating", "failed", ... */
export async function stateOf(guest: Guest, unit: string): Promise<string> {
  return propertyOf(guest, unit, "ActiveState");
}

export function propertyOf(guest: Guest, unit: string, property: string): Promise<string> {
  return guest.shell(`systemctl show --value --property=${property} '${unit}'`);
}

/** Waits until the unit is in this state; the error quotes its journal. */
export async function untilState(guest: Guest, unit: string, state: string): Promise<void> {
  const isThere = async () => (await stateOf(guest, unit)) === state;
  try {
    await waitFor(`${unit} to be ${state}`, isThere, { timeoutMs, intervalMs: pollMs });
  } catch (error) {
    throw new Error(`${String(error)}\n${await journalOf(guest, unit)}`, { cause: error });
  }
}

/** What the unit and systemd about it have written since the boot. */
export function journalOf(guest: Guest, unit: string): Promise<string> {
  return guest.shell(`journalctl --no-pager --output=cat --unit='${unit}'`);
}

/** Replaces what the service starts, and more where `settings` say so: lines of [Service]. */
export async function overrideService(guest: Guest, service: string, settings: string[]): Promise<void> {
  const directory = `/etc/systemd/system/${service}.d`;
  await guest.shell(`mkdir -p ${directory}`);
  await guest.writeFile(`${directory}/override.conf`, ["[Service]", "ExecStart=", ...settings, ""].join("\n"));
  await guest.shell("systemctl daemon-reload");
}

/** Waits for the agent, which is up some time after its unit has started; the host's end of its port must be free. */
export async function agentIsUp(guest: Guest): Promise<void> {
  try {
    await using host = await Host.connect(guest.channelPath, { timeoutMs });
    await host.hello();
  } catch (error) {
    const journal = await journalOf(guest, "vmmessage-agent.service").catch(String);
    throw new Error(`the agent does not answer: ${String(error)}\n${journal}`, { cause: error });
  }
}
