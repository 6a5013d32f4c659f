/** The agent's log goes where ovmd's `-d` says. */
import { spawn } from "node:child_process";
import { jsonLog, type Log, toStderr } from "../shared/log.ts";

/** Where it goes, as ovmd's `-d` counts it. */
export type DebugLevel = 0 | 1 | 2;

/** 0 nowhere, 1 to stderr, 2 to syslog. */
export function openLog(level: DebugLevel): Log {
  switch (level) {
    case 0:
      return jsonLog(undefined);
    case 1:
      return jsonLog(toStderr());
    case 2:
      return jsonLog(syslog());
  }
}

/** Node has no datagram Unix sockets, so logger(1) speaks to syslog; without it the log goes to stderr. */
function syslog(): NodeJS.WritableStream {
  const logger = spawn("logger", ["-t", "vmmessage-agent"], { stdio: ["pipe", "ignore", "inherit"] });
  logger.on("error", () => {
    process.stderr.write("agent: logger(1) cannot be run; use -d 1 to log to stderr\n");
  });
  logger.stdin.on("error", () => undefined);
  return logger.stdin;
}
