/** The daemons' logs: one JSON line for each change of state, with a fixed event name. Loaded by daemons alone. */
import { type DestinationStream, pino } from "pino";

type Fields = Record<string, unknown>;

export interface Log {
  info(event: string, fields?: Fields): void;
  warn(event: string, fields?: Fields): void;
  error(event: string, fields?: Fields): void;
}

/** A log to `destination`, or one that says nothing. */
export function jsonLog(destination: DestinationStream | undefined): Log {
  const logger = pino(
    {
      base: null,
      messageKey: "event",
      timestamp: pino.stdTimeFunctions.isoTime,
      enabled: destination !== undefined,
    },
    destination ?? pino.destination({ fd: 2 }),
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

/** The same log, with these fields in every line. */
export function logWith(log: Log, always: Fields): Log {
  return {
    info: (event, fields) => {
      log.info(event, { ...fields, ...always });
    },
    warn: (event, fields) => {
      log.warn(event, { ...fields, ...always });
    },
    error: (event, fields) => {
      log.error(event, { ...fields, ...always });
    },
  };
}

/** Where systemd's journal and test harnesses read it. Synchronous: the last line before an end is there. */
export function toStderr(): DestinationStream {
  return pino.destination({ fd: 2, sync: true });
}
