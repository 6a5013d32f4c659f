/**
 * What a daemon says of itself to systemd: that it serves, what it is at, and that it still does its work (sd_notify(3),
 * sd_watchdog_enabled(3)). Node has no Unix datagram sockets, so systemd-notify(1) says it, which is a process of its own:
 * the unit has NotifyAccess=all.
 */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { pause, within } from "./abort.ts";
import { durationInWords } from "./cli/duration.ts";
import { systemCode } from "./cli/failure.ts";
import type { Log } from "./log.ts";
import { PLAIN_ENVIRONMENT } from "./process-group.ts";

/** systemd-notify waits up to 5 s for systemd to have read it. An emulated machine needs some time to start it, too. */
const SEND_TIMEOUT_MS = 15_000;

/** How often within the watchdog's time the work is looked at: sd_watchdog_enabled(3) recommends 2, which bears no lost ping. */
const LOOKS = 3;

/** A daemon that did not answer is asked again so soon, and has so long to answer, as a part of that time. */
const SECOND_LOOKS = 8;

/**
 * That it is ready is said again: a systemd before version 246 may lose what was said by a process that has ended by the time
 * it is heard (systemd's NEWS, "CHANGES WITH 246": the barrier of sd_notify).
 */
const PING = ["READY=1", "WATCHDOG=1"];

/** What systemd has asked of this process. */
export interface NotifySettings {
  /** Where systemd listens: a path, or `@` and an abstract name. */
  socket: string;
  /** It kills a process that it has not heard of for so long. Undefined: nobody watches. */
  watchdogMs: number | undefined;
}

/**
 * Takes systemd's variables out of the environment: no child is to speak for the daemon.
 * @returns undefined when the process was not started as a service that notifies
 */
export function takeNotifySettings(environment: NodeJS.ProcessEnv, pid: number): NotifySettings | undefined {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: usec, WATCHDOG_PID: watched } = environment;
  delete environment["NOTIFY_SOCKET"];
  delete environment["WATCHDOG_USEC"];
  delete environment["WATCHDOG_PID"];
  if (socket === undefined || socket === "") return undefined;
  const isWatched = watched === undefined || watched === String(pid);
  return { socket, watchdogMs: isWatched ? watchdogMsOf(usec) : undefined };
}

/** Undefined also for what is no number of microseconds. */
function watchdogMsOf(usec: string | undefined): number | undefined {
  if (usec === undefined || !/^[1-9]\d*$/.test(usec)) return undefined;
  return Number(usec) / 1_000;
}

export interface SystemdServiceOptions {
  /** Undefined: nothing is said to anybody. */
  settings: NotifySettings | undefined;
  /** What the daemon is at, for `systemctl status`: a few words of our own. */
  status: () => string;
  /** Settles when the daemon has just done some of its work; rejects, or never settles, when it does not do it. */
  proveWork: () => Promise<unknown>;
  log: Log;
  /** Hands variables such as `READY=1` to systemd. Rejects with the system's error. */
  send?: ((variables: readonly string[]) => Promise<void>) | undefined;
}

/** A daemon as systemd's service. What cannot be said is logged once, and the daemon goes on. */
export class SystemdService {
  readonly #options: SystemdServiceOptions;
  readonly #send: (variables: readonly string[]) => Promise<void>;
  readonly #end = new AbortController();
  #isWatched = false;
  #isMute = false;
  #isStuck = false;

  constructor(options: SystemdServiceOptions) {
    const { settings, send = sendTo(settings?.socket ?? "") } = options;
    this.#options = options;
    this.#send = settings === undefined ? () => Promise.resolve() : send;
  }

  /** It serves, from now on or again. Settles when systemd knows; never rejects. */
  async ready(): Promise<void> {
    await this.#say(["READY=1", this.#status()]);
    const { settings } = this.#options;
    if (this.#isWatched || settings?.watchdogMs === undefined) return;
    this.#isWatched = true;
    void this.#keepWatchdogQuiet(settings.watchdogMs);
  }

  /** It reads its configuration again; `ready` ends that. */
  async reloading(): Promise<void> {
    await this.#say(["RELOADING=1"]);
  }

  /** It ends, and proves nothing any more. */
  async stopping(): Promise<void> {
    if (this.#end.signal.aborted) return;
    this.#end.abort();
    await this.#say(["STOPPING=1", "STATUS="]);
  }

  /** A ping follows from work that was done: a timer alone would also ring in a daemon that does nothing any more. */
  async #keepWatchdogQuiet(watchdogMs: number): Promise<void> {
    const { signal } = this.#end;
    let looks = LOOKS;
    for (;;) {
      await pause(watchdogMs / looks, signal);
      const failure = await this.#failureWithin(watchdogMs / SECOND_LOOKS);
      if (signal.aborted) return;
      this.#note(failure);
      const isPinged = failure === undefined && (await this.#say([...PING, this.#status()]));
      looks = isPinged ? LOOKS : SECOND_LOOKS;
    }
  }

  async #failureWithin(ms: number): Promise<string | undefined> {
    const proof = this.#options.proveWork().then(
      () => ({ failure: undefined }),
      (error: unknown) => ({ failure: error instanceof Error ? error.message : String(error) }),
    );
    const answer = await within(ms, proof, this.#end.signal);
    return answer === undefined ? `no answer within ${durationInWords(Math.round(ms))}` : answer.failure;
  }

  /** What the log says last of a daemon that is then killed. */
  #note(failure: string | undefined): void {
    const { log } = this.#options;
    if (failure !== undefined && !this.#isStuck) log.error("stuck", { reason: failure });
    if (failure === undefined && this.#isStuck) log.info("stuck-no-more");
    this.#isStuck = failure !== undefined;
  }

  #status(): string {
    return `STATUS=${this.#options.status()}`;
  }

  /** @returns whether systemd has read it */
  async #say(variables: readonly string[]): Promise<boolean> {
    try {
      await this.#send(variables);
      this.#isMute = false;
    } catch (error) {
      const isExpected = this.#isMute || this.#end.signal.aborted;
      if (!isExpected) this.#options.log.warn("systemd-not-notified", { reason: reasonOf(error) });
      this.#isMute = true;
    }
    return !this.#isMute;
  }
}

function sendTo(socket: string): (variables: readonly string[]) => Promise<void> {
  return async (variables) => {
    const env = { ...PLAIN_ENVIRONMENT, NOTIFY_SOCKET: socket };
    await promisify(execFile)("systemd-notify", variables, { env, timeout: SEND_TIMEOUT_MS, killSignal: "SIGKILL" });
  };
}

function reasonOf(error: unknown): string {
  const what =
    systemCode(error) === "ENOENT"
      ? "systemd-notify is not installed (package systemd)"
      : error instanceof Error
        ? error.message.trim().replaceAll("\n", "; ")
        : String(error);
  return `${what}; a unit with Type=notify or WatchdogSec= is ended when its time is over`;
}
