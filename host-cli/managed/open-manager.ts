/** From a command to the manager it asks, with who asks. */
import type { CommonOptions } from "../command.ts";
import type { Context } from "../context.ts";
import { type ManagerAddress, managerAddress } from "../door.ts";
import { type Lasting, timeLimits } from "../timing.ts";
import { resolveLogin } from "./credentials.ts";
import { Manager } from "./manager.ts";
import { PasswordReader } from "../../shared/cli/password-reader.ts";

/** A password is waited for as long as it takes; only then the command's time begins. */
export async function openManager(
  address: ManagerAddress,
  { command, context, passwords }: { command: CommonOptions; context: Context; passwords?: PasswordReader },
  lasts: Lasting = "answer",
): Promise<Manager> {
  const login = await resolveLogin(address, command.login, context, passwords ?? new PasswordReader(context));
  return new Manager(address, { ...login, limits: timeLimits(command.timeoutMs, lasts, context.interrupt) });
}

/** For the commands that only a manager can carry out. */
export async function openNeededManager(
  command: CommonOptions,
  context: Context,
  { lasts = "answer", passwords }: { lasts?: Lasting; passwords?: PasswordReader } = {},
): Promise<Manager> {
  const address = await managerAddress(command, context);
  return openManager(address, { command, context, ...(passwords && { passwords }) }, lasts);
}
