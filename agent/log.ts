/** The daemon's log: one JSON line for each change of state, with a fixed event name. Loaded by `agent run` alone. */
import { spawn } from "node:child_process";
import { pino } from "pino";

type Fields = Record<string, unknown>;

export interface Log {
  info(event: string, fields?: Fields): void;
  warn(event: string, fields?: Fields): void;
  error(event: string, fields?: Fields): void;
}

/** Where it goes, as ovmd's `-d` counts it. */
export type DebugLevel = 0 | 1 | 2;

/** 0 nowhere, 1 to stderr, 2 to syslog. */
export function openLog(level: DebugLevel): Log {
  const logger = pino(
    { base: null, messageKey: "event", timestamp: pino.stdTimeFunctions.isoTime, enabled: level !== 0 },
    level === 2 ? syslog() : pino.destination({ fd: 2, sync: true }),
  );
  return {
    info: (event, fields = {}) => {
      logger.info(fields, event);
    },
    warn: (event, fields = {}) => {
      logger.warn(fields, event);
    },
    error: ((event, { error, ...fields } = {}) => {
      logger.error({ ...fields, err: error }, event);
    }) satisfies Log["error"],
  };
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
