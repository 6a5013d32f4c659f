/** `agent run`: the daemon until SIGTERM or SIGINT. */
import { CommandError } from "../../shared/cli/failure.ts";
import { ConfigError } from "../../shared/config-file.ts";
import type { NotifySettings } from "../../shared/systemd-service.ts";
import type { RunCommand } from "../command.ts";
import { readConfig } from "../config.ts";
import { SocketInUseError } from "../channel/unix-listener.ts";
import { runDaemon } from "../daemon/daemon.ts";
import { AlreadyRunningError } from "../daemon/pid-file.ts";
import { openLog } from "../log.ts";

/** Settles when the daemon has stopped. Throws CommandError when it cannot start. */
export async function runAgent(
  command: RunCommand,
  stopped: AbortSignal,
  notifySettings: NotifySettings | undefined,
): Promise<void> {
  const { configFile, channel, limitBytes, heartbeatSeconds, debugLevel, ...places } = command;
  try {
    const config = readConfig(configFile, {
      ...(channel !== undefined && { channel }),
      ...(limitBytes !== undefined && { limitBytes }),
      ...(heartbeatSeconds !== undefined && { heartbeatSeconds }),
    });
    await runDaemon({ ...places, config, notifySettings, log: openLog(debugLevel) }, stopped);
  } catch (error) {
    if (error instanceof ConfigError) throw new CommandError("usage", error.message, {}, { cause: error });
    if (error instanceof AlreadyRunningError || error instanceof SocketInUseError) {
      throw new CommandError("held", error.message, {}, { cause: error });
    }
    throw error;
  }
}
