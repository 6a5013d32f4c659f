/** The manager's log: one JSON line for each change of state, with a fixed event name. */
import { pino } from "pino";

type Fields = Record<string, unknown>;

export interface Log {
  info(event: string, fields?: Fields): void;
  warn(event: string, fields?: Fields): void;
  error(event: string, fields?: Fields): void;
}

/** Writes to stderr, where systemd's journal and test harnesses read it. */
export function openLog(): Log {
  const logger = pino(
    { base: null, messageKey: "event", timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 2, sync: true }),
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
